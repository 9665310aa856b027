// Package server puts the pieces of `stint up` together: it opens the data folder, wires the drivers to the control plane
// and the services to the front door, and starts and stops them in order. It decides nothing.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"slices"
	"time"
	_ "time/tzdata" // schedules name time zones; machines may have none

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/agents"
	"github.com/stint-ml/stint/api/autoscaling"
	"github.com/stint-ml/stint/api/cloudwatch"
	"github.com/stint-ml/stint/api/iam"
	"github.com/stint-ml/stint/api/logs"
	"github.com/stint-ml/stint/api/runtime"
	"github.com/stint-ml/stint/api/s3"
	"github.com/stint-ml/stint/api/sagemaker"
	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/api/sts"
	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/control/alarm"
	"github.com/stint-ml/stint/control/async"
	"github.com/stint-ml/stint/control/endpoint"
	"github.com/stint-ml/stint/control/notify"
	"github.com/stint-ml/stint/control/scaling"
	"github.com/stint-ml/stint/control/training"
	"github.com/stint-ml/stint/control/transform"
	"github.com/stint-ml/stint/drivers/market/static"
	"github.com/stint-ml/stint/drivers/market/trace"
	"github.com/stint-ml/stint/drivers/runner/local"
	"github.com/stint-ml/stint/drivers/runtimes"
	storage "github.com/stint-ml/stint/drivers/store/sqlite"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/sqlite"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/router"
	"github.com/stint-ml/stint/wire"
)

// Options are what a user chooses.
type Options struct {
	Home     Home
	Listen   string // address of the shared port
	S3Listen string // address of the object store's own port
	Site     platform.Site
	Capacity platform.Capacity // zero parts: what the machine has
	// StopGrace is how long a job that is to stop may take; 0 is AWS's.
	StopGrace platform.Seconds
	// ServerlessKeep is how long an instance of a serverless endpoint that has nothing to do is kept; 0 is five minutes.
	ServerlessKeep platform.Seconds
	Spot           Spot
	Log            *slog.Logger
}

// Spot is how managed spot training is done here.
type Spot struct {
	// Market is "" or "static" for one's own machines, else the file of a recorded market.
	Market string
	// Discount is the part of the on-demand price that spot saves where neither the catalogue nor the recording tells a price.
	Discount float64
	// Notice is the warning before capacity is taken away; 0 is AWS's.
	Notice platform.Seconds
	// RequireCheckpoints refuses jobs that may wait for long and keep no checkpoints.
	RequireCheckpoints bool
}

// Server is a running Stint.
type Server struct {
	Options
	RootKey platform.AccessKey

	store      *storage.Store
	telemetry  *telemetry.Telemetry
	runner     *local.Runner
	catalogue  platform.Catalog
	market     platform.Market
	identities *api.Identities
	training   *training.Controller
	endpoints  *endpoint.Controller
	alarms     *alarm.Controller
	scaling    *scaling.Controller
	async      *async.Controller
	notify     *notify.Controller
	transforms *transform.Controller
	router     *router.Router
	roles      *roleStores
	s3         *s3.Server
	front      *wire.Server
	sweeper    *sweeper

	controllers []controller // in the order in which they start
}

// controller is a part of the control plane. Stopping one that was not started is fine.
type controller interface {
	Start(ctx context.Context) error
	Stop()
}

// Start brings everything up; after an error nothing runs.
func Start(ctx context.Context, o Options) (*Server, error) {
	s := &Server{Options: o}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"data folder", s.openHome}, {"identities", s.openIdentities}, {"object store", s.startS3}, {"roles", s.openRoles},
		{"job runner", s.openRunner}, {"spot market", s.openMarket}, {"control plane", s.openControl}, {"asynchronous inference", s.openAsync}, {"front door", s.startFront}, {"control plane", s.startControl},
	} {
		if err := step.do(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", step.what, err), s.Stop(context.WithoutCancel(ctx)))
		}
	}
	return s, nil
}

// Endpoint is where all services are.
func (s *Server) Endpoint() string { return "http://" + s.front.Addr() }

// S3Endpoint is the object store's own port.
func (s *Server) S3Endpoint() string { return s.s3.Endpoint() }

// Failed closes when a listener has died on its own.
func (s *Server) Failed() <-chan struct{} {
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		select {
		case <-s.front.Done():
		case <-s.s3.Done():
		}
	}()
	return failed
}

// Stop ends everything, the front door first; jobs go on without the server.
func (s *Server) Stop(ctx context.Context) error {
	var errs []error
	if s.front != nil {
		errs = append(errs, s.front.Stop(ctx))
	}
	if s.sweeper != nil {
		s.sweeper.stop()
	}
	for _, c := range slices.Backward(s.controllers) {
		c.Stop()
	}
	if s.router != nil {
		s.router.Stop()
	}
	if s.market != nil {
		errs = append(errs, s.market.Close())
	}
	if s.runner != nil {
		errs = append(errs, s.runner.Close())
	}
	if s.s3 != nil {
		errs = append(errs, s.s3.Stop(ctx))
	}
	if s.identities != nil {
		s.identities.Stop()
	}
	if s.telemetry != nil {
		errs = append(errs, s.telemetry.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

func (s *Server) openHome(ctx context.Context) (err error) {
	if err := s.Home.prepare(); err != nil {
		return err
	}
	if s.store, err = storage.Open(ctx, s.Home.Store()); err != nil {
		return err
	}
	s.telemetry, err = telemetry.Open(ctx, s.Home.Telemetry(), platform.SystemClock{})
	return err
}

func (s *Server) openIdentities(ctx context.Context) (err error) {
	clock := platform.SystemClock{}
	if s.RootKey, err = api.Bootstrap(ctx, s.store, s.Site, rand.Reader, clock.Now()); err != nil {
		return err
	}
	s.identities = api.NewIdentities(s.store, s.Site, clock, s.Log)
	s.identities.Start()
	return nil
}

func (s *Server) startS3(context.Context) (err error) {
	s.s3, err = s3.New(s3.Config{Addr: s.S3Listen, Dir: s.Home.Objects(), Site: s.Site, Accounts: s.identities, Log: s.Log})
	if err != nil {
		return err
	}
	return s.s3.Start()
}

func (s *Server) openRunner(context.Context) (err error) {
	s.runner, err = local.New(local.Config{
		Dir: s.Home.Agents(), Command: []string{"/proc/self/exe", "agent", "--of", string(s.Home), "--dir", "{dir}"}, Capacity: s.Capacity,
		Hide: []string{string(s.Home)}, Show: []string{s.Home.Runtimes(), s.Home.Programs()},
		ReadSpool: agent.ReadSpool, Log: s.Log,
	})
	return err
}

func (s *Server) openMarket(context.Context) (err error) {
	if s.catalogue, err = s.Home.Catalog(s.Site.Partition); err != nil {
		return err
	}
	if s.Spot.Market == "" || s.Spot.Market == "static" {
		s.market, err = static.New(s.catalogue, s.Spot.Discount)
		return err
	}
	s.market, err = trace.Open(s.Spot.Market, trace.Options{Clock: platform.SystemClock{}, Discount: s.Spot.Discount})
	return err
}

func (s *Server) openControl(ctx context.Context) error {
	clock := platform.SystemClock{}
	key, err := control.LoadTokenKey(ctx, s.store, rand.Reader, clock)
	if err != nil {
		return err
	}
	table, shared, room := runtimes.Open(s.Home.Runtimes()), control.Share(s.runner), control.NewRoom()
	where := func() (string, string) { return s.Endpoint(), s.S3Endpoint() }
	s.router = router.New(router.Config{Metrics: s.telemetry, Clock: clock, Log: s.Log, Blobs: s.roles.of})
	s.alarms = alarm.New(alarm.Config{Store: s.store, Metrics: s.telemetry, Clock: clock, Log: s.Log})
	s.scaling = scaling.New(scaling.Config{Store: s.store, Metrics: s.telemetry, Alarms: s.alarms, Clock: clock, Log: s.Log})
	s.endpoints = endpoint.New(endpoint.Config{
		Store: s.store, Runner: shared.Of(platform.KindEndpoint), Runtimes: table, Logs: s.telemetry, Metrics: s.telemetry,
		Clock: clock, Random: rand.Reader, Site: s.Site, Key: key,
		Routes: s.router, Room: room, Alarms: s.alarms, Endpoints: where, KeepIdle: s.ServerlessKeep, Log: s.Log,
	})
	s.transforms = transform.New(transform.Config{
		Store: s.store, Runner: shared.Of(platform.KindTransformJob), Runtimes: table, Logs: s.telemetry, Clock: clock, Random: rand.Reader,
		Site: s.Site, Key: key, Room: room, Endpoints: where, Log: s.Log,
	})
	s.training = training.New(training.Config{
		Store: s.store, Runner: shared.Of(platform.KindTrainingJob), Room: room, Runtimes: table, Logs: s.telemetry, Metrics: s.telemetry,
		Clock: clock, Random: rand.Reader, Site: s.Site, Key: key, Log: s.Log,
		Endpoints: where, StopGrace: s.StopGrace,
		Market: s.market, Notice: s.Spot.Notice,
	})
	s.controllers = []controller{s.alarms, s.scaling, s.endpoints, s.transforms, s.training}
	return nil
}

func (s *Server) startFront(context.Context) error {
	clock := platform.SystemClock{}
	door, err := api.NewFrontDoor(api.Config{
		Site: s.Site, Clock: clock, Identities: s.identities,
		Services: []*api.Service{
			sagemaker.New(sagemaker.Config{Store: s.store, Catalog: s.catalogue, RequireCheckpoints: s.Spot.RequireCheckpoints}),
			sts.New(s.store, rand.Reader), iam.New(s.store, s.identities, rand.Reader), logs.New(s.telemetry), cloudwatch.New(s.telemetry, s.store), autoscaling.New(s.store, rand.Reader),
			runtime.New(runtime.Config{Invoker: s.router, Store: s.store, LogGroup: endpoint.LogGroup}),
			stint.New(stint.Config{
				Store: s.store, Catalog: s.catalogue, Market: s.market, Notice: s.Spot.Notice, Metrics: s.telemetry, Memory: s.runner, ServerlessKeep: s.ServerlessKeep,
			}),
		},
		S3: s.s3.Handler(), Agent: agents.Handler(control.Links{
			platform.KindTrainingJob: s.training, platform.KindEndpoint: s.endpoints, platform.KindTransformJob: s.transforms,
		}, s.Log), Metrics: metricsPage(), Profile: http.HandlerFunc(pprof.Profile),
		Health: func(ctx context.Context) error {
			_, err := s.store.List(ctx, platform.Query{Kind: platform.KindUser, Limit: 1})
			return err
		},
		Log: s.Log,
	})
	if err != nil {
		return err
	}
	s.front = wire.NewServer(wire.ServerConfig{Addr: s.Listen, Handler: door, Short: runtime.Path, Log: s.Log})
	if err := s.front.Start(); err != nil {
		return err
	}
	return s.Home.announce(Connection{Endpoint: s.Endpoint(), S3: s.S3Endpoint(), Site: s.Site}, s.RootKey)
}

// startControl comes last: agents must find the front door.
func (s *Server) startControl(ctx context.Context) error {
	s.sweeper = startSweeper(s.telemetry, s.Log)
	s.router.Start()
	for _, c := range s.controllers {
		if err := c.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func metricsPage() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// sweeper lets the logs forget, once an hour, what their retention does not keep.
type sweeper struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func startSweeper(logs platform.Logs, log *slog.Logger) *sweeper {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sweeper{cancel, make(chan struct{})}
	go func() {
		defer close(s.done)
		tick := time.NewTicker(time.Hour)
		defer tick.Stop()
		for {
			if err := logs.Sweep(ctx, time.Now().UTC()); err != nil && ctx.Err() == nil {
				log.Warn("sweeping the logs failed; will try again in an hour", "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return s
}

func (s *sweeper) stop() {
	s.cancel()
	<-s.done
}
