package router

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

const (
	stirEvery = time.Second            // at most so often an endpoint is told of whose requests find what they need
	lookAgain = 100 * time.Millisecond // a request that waits looks again, also when nothing has been noticed
)

// flow is what goes to an elastic variant, over the routes in which it has its place.
type flow struct {
	platform.Elastic
	mu       sync.Mutex
	open     int
	last     time.Time // when the last invocation ended, or the flow began
	stirred  time.Time
	uses     map[platform.AgentID]*use
	worked   map[platform.Purchase]platform.Work // since it was told last
	changed  chan struct{}
	unrouted bool
}

// use is what a container of an elastic variant does.
type use struct {
	busy   int
	since  time.Time // that it is not busy
	routed bool
	of     platform.Purchase
}

func newFlow(e platform.Elastic, now time.Time) *flow {
	return &flow{Elastic: e, last: now, uses: map[platform.AgentID]*use{}, worked: map[platform.Purchase]platform.Work{}, changed: make(chan struct{})}
}

// reroute takes note of the targets that the variant has now, and wakes whoever waits for one.
func (f *flow) reroute(e platform.Elastic, targets []*target, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Elastic, f.unrouted = e, false
	for _, u := range f.uses {
		u.routed = false
	}
	for _, t := range targets {
		u := f.uses[t.Agent]
		if u == nil {
			u = &use{since: now}
			f.uses[t.Agent] = u
		}
		u.routed, u.of = true, purchaseOf(&e, t.Agent)
	}
	f.forget()
	f.wake()
}

// purchaseOf is how the work of a container is paid for.
func purchaseOf(e *platform.Elastic, agent platform.AgentID) platform.Purchase {
	if slices.Contains(e.Provisioned, agent) {
		return platform.ProvisionedUse
	}
	return platform.OnUse
}

// leave takes the flow out of the routes.
func (f *flow) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unrouted = true
	for _, u := range f.uses {
		u.routed = false
	}
	f.forget()
	f.wake()
}

// forget drops the containers that have left and have nothing to do; those that have are dropped by end. The caller holds the lock.
func (f *flow) forget() {
	maps.DeleteFunc(f.uses, func(_ platform.AgentID, u *use) bool { return u.busy == 0 && !u.routed })
}

// wake lets those that wait look again; the caller holds the lock.
func (f *flow) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// news is closed at the next change.
func (f *flow) news() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// enter counts an invocation in. It tells whether the control plane should hear of it, because none was there for a while.
func (f *flow) enter(in platform.Invocation, now time.Time) (news bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.Max > 0 && f.open >= f.Max:
		return false, platform.Errorf(platform.Unavailable, in.Endpoint, "%w", platform.ErrThrottled)
	case f.MaxBody > 0 && len(in.Body) > f.MaxBody:
		return false, platform.Errorf(platform.Invalid, in.Endpoint, "the body has %d bytes; an invocation of a serverless endpoint may have at most %d", len(in.Body), f.MaxBody)
	}
	f.open++
	news = f.open == 1 && now.Sub(f.stirred) >= stirEvery
	if news {
		f.stirred = now
	}
	return news, nil
}

// exit counts an invocation out.
func (f *flow) exit(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	f.last = now
	f.wake()
}

// begin notes that a container has an invocation, end that it has it no more and whether it has worked on it.
func (f *flow) begin(agent platform.AgentID, chosen *platform.Elastic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.uses[agent] == nil { // it has left the route since it was chosen
		f.uses[agent] = &use{of: purchaseOf(chosen, agent)}
	}
	f.uses[agent].busy++
}

func (f *flow) end(agent platform.AgentID, worked bool, took time.Duration, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.uses[agent]
	u.busy--
	u.since = now
	if u.busy == 0 && !u.routed {
		delete(f.uses, agent)
	}
	if worked {
		took = max(took, 0) + time.Millisecond - 1
		f.worked[u.of] = f.worked[u.of].Plus(platform.Work{Milliseconds: took.Milliseconds(), Invocations: 1})
	}
}

// tell gives what has been since it was called last.
func (f *flow) tell() platform.Flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	told := platform.Flow{
		Open: f.open, Last: f.last, Idle: map[platform.AgentID]time.Time{}, Worked: f.worked, Over: f.unrouted && f.open == 0,
	}
	for agent, u := range f.uses {
		if u.busy == 0 && u.routed {
			told.Idle[agent] = u.since
		}
	}
	f.worked = map[platform.Purchase]platform.Work{}
	return told
}

// Flows implements platform.Routes.
func (r *Router) Flows(name string) map[string]platform.Flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := map[string]platform.Flow{}
	for id, f := range r.flows[name] {
		told[id] = f.tell()
		if told[id].Over {
			delete(r.flows[name], id)
		}
	}
	if len(r.flows[name]) == 0 {
		delete(r.flows, name)
	}
	return told
}

// Stirred implements platform.Routes.
func (r *Router) Stirred() <-chan string { return r.stirred }

func (r *Router) stir(name string) {
	select {
	case r.stirred <- name:
	default: // whoever is told is behind; those that wait say it again
	}
}

// flowOf gives the flow of a variant's place in a route, nil when it is not elastic; the caller holds the lock.
func (r *Router) flowOf(name string, v platform.RouteVariant) *flow {
	if v.Elastic == nil {
		return nil
	}
	known := r.flows[name]
	if known == nil {
		known = map[string]*flow{}
		r.flows[name] = known
	}
	f := known[v.Elastic.ID]
	if f == nil {
		f = newFlow(*v.Elastic, r.clock.Now())
		known[v.Elastic.ID] = f
	}
	return f
}

// rerouted tells the flows of an endpoint what its new route means for them; the caller holds the lock.
func (r *Router) rerouted(name string, made *endpoint) {
	in := map[*flow]bool{}
	for side := made; side != nil; side = side.next {
		for _, v := range side.variants {
			if v.flow != nil {
				v.flow.reroute(*v.elastic, v.targets, r.clock.Now())
				in[v.flow] = true
			}
		}
	}
	for _, f := range r.flows[name] {
		if !in[f] {
			f.leave()
		}
	}
}

// await sends an invocation to an elastic variant as soon as that has a container for it. The variant that was chosen may have
// left the route meanwhile; then it is chosen anew.
func (r *Router) await(ctx context.Context, in platform.Invocation, v *variant) (*platform.Answer, error) {
	late, stop := r.clock.After(invokeTime)
	defer stop()
	var entered *flow
	defer func() { r.countOut(entered) }()
	for {
		// 1. Count it in where it goes now.
		if entered != v.flow {
			r.countOut(entered)
			entered = nil
			if v.flow == nil { // an update has brought instances
				return r.try(ctx, in, v)
			}
			news, err := v.flow.enter(in, r.clock.Now())
			if err != nil {
				v.letIn.Add(-1)
				return nil, err
			}
			if entered = v.flow; news {
				r.stir(in.Endpoint)
			}
		}
		// 2. Try; before, remember what will tell of a change, so that none is missed.
		changed := entered.news()
		answer, err := r.try(ctx, in, v)
		if err == nil {
			entered = nil // the answer's end counts it out
			return answer, nil
		}
		if !platform.Is(err, platform.Unavailable) {
			return nil, err
		}
		// 3. There is no container for it yet: say so, and wait.
		r.stir(in.Endpoint)
		if err := r.wait(ctx, changed, late, err); err != nil {
			return nil, err
		}
		if v, err = r.find(in); err != nil {
			return nil, err
		}
	}
}

func (r *Router) countOut(f *flow) {
	if f != nil {
		f.exit(r.clock.Now())
	}
}

// wait lets an invocation wait for a change, and gives why it cannot wait any longer: refused when it is too late.
func (r *Router) wait(ctx context.Context, changed <-chan struct{}, late <-chan time.Time, refused error) error {
	again, release := r.clock.After(lookAgain)
	defer release()
	select {
	case <-changed:
	case <-again:
	case <-late:
		return refused
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// work hands an invocation to a container of an elastic variant, and adds up its time. Only an answer, or none in time, has
// cost anything.
func (r *Router) work(ctx context.Context, in platform.Invocation, v *variant, t *target) (*platform.Answer, error) {
	began := r.clock.Now()
	v.flow.begin(t.Agent, v.elastic)
	answer, err := r.send(ctx, in, v, t)
	if err != nil {
		now := r.clock.Now()
		v.flow.end(t.Agent, errors.Is(err, platform.ErrTooLate), now.Sub(began), now)
		return nil, err
	}
	told := &timed{ReadCloser: answer.Body, clock: r.clock, worked: r.clock.Now().Sub(began)}
	told.done = sync.OnceFunc(func() {
		now := r.clock.Now()
		v.flow.end(t.Agent, true, told.worked, now)
		v.flow.exit(now)
	})
	answer.Body = told
	return answer, nil
}

// timed is an answer's body that adds up how long its container works on it: while its reader waits for it.
type timed struct {
	io.ReadCloser
	clock  platform.Clock
	worked time.Duration
	done   func()
}

func (t *timed) Read(p []byte) (int, error) {
	from := t.clock.Now()
	n, err := t.ReadCloser.Read(p)
	t.worked += t.clock.Now().Sub(from)
	return n, err
}

func (t *timed) Close() error {
	err := t.ReadCloser.Close() // which gives the container free
	t.done()
	return err
}
