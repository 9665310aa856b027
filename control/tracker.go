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
	Page   int      // how many records a resync reads at once; 0: as many as the store gives
	// Seen, if set, spares a resync those that need not be looked at.
	Seen func(platform.Record) bool
	// Learn, if set, is given the records instead of the Loop their names, each once until it is forgotten: for what is owed, and
	// deleted when it has been done. found: it was there when everything was looked at, so an earlier process may have begun it.
	Learn func(r platform.Record, found bool) error
	// Also are other kinds that matter, and what is to be done when a resource of theirs has changed.
	Also   map[platform.Kind]func(ctx context.Context, name string)
	Store  platform.Store
	Runner platform.Runner // nil: no agents work for resources of the kind
	Clock  platform.Clock
	Log    *slog.Logger

	mu    sync.Mutex
	stops []func()
	known map[string]bool // what was learnt and not forgotten
}

// Start takes up the work where any earlier process left it: it resyncs and starts the loop.
func (t *Tracker) Start(ctx context.Context) error {
	changed := t.watch(t.Kind)
	also := map[platform.Kind]<-chan platform.Key{}
	for kind := range t.Also {
		also[kind] = t.watch(kind)
	}
	if err := t.Resync(ctx); err != nil {
		t.unwatch()
		return err
	}
	t.Loop.Start()
	t.Loop.Go(func(ctx context.Context) {
		for key := range changed {
			t.changed(ctx, key)
		}
	})
	for kind, keys := range also {
		t.Loop.Go(func(ctx context.Context) {
			for key := range keys {
				t.Also[kind](ctx, key.Name)
			}
		})
	}
	t.Loop.Go(t.followAgents)
	return nil
}

func (t *Tracker) watch(kind platform.Kind) <-chan platform.Key {
	changed, stop := t.Store.Watch(kind)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stops = append(t.stops, stop)
	return changed
}

func (t *Tracker) unwatch() {
	t.mu.Lock()
	stops := t.stops
	t.stops = nil
	t.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
}

// Stop ends the loop and waits for what it is doing. Agents go on. Stopping twice, or without a start, is fine.
func (t *Tracker) Stop() {
	t.unwatch()
	t.Loop.Stop()
}

// Resync enqueues every resource in one of the States, or learns it, and the owner of every agent that the runner still knows.
func (t *Tracker) Resync(ctx context.Context) error {
	err := Each(ctx, t.Store, platform.Query{Kind: t.Kind, States: t.States, Limit: t.Page}, func(r platform.Record) error {
		switch {
		case t.Learn != nil:
			return t.learn(r, true)
		case t.Seen == nil || !t.Seen(r):
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

// changed is told of a record that has come, changed or gone. One that is to be learnt and cannot be read now is found by a resync.
func (t *Tracker) changed(ctx context.Context, key platform.Key) {
	if t.Learn == nil {
		t.Loop.Enqueue(key.Name)
		return
	}
	if t.knows(key.Name) {
		return
	}
	rec, err := t.Store.Get(ctx, key)
	if err == nil {
		err = t.learn(rec, false)
	}
	if err != nil && !platform.Is(err, platform.NotFound) && ctx.Err() == nil {
		t.Log.Warn("what has come could not be read; looking at everything", "loop", t.Loop.Name, "name", key.Name, "error", err)
		t.Loop.Enqueue(ResyncName)
	}
}

func (t *Tracker) knows(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known[name]
}

// learn passes a record on that is not known yet.
func (t *Tracker) learn(r platform.Record, found bool) error {
	t.mu.Lock()
	known := t.known[r.Name]
	if t.known == nil {
		t.known = map[string]bool{}
	}
	t.known[r.Name] = true
	t.mu.Unlock()
	if known {
		return nil
	}
	err := t.Learn(r, found)
	if err != nil {
		t.Forget(r.Name)
	}
	return err
}

// Forget says that what was learnt is over, or is to be learnt again if it is still there.
func (t *Tracker) Forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, name)
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
