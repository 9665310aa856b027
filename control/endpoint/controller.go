// Package endpoint brings endpoints from wanted to serving: it launches an agent for each instance of a variant, takes the
// agents' reports, moves traffic to what is ready, and writes every change of state in one transaction with the ledger lines
// that belong to it.
//
// What a request must look like is the API's matter; how a request finds a container is the router's; this package only says
// which containers there are.
package endpoint

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

// resync is how often everything is looked at again, whatever was or was not noticed.
const resync = 5 * time.Minute

// stopGrace is the time that a container has between SIGTERM and SIGKILL, to finish what it has begun to answer.
const stopGrace platform.Seconds = 30

// resyncName is the loop's name for "look at everything"; no endpoint can be called so.
const resyncName = "(resync)"

// Config is what a Controller works with.
type Config struct {
	Store    platform.Store
	Runner   platform.Runner
	Runtimes platform.Runtimes
	Logs     platform.Logs
	Clock    platform.Clock
	Random   io.Reader // a cryptographic source
	Site     platform.Site
	Key      control.TokenKey
	Routes   platform.Routes
	Room     *control.Room
	// Endpoints tells where agents and containers find the services and the object store now.
	Endpoints func() (services, s3 string)
	StopGrace platform.Seconds // 0 is AWS's
	Log       *slog.Logger
}

// Controller is the reconciler of endpoints and the control plane's side of AgentLink for their agents.
type Controller struct {
	Config
	loop control.Loop

	mu    sync.Mutex // of the rest
	acked map[platform.AgentID]*acked
	stops []func()
}

// New makes a Controller; nothing runs until Start.
func New(cfg Config) *Controller {
	cfg.StopGrace = cmp.Or(cfg.StopGrace, stopGrace)
	c := &Controller{Config: cfg, acked: map[platform.AgentID]*acked{}}
	c.loop = control.Loop{Name: "endpoint", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.Reconcile}
	return c
}

// Start takes up the work where any earlier process left it.
func (c *Controller) Start(ctx context.Context) error {
	changed, stop := c.Store.Watch(platform.KindEndpoint)
	if err := c.Resync(ctx); err != nil {
		stop()
		return err
	}
	c.mu.Lock()
	c.stops = append(c.stops, stop)
	c.mu.Unlock()
	c.loop.Start()
	c.loop.Go(func(context.Context) {
		for key := range changed {
			c.loop.Enqueue(key.Name)
		}
	})
	c.loop.Go(c.keepLooking)
	return nil
}

// Stop ends the loop and waits for what it is doing. Agents go on.
func (c *Controller) Stop() {
	c.mu.Lock()
	stops := c.stops
	c.stops = nil
	c.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	c.loop.Stop()
}

// Drain does, without goroutines, all there is to do now: for the simulation, instead of Start.
func (c *Controller) Drain(ctx context.Context) error {
	err := c.Resync(ctx)
	c.loop.Drain(ctx)
	return err
}

// Resync enqueues every endpoint, and the owner of every agent that the runner still knows.
func (c *Controller) Resync(ctx context.Context) error {
	q := platform.Query{Kind: platform.KindEndpoint}
	for {
		page, err := c.Store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			c.loop.Enqueue(r.Name)
		}
		if q.Token = page.Next; q.Token == "" {
			break
		}
	}
	agents, err := c.Runner.List(ctx)
	if err != nil {
		return err
	}
	for _, a := range agents {
		if a.Owner.Kind == platform.KindEndpoint {
			c.loop.Enqueue(a.Owner.Name)
		}
	}
	return nil
}

// keepLooking wakes the loop when an agent ends, and resyncs now and then.
func (c *Controller) keepLooking(ctx context.Context) {
	due, stop := c.Clock.After(resync)
	for {
		select {
		case <-ctx.Done():
			stop()
			return
		case id := <-c.Runner.Ended():
			c.loop.Enqueue(c.ownerOf(ctx, id))
		case <-due:
			c.loop.Enqueue(resyncName)
			due, stop = c.Clock.After(resync)
		}
	}
}

// ownerOf finds the endpoint that an agent works for; of one that is not known, everything is looked at.
func (c *Controller) ownerOf(ctx context.Context, id platform.AgentID) string {
	agents, err := c.Runner.List(ctx)
	if err == nil {
		for _, a := range agents {
			if a.ID == id {
				return a.Owner.Name
			}
		}
	}
	return resyncName
}

// read finds an endpoint by its name.
func (c *Controller) read(ctx context.Context, name string) (*platform.Endpoint, error) {
	rec, err := c.Store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: name})
	if err != nil {
		return nil, err
	}
	return platform.ReadEndpoint(rec)
}

// change alters an endpoint by its name, as control.Change does.
func (c *Controller) change(ctx context.Context, name string, f func(*platform.Endpoint) (platform.Tx, bool, error)) (*platform.Endpoint, error) {
	return control.Change(ctx, c.Store, c.Clock, platform.Key{Kind: platform.KindEndpoint, Name: name}, platform.ReadEndpoint, f)
}
