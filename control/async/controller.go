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

const (
	resync = 5 * time.Minute // how often everything is looked at again, whatever was or was not noticed
	page   = 200             // records that are read at once: each may have its input with it
)

// resyncName is the loop's name for "look at everything"; no endpoint can be called so.
const resyncName = control.ResyncName

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
	loop  control.Loop
	meter *meter

	mu    sync.Mutex // of the rest
	lines map[string]*line
	known map[string]bool // invocations that wait or are under way
	seq   int
	stops []func()
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
	c := &Controller{Config: cfg, meter: newMeter(cfg), lines: map[string]*line{}, known: map[string]bool{}}
	c.loop = control.Loop{Name: "async", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.reconcile}
	return c
}

// Start takes up the work where any earlier process left it.
func (c *Controller) Start(ctx context.Context) error {
	arrived, stopArrivals := c.Store.Watch(platform.KindAsyncInvocation)
	changed, stopChanges := c.Store.Watch(platform.KindEndpoint)
	if err := c.resync(ctx); err != nil {
		stopArrivals()
		stopChanges()
		return err
	}
	c.mu.Lock()
	c.stops = append(c.stops, stopArrivals, stopChanges)
	c.mu.Unlock()
	c.loop.Start()
	c.loop.Go(func(ctx context.Context) {
		for key := range arrived {
			c.arrive(ctx, key)
		}
	})
	c.loop.Go(func(context.Context) {
		for key := range changed {
			c.loop.Enqueue(key.Name)
		}
	})
	c.loop.Go(c.keepTime)
	return nil
}

// Stop ends all work and waits for it. What is under way is owed still, and taken up by the next Start. Stopping twice, or without
// a start, is fine.
func (c *Controller) Stop() {
	c.mu.Lock()
	stops := c.stops
	c.stops = nil
	c.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	c.loop.Stop()
	c.meter.flush(context.Background())
}

// keepTime publishes metrics, and resyncs now and then.
func (c *Controller) keepTime(ctx context.Context) {
	again, stopAgain := c.Clock.After(resync)
	tick, stopTick := c.Clock.After(publishEvery)
	defer func() { stopAgain(); stopTick() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			c.loop.Enqueue(resyncName)
			again, stopAgain = c.Clock.After(resync)
		case <-tick:
			c.publish(ctx)
			tick, stopTick = c.Clock.After(publishEvery)
		}
	}
}

// resync enqueues every endpoint, and makes known what is owed.
func (c *Controller) resync(ctx context.Context) error {
	for _, q := range []platform.Query{{Kind: platform.KindAsyncInvocation, Limit: page}, {Kind: platform.KindEndpoint}} {
		for {
			p, err := c.Store.List(ctx, q)
			if err != nil {
				return err
			}
			for _, r := range p.Records {
				if q.Kind == platform.KindEndpoint {
					c.loop.Enqueue(r.Name)
				} else if err := c.learn(r, true); err != nil {
					return err
				}
			}
			if q.Token = p.Next; q.Token == "" {
				break
			}
		}
	}
	return nil
}

// arrive looks at an invocation that has come, or has gone. One that cannot be read now is found by the next resync.
func (c *Controller) arrive(ctx context.Context, key platform.Key) {
	c.mu.Lock()
	known := c.known[key.Name]
	c.mu.Unlock()
	if known {
		return
	}
	rec, err := c.Store.Get(ctx, key)
	if err == nil {
		err = c.learn(rec, false)
	}
	if err != nil && !platform.Is(err, platform.NotFound) && ctx.Err() == nil {
		c.Log.Warn("an asynchronous invocation could not be read; looking at everything", "invocation", key.Name, "error", err)
		c.loop.Enqueue(resyncName)
	}
}

// learn puts an invocation into its endpoint's queue. begun says that an earlier process may have answered it.
func (c *Controller) learn(rec platform.Record, begun bool) error {
	in, err := platform.ReadAsyncInvocation(rec)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[in.ID] {
		return nil
	}
	c.known[in.ID] = true
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
