// Package router is the data plane of inference: the hot path from a caller that has been let in to a container that answers.
// It keeps the routes that the control plane sets, chooses a variant and the container of it that has the least to do, and
// passes bytes both ways without looking at them.
//
// It counts what it does for CloudWatch. Who may call is the API's matter; which containers there are is the control plane's.
// Nothing here is durable.
package router

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stint-ml/stint/platform"
)

// The bounds of what waits at containers.
const (
	invokeTime     = 60 * time.Second // AWS's, for one invocation
	connectTime    = 2 * time.Second
	perTarget      = 1024 // invocations at one container at once; beyond, callers are told to come again
	idlePerTarget  = 256
	idleConnection = 90 * time.Second
)

// Config is what a Router works with.
type Config struct {
	Metrics platform.Metrics // where the figures of AWS/SageMaker go
	Clock   platform.Clock
	Log     *slog.Logger
	// Blobs is the object store as a role sees it: captured data goes there.
	Blobs func(role platform.ARN) (platform.Blobs, error)
}

// Router forwards invocations.
type Router struct {
	dialer    *net.Dialer
	clock     platform.Clock
	meter     *meter
	recorder  *recorder
	perTarget int64 // invocations at one container at once
	mu        sync.RWMutex
	endpoints map[string]*endpoint
	flows     map[string]map[string]*flow // by endpoint and Elastic.ID
	stirred   chan string
	retired   []*endpoint // routes that were replaced while requests that they let in were under way
}

// endpoint is a route made ready. It is replaced as a whole; what is under way goes on with the old one.
type endpoint struct {
	route    platform.Route // that it was made of
	variants []*variant
	weight   float64   // of those variants that are open
	next     *endpoint // while an update shifts traffic: what comes, and its share of the requests
	share    float64
	gone     []*target // once it is retired: those that the route after it does not lead to
}

type variant struct {
	name    string
	config  string
	coming  bool // it is of what an update brings
	weight  float64
	ofMany  bool // models or containers: invocations name one
	direct  bool // they are containers, which every target has; models are asked for where they are likely to be loaded
	targets []*target
	flow    *flow // nil unless it is elastic
	elastic *platform.Elastic
	letIn   atomic.Int64  // invocations that are on their way to a target
	bound   int64         // Elastic.PerTarget
	next    atomic.Uint32 // where to begin to look, so that equals take turns

	capturing *capturing // nil: it is not captured
}

// target is a container and how many invocations are under way at it. It lives as long as its address is routed to.
type target struct {
	platform.Target
	seed uint64 // of its agent's name, for its place among those that a model prefers
	busy atomic.Int64
	pool pool
}

var _ platform.Routes = (*Router)(nil)

// New makes a Router without routes.
func New(c Config) *Router {
	r := &Router{
		endpoints: map[string]*endpoint{}, flows: map[string]map[string]*flow{}, stirred: make(chan string, 1024), perTarget: perTarget, clock: c.Clock,
		meter: newMeter(c), recorder: newRecorder(c), dialer: &net.Dialer{Timeout: connectTime, KeepAlive: 15 * time.Second},
	}
	r.meter.sample = r.sample
	return r
}

// Start begins to write metrics down; it forwards without it too.
func (r *Router) Start() { r.meter.start() }

// Stop writes down what was counted and lets go of idle connections. Whoever calls it lets no one in any more.
func (r *Router) Stop() {
	r.meter.stop()
	r.recorder.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.endpoints {
		for _, t := range e.targets() {
			t.pool.close()
		}
	}
}

// Set replaces an endpoint's route. Targets that stay keep their count of what is under way.
func (r *Router) Set(name string, route platform.Route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.endpoints[name]
	if was != nil && reflect.DeepEqual(was.route, route) {
		return
	}
	known := map[platform.Target]*target{}
	for _, t := range was.targets() {
		known[t.Target] = t
	}
	made := r.prepare(name, route.Variants, known)
	made.route = route
	if len(route.Next) > 0 {
		made.next, made.share = r.prepare(name, route.Next, known), route.Share
		for _, v := range made.next.variants {
			v.coming = true
		}
	}
	r.retire(was, made)
	r.endpoints[name] = made
	r.rerouted(name, made)
	r.recorder.keep(name, made)
}

// prepare makes one side of a route ready.
func (r *Router) prepare(name string, variants []platform.RouteVariant, known map[platform.Target]*target) *endpoint {
	made := &endpoint{}
	for _, rv := range variants {
		v := &variant{name: rv.Name, config: rv.Config, weight: rv.Weight, ofMany: rv.OfMany || rv.Direct, direct: rv.Direct, flow: r.flowOf(name, rv), capturing: r.recorder.capturing(name, rv)}
		if rv.Elastic != nil {
			v.elastic, v.bound = rv.Elastic, int64(rv.Elastic.PerTarget)
		}
		for _, rt := range rv.Targets {
			t := known[rt]
			if t == nil {
				t = &target{Target: rt, seed: hash(string(rt.Agent)), pool: pool{address: rt.Address, dialer: r.dialer}}
			}
			v.targets = append(v.targets, t)
		}
		if v.open() {
			made.weight += v.weight
		}
		made.variants = append(made.variants, v)
	}
	return made
}

// Remove forgets an endpoint.
func (r *Router) Remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retire(r.endpoints[name], nil)
	delete(r.endpoints, name)
	r.recorder.keep(name, nil)
	for _, f := range r.flows[name] {
		f.leave()
	}
}

// Invoke implements platform.Invoker.
func (r *Router) Invoke(ctx context.Context, in platform.Invocation) (*platform.Answer, error) {
	if in.Arrived.IsZero() {
		in.Arrived = r.clock.Now()
	}
	v, err := r.find(in)
	if err != nil {
		return nil, err
	}
	reach := r.tryBoth
	if v.flow != nil {
		reach = r.await
	}
	answer, err := reach(ctx, in, v)
	if err != nil {
		r.meter.count(ended{endpoint: in.Endpoint, variant: v.name, config: v.config, instances: len(v.targets), failed: ctx.Err() == nil && !errors.Is(err, platform.ErrThrottled)})
	}
	return answer, err
}

// find gives the variant for an invocation as the routes are now, and lets it in there: try follows, once.
func (r *Router) find(in platform.Invocation) (*variant, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.endpoints[in.Endpoint]
	if e == nil || len(e.variants) == 0 { // none, or one that does not serve: it comes, has failed, or goes
		return nil, platform.Errorf(platform.NotFound, in.Endpoint, "Endpoint %s of account not found.", in.Endpoint)
	}
	if e.route.Async != in.Async {
		return nil, otherWay(in)
	}
	v, err := e.pick(in)
	if err == nil {
		v.letIn.Add(1) // under the lock: whoever replaces the route knows of all that may still go where it led
	}
	return v, err
}

// otherWay refuses an invocation of the kind that an endpoint does not take.
func otherWay(in platform.Invocation) error {
	if in.Async {
		return platform.Errorf(platform.Invalid, in.Endpoint, "Endpoint %s is not an asynchronous endpoint. Use InvokeEndpoint to invoke it.", in.Endpoint)
	}
	return platform.Errorf(platform.Invalid, in.Endpoint, "Endpoint %s is an asynchronous endpoint. Use InvokeEndpointAsync to invoke it.", in.Endpoint)
}

// try asks the containers of a variant in turn.
func (r *Router) try(ctx context.Context, in platform.Invocation, v *variant) (*platform.Answer, error) {
	defer v.letIn.Add(-1)
	// A container that could not be reached has not seen the request: another one may have it.
	var refused error
	bound := cmp.Or(v.bound, r.perTarget)
	send := r.send
	if v.flow != nil {
		send = r.work
	}
	for _, t := range v.order(in.Model) {
		if t.busy.Add(1) > bound {
			t.busy.Add(-1)
			refused = platform.Errorf(platform.Unavailable, in.Endpoint, "variant %s: %w", v.name, platform.ErrBusy)
			continue
		}
		answer, err := send(ctx, in, v, t)
		if err == nil {
			return answer, nil
		}
		t.busy.Add(-1)
		var dial *net.OpError
		if !errors.As(err, &dial) || dial.Op != "dial" {
			return nil, err
		}
		refused = platform.Errorf(platform.Unavailable, in.Endpoint, "no container of variant %s can be reached: %w", v.name, err)
	}
	if refused == nil {
		refused = notReady(in.Endpoint)
	}
	return nil, refused
}
