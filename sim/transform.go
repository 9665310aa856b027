package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/control/transform"
	"github.com/stint-ml/stint/drivers/runner/fake"
	storage "github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// TransformPlan is how the agents of a simulated transform job go when nothing disturbs them.
type TransformPlan struct {
	Objects int               // of each share; one takes a second
	Fails   *platform.Outcome // instead of any work
	Bad     map[int]bool      // objects that cannot be transformed
}

// Transforms is a world of batch transform jobs: the real controller over a memory store, with simulated agents on a fake machine.
type Transforms struct {
	place
	Store      *FaultyStore
	Telemetry  *telemetry.Telemetry
	Room       *control.Room
	Controller *transform.Controller
	Agents     map[platform.AgentID]*Transformer
	Made       map[platform.URI]int // how often each output was made
	plan       func(job string) TransformPlan
	site       platform.Site
	random     counter
}

// Transformer is the simulated agent of a transform job. It makes an object's output at one step and writes that down at once.
type Transformer struct {
	courier
	world *Transforms
	task  *platform.TransformTask // nil until the server has given it
	plan  TransformPlan
	next  int
}

// NewTransforms makes an empty world on a machine of the given size.
func NewTransforms(machine platform.Capacity, plan func(job string) TransformPlan) *Transforms {
	w := &Transforms{
		place: place{Clock: NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}, Store: &FaultyStore{Store: storage.New()},
		Agents: map[platform.AgentID]*Transformer{}, Made: map[platform.URI]int{}, plan: plan,
		site: platform.Site{Partition: "aws", Region: "us-east-1", Account: "000000000000"},
	}
	w.Telemetry = telemetry.New(w.Clock)
	w.Machine = fake.New(fake.Config{
		Clock: w.Clock, Capacity: machine,
		Began: func(s platform.AgentSpec) {
			w.Agents[s.ID] = &Transformer{courier: courier{at: &w.place, spec: s, Began: w.Clock.Now()}, world: w}
		},
		OnStop: func(s platform.AgentSpec) { w.Agents[s.ID].stops = true },
	})
	w.boot()
	return w
}

func (w *Transforms) boot() {
	w.Room = control.NewRoom()
	w.Controller = transform.New(transform.Config{
		Store: w.Store, Runner: w.Machine, Runtimes: anyRuntime{}, Logs: w.Telemetry, Clock: w.Clock, Random: &w.random,
		Site: w.site, Room: w.Room, Log: slog.New(slog.DiscardHandler),
		Endpoints: func() (string, string) { return "http://services", "http://s3" },
	})
	w.link, w.ServerUp = w.Controller, true
}

// Restart begins a new server process.
func (w *Transforms) Restart() {
	w.Machine = w.Machine.Reopen()
	w.boot()
}

// Create stores a job as the API would.
func (w *Transforms) Create(ctx context.Context, name string, instances int, need platform.Capacity) error {
	job := &platform.TransformJob{
		Spec: sagemaker.CreateTransformJobRequest{
			TransformJobName:   &name,
			TransformOutput:    &sagemaker.TransformOutput{S3OutputPath: new("s3://out/" + name)},
			TransformResources: &sagemaker.TransformResources{InstanceType: new(sagemaker.TransformInstanceTypeMlM5Large), InstanceCount: new(int32(instances))},
		},
		Status: platform.TransformStatus{
			Origin:          platform.Origin{ARN: w.site.ARN("sagemaker", "transform-job/"+name), Created: w.Clock.Now()},
			ModelContainers: platform.ModelContainers{Container: sagemaker.ContainerDefinition{Image: new("python")}}, Role: "arn:aws:iam::000000000000:role/R",
			Need: need, Rate: platform.HourlyRate{Nanos: 115_000_000, Currency: "USD"}, Shares: make([]platform.TransformShare, instances),
		},
	}
	if err := job.Status.Enter(platform.JobInProgress, w.Clock.Now()); err != nil {
		return err
	}
	rec, err := job.Record(platform.Record{}, w.Clock.Now())
	if err != nil {
		return err
	}
	return w.Store.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
}

// Job reads a job.
func (w *Transforms) Job(ctx context.Context, name string) (*platform.TransformJob, platform.Record, error) {
	rec, err := w.Store.Get(ctx, platform.Key{Kind: platform.KindTransformJob, Name: name})
	if err != nil {
		return nil, rec, err
	}
	job, err := platform.ReadTransformJob(rec)
	return job, rec, err
}

// Halt asks a job to stop as the API would.
func (w *Transforms) Halt(ctx context.Context, name string) error {
	job, rec, err := w.Job(ctx, name)
	if err != nil {
		return err
	}
	if err := job.Status.Enter(platform.JobStopping, w.Clock.Now()); err != nil {
		return err
	}
	if rec, err = job.Record(rec, w.Clock.Now()); err != nil {
		return err
	}
	return w.Store.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
}

// Step lets time pass: agents do their work and deliver, and a server that is up does all there is to do.
func (w *Transforms) Step(ctx context.Context, d time.Duration) {
	w.Clock.Advance(d)
	for _, spec := range w.Machine.Started() {
		if a := w.Agents[spec.ID]; !a.Dead {
			a.work(ctx)
			a.deliver(ctx)
		}
	}
	if w.ServerUp {
		_ = w.Controller.Drain(ctx) // what failed is tried again at the next step
	}
}

// work does what is due by now.
func (a *Transformer) work(ctx context.Context) {
	if a.task == nil {
		a.ask(ctx)
		return
	}
	for a.next < a.plan.Objects && a.task.Progress.Done(a.object(a.next)) {
		a.next++
	}
	switch p := &a.task.Progress; {
	case a.over:
	case a.stops:
		a.finish(platform.Outcome{Kind: platform.StopObeyed})
	case a.plan.Fails != nil:
		a.finish(*a.plan.Fails)
	case a.next < a.plan.Objects:
		u := a.object(a.next)
		a.world.Made[u]++
		p.Through, p.Objects = u, p.Objects+1
		if a.plan.Bad[a.next] {
			if p.Failed++; p.Failed == 1 {
				p.Reason = "ClientError: " + string(u)
			}
		}
		now := *p
		a.write(platform.Report{Progress: &now})
	case p.Failed > 0:
		a.finish(platform.Outcome{Kind: platform.ClientError, Reason: p.Reason})
	default:
		a.finish(platform.Outcome{Kind: platform.Succeeded})
	}
}

// ask finds out what is to be done, if the server is there.
func (a *Transformer) ask(ctx context.Context) {
	task := a.fetch(ctx)
	if task == nil {
		return
	}
	a.task = new(platform.TransformTask)
	if err := json.Unmarshal(task.Spec, a.task); err != nil {
		panic("sim: " + err.Error())
	}
	a.plan = a.world.plan(a.spec.Owner.Name)
	a.write(platform.Report{Phase: platform.PhaseDownloading})
}

// object is the share's n-th.
func (a *Transformer) object(n int) platform.URI {
	return platform.URI(fmt.Sprintf("s3://in/%s/%d/%04d", a.spec.Owner.Name, a.task.Share, n))
}

func (a *Transformer) finish(o platform.Outcome) {
	a.over = true
	a.write(platform.Report{Outcome: &o})
}
