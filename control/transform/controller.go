// Package transform brings batch transform jobs from wanted to done: each instance that a job asks for has a share of the
// input and an agent that works on it; when the platform loses an agent, another one goes on where its reports end. Every
// change of state is written in one transaction with the ledger lines that belong to it.
//
// What a request must look like is the API's matter; how objects are read, sent through the container and written is the
// agent's. This package only knows which of them are done with.
package transform

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

// LogGroup is where the logs of batch transform jobs go.
const LogGroup = "/aws/sagemaker/TransformJobs"

// stopGrace is the time that a container has between SIGTERM and SIGKILL.
const stopGrace platform.Seconds = 30

// scheduleName is the loop's name for "see who of those that wait can be launched"; no job can be called so.
const scheduleName = "(schedule)"

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
	Room     *control.Room
	// Endpoints tells where agents and containers find the services and the object store now.
	Endpoints func() (services, s3 string)
	StopGrace platform.Seconds // 0 is AWS's
	Log       *slog.Logger
}

// Controller is the reconciler of batch transform jobs and the control plane's side of AgentLink for their agents.
type Controller struct {
	Config
	loop       control.Loop
	tracker    control.Tracker
	deliveries control.Deliveries
	line       map[string]time.Time // of the loop's goroutine alone: the jobs that wait for room, and when they were created
}

// New makes a Controller; nothing runs until Start.
func New(cfg Config) *Controller {
	cfg.StopGrace = cmp.Or(cfg.StopGrace, stopGrace)
	c := &Controller{Config: cfg, line: map[string]time.Time{}}
	c.loop = control.Loop{Name: "transform", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.Reconcile}
	c.tracker = control.Tracker{
		Loop: &c.loop, Kind: platform.KindTransformJob, States: []string{string(platform.JobInProgress), string(platform.JobStopping)},
		Store: cfg.Store, Runner: cfg.Runner, Clock: cfg.Clock, Log: cfg.Log,
	}
	return c
}

// Start takes up the work where any earlier process left it.
func (c *Controller) Start(ctx context.Context) error {
	c.Room.Freed(func() { c.loop.Enqueue(scheduleName) }) // first, or what is freed while the loop begins would not be heard of
	return c.tracker.Start(ctx)
}

// Stop ends the loop and waits for what it is doing. Agents go on.
func (c *Controller) Stop() { c.tracker.Stop() }

// Drain does, without goroutines, all there is to do now: for the simulation, instead of Start.
func (c *Controller) Drain(ctx context.Context) error {
	err := c.tracker.Resync(ctx)
	c.loop.Drain(ctx)
	return err
}

func keyOf(name string) platform.Key {
	return platform.Key{Kind: platform.KindTransformJob, Name: name}
}

// read finds a job by its name.
func (c *Controller) read(ctx context.Context, name string) (*platform.TransformJob, error) {
	rec, err := c.Store.Get(ctx, keyOf(name))
	if err != nil {
		return nil, err
	}
	return platform.ReadTransformJob(rec)
}

// change alters a job by its name, as control.Change does.
func (c *Controller) change(ctx context.Context, name string, f func(*platform.TransformJob) (platform.Tx, bool, error)) (*platform.TransformJob, error) {
	return control.Change(ctx, c.Store, c.Clock, keyOf(name), platform.ReadTransformJob, f)
}
