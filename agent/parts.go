package agent

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// part is one container of an instance. Where there are several, each has an agent's view of its own, with its own /opt/ml,
// environment and log; they live and end together, as none of them is of use without the others.
type part struct {
	*agent
	address string // host:port
	process *process
	log     *shipper
	health  *health
	tail    string // of its log, once it has ended
}

// neverHealthy is a container that did not answer /ping in time.
type neverHealthy struct{ *part }

func (n *neverHealthy) Error() string { return errNeverHealthy.Error() }

// parts gives the containers of the instance: a single one is the agent's own matter.
func (a *agent) parts() ([]*part, error) {
	if len(a.model.Further) == 0 {
		return []*part{{agent: a}}, nil
	}
	if a.Part == nil {
		return nil, platform.Errorf(platform.NotSupported, "", "this agent cannot serve several containers")
	}
	runtimes := append([]platform.Runtime{a.job.Runtime}, a.job.Further...)
	var parts []*part
	for i, c := range a.model.Containers() {
		one := &agent{Config: a.Config, spool: a.spool, post: a.post, orders: a.orders, job: a.job, store: a.store, task: a.task, name: *c.ContainerHostname}
		var err error
		if one.Root, one.view, err = a.Part(i + 1); err != nil {
			return nil, err
		}
		one.Outside, one.job.Runtime = one.Root, runtimes[i]
		one.become(c)
		parts = append(parts, &part{agent: one})
	}
	return parts, nil
}

// become is for one of several containers what reading its assignment is for a single one.
func (a *agent) become(c sagemaker.ContainerDefinition) {
	if a.job.Kind == platform.KindTransformJob {
		a.becomeTransformer(c)
		return
	}
	a.becomeContainer(c)
}

// prepareParts brings the models and, where they are apart, the programs that serve them, and gives each container a port of
// its own.
func (a *agent) prepareParts(work context.Context) ([]*part, error) {
	a.enter(platform.PhaseDownloading, "")
	parts, err := a.parts()
	if err != nil {
		return nil, err
	}
	fetching, shared := errgroup.WithContext(work)
	for _, p := range parts {
		fetching.Go(func() error { return p.fetchServed(shared) })
	}
	if err := fetching.Wait(); err != nil {
		return nil, err
	}
	return parts, findPorts(parts)
}

// findPorts gives each container a port of this machine that is free now. Containers of one machine share its network.
func findPorts(parts []*part) error {
	for _, p := range parts {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return platform.Errorf(platform.Internal, "", "find a free port: %w", err)
		}
		defer l.Close() // when all are found: no two may get the same
		p.address = l.Addr().String()
		_, port, _ := strings.Cut(p.address, ":")
		p.spec.Environment[portVariable] = port
	}
	return nil
}

// startParts starts the containers and ships their output. If one cannot be started, none runs.
func startParts(work, life context.Context, parts []*part) (err error) {
	// 1. Start them all before any is waited for: the one who waits must know them.
	started := make([]*part, 0, len(parts))
	for _, p := range parts {
		if p.process, err = p.launch(work); err != nil {
			break
		}
		started = append(started, p)
	}
	// 2. Wait for them. Alone in a pid namespace, one waits for all: the agent is the parent of every orphan in it.
	if len(started) > 1 && syscall.Getpid() == 1 {
		go reapParts(started)
	} else {
		for _, p := range started {
			go p.process.reap()
		}
	}
	// 3. Hear what they say.
	for _, p := range started {
		p.log = p.ship(life, p.process)
		if err != nil {
			p.kill(p.process)
		}
	}
	return err
}

// reapParts waits for all processes of a pid namespace that several containers share.
func reapParts(parts []*part) {
	running := map[int]*process{}
	for _, p := range parts {
		running[p.process.pid] = p.process
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		p := running[pid]
		switch {
		case err == syscall.EINTR:
		case err != nil: // nothing is left
			return
		case p != nil && (status.Exited() || status.Signaled()):
			p.noteSignal(status)
			p.status = status
			delete(running, pid)
			close(p.main)
			close(p.all)
		}
	}
}

// watchParts waits until the containers have ended, and gives the one that ended first and why it had to, nil if it ended by
// itself. That one ends the others.
func watchParts(life context.Context, parts []*part) (first *part, why error) {
	if len(parts) == 1 {
		return parts[0], parts[0].watch(life, parts[0].process)
	}
	type end struct {
		*part
		why error
	}
	ended := make(chan end, len(parts))
	for _, p := range parts {
		go func() { ended <- end{p, p.watch(life, p.process)} }()
	}
	one := <-ended
	for _, p := range parts {
		if one.why == nil && p != one.part {
			p.kill(p.process)
		}
	}
	for range parts[1:] {
		<-ended
	}
	return one.part, one.why
}

// endLogs waits until all of the output has been written down.
func endLogs(parts []*part) {
	for _, p := range parts {
		p.tail = p.log.wait()
	}
}

// onceOf gives a function that does something when it is called for the nth time.
func onceOf(n int, do func()) func() {
	var called atomic.Int32
	return func() {
		if int(called.Add(1)) == n {
			do()
		}
	}
}
