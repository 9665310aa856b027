package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

// readContainers reads the assignment of an endpoint's instance.
func (a *agent) readContainers() error {
	if err := json.Unmarshal(a.job.Spec, &a.model); err != nil {
		return platform.Errorf(platform.Internal, "", "read the containers' definitions: %w", err)
	}
	a.becomeContainer(a.model.Container)
	return nil
}

// becomeContainer lets the rest of the agent see a container that serves as a job that has no inputs.
func (a *agent) becomeContainer(c sagemaker.ContainerDefinition) {
	a.container = c
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

// serve is the life of an endpoint's instance: fetch the model, start its container or containers, say when they answer, and end
// them when they are not wanted any more.
func (a *agent) serve(work, life context.Context) platform.Outcome {
	// 1. Bring what serves, and find a port for it.
	parts, err := a.prepareParts(work)
	if err != nil {
		return a.outcomeOf(life, err)
	}
	// 2. Start it; callers of many models, or of several containers, are met before it.
	address, closeFront, err := a.openFront(parts)
	if err != nil {
		return a.outcomeOf(life, err)
	}
	defer closeFront()
	if err := startParts(work, life, parts); err != nil {
		return a.outcomeOf(life, err)
	}
	// 3. Say when all of it is healthy; a container that never is has failed.
	ready := onceOf(len(parts), func() { a.report(platform.Report{Phase: platform.PhaseInService, Address: address}) })
	for _, p := range parts {
		p.health = p.nurse(work, p.address, p.process, ready)
	}
	ended, why := watchParts(life, parts)
	for _, p := range parts {
		if sick := p.health.wait(); sick != nil {
			ended, why = p, sick
		}
	}
	endLogs(parts)
	if life.Err() != nil {
		return platform.Outcome{}
	}
	return ended.judgeContainer(ended.process, why, ended.tail)
}

// judgeContainer turns the end of a container into an outcome. Only one that was asked to end has not failed.
func (a *agent) judgeContainer(p *process, why error, tail string) platform.Outcome {
	o := a.judge(p, why, tail)
	switch {
	case errors.Is(why, errNeverHealthy), errors.Is(why, errUnhealthy):
		return platform.Outcome{Kind: platform.AlgorithmError, ExitCode: p.exitCode(), Reason: clip("The "+cmp.Or(a.name, "container")+" "+why.Error()+". Please check its log. "+strings.TrimSpace(a.readFailure()+" "+tail), "")}
	case o.Kind == platform.Succeeded:
		o = platform.Outcome{Kind: platform.AlgorithmError, Reason: clip("the container ended by itself. "+tail, ", exit code: "+strconv.Itoa(p.exitCode()))}
	}
	if a.name != "" && o.Reason != "" {
		o.Reason = clip(o.Reason, " (container "+a.name+")")
	}
	return o
}
