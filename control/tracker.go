package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// resync is how often everything is looked at again, whatever was or was not noticed. Stores merge notices and do not lose
// them, and ended agents are heard of, so it is the net below the net; with 100,000 waiting jobs a look takes ten seconds of a core.
const resync = 5 * time.Minute

// ResyncName is a Loop's name for "look at everything"; no resource can be called so.
const ResyncName = "(resync)"

// Tracker enqueues in a Loop the resources of one kind whenever they may have to be brought forward: when a record changes,
// when an agent that works for one ends, and now and then all of them.
type Tracker struct {
	Loop   *Loop
	Kind   platform.Kind
	States []string // of the resources that a resync is about; none: all
	// Seen, if set, spares a resync those that need not be looked at.
	Seen   func(platform.Record) bool
	Store  platform.Store
	Runner platform.Runner // nil: no agents work for resources of the kind
	Clock  platform.Clock
	Log    *slog.Logger

	mu    sync.Mutex
	stops []func()
}

// Start takes up the work where any earlier process left it: it resyncs and starts the loop.
func (t *Tracker) Start(ctx context.Context) error {
	changed, stop := t.Store.Watch(t.Kind)
	if err := t.Resync(ctx); err != nil {
		stop()
		return err
	}
	t.mu.Lock()
	t.stops = append(t.stops, stop)
	t.mu.Unlock()
	t.Loop.Start()
	t.Loop.Go(func(context.Context) {
		for key := range changed {
			t.Loop.Enqueue(key.Name)
		}
	})
	t.Loop.Go(t.followAgents)
	return nil
}

// Stop ends the loop and waits for what it is doing. Agents go on. Stopping twice, or without a start, is fine.
func (t *Tracker) Stop() {
	t.mu.Lock()
	stops := t.stops
	t.stops = nil
	t.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	t.Loop.Stop()
}

// Resync enqueues every resource in one of the States, and the owner of every agent that the runner still knows.
func (t *Tracker) Resync(ctx context.Context) error {
	err := Each(ctx, t.Store, platform.Query{Kind: t.Kind, States: t.States}, func(r platform.Record) error {
		if t.Seen == nil || !t.Seen(r) {
			t.Loop.Enqueue(r.Name)
		}
		return nil
	})
	if err != nil || t.Runner == nil {
		return err
	}
	agents, err := t.Runner.List(ctx)
	if err != nil {
		return err
	}
	for _, a := range agents {
		if a.Owner.Kind == t.Kind {
			t.Loop.Enqueue(a.Owner.Name)
		}
	}
	return nil
}

// followAgents enqueues the owner of every agent that ends, and everything now and then.
func (t *Tracker) followAgents(ctx context.Context) {
	var ends <-chan platform.AgentID
	if t.Runner != nil {
		ends = t.Runner.Ended()
	}
	due, stop := t.Clock.After(resync)
	for {
		select {
		case <-ctx.Done():
			stop()
			return
		case id, ok := <-ends:
			if !ok {
				stop()
				return
			}
			t.ended(ctx, id)
		case <-due:
			t.Loop.Enqueue(ResyncName)
			due, stop = t.Clock.After(resync)
		}
	}
}

// ended enqueues the owner of an agent. One that the runner does not know any more was removed when its end was known.
func (t *Tracker) ended(ctx context.Context, id platform.AgentID) {
	agent, err := FindAgent(ctx, t.Runner, id)
	switch {
	case err == nil && agent.Owner.Kind == t.Kind:
		t.Loop.Enqueue(agent.Owner.Name)
	case err != nil && !platform.Is(err, platform.NotFound):
		t.Log.Warn("cannot tell whose agent ended; looking at everything", "agent", id, "error", err)
		t.Loop.Enqueue(ResyncName)
	}
}

// FindAgent finds what a runner knows of one agent; NotFound when it knows nothing.
func FindAgent(ctx context.Context, runner platform.Runner, id platform.AgentID) (platform.AgentStatus, error) {
	agents, err := runner.List(ctx)
	if err != nil {
		return platform.AgentStatus{}, err
	}
	for _, a := range agents {
		if a.ID == id {
			return a, nil
		}
	}
	return platform.AgentStatus{}, platform.Errorf(platform.NotFound, string(id), "the runner does not know agent %s", id)
}

// AgentsOf finds what a runner knows of the agents of one resource, by their ids.
func AgentsOf(ctx context.Context, runner platform.Runner, owner platform.Key) (map[platform.AgentID]platform.AgentStatus, error) {
	all, err := runner.List(ctx)
	if err != nil {
		return nil, err
	}
	mine := map[platform.AgentID]platform.AgentStatus{}
	for _, a := range all {
		if a.Owner == owner {
			mine[a.ID] = a
		}
	}
	return mine, nil
}
