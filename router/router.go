// Package router is the data plane of inference: the hot path from a caller that has been let in to a container that answers.
// It keeps the routes that the control plane sets, chooses a variant and the container of it that has the least to do, and
// passes bytes both ways without looking at them.
//
// It counts what it does for CloudWatch. Who may call is the API's matter; which containers there are is the control plane's.
// Nothing here is durable.
package router

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
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
}

// Router forwards invocations.
type Router struct {
	transport *http.Transport
	clock     platform.Clock
	meter     *meter
	perTarget int64 // invocations at one container at once
	mu        sync.RWMutex
	endpoints map[string]*endpoint
}

// endpoint is a route made ready. It is replaced as a whole; what is under way goes on with the old one.
type endpoint struct {
	arn      platform.ARN
	variants []*variant
	weight   float64 // of those variants that have targets
}

type variant struct {
	name    string
	weight  float64
	targets []*target
	next    atomic.Uint32 // where to begin to look, so that equals take turns
}

// target is a container and how many invocations are under way at it. It lives as long as its address is routed to.
type target struct {
	platform.Target
	busy atomic.Int64
}

var _ platform.Routes = (*Router)(nil)

// New makes a Router without routes.
func New(c Config) *Router {
	dialer := &net.Dialer{Timeout: connectTime, KeepAlive: 15 * time.Second}
	return &Router{endpoints: map[string]*endpoint{}, perTarget: perTarget, clock: c.Clock, meter: newMeter(c), transport: &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConnsPerHost: idlePerTarget, IdleConnTimeout: idleConnection,
		DisableCompression: true, ForceAttemptHTTP2: false, WriteBufferSize: 32 << 10, ReadBufferSize: 32 << 10,
	}}
}

// Start begins to write metrics down; it forwards without it too.
func (r *Router) Start() { r.meter.start() }

// Stop writes down what was counted and lets go of idle connections. Whoever calls it lets no one in any more.
func (r *Router) Stop() {
	r.meter.stop()
	r.transport.CloseIdleConnections()
}

// Set replaces an endpoint's route. Targets that stay keep their count of what is under way.
func (r *Router) Set(name string, route platform.Route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[platform.Target]*target{}
	if was := r.endpoints[name]; was != nil {
		for _, v := range was.variants {
			for _, t := range v.targets {
				known[t.Target] = t
			}
		}
	}
	made := &endpoint{arn: route.ARN}
	for _, rv := range route.Variants {
		v := &variant{name: rv.Name, weight: rv.Weight}
		for _, rt := range rv.Targets {
			v.targets = append(v.targets, cmp.Or(known[rt], &target{Target: rt}))
		}
		if len(v.targets) > 0 {
			made.weight += v.weight
		}
		made.variants = append(made.variants, v)
	}
	r.endpoints[name] = made
}

// Remove forgets an endpoint.
func (r *Router) Remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.endpoints, name)
}

// Invoke implements platform.Invoker.
func (r *Router) Invoke(ctx context.Context, in platform.Invocation) (*platform.Answer, error) {
	r.mu.RLock()
	e := r.endpoints[in.Endpoint]
	r.mu.RUnlock()
	if e == nil || len(e.variants) == 0 { // none, or one that does not serve: it comes, has failed, or goes
		return nil, platform.Errorf(platform.NotFound, in.Endpoint, "Endpoint %s of account not found.", in.Endpoint)
	}
	if in.Arrived.IsZero() {
		in.Arrived = r.clock.Now()
	}
	v, err := e.choose(in)
	if err != nil {
		return nil, err
	}
	answer, err := r.try(ctx, in, v)
	if err != nil {
		r.meter.count(ended{endpoint: in.Endpoint, variant: v.name, instances: len(v.targets), failed: ctx.Err() == nil})
	}
	return answer, err
}

// try asks the containers of a variant in turn.
func (r *Router) try(ctx context.Context, in platform.Invocation, v *variant) (*platform.Answer, error) {
	// A container that could not be reached has not seen the request: another one may have it.
	var refused error
	for _, t := range v.order() {
		if t.busy.Add(1) > r.perTarget {
			t.busy.Add(-1)
			refused = platform.Errorf(platform.Unavailable, in.Endpoint, "variant %s: %w", v.name, platform.ErrBusy)
			continue
		}
		answer, err := r.send(ctx, in, v, t)
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
	return nil, refused
}

// choose finds the variant: the one asked for, or one by weight among those that can answer.
func (e *endpoint) choose(in platform.Invocation) (*variant, error) {
	v := e.byWeight()
	if in.Variant != "" {
		at := slices.IndexFunc(e.variants, func(v *variant) bool { return v.name == in.Variant })
		if at < 0 {
			return nil, platform.Errorf(platform.Invalid, in.Variant, "Variant %s not found for endpoint %s", in.Variant, in.Endpoint)
		}
		v = e.variants[at]
	}
	if v == nil || len(v.targets) == 0 {
		return nil, notReady(in.Endpoint)
	}
	return v, nil
}

// byWeight draws a variant among those that have targets; nil when none has. Weights that are all zero count alike as one.
func (e *endpoint) byWeight() *variant {
	var last *variant
	point := 0.0
	if len(e.variants) > 1 {
		point = rand.Float64() * e.weight
	}
	for _, v := range e.variants {
		if len(v.targets) == 0 || v.weight <= 0 && e.weight > 0 {
			continue
		}
		last = v
		if point -= v.weight; point < 0 {
			break
		}
	}
	return last
}

func notReady(name string) error {
	return platform.Errorf(platform.Unavailable, name, "no container of endpoint %s is ready to answer", name)
}

// order gives the variant's targets, those with the least under way first; equals take turns.
func (v *variant) order() []*target {
	n := len(v.targets)
	if n == 1 {
		return v.targets
	}
	from := int(v.next.Add(1)) % n
	out := slices.Concat(v.targets[from:], v.targets[:from])
	slices.SortStableFunc(out, func(a, b *target) int { return cmp.Compare(a.busy.Load(), b.busy.Load()) })
	return out
}

// send hands an invocation to one target.
func (r *Router) send(ctx context.Context, in platform.Invocation, v *variant, t *target) (*platform.Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, invokeTime, platform.ErrTooLate)
	request, err := newRequest(ctx, t.Address, in)
	if err != nil {
		cancel()
		return nil, err
	}
	sent := r.clock.Now()
	response, err := r.transport.RoundTrip(request) // whoever has the answer closes its body
	if err != nil {
		if errors.Is(context.Cause(ctx), platform.ErrTooLate) {
			err = platform.ErrTooLate
		}
		cancel()
		return nil, err
	}
	answer := &body{ReadCloser: response.Body, ctx: ctx, clock: r.clock, model: r.clock.Now().Sub(sent)}
	answer.done = sync.OnceFunc(func() {
		cancel()
		t.busy.Add(-1)
		r.meter.count(ended{
			endpoint: in.Endpoint, variant: v.name, instances: len(v.targets), status: response.StatusCode, failed: answer.broken,
			model: answer.model, overhead: max(0, r.clock.Now().Sub(in.Arrived)-answer.model), // the clock may have been set meanwhile
		})
	})
	return &platform.Answer{Variant: v.name, Target: t.Target, Status: response.StatusCode, Header: response.Header, Body: answer}, nil
}

// newRequest is what the container gets.
func newRequest(ctx context.Context, address string, in platform.Invocation) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/invocations", bytes.NewReader(in.Body))
	if err != nil {
		return nil, platform.Errorf(platform.Internal, in.Endpoint, "address %q of a container: %w", address, err)
	}
	for name, values := range in.Header {
		request.Header[name] = values
	}
	return request, nil
}

// body is an answer's body that ends its invocation when it is closed. It adds up how long the container lets its reader wait.
type body struct {
	io.ReadCloser
	ctx    context.Context // the invocation's
	clock  platform.Clock
	model  time.Duration
	broken bool // the container did not come to its end
	done   func()
}

// Read says ErrTooLate of an answer that is not whole when its time is over.
func (b *body) Read(p []byte) (int, error) {
	from := b.clock.Now()
	n, err := b.ReadCloser.Read(p)
	b.model += b.clock.Now().Sub(from)
	if err != nil && !errors.Is(err, io.EOF) {
		cause := context.Cause(b.ctx) // another one than the time is that the caller has gone
		late := errors.Is(cause, platform.ErrTooLate)
		b.broken = cause == nil || late
		if late {
			err = platform.ErrTooLate
		}
	}
	return n, err
}

func (b *body) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
