// Package alarm keeps the states of metric alarms up to date: it asks each alarm's metric whenever there can be news, lets
// decide/alarm judge, and writes a state down when it changes. It also answers how an alarm stands just now.
//
// What an alarm's state brings about is not done here: who cares asks by platform.Alarms.
package alarm

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/alarm"
	"github.com/stint-ml/stint/platform"
)

// Config is what a Controller works with.
type Config struct {
	Store   platform.Store
	Metrics platform.Metrics
	Clock   platform.Clock
	Log     *slog.Logger
}

// Controller is the reconciler of alarms.
type Controller struct {
	Config
	loop    control.Loop
	tracker control.Tracker

	mu     sync.Mutex // of the rest
	looked map[string]look
}

// look is when an alarm was evaluated, as it was configured then; the same look again would bring nothing new. It need not
// outlive the process.
type look struct{ end, configured time.Time }

var _ platform.Alarms = (*Controller)(nil)

// New makes a Controller; nothing runs until Start, but AlarmState answers without it, too.
func New(cfg Config) *Controller {
	c := &Controller{Config: cfg, looked: map[string]look{}}
	c.loop = control.Loop{Name: "alarm", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.Reconcile}
	c.tracker = control.Tracker{Loop: &c.loop, Kind: platform.KindAlarm, Store: cfg.Store, Clock: cfg.Clock, Log: cfg.Log}
	return c
}

// Start begins to look at every alarm there is.
func (c *Controller) Start(ctx context.Context) error { return c.tracker.Start(ctx) }

// Stop ends the loop and waits for what it is doing.
func (c *Controller) Stop() { c.tracker.Stop() }

// Drain does, without goroutines, all there is to do now: for the simulation, instead of Start.
func (c *Controller) Drain(ctx context.Context) error {
	err := c.tracker.Resync(ctx)
	c.loop.Drain(ctx)
	return err
}

// Reconcile looks at one alarm and gives when there can be news of it.
func (c *Controller) Reconcile(ctx context.Context, name string) (time.Duration, error) {
	if name == control.ResyncName {
		return 0, c.tracker.Resync(ctx)
	}
	a, err := c.evaluate(ctx, name)
	if platform.Is(err, platform.NotFound) {
		c.mu.Lock()
		delete(c.looked, name)
		c.mu.Unlock()
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	now := c.Clock.Now()
	return max(alarm.Next(alarm.ConditionOf(&a.Spec).Period, now).Sub(now), a.Status.HeldUntil.Sub(now), time.Millisecond), nil
}

// AlarmState implements platform.Alarms.
func (c *Controller) AlarmState(ctx context.Context, name string) (platform.AlarmState, error) {
	a, err := c.evaluate(ctx, name)
	if err != nil {
		return "", err
	}
	return a.Status.State, nil
}

// evaluate gives an alarm as it stands, after having asked its metric if there can be news.
func (c *Controller) evaluate(ctx context.Context, name string) (*platform.Alarm, error) {
	key := platform.Key{Kind: platform.KindAlarm, Name: name}
	rec, err := c.Store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	a, err := platform.ReadAlarm(rec)
	if err != nil {
		return nil, err
	}
	now, condition := c.Clock.Now(), alarm.ConditionOf(&a.Spec)
	start, end := condition.Range(now)
	this := look{end, a.Status.Configured}
	c.mu.Lock()
	last := c.looked[name]
	c.mu.Unlock()
	if now.Before(a.Status.HeldUntil) || last == this && a.Status.HeldUntil.Before(end) {
		return a, nil
	}
	found, err := c.Metrics.Aggregate(ctx, a.Series(), start, end, condition.Period)
	if err != nil {
		return nil, err
	}
	if verdict := condition.Evaluate(found, now, a.Status.State); verdict.State != a.Status.State {
		a, err = control.Change(ctx, c.Store, c.Clock, key, platform.ReadAlarm, func(a *platform.Alarm) (platform.Tx, bool, error) {
			if !a.Status.Configured.Equal(this.configured) || now.Before(a.Status.HeldUntil) || a.Status.State == verdict.State {
				return platform.Tx{}, false, nil // somebody has the word meanwhile
			}
			c.Log.Info("an alarm has changed its state", "alarm", name, "from", a.Status.State, "to", verdict.State, "reason", verdict.Reason)
			a.Status.Enter(verdict.State, verdict.Reason, verdict.Data, now)
			return platform.Tx{}, true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked[name] = this
	return a, nil
}
