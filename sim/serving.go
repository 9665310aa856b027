package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/control/endpoint"
	"github.com/stint-ml/stint/drivers/runner/fake"
	storage "github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// ServingPlan is how the container of a simulated endpoint goes when nothing disturbs it.
type ServingPlan struct {
	Load  time.Duration // until it answers /ping
	Fails bool          // it ends with an error instead
}

// Serving is a world of endpoints: the real controller over a memory store, with simulated agents on a fake machine. It is
// itself the data plane, and keeps the routes that it is given.
type Serving struct {
	place
	Store      *FaultyStore
	Telemetry  *telemetry.Telemetry
	Controller *endpoint.Controller
	Agents     map[platform.AgentID]*Server
	Routes     map[string]platform.Route
	Alarms     map[string]platform.AlarmState // those that there are
	Answering  map[platform.AgentID]time.Time // until when a container has requests under way
	Asked      int                            // invocations at once of each elastic variant
	Told       platform.Work                  // what the data plane has told of, ever
	flows      map[string]map[string]*flow
	plan       func(config string) ServingPlan
	site       platform.Site
	random     counter
}

// Server is the simulated agent of an endpoint's instance.
type Server struct {
	courier
	world *Serving
	plan  ServingPlan
	task  *platform.Assignment // nil until the server has given it
	ready bool
}

// NewServing makes an empty world on a machine of the given size. plan tells how the containers of a configuration go.
func NewServing(machine platform.Capacity, plan func(config string) ServingPlan) *Serving {
	w := &Serving{
		place: place{Clock: NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}, Store: &FaultyStore{Store: storage.New()},
		Agents: map[platform.AgentID]*Server{}, Routes: map[string]platform.Route{}, plan: plan,
		Alarms: map[string]platform.AlarmState{}, Answering: map[platform.AgentID]time.Time{},
		site: platform.Site{Partition: "aws", Region: "us-east-1", Account: "000000000000"},
	}
	w.Telemetry = telemetry.New(w.Clock)
	w.Machine = fake.New(fake.Config{
		Clock: w.Clock, Capacity: machine,
		Began: func(s platform.AgentSpec) {
			w.Agents[s.ID] = &Server{courier: courier{at: &w.place, spec: s, Began: w.Clock.Now()}, world: w}
		},
		OnStop: func(s platform.AgentSpec) { w.Agents[s.ID].stops = true },
	})
	w.boot()
	return w
}

func (w *Serving) boot() {
	w.Routes, w.flows = map[string]platform.Route{}, map[string]map[string]*flow{}
	w.Controller = endpoint.New(endpoint.Config{
		Store: w.Store, Runner: w.Machine, Runtimes: anyRuntime{}, Logs: w.Telemetry, Metrics: w.Telemetry, Clock: w.Clock, Random: &w.random,
		Site: w.site, Routes: w, Room: control.NewRoom(), Alarms: w, Log: slog.New(slog.DiscardHandler),
		Endpoints: func() (string, string) { return "http://services", "http://s3" },
	})
	w.link, w.ServerUp = w.Controller, true
}

// Set implements platform.Routes.
func (w *Serving) Set(name string, r platform.Route) { w.Routes[name] = r }

// Remove implements platform.Routes.
func (w *Serving) Remove(name string) {
	delete(w.Routes, name)
	for _, f := range w.flows[name] {
		f.gone = true
	}
}

// Busy implements platform.Drains.
func (w *Serving) Busy(agent platform.AgentID) bool { return w.Clock.Now().Before(w.Answering[agent]) }

// AlarmState implements platform.Alarms.
func (w *Serving) AlarmState(_ context.Context, name string) (platform.AlarmState, error) {
	state, known := w.Alarms[name]
	if !known {
		return "", platform.Errorf(platform.NotFound, name, "no such alarm")
	}
	return state, nil
}

// Restart begins a new server process.
func (w *Serving) Restart() {
	w.Machine = w.Machine.Reopen()
	w.boot()
}

// Deployment makes one variant of a number of instances, whose container goes as the plan of its configuration says.
func (w *Serving) Deployment(config string, instances int) *platform.Deployment {
	return &platform.Deployment{Config: config, Began: w.Clock.Now(), Variants: []platform.Variant{{
		Name: "AllTraffic", ModelContainers: platform.ModelContainers{Container: sagemaker.ContainerDefinition{Image: new("python"), ModelDataUrl: new("s3://bucket/" + config)}},
		Role: "arn:aws:iam::000000000000:role/R", Type: "ml.m5.large", Weight: 1, Desired: instances,
		Need: platform.Capacity{MilliCPU: 2000, MemoryBytes: 1 << 30}, Rate: platform.HourlyRate{Nanos: 115_000_000, Currency: "USD"},
	}}}
}

// Create stores an endpoint as the API would.
func (w *Serving) Create(ctx context.Context, name string, d *platform.Deployment) error {
	e := &platform.Endpoint{Spec: sagemaker.CreateEndpointInput{EndpointName: &name, EndpointConfigName: &d.Config}, Status: platform.EndpointStatus{
		Origin: platform.Origin{ARN: w.site.ARN("sagemaker", "endpoint/"+name), Created: w.Clock.Now()}, Config: d.Config, Coming: d,
	}}
	if err := e.Status.Enter(platform.EndpointCreating, w.Clock.Now()); err != nil {
		return err
	}
	rec, err := e.Record(platform.Record{}, w.Clock.Now())
	if err != nil {
		return err
	}
	return w.Store.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
}

// Change alters an endpoint as the API would.
func (w *Serving) Change(ctx context.Context, name string, f func(*platform.EndpointStatus) error) error {
	rec, err := w.Store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: name})
	if err != nil {
		return err
	}
	e, err := platform.ReadEndpoint(rec)
	if err != nil {
		return err
	}
	if err := f(&e.Status); err != nil {
		return err
	}
	if rec, err = e.Record(rec, w.Clock.Now()); err != nil {
		return err
	}
	return w.Store.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
}

// Endpoint reads an endpoint; nil when it is gone.
func (w *Serving) Endpoint(ctx context.Context, name string) (*platform.Endpoint, error) {
	rec, err := w.Store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: name})
	if platform.Is(err, platform.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return platform.ReadEndpoint(rec)
}

// Step lets time pass: agents do their work and deliver, and a server that is up does all there is to do.
func (w *Serving) Step(ctx context.Context, d time.Duration) {
	w.Clock.Advance(d)
	for _, spec := range w.Machine.Started() {
		if s := w.Agents[spec.ID]; !s.Dead {
			s.work(ctx)
			s.deliver(ctx)
		}
	}
	if w.ServerUp {
		w.ask(d)
		_ = w.Controller.Drain(ctx) // what failed is tried again at the next step
	}
}

// Answers tells whether a container that is routed to would answer.
func (w *Serving) Answers(address string) bool {
	for _, s := range w.Agents {
		if s.ready && !s.Dead && s.address() == address {
			return true
		}
	}
	return false
}

func (s *Server) address() string { return "127.0.0.1:" + string(s.spec.ID) }

// work does what is due by now.
func (s *Server) work(ctx context.Context) {
	if s.task == nil {
		if s.task = s.fetch(ctx); s.task == nil {
			return
		}
		s.plan = s.world.plan(config(*s.task))
		s.write(platform.Report{Phase: platform.PhaseDownloading})
	}
	now := s.world.Clock.Now()
	switch loaded := now.Sub(s.Began) >= s.plan.Load; {
	case s.over:
	case s.stops:
		s.over = true
		s.write(platform.Report{Outcome: &platform.Outcome{Kind: platform.StopObeyed}})
	case loaded && s.plan.Fails:
		s.over = true
		s.write(platform.Report{Outcome: &platform.Outcome{Kind: platform.AlgorithmError, Reason: "the model does not load"}})
	case loaded && !s.ready:
		s.ready = true
		s.write(platform.Report{Phase: platform.PhaseInService, Address: s.address()})
	case s.ready:
		s.write(platform.Report{Logs: []platform.LogEvent{{Timestamp: now, Message: fmt.Sprintf("line %d", len(s.Journal)+1)}}})
	}
}

// config is the configuration that a container was made for: the world writes it into the model's place.
func config(task platform.Assignment) string {
	var c platform.ModelContainers
	if err := json.Unmarshal(task.Spec, &c); err != nil {
		panic("sim: " + err.Error())
	}
	return (*c.Container.ModelDataUrl)[len("s3://bucket/"):]
}
