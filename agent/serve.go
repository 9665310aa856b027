package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	portVariable = "SAGEMAKER_BIND_TO_PORT"
	manyVariable = "SAGEMAKER_MULTI_MODEL"
	// sourceVariable names the folder of the user's program, or an archive of it in S3.
	sourceVariable = "SAGEMAKER_SUBMIT_DIRECTORY"
)

// readContainer reads the assignment of an endpoint's instance.
func (a *agent) readContainer() error {
	if err := json.Unmarshal(a.job.Spec, &a.container); err != nil {
		return platform.Errorf(platform.Internal, "", "read the container's definition: %w", err)
	}
	a.becomeContainer()
	return nil
}

// becomeContainer lets the rest of the agent see a container that serves as a job that has no inputs.
func (a *agent) becomeContainer() {
	a.spec = sagemaker.CreateTrainingJobRequest{
		AlgorithmSpecification: &sagemaker.AlgorithmSpecification{}, ResourceConfig: &sagemaker.ResourceConfig{},
		OutputDataConfig: &sagemaker.OutputDataConfig{}, Environment: map[string]string{},
	}
	for name, value := range a.container.Environment {
		a.spec.Environment[name] = value
	}
	if platform.OfMany(&a.container) {
		a.spec.Environment[manyVariable] = "true"
	}
	// The SageMaker SDK serves a script of its estimators from the archive that they were trained from.
	a.spec.HyperParameters = map[string]string{sourceParameter: a.container.Environment[sourceVariable]}
	a.job.Runtime.Entry, a.Shim = a.job.Runtime.Serve, a.ServeProgram
}

// serve is the life of an endpoint's instance: fetch the model, start the container, say when it answers, and end it when it
// is not wanted any more.
func (a *agent) serve(work, life context.Context) platform.Outcome {
	// 1. Bring what serves, and find a port for it.
	container, err := a.prepareContainer(work)
	if err != nil {
		return a.outcomeOf(life, err)
	}
	// 2. Start the container; callers of many models are met before it.
	address, closeFront, err := a.openFront(container)
	if err != nil {
		return a.outcomeOf(life, err)
	}
	defer closeFront()
	process, err := a.start(work)
	if err != nil {
		return a.outcomeOf(life, err)
	}
	log := a.ship(life, process)
	// 3. Say when it is healthy; a container that never is has failed.
	health := a.nurse(work, container, address, process)
	why := a.watch(life, process)
	sick := health.wait()
	tail := log.wait()
	if life.Err() != nil {
		return platform.Outcome{}
	}
	return a.judgeContainer(process, cmp.Or(sick, why), tail)
}

// prepareContainer brings the model and, where it is apart, the program that serves it, and gives the container a port of its
// own.
func (a *agent) prepareContainer(work context.Context) (address string, err error) {
	a.enter(platform.PhaseDownloading, "")
	if err := a.fetchServed(work); err != nil {
		return "", err
	}
	if address, err = freeAddress(); err != nil {
		return "", err
	}
	_, port, _ := strings.Cut(address, ":")
	a.spec.Environment[portVariable] = port
	return address, nil
}

// freeAddress finds a port of this machine that is free now. Containers of one machine share its network.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", platform.Errorf(platform.Internal, "", "find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// judgeContainer turns the end of a container into an outcome. Only one that was asked to end has not failed.
func (a *agent) judgeContainer(p *process, why error, tail string) platform.Outcome {
	o := a.judge(p, why, tail)
	switch {
	case errors.Is(why, errNeverHealthy), errors.Is(why, errUnhealthy):
		o = platform.Outcome{Kind: platform.AlgorithmError, ExitCode: p.exitCode(), Reason: clip("The container "+why.Error()+". Please check its log. "+strings.TrimSpace(a.readFailure()+" "+tail), "")}
	case o.Kind == platform.Succeeded:
		o = platform.Outcome{Kind: platform.AlgorithmError, Reason: clip("the container ended by itself. "+tail, ", exit code: "+strconv.Itoa(p.exitCode()))}
	}
	return o
}
