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

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

// stopGrace is the time that a container has between SIGTERM and SIGKILL, to finish what it has begun to answer.
const stopGrace platform.Seconds = 30

// Config is what a Controller works with.
type Config struct {
	Store    platform.Store
	Runner   platform.Runner
	Runtimes platform.Runtimes
	Logs     platform.Logs
	Metrics  platform.Metrics // where the figures go that instances report
	Clock    platform.Clock
	Random   io.Reader // a cryptographic source
	Site     platform.Site
	Key      control.TokenKey
	Routes   platform.Routes
	Room     *control.Room
	Alarms   platform.Alarms
	// Endpoints tells where agents and containers find the services and the object store now.
	Endpoints func() (services, s3 string)
	StopGrace platform.Seconds // 0 is AWS's
	KeepIdle  platform.Seconds // of a serverless variant's instance that has nothing to do; 0 is five minutes
	Log       *slog.Logger
}

// Controller is the reconciler of endpoints and the control plane's side of AgentLink for their agents.
type Controller struct {
	Config
	loop       control.Loop
	tracker    control.Tracker
	deliveries control.Deliveries

	// Of the loop's goroutine alone: what is not written down yet, by the endpoint and the name of its record.
	used map[string]map[platform.Key]*used
}

// New makes a Controller; nothing runs until Start.
func New(cfg Config) *Controller {
	cfg.StopGrace = cmp.Or(cfg.StopGrace, stopGrace)
	cfg.KeepIdle = cmp.Or(cfg.KeepIdle, keepIdle)
	c := &Controller{Config: cfg, used: map[string]map[platform.Key]*used{}}
	c.loop = control.Loop{Name: "endpoint", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.Reconcile}
	c.tracker = control.Tracker{
		Loop: &c.loop, Kind: platform.KindEndpoint, Store: cfg.Store, Runner: cfg.Runner, Clock: cfg.Clock, Log: cfg.Log,
	}
	return c
}

// Start takes up the work where any earlier process left it.
func (c *Controller) Start(ctx context.Context) error {
	if err := c.tracker.Start(ctx); err != nil {
		return err
	}
	c.loop.Go(c.hear)
	return nil
}

// hear looks at an endpoint when its requests need something.
func (c *Controller) hear(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-c.Routes.Stirred():
			c.loop.Enqueue(name)
		}
	}
}

// Stop ends the loop, waits for what it is doing, and writes down what has been used. Agents go on. Whoever calls it lets no
// request in any more.
func (c *Controller) Stop() {
	c.tracker.Stop()
	c.bookAll()
}

// bookAll writes down what has been used of every endpoint.
func (c *Controller) bookAll() {
	ctx := context.Background()
	for name := range c.used {
		e, err := c.read(ctx, name)
		if err == nil {
			_, err = c.settle(ctx, e, false)
		}
		if err != nil && !platform.Is(err, platform.NotFound) {
			c.Log.Warn("what an endpoint has used in its last second could not be written down", "endpoint", name, "error", err)
		}
	}
}

// Drain does, without goroutines, all there is to do now: for the simulation, instead of Start.
func (c *Controller) Drain(ctx context.Context) error {
	err := c.tracker.Resync(ctx)
	c.loop.Drain(ctx)
	return err
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
