// Package training brings training jobs from wanted to done: it queues them, launches an agent for each attempt, takes the
// agents' reports, and writes every change of state in one transaction with the ledger lines that belong to it.
//
// What a request must look like is the API's matter; what is right to do next is decide's; how an agent does its work is the
// agent's. This package only knows the states.
package training

import (
	"cmp"
	"context"
	"io"
	"log/slog"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/platform"
)

// stopGrace is the time that AWS gives a job to end, and spotNotice the warning that it gives before it takes spot capacity away.
const (
	stopGrace  platform.Seconds = 120
	spotNotice platform.Seconds = 120
)

// The loop's names for "look at the queue", "at the market" and "at who is due"; no job can be called so.
const (
	scheduleName = "(schedule)"
	roomName     = "training jobs" // by which all of them hold room together
	marketName   = "(market)"
	dueName      = "(due)"
)

// Config is what a Controller works with.
type Config struct {
	Store    platform.Store
	Runner   platform.Runner
	Runtimes platform.Runtimes
	Logs     platform.Logs
	Metrics  platform.Metrics
	Clock    platform.Clock
	Random   io.Reader // a cryptographic source
	Site     platform.Site
	Key      control.TokenKey
	Room     *control.Room // what of the machine is held, shared with other controllers; nil: nobody else holds any
	// Endpoints tells where agents and jobs find the services and the object store now.
	Endpoints func() (services, s3 string)
	// StopGrace is the time between SIGTERM and SIGKILL for a job that is to stop; 0 is AWS's.
	StopGrace platform.Seconds
	// Market offers spot capacity; nil: there is none, and managed spot jobs wait for it or run on demand if they may.
	Market platform.Market
	// Notice is the time between the notice of an interruption and the loss of the capacity; 0 is AWS's.
	Notice platform.Seconds
	// Policy is that of the spot jobs that may fall back to on-demand capacity, one of spot.Names; empty is Stint's own.
	Policy string
	// StartUp is what is believed of the time from launch to the user's code until a job's own is known; 0: half a minute.
	StartUp platform.Seconds
	Log     *slog.Logger
}

// Controller is the reconciler of training jobs and the control plane's side of AgentLink for them.
type Controller struct {
	Config
	loop       control.Loop
	tracker    control.Tracker
	deliveries control.Deliveries

	// Of the loop's goroutine alone:
	view   view
	brains map[string]*brain // of the spot jobs that may fall back to on-demand capacity
	pools  map[platform.InstanceType]*pool
}

// New makes a Controller; nothing runs until Start.
func New(cfg Config) *Controller {
	cfg.StopGrace, cfg.Notice = cmp.Or(cfg.StopGrace, stopGrace), cmp.Or(cfg.Notice, spotNotice)
	cfg.Policy, cfg.StartUp = cmp.Or(cfg.Policy, spot.Default), cmp.Or(cfg.StartUp, startPrior)
	if cfg.Room == nil {
		cfg.Room = control.NewRoom()
	}
	c := &Controller{
		Config: cfg, view: newView(), brains: map[string]*brain{}, pools: map[platform.InstanceType]*pool{},
	}
	c.loop = control.Loop{Name: "training", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.Reconcile}
	c.tracker = control.Tracker{
		Loop: &c.loop, Kind: platform.KindTrainingJob, States: []string{string(platform.JobInProgress), string(platform.JobStopping)},
		Seen:  func(r platform.Record) bool { return c.view.current(r.Name, r.Revision, c.Clock.Now()) },
		Store: cfg.Store, Runner: cfg.Runner, Clock: cfg.Clock, Log: cfg.Log,
	}
	return c
}

// Start takes up the work where any earlier process left it.
func (c *Controller) Start(ctx context.Context) error {
	c.loop.Enqueue(marketName)
	c.Room.Freed(func() { c.loop.Enqueue(scheduleName) }) // first, or what is freed while the loop begins would not be heard of
	if err := c.tracker.Start(ctx); err != nil {
		return err
	}
	c.loop.Enqueue(scheduleName)
	if c.Market != nil {
		c.loop.Go(c.followMarket)
	}
	return nil
}

// Stop ends the loop and waits for what it is doing. Agents go on.
func (c *Controller) Stop() { c.tracker.Stop() }

// Drain does, without goroutines, all there is to do now: for the simulation, instead of Start.
func (c *Controller) Drain(ctx context.Context) error {
	err := c.Resync(ctx)
	c.loop.Drain(ctx)
	return err
}

// Resync looks at the market, at every job that has not ended, but for those that wait and are as they were last seen, and at
// the queue. It belongs to the loop's goroutine, or comes before Start.
func (c *Controller) Resync(ctx context.Context) error {
	c.loop.Enqueue(marketName)
	err := c.tracker.Resync(ctx)
	c.loop.Enqueue(scheduleName)
	return err
}

// followMarket wakes the loop when the market changes.
func (c *Controller) followMarket(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-c.Market.Changed():
			if !ok {
				return
			}
			c.loop.Enqueue(marketName)
		}
	}
}

// read finds a job by its name, and the revision it is at.
func (c *Controller) read(ctx context.Context, name string) (*platform.TrainingJob, int64, error) {
	rec, err := c.Store.Get(ctx, platform.Key{Kind: platform.KindTrainingJob, Name: name})
	if err != nil {
		return nil, 0, err
	}
	job, err := platform.ReadTrainingJob(rec)
	return job, rec.Revision, err
}

// change alters a job by its name, as control.Change does.
func (c *Controller) change(ctx context.Context, name string, f func(*platform.TrainingJob) (platform.Tx, bool, error)) (*platform.TrainingJob, error) {
	return control.Change(ctx, c.Store, c.Clock, platform.Key{Kind: platform.KindTrainingJob, Name: name}, platform.ReadTrainingJob, f)
}
