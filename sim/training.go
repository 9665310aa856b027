package sim

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/control/training"
	"github.com/stint-ml/stint/drivers/runner/fake"
	storage "github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Chance gives a number from 0 to n−1. A seeded source makes a world that can be run again.
type Chance func(n int) int

// Plan is how one attempt of a simulated job goes when nothing disturbs it.
type Plan struct {
	Download, Train, Upload time.Duration
	Fails                   bool // the user's code ends with exit code 1
}

// Training is a world of training jobs: the real controller over a memory store, with simulated agents on a fake machine.
type Training struct {
	Clock      *Clock
	Store      *FaultyStore
	Machine    *fake.Runner
	Telemetry  *telemetry.Telemetry
	Controller *training.Controller
	Agents     map[platform.AgentID]*Agent
	ServerUp   bool
	StartFault func() error // asked before each start of an agent; nil: none fail
	plan       func(job string) Plan
	site       platform.Site
	key        control.TokenKey
}

// NewTraining makes an empty world on a machine of the given size. plan tells how each attempt of a job will go.
func NewTraining(machine platform.Capacity, plan func(job string) Plan) *Training {
	w := &Training{
		Clock: NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), Store: &FaultyStore{Store: storage.New()},
		Agents: map[platform.AgentID]*Agent{}, plan: plan,
		site: platform.Site{Partition: "aws", Region: "us-east-1", Account: "000000000000"},
	}
	w.Telemetry = telemetry.New(w.Clock)
	w.Machine = fake.New(fake.Config{
		Clock: w.Clock, Capacity: machine, Began: w.begin,
		OnStart: func(platform.AgentSpec) error {
			if w.StartFault == nil {
				return nil
			}
			return w.StartFault()
		},
		OnStop: func(s platform.AgentSpec) { w.Agents[s.ID].stop() },
	})
	w.boot()
	return w
}

// boot starts a server process: all it knows, it reads.
func (w *Training) boot() {
	w.Controller = training.New(training.Config{
		Store: w.Store, Runner: w.Machine, Runtimes: anyRuntime{}, Logs: w.Telemetry, Metrics: w.Telemetry, Clock: w.Clock,
		Random: &counter{}, Site: w.site, Key: w.key, Log: slog.New(slog.DiscardHandler),
		Endpoints: func() (string, string) { return "http://services", "http://s3" },
	})
	w.ServerUp = true
}

// Crash ends the server process where it stands. Agents go on.
func (w *Training) Crash() { w.ServerUp = false }

// Restart begins a new server process.
func (w *Training) Restart() {
	w.Machine = w.Machine.Reopen()
	w.boot()
}

// Create stores a job as the API would.
func (w *Training) Create(ctx context.Context, name string, need platform.Capacity, retries int32) error {
	job := &platform.TrainingJob{Spec: sagemaker.CreateTrainingJobRequest{
		TrainingJobName: &name, RoleArn: new("arn:aws:iam::000000000000:role/R"),
		AlgorithmSpecification: &sagemaker.AlgorithmSpecification{TrainingImage: new("python")},
		OutputDataConfig:       &sagemaker.OutputDataConfig{S3OutputPath: new("s3://bucket/out")},
		ResourceConfig:         &sagemaker.ResourceConfig{InstanceType: new(sagemaker.TrainingInstanceType("ml.m5.large")), InstanceCount: new(int32(1))},
		RetryStrategy:          &sagemaker.RetryStrategy{MaximumRetryAttempts: &retries},
	}}
	job.Status = platform.TrainingStatus{
		ARN: w.site.ARN("sagemaker", "training-job/"+name), Created: w.Clock.Now(), Need: need,
		Rate: platform.HourlyRate{Nanos: 115_000_000, Currency: "USD"},
	}
	if err := job.Status.Enter(platform.JobStarting, w.Clock.Now(), ""); err != nil {
		return err
	}
	rec, err := job.Record(platform.Record{}, w.Clock.Now())
	if err != nil {
		return err
	}
	return w.Store.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
}

// RequestStop writes down that a job is to stop, as the API would.
func (w *Training) RequestStop(ctx context.Context, name string) error {
	rec, err := w.Store.Get(ctx, platform.Key{Kind: platform.KindTrainingJob, Name: name})
	if err != nil {
		return err
	}
	job, err := platform.ReadTrainingJob(rec)
	if err != nil || job.Status.State.Ended() || job.Status.StopRequested {
		return err
	}
	job.Status.StopRequested = true
	if err := job.Status.Enter(platform.JobPhaseStopping, w.Clock.Now(), ""); err != nil {
		return err
	}
	if rec, err = job.Record(rec, w.Clock.Now()); err != nil {
		return err
	}
	return w.Store.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
}

// Job reads a job.
func (w *Training) Job(ctx context.Context, name string) (*platform.TrainingJob, error) {
	rec, err := w.Store.Get(ctx, platform.Key{Kind: platform.KindTrainingJob, Name: name})
	if err != nil {
		return nil, err
	}
	return platform.ReadTrainingJob(rec)
}

// Step lets time pass: agents do their work and deliver, and a server that is up does all there is to do.
func (w *Training) Step(ctx context.Context, d time.Duration) {
	w.Clock.Advance(d)
	for _, spec := range w.Machine.Started() {
		if a := w.Agents[spec.ID]; !a.Dead {
			a.work()
			a.deliver(ctx)
		}
	}
	if w.ServerUp {
		_ = w.Controller.Drain(ctx) // what failed is tried again at the next step
	}
}

// begin is told by the machine of a new agent.
func (w *Training) begin(spec platform.AgentSpec) {
	w.Agents[spec.ID] = &Agent{world: w, spec: spec, plan: w.plan(spec.Owner.Name), Began: w.Clock.Now()}
}

// anyRuntime is a table in which every image is at home.
type anyRuntime struct{}

func (anyRuntime) Resolve(image string) (platform.Runtime, error) {
	return platform.Runtime{Name: image}, nil
}

// counter is a source of bytes that never repeat, standing for a cryptographic one.
type counter struct{ n uint64 }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		if i%16 == 0 {
			c.n++
		}
		p[i] = hex.EncodeToString(fmt.Appendf(nil, "%08d", c.n%100_000_000))[i%16]
	}
	return len(p), nil
}
