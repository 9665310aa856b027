// Package scaling keeps the capacity of scalable targets as their policies and schedules say: it reads metrics and alarms, asks
// decide/scale, and changes the endpoint's record as UpdateEndpointWeightsAndCapacities does, in one transaction with the
// activity that tells of it. Bringing instances up and down is control/endpoint's matter.
package scaling

import (
	"context"
	"log/slog"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

// Config is what a Controller works with.
type Config struct {
	Store   platform.Store
	Metrics platform.Metrics
	Alarms  platform.Alarms // whose actions name step scaling policies
	Clock   platform.Clock
	Log     *slog.Logger
}

// Controller is the reconciler of scalable targets.
type Controller struct {
	Config
	loop    control.Loop
	tracker control.Tracker
	// began is when this process began to look. What was not counted before says nothing: the data plane may have been away.
	began time.Time
}

// New makes a Controller; nothing runs until Start.
func New(cfg Config) *Controller {
	c := &Controller{Config: cfg, began: cfg.Clock.Now()}
	c.loop = control.Loop{Name: "scaling", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.Reconcile}
	c.tracker = control.Tracker{
		Loop: &c.loop, Kind: platform.KindScalableTarget, Store: cfg.Store, Clock: cfg.Clock, Log: cfg.Log,
		Also: map[platform.Kind]func(context.Context, string){platform.KindEndpoint: c.enqueueTargets},
	}
	return c
}

// Start takes up the work where any earlier process left it.
func (c *Controller) Start(ctx context.Context) error { return c.tracker.Start(ctx) }

// Stop ends the loop and waits for what it is doing.
func (c *Controller) Stop() { c.tracker.Stop() }

// Drain does, without goroutines, all there is to do now: for the simulation, instead of Start.
func (c *Controller) Drain(ctx context.Context) error {
	err := c.tracker.Resync(ctx)
	c.loop.Drain(ctx)
	return err
}

// enqueueTargets looks at all targets of an endpoint that has changed.
func (c *Controller) enqueueTargets(ctx context.Context, endpoint string) {
	q := platform.Query{Kind: platform.KindScalableTarget, NamePrefix: platform.TargetsOf(endpoint)}
	err := control.Each(ctx, c.Store, q, func(r platform.Record) error {
		c.loop.Enqueue(r.Name)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		c.Log.Warn("cannot tell what is scaled of an endpoint; its targets will be looked at later", "endpoint", endpoint, "error", err)
	}
}
