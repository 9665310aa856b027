// Package async works off the queues of asynchronous endpoints: it takes the invocations that are owed in the order of their arrival, as
// many at once as the endpoint's containers may have, fetches their input, asks a container, puts the answer where it belongs, and
// forgets the invocation in the transaction that writes down whom to tell.
//
// What an invocation must look like is the API's matter; how it finds a container is the router's; how many instances there are is the
// endpoint's. The queue is what the store has: here is only the order in which it is worked off.
package async

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

// page is how many records are read at once: each may have its input with it.
const page = 200

// Config is what a Controller works with.
type Config struct {
	Store   platform.Store
	Invoker platform.Invoker
	// Blobs gives the object store as a role sees it.
	Blobs   func(role platform.ARN) (platform.Blobs, error)
	Metrics platform.Metrics
	Clock   platform.Clock
	Site    platform.Site
	Dir     string // keeps what is too large for memory while it is under way
	Log     *slog.Logger
}

// Controller works off the queues of all asynchronous endpoints.
type Controller struct {
	Config
	loop    control.Loop
	tracker control.Tracker
	meter   *meter

	mu    sync.Mutex // of the rest
	lines map[string]*line
	seq   int
}

// line is the queue of one endpoint.
type line struct {
	name    string
	view    view
	waiting queue
	working int
	gate    *gate
	retries int       // in a row, that no container could be had or the object store was away
	hold    time.Time // nothing is taken before
	starved bool      // it has been told that there are invocations and no containers
}

// New makes a Controller; nothing runs until Start.
func New(cfg Config) *Controller {
	c := &Controller{Config: cfg, meter: newMeter(cfg), lines: map[string]*line{}}
	c.loop = control.Loop{Name: "async", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.reconcile}
	c.tracker = control.Tracker{
		Loop: &c.loop, Kind: platform.KindAsyncInvocation, Page: page, Learn: c.learn, Store: cfg.Store, Clock: cfg.Clock, Log: cfg.Log,
		Also: map[platform.Kind]func(context.Context, string){platform.KindEndpoint: func(_ context.Context, name string) { c.loop.Enqueue(name) }},
	}
	return c
}

// Start takes up the work where any earlier process left it.
func (c *Controller) Start(ctx context.Context) error {
	if err := c.tracker.Start(ctx); err != nil {
		return err
	}
	if err := c.enqueueEndpoints(ctx); err != nil {
		c.tracker.Stop()
		return err
	}
	tick, stop := c.Clock.After(publishEvery)
	c.loop.Go(func(ctx context.Context) { c.keepPublishing(ctx, tick, stop) })
	return nil
}

// Stop ends all work and waits for it. What is under way is owed still, and taken up by the next Start. Stopping twice, or without
// a start, is fine.
func (c *Controller) Stop() {
	c.tracker.Stop()
	c.meter.flush(context.Background())
}

// keepPublishing publishes metrics with every tick, whether anything happens or not.
func (c *Controller) keepPublishing(ctx context.Context, tick <-chan time.Time, stop func()) {
	for {
		select {
		case <-ctx.Done():
			stop()
			return
		case <-tick:
			tick, stop = c.Clock.After(publishEvery)
			c.publish(ctx)
		}
	}
}

// resync makes known what is owed, and enqueues every endpoint: one that is owed nothing has figures, too.
func (c *Controller) resync(ctx context.Context) error {
	if err := c.tracker.Resync(ctx); err != nil {
		return err
	}
	return c.enqueueEndpoints(ctx)
}

func (c *Controller) enqueueEndpoints(ctx context.Context) error {
	return control.Each(ctx, c.Store, platform.Query{Kind: platform.KindEndpoint}, func(r platform.Record) error {
		c.loop.Enqueue(r.Name)
		return nil
	})
}

// learn puts an invocation into its endpoint's queue. begun says that an earlier process may have answered it.
func (c *Controller) learn(rec platform.Record, begun bool) error {
	in, err := platform.ReadAsyncInvocation(rec)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	c.line(in.Endpoint).waiting.push(&entry{
		id: in.ID, of: in.Of, arrived: in.Arrived, expires: in.Arrived.Add(in.TTL.Duration()), seq: c.seq, begun: begun,
	})
	c.loop.Enqueue(in.Endpoint)
	return nil
}

// line gives the queue of an endpoint; the caller holds the lock.
func (c *Controller) line(endpoint string) *line {
	l := c.lines[endpoint]
	if l == nil {
		l = &line{name: endpoint, waiting: newQueue(), gate: &gate{}}
		c.lines[endpoint] = l
	}
	return l
}
