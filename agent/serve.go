package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	pingTime     = 2 * time.Second // AWS's, for one answer to /ping
	firstPing    = 10 * time.Millisecond
	longestPing  = 500 * time.Millisecond
	healthTime   = 4 * 60 // AWS's seconds for a container to become healthy
	portVariable = "SAGEMAKER_BIND_TO_PORT"
	manyVariable = "SAGEMAKER_MULTI_MODEL"
	// sourceVariable names the folder of the user's program, or an archive of it in S3.
	sourceVariable = "SAGEMAKER_SUBMIT_DIRECTORY"
)

// errUnhealthy ends a container that never answered /ping.
var errUnhealthy = errors.New("the container did not become healthy")

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
	var unhealthy atomic.Bool
	vouching, done := context.WithCancel(work)
	go func() {
		if a.healthy(vouching, container) {
			a.report(platform.Report{Phase: platform.PhaseInService, Address: address})
		} else if vouching.Err() == nil {
			unhealthy.Store(true)
			a.orders.stop()
		}
	}()
	why := a.watch(life, process)
	done()
	tail := log.wait()
	switch {
	case life.Err() != nil:
		return platform.Outcome{}
	case unhealthy.Load():
		why = errUnhealthy
	}
	return a.judgeContainer(process, why, tail)
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

// healthy asks the container until it is healthy, and reports whether it was in time.
func (a *agent) healthy(ctx context.Context, address string) bool {
	limit := a.job.Health
	if limit == 0 {
		limit = healthTime
	}
	late, stop := a.Clock.After(limit.Duration())
	defer stop()
	pause := firstPing
	for {
		if ping(ctx, address) {
			return true
		}
		again, stop := a.Clock.After(pause)
		select {
		case <-ctx.Done():
			stop()
			return false
		case <-late:
			stop()
			return false
		case <-again:
		}
		pause = min(pause+pause/4, longestPing) // what starts soon is seen soon, and what takes long is not asked often
	}
}

// ping asks a container whether it is healthy.
func ping(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/ping", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// judgeContainer turns the end of a container into an outcome. Only one that was asked to end has not failed.
func (a *agent) judgeContainer(p *process, why error, tail string) platform.Outcome {
	o := a.judge(p, why, tail)
	switch {
	case errors.Is(why, errUnhealthy):
		o = platform.Outcome{Kind: platform.AlgorithmError, ExitCode: p.exitCode(), Reason: clip("The container did not pass the ping health check. Please check its log. "+strings.TrimSpace(a.readFailure()+" "+tail), "")}
	case o.Kind == platform.Succeeded:
		o = platform.Outcome{Kind: platform.AlgorithmError, Reason: clip("the container ended by itself. "+tail, ", exit code: "+strconv.Itoa(p.exitCode()))}
	}
	return o
}
