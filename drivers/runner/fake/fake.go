// Package fake is platform.Runner without processes, for tests and the simulation: agents are entries in a table that end
// when they are told to. Nothing here waits, reads a real clock or starts a goroutine.
package fake

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"sync"

	"github.com/stint-ml/stint/platform"
)

// backlog is how many ends are kept for a reader of Ended who does not read; the port lets him find more by List.
const backlog = 4096

// Config says how the agents behave. The hooks may call the Runner's methods.
type Config struct {
	Clock    platform.Clock    // nil: the machine's
	Capacity platform.Capacity // of the machine; zero: 4 cores, 16 GiB

	// OnStart is asked before an agent exists; an error makes Start fail with it.
	OnStart func(platform.AgentSpec) error
	// Began is told of an agent that has just come to exist.
	Began func(platform.AgentSpec)
	// OnStop is told that an agent is asked to end in order. When it is nil the agent ends at once.
	OnStop func(platform.AgentSpec)
}

// Runner implements platform.Runner and platform.Undelivered.
type Runner struct {
	cfg     Config
	machine *machine
	ended   chan platform.AgentID
}

// machine is what outlives a Runner.
type machine struct {
	mu     sync.Mutex
	agents map[platform.AgentID]*agent
	watch  *Runner // the one that is open
}

type agent struct {
	spec    platform.AgentSpec
	status  platform.AgentStatus
	reports []platform.Report
}

var (
	_ platform.Runner      = (*Runner)(nil)
	_ platform.Undelivered = (*Runner)(nil)
)

var agentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// New makes a machine without agents, and a Runner on it.
func New(cfg Config) *Runner {
	if cfg.Clock == nil {
		cfg.Clock = platform.SystemClock{}
	}
	if cfg.Capacity == (platform.Capacity{}) {
		cfg.Capacity = platform.Capacity{MilliCPU: 4000, MemoryBytes: 16 << 30}
	}
	return on(&machine{agents: map[platform.AgentID]*agent{}}, cfg)
}

func on(m *machine, cfg Config) *Runner {
	r := &Runner{cfg: cfg, machine: m, ended: make(chan platform.AgentID, backlog)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch = r
	return r
}

// Reopen closes the Runner and gives a new one on the same machine, as when the server restarts.
func (r *Runner) Reopen() *Runner {
	_ = r.Close()
	return on(r.machine, r.cfg)
}

// Start implements platform.Runner.
func (r *Runner) Start(_ context.Context, spec platform.AgentSpec) error {
	if !agentID.MatchString(string(spec.ID)) {
		return platform.Errorf(platform.Invalid, string(spec.ID), "%q is no agent id", spec.ID)
	}
	if r.known(spec.ID) {
		return nil
	}
	if r.cfg.OnStart != nil {
		if err := r.cfg.OnStart(spec); err != nil {
			return err
		}
	}
	r.machine.mu.Lock()
	if r.machine.agents[spec.ID] != nil {
		r.machine.mu.Unlock()
		return nil
	}
	r.machine.agents[spec.ID] = &agent{spec: spec, status: platform.AgentStatus{ID: spec.ID, Owner: spec.Owner, Running: true}}
	r.machine.mu.Unlock()
	if r.cfg.Began != nil {
		r.cfg.Began(spec)
	}
	return nil
}

func (r *Runner) known(id platform.AgentID) bool {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	return r.machine.agents[id] != nil
}

// Stop implements platform.Runner.
func (r *Runner) Stop(_ context.Context, id platform.AgentID) error {
	r.machine.mu.Lock()
	a := r.machine.agents[id]
	r.machine.mu.Unlock()
	switch {
	case a == nil:
	case r.cfg.OnStop != nil:
		r.cfg.OnStop(a.spec)
	default:
		r.End(id, "stopped")
	}
	return nil
}

// Kill implements platform.Runner.
func (r *Runner) Kill(_ context.Context, id platform.AgentID) error {
	r.End(id, "killed by signal 9")
	return nil
}

// End ends an agent, as if its process had; detail says how. An agent that is unknown or has ended is left alone.
func (r *Runner) End(id platform.AgentID, detail string) {
	m := r.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agents[id]
	if a == nil || !a.status.Running {
		return
	}
	a.status.Running, a.status.Ended, a.status.Detail = false, r.cfg.Clock.Now(), detail
	if m.watch == nil {
		return
	}
	select {
	case m.watch.ended <- id:
	default:
	}
}

// Lose makes the machine forget an agent altogether, as when its disk is lost.
func (r *Runner) Lose(id platform.AgentID) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	delete(r.machine.agents, id)
}

// Undelivered sets what an agent wrote down and could not deliver.
func (r *Runner) Undelivered(id platform.AgentID, reports ...platform.Report) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	if a := r.machine.agents[id]; a != nil {
		a.reports = reports
	}
}

// Started gives the specs of the agents that are on the machine, in the order of their ids.
func (r *Runner) Started() []platform.AgentSpec {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	var specs []platform.AgentSpec
	for _, id := range slices.Sorted(maps.Keys(r.machine.agents)) {
		specs = append(specs, r.machine.agents[id].spec)
	}
	return specs
}

// Remove implements platform.Runner.
func (r *Runner) Remove(_ context.Context, id platform.AgentID) error {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	if a := r.machine.agents[id]; a != nil && a.status.Running {
		return platform.Errorf(platform.InUse, string(id), "agent %s still runs", id)
	}
	delete(r.machine.agents, id)
	return nil
}

// List implements platform.Runner, in the order of ids.
func (r *Runner) List(context.Context) ([]platform.AgentStatus, error) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	var all []platform.AgentStatus
	for _, id := range slices.Sorted(maps.Keys(r.machine.agents)) {
		all = append(all, r.machine.agents[id].status)
	}
	return all, nil
}

// Ended implements platform.Runner.
func (r *Runner) Ended() <-chan platform.AgentID { return r.ended }

// Reports implements platform.Undelivered.
func (r *Runner) Reports(_ context.Context, id platform.AgentID, after int64) ([]platform.Report, error) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	var reports []platform.Report
	if a := r.machine.agents[id]; a != nil {
		for _, report := range a.reports {
			if report.Seq > after {
				reports = append(reports, report)
			}
		}
	}
	return reports, nil
}

// Capacity implements platform.Runner.
func (r *Runner) Capacity(context.Context) (platform.Capacity, error) { return r.cfg.Capacity, nil }

// Close implements platform.Runner.
func (r *Runner) Close() error {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	if r.machine.watch == r {
		r.machine.watch = nil
		close(r.ended)
	}
	return nil
}
