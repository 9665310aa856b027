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
	"sync"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/platform"
)

// resync is how often everything is looked at again, whatever was or was not noticed. Stores merge notices and do not lose
// them, and ended agents are heard of, so it is the net below the net; with 100,000 waiting jobs a look takes ten seconds of a core.
const resync = 5 * time.Minute

// stopGrace is the time that AWS gives a job to end, and spotNotice the warning that it gives before it takes spot capacity away.
const (
	stopGrace  platform.Seconds = 120
	spotNotice platform.Seconds = 120
)

// The loop's names for "look at the queue", "at the market", "at who is due" and "at everything"; no job can be called so.
const (
	scheduleName = "(schedule)"
	roomName     = "training jobs" // by which all of them hold room together
	marketName   = "(market)"
	dueName      = "(due)"
	resyncName   = "(resync)"
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
	loop control.Loop

	mu       sync.Mutex // of the next two
	delivery map[platform.AgentID]*delivery
	stops    []func()

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
		Config: cfg, delivery: map[platform.AgentID]*delivery{}, view: newView(), brains: map[string]*brain{},
		pools: map[platform.InstanceType]*pool{},
	}
	c.loop = control.Loop{Name: "training", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.Reconcile}
	return c
}

// Start takes up the work where any earlier process left it.
func (c *Controller) Start(ctx context.Context) error {
	changed, stop := c.Store.Watch(platform.KindTrainingJob)
	if err := c.Resync(ctx); err != nil {
		stop()
		return err
	}
	c.mu.Lock()
	c.stops = append(c.stops, stop)
	c.mu.Unlock()
	c.loop.Start()
	c.Room.Freed(func() { c.loop.Enqueue(scheduleName) })
	c.loop.Go(func(context.Context) {
		for key := range changed {
			c.loop.Enqueue(key.Name)
		}
	})
	c.loop.Go(c.followWorld)
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

// Resync enqueues every job that has not ended, but for those that wait and are as they were last seen, and the owner of
// every agent that the runner still knows. It belongs to the loop's goroutine, or comes before Start.
func (c *Controller) Resync(ctx context.Context) error {
	c.loop.Enqueue(marketName)
	q := platform.Query{
		Kind:   platform.KindTrainingJob,
		States: []string{string(platform.JobInProgress), string(platform.JobStopping)},
	}
	for {
		page, err := c.Store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			if !c.view.current(r.Name, r.Revision, c.Clock.Now()) {
				c.loop.Enqueue(r.Name)
			}
		}
		if q.Token = page.Next; q.Token == "" {
			break
		}
	}
	c.loop.Enqueue(scheduleName)
	agents, err := c.Runner.List(ctx)
	if err != nil {
		return err
	}
	for _, a := range agents {
		if a.Owner.Kind == platform.KindTrainingJob {
			c.loop.Enqueue(a.Owner.Name)
		}
	}
	return nil
}

// followWorld wakes the loop when an agent ends or the market changes, and resyncs now and then.
func (c *Controller) followWorld(ctx context.Context) {
	due, stop := c.Clock.After(resync)
	var offers <-chan struct{}
	if c.Market != nil {
		offers = c.Market.Changed()
	}
	for {
		select {
		case <-ctx.Done():
			stop()
			return
		case id, ok := <-c.Runner.Ended():
			if !ok {
				return
			}
			c.loop.Enqueue(c.ownerOf(ctx, id))
		case _, ok := <-offers:
			if !ok {
				offers = nil
			}
			c.loop.Enqueue(marketName)
		case <-due:
			c.loop.Enqueue(resyncName)
			due, stop = c.Clock.After(resync)
		}
	}
}

// ownerOf finds the job that an agent works for.
func (c *Controller) ownerOf(ctx context.Context, id platform.AgentID) string {
	agent, err := c.agent(ctx, id)
	if err != nil {
		c.Log.Warn("cannot tell whose agent ended; resync will find it", "agent", id, "error", err)
	}
	if agent.Owner.Kind == platform.KindTrainingJob {
		return agent.Owner.Name
	}
	return scheduleName
}

// agent finds what the runner knows of one agent; NotFound when it knows nothing.
func (c *Controller) agent(ctx context.Context, id platform.AgentID) (platform.AgentStatus, error) {
	agents, err := c.Runner.List(ctx)
	if err != nil {
		return platform.AgentStatus{}, err
	}
	for _, a := range agents {
		if a.ID == id {
			return a, nil
		}
	}
	return platform.AgentStatus{}, platform.Errorf(platform.NotFound, string(id), "the runner does not know agent %s", id)
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
