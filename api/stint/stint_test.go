package stint_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/iam"
	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/platform/catalog"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// market sells at a third of the price, the large machine not at the moment, and knows nothing of the odd one.
type market struct{}

func (market) Offer(_ context.Context, t platform.InstanceType, onDemand platform.HourlyRate) (platform.Offer, error) {
	if t == "ml.odd.large" {
		return platform.Offer{}, platform.Errorf(platform.Invalid, string(t), "this market does not trade in %s", t)
	}
	return platform.Offer{Available: t != "ml.box.huge", Rate: platform.HourlyRate{Nanos: onDemand.Nanos / 3, Currency: onDemand.Currency}}, nil
}

func (market) Changed() <-chan struct{} { return nil }

func (market) Close() error { return nil }

func ptr[T any](v T) *T { return &v }

// seed stores a job; change makes it what the test wants.
func seed(t *testing.T, d *apitest.Door, store platform.Store, name string, change func(*platform.TrainingJob)) {
	t.Helper()
	job := &platform.TrainingJob{
		Spec:   sagemaker.CreateTrainingJobRequest{TrainingJobName: &name, EnableManagedSpotTraining: ptr(true)},
		Status: platform.TrainingStatus{ARN: apitest.Site.ARN("sagemaker", "training-job/"+name), Created: d.Clock.Now()},
	}
	if err := job.Status.Enter(platform.JobStarting, d.Clock.Now(), "m"); err != nil {
		t.Fatal(err)
	}
	job.Status.Attempts = []platform.Attempt{{Number: 1, Purchase: platform.Spot, Launched: d.Clock.Now()}}
	change(job)
	rec, err := job.Record(platform.Record{}, d.Clock.Now())
	if err == nil {
		err = store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// seedAll makes the jobs that the scenarios speak of.
func seedAll(t *testing.T, d *apitest.Door) {
	t.Helper()
	now := d.Clock.Now()
	enter := func(phases ...platform.JobPhase) func(*platform.TrainingJob) {
		return func(j *platform.TrainingJob) {
			for _, p := range phases {
				if err := j.Status.Enter(p, now, "m"); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for name, change := range map[string]func(*platform.TrainingJob){
		"running":  enter(platform.JobDownloading, platform.JobTraining),
		"hurried":  enter(platform.JobDownloading),
		"launched": enter(),
		"regular":  func(j *platform.TrainingJob) { j.Spec.EnableManagedSpotTraining = nil },
		"fallen":   func(j *platform.TrainingJob) { j.Status.Attempts[0].Purchase = platform.OnDemand },
		"stopping": enter(platform.JobPhaseStopping),
		"waiting": func(j *platform.TrainingJob) {
			enter(platform.JobDownloading, platform.JobInterrupted)(j)
			j.Status.Attempts[0].Ended = now
		},
		"saved": func(j *platform.TrainingJob) {
			enter(platform.JobDownloading, platform.JobInterrupted, platform.JobStarting)(j)
			j.Spec.StoppingCondition = &sagemaker.StoppingCondition{MaxWaitTimeInSeconds: ptr[int32](7200)}
			j.Status.Fallback = true
			at := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
			j.Status.Attempts = []platform.Attempt{{
				Number: 1, Purchase: platform.Spot, Launched: now, Started: at(1), Running: at(5), Ended: at(105), Seconds: 104,
				Outcome:    &platform.Outcome{Kind: platform.Interrupted, Reason: "the market took it"},
				Notice:     &platform.Interruption{At: at(100), Until: at(220), Reason: "the market took it"},
				Checkpoint: &platform.Checkpoint{Generation: 3, At: at(95), Files: 2, Bytes: 2048, Shipped: 1024},
			}, {
				Number: 2, Purchase: platform.OnDemand, Launched: at(110), Started: at(111), Running: at(112),
				Checkpoint: &platform.Checkpoint{Generation: 4, At: at(120), Files: 2, Bytes: 2048},
			}}
		},
		"done": func(j *platform.TrainingJob) {
			enter(platform.JobDownloading, platform.JobTraining, platform.JobUploading, platform.JobPhaseCompleted)(j)
			j.Status.Attempts[0].Ended = now
		},
	} {
		seed(t, d, d.Store, name, change)
	}
	// An attempt whose price changed after 100 s and after 200 s, the last line open.
	line := func(n, from int, nanos platform.Nanos) platform.LedgerEntry {
		a := platform.Attempt{Agent: "agent-1"}
		return platform.LedgerEntry{
			Line: a.Line(n), Event: platform.LineOpened, At: now.Add(time.Duration(from) * time.Second), Attempt: 1, Resource: apitest.Site.ARN("sagemaker", "training-job/running"),
			InstanceType: "ml.m5.large", Count: 1, Purchase: platform.Spot,
			Rate: platform.HourlyRate{Nanos: nanos, Currency: "USD"}, OnDemandRate: platform.HourlyRate{Nanos: 115_000_000, Currency: "USD"},
		}
	}
	first, second, third := line(0, 0, 34_500_000), line(1, 100, 46_000_000), line(2, 200, 23_000_000)
	err := d.Store.Commit(t.Context(), platform.Tx{Ledger: []platform.LedgerEntry{
		first, bill.Close(first, second.At), second, bill.Close(second, third.At), third,
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	own, err := catalog.Read(strings.NewReader(catalog.Header + "\nml.box.huge,2,8,,0,0,0.3,,USD\nml.m5.large,2,8,,0,0,0.115,,USD\nml.odd.large,2,8,,0,0,0.1,,USD\nserverless,,1,,,,0.072,,USD\nserverless.provisioned,,1,,,,0.018,,USD\nserverless.provisioned-use,,1,,,,0.0414,,USD\n"))
	if err != nil {
		t.Fatal(err)
	}
	apitest.PlayAll(t, func(t *testing.T, scenario string) *apitest.Door {
		var metrics *telemetry.Telemetry
		d := apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
			metrics = telemetry.New(d.Clock)
			return []*api.Service{
				stint.New(stint.Config{Store: d.Store, Catalog: own, Market: market{}, Notice: 60, Metrics: metrics, Memory: fourHundred{}}), iam.New(d.Store, d.Identities, d.Random),
			}
		})
		seedAll(t, d)
		if scenario == "advice" {
			seedEndpoints(t, d, metrics)
		}
		return d
	})
}

// stored reads a job from the store.
func stored(t *testing.T, store platform.Store, name string) (platform.Record, *platform.TrainingJob) {
	t.Helper()
	rec, err := store.Get(t.Context(), platform.Key{Kind: platform.KindTrainingJob, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	job, err := platform.ReadTrainingJob(rec)
	if err != nil {
		t.Fatal(err)
	}
	return rec, job
}

// racing changes the job once behind the service's back, between its look and its commit.
type racing struct {
	platform.Store
	race func()
	once atomic.Bool
}

func (r *racing) Commit(ctx context.Context, tx platform.Tx) error {
	if r.race != nil && len(tx.Puts) > 0 && tx.Puts[0].Record.Kind == platform.KindTrainingJob && r.once.CompareAndSwap(false, true) {
		r.race()
	}
	return r.Store.Commit(ctx, tx)
}

// race opens a door whose store has one job, "job", that enters a phase just before the first commit of the service.
func race(t *testing.T, meanwhile platform.JobPhase) *apitest.Door {
	t.Helper()
	store := memory.New()
	r := &racing{Store: store}
	d := apitest.Open(t, store, func(*apitest.Door) []*api.Service { return []*api.Service{stint.New(stint.Config{Store: r})} })
	seed(t, d, store, "job", func(*platform.TrainingJob) {})
	r.race = func() {
		rec, job := stored(t, store, "job")
		err := job.Status.Enter(meanwhile, d.Clock.Now(), "m")
		if err == nil {
			rec, err = job.Record(rec, d.Clock.Now())
		}
		if err == nil {
			err = store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
		}
		if err != nil {
			t.Error(err)
		}
	}
	return d
}

func TestANoticeMeetsAJobThatMovedOn(t *testing.T) {
	t.Parallel()
	d := race(t, platform.JobTraining)
	status, answer := d.JSON(t, apitest.Of(d.Root), "stint", "Stint.InterruptTrainingJob", `{"TrainingJobName": "job"}`)
	if status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	_, job := stored(t, d.Store, "job")
	given, now := job.Status.Attempts[0].Notice, d.Clock.Now()
	if job.Status.Phase != platform.JobTraining || given == nil || !given.At.Equal(now) || !given.Until.Equal(now.Add(2*time.Minute)) || given.Reason == "" {
		t.Errorf("in %s the notice is %+v", job.Status.Phase, given)
	}
	var said struct{ InterruptionTime float64 }
	if err := json.Unmarshal([]byte(answer), &said); err != nil || said.InterruptionTime != float64(given.Until.Unix()) {
		t.Errorf("%s", answer)
	}
}

func TestAJobThatEndedInBetweenGetsNoNotice(t *testing.T) {
	t.Parallel()
	d := race(t, platform.JobPhaseFailed)
	status, answer := d.JSON(t, apitest.Of(d.Root), "stint", "Stint.InterruptTrainingJob", `{"TrainingJobName": "job"}`)
	if status != 400 || !strings.Contains(answer, "it is in status Failed") {
		t.Errorf("%d %s", status, answer)
	}
	if _, job := stored(t, d.Store, "job"); job.Status.Attempts[0].Notice != nil || job.Status.Phase != platform.JobPhaseFailed {
		t.Errorf("%+v", job.Status)
	}
}
