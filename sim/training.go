package sim

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
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

// Plan is how a simulated job goes when nothing disturbs it.
type Plan struct {
	Download, Train, Upload time.Duration // Train is the whole work; an attempt that finds a checkpoint does the rest
	Checkpoint              time.Duration // of work between two checkpoints; 0: none are made
	Fails                   bool          // the user's code ends with exit code 1
	Deaf                    bool          // interruptions are not obeyed
}

// Config is what a world is made of.
type Config struct {
	Clock   *Clock            // nil: a new one
	Machine platform.Capacity // zero: without bounds
	Plan    func(job string) Plan
	Market  platform.Market  // nil: there is no spot capacity
	Notice  platform.Seconds // of an interruption; 0 is the controller's own
	Policy  string           // of the spot jobs that may fall back to on-demand capacity; empty is the controller's own
	// StartUp is what is believed of the time from launch to the user's code until a job has been measured; 0: as the controller.
	StartUp platform.Seconds
}

// Training is a world of training jobs: the real controller over a memory store, with simulated agents on a fake machine.
type Training struct {
	place
	Store      *FaultyStore
	Telemetry  *telemetry.Telemetry
	Controller *training.Controller
	Agents     map[platform.AgentID]*Agent
	Saved      map[string]time.Duration // of each job's work, what its last checkpoint holds
	StartFault func() error             // asked before each start of an agent; nil: none fail
	config     Config
	site       platform.Site
	key        control.TokenKey
	random     counter // of all its server processes
}

// everything is a machine without bounds.
var everything = platform.Capacity{MilliCPU: 1 << 40, MemoryBytes: 1 << 60, GPUs: 1 << 20}

// NewTraining makes an empty world.
func NewTraining(cfg Config) *Training {
	if cfg.Clock == nil {
		cfg.Clock = NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	if cfg.Machine == (platform.Capacity{}) {
		cfg.Machine = everything
	}
	w := &Training{
		place: place{Clock: cfg.Clock}, Store: &FaultyStore{Store: storage.New()}, Agents: map[platform.AgentID]*Agent{}, Saved: map[string]time.Duration{},
		config: cfg, site: platform.Site{Partition: "aws", Region: "us-east-1", Account: "000000000000"},
	}
	w.Telemetry = telemetry.New(w.Clock)
	w.Machine = fake.New(fake.Config{
		Clock: w.Clock, Capacity: cfg.Machine, Began: w.begin,
		OnStart: func(platform.AgentSpec) error {
			if w.StartFault == nil {
				return nil
			}
			return w.StartFault()
		},
		OnStop: func(s platform.AgentSpec) { w.Agents[s.ID].stops = true },
	})
	w.boot()
	return w
}

// boot starts a server process: all it knows, it reads.
func (w *Training) boot() {
	w.Controller = training.New(training.Config{
		Store: w.Store, Runner: machines{w.Machine, w}, Runtimes: anyRuntime{}, Logs: w.Telemetry, Metrics: w.Telemetry, Clock: w.Clock,
		Random: &w.random, Site: w.site, Key: w.key, Log: slog.New(slog.DiscardHandler),
		Endpoints: func() (string, string) { return "http://services", "http://s3" },
		Market:    w.config.Market, Notice: w.config.Notice, Policy: w.config.Policy, StartUp: w.config.StartUp,
	})
	w.link, w.ServerUp = w.Controller, true
}

// machines is the world's runner: an agent that is killed leaves behind what it wrote down.
type machines struct {
	*fake.Runner
	world *Training
}

// Kill ends an agent at once.
func (m machines) Kill(_ context.Context, id platform.AgentID) error {
	if a := m.world.Agents[id]; a != nil {
		a.Kill()
	}
	return nil
}

// Restart begins a new server process.
func (w *Training) Restart() {
	w.Machine = w.Machine.Reopen()
	w.boot()
}

// Wish is what a simulated user asks for.
type Wish struct {
	Name    string
	Need    platform.Capacity
	Retries int32
	// MaxRun is MaxRuntimeInSeconds; 0 is AWS's day.
	MaxRun platform.Seconds
	// MaxWait makes the job a managed spot job that may wait and run so long. It then keeps checkpoints, may fall back to
	// on-demand capacity, and has a deadline of its own when one is given.
	MaxWait  platform.Seconds
	Fallback bool
	Deadline time.Time
	// InstanceType is ml.m5.large and Rate its price, if empty.
	InstanceType platform.InstanceType
	Rate         platform.HourlyRate
}

// Create stores a job as the API would.
func (w *Training) Create(ctx context.Context, wish Wish) error {
	wish.InstanceType = cmp.Or(wish.InstanceType, "ml.m5.large")
	wish.Rate = cmp.Or(wish.Rate, platform.HourlyRate{Nanos: 115_000_000, Currency: "USD"})
	stopping := &sagemaker.StoppingCondition{MaxRuntimeInSeconds: new(int32(cmp.Or(wish.MaxRun, 86400)))}
	job := &platform.TrainingJob{Spec: sagemaker.CreateTrainingJobRequest{
		TrainingJobName: &wish.Name, RoleArn: new("arn:aws:iam::000000000000:role/R"), StoppingCondition: stopping,
		AlgorithmSpecification: &sagemaker.AlgorithmSpecification{TrainingImage: new("python")},
		OutputDataConfig:       &sagemaker.OutputDataConfig{S3OutputPath: new("s3://bucket/out")},
		ResourceConfig: &sagemaker.ResourceConfig{
			InstanceType: new(sagemaker.TrainingInstanceType(wish.InstanceType)), InstanceCount: new(int32(1)),
		},
		RetryStrategy: &sagemaker.RetryStrategy{MaximumRetryAttempts: &wish.Retries},
	}}
	if wish.MaxWait > 0 {
		stopping.MaxWaitTimeInSeconds = new(int32(wish.MaxWait))
		job.Spec.EnableManagedSpotTraining = new(true)
		job.Spec.CheckpointConfig = &sagemaker.CheckpointConfig{S3Uri: new("s3://bucket/checkpoints/" + wish.Name)}
	}
	job.Status = platform.TrainingStatus{
		ARN: w.site.ARN("sagemaker", "training-job/"+wish.Name), Created: w.Clock.Now(), Need: wish.Need,
		Rate: wish.Rate, Fallback: wish.Fallback, Deadline: wish.Deadline,
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
			a.work(ctx)
			a.deliver(ctx)
		}
	}
	if w.ServerUp {
		_ = w.Controller.Drain(ctx) // what failed is tried again at the next step
	}
}

// begin is told by the machine of a new agent.
func (w *Training) begin(spec platform.AgentSpec) {
	w.Agents[spec.ID] = &Agent{courier: courier{at: &w.place, spec: spec, Began: w.Clock.Now()}, world: w, plan: w.config.Plan(spec.Owner.Name)}
}

// anyRuntime is a table in which every image is at home.
type anyRuntime struct{}

func (anyRuntime) Resolve(image string) (platform.Runtime, error) {
	return platform.Runtime{Name: image}, nil
}

// counter is a source of bytes that never repeat, standing for a cryptographic one.
type counter struct{ n uint64 }

func (c *counter) Read(p []byte) (int, error) {
	for done := 0; done < len(p); {
		c.n++
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, c.n))
		done += copy(p[done:], sum[:])
	}
	return len(p), nil
}
