package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// cheap is 30 % of the on-demand price that sim's jobs have.
var cheap = platform.HourlyRate{Nanos: 34_500_000, Currency: "USD"}

// one is a quarter of the test's machine.
var one = platform.Capacity{MilliCPU: 1000, MemoryBytes: 4 << 30}

// steady is a job of ten minutes that checkpoints every minute.
var steady = Plan{Download: 5 * time.Second, Train: 10 * time.Minute, Upload: 2 * time.Second, Checkpoint: time.Minute}

// managedWorld is a world in which spot capacity is to be had, with a notice of a minute.
func managedWorld(plan func(job string) Plan) (*Training, *Market) {
	m := NewMarket(platform.Offer{Available: true, Rate: cheap})
	return NewTraining(Config{Machine: machine, Plan: plan, Market: m, Notice: 60}), m
}

func always(p Plan) func(string) Plan { return func(string) Plan { return p } }

func create(t *testing.T, w *Training, wish Wish) {
	t.Helper()
	if wish.Need == (platform.Capacity{}) {
		wish.Need = one
	}
	if err := w.Create(t.Context(), wish); err != nil {
		t.Fatal(err)
	}
}

// pass lets time pass second by second.
func pass(t *testing.T, w *Training, d time.Duration) {
	t.Helper()
	for range d / time.Second {
		w.Step(t.Context(), time.Second)
	}
}

// until lets time pass until a condition holds of a job.
func until(t *testing.T, w *Training, name string, holds func(*platform.TrainingJob) bool) *platform.TrainingJob {
	t.Helper()
	for range 24 * 3600 {
		if job := look(t, w, name); holds(job) {
			return job
		}
		w.Step(t.Context(), time.Second)
	}
	t.Fatalf("%s never came so far: %v", name, phases(look(t, w, name)))
	return nil
}

func look(t *testing.T, w *Training, name string) *platform.TrainingJob {
	t.Helper()
	job, err := w.Job(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func in(phase platform.JobPhase) func(*platform.TrainingJob) bool {
	return func(job *platform.TrainingJob) bool { return job.Status.Phase == phase }
}

func ended(job *platform.TrainingJob) bool { return job.Status.State.Ended() }

func phases(job *platform.TrainingJob) string {
	var names []string
	for _, tr := range job.Status.Transitions {
		names = append(names, string(tr.Phase))
	}
	return strings.Join(names, " ")
}

func wantPhases(t *testing.T, job *platform.TrainingJob, want string) {
	t.Helper()
	if got := phases(job); got != want {
		t.Errorf("%s went through\n%s, want\n%s", *job.Spec.TrainingJobName, got, want)
	}
}

func TestASpotJobThatNobodyDisturbs(t *testing.T) {
	t.Parallel()
	w, _ := managedWorld(always(steady))
	create(t, w, Wish{Name: "a", MaxRun: 900, MaxWait: 3600})
	job := until(t, w, "a", ended)
	wantPhases(t, job, "Starting Downloading Training Uploading Completed")
	if st := &job.Status; st.Attempts[0].Purchase != platform.Spot || st.Billable*10 > st.Seconds()*3+10 {
		t.Errorf("%d of %d s billable: %+v", st.Billable, st.Seconds(), st.Attempts)
	}
	checkJob(t, w, "a")
}

func TestAnInterruptedJobGoesOnFromItsCheckpoint(t *testing.T) {
	t.Parallel()
	w, m := managedWorld(always(steady))
	create(t, w, Wish{Name: "a", MaxRun: 900, MaxWait: 7200})
	pass(t, w, 5*time.Minute)
	m.Withdraw()
	job := until(t, w, "a", in(platform.JobInterrupted))
	kept := job.Status.Kept()
	if a := job.Status.Attempts[0]; a.Notice == nil || a.Ended.After(a.Notice.Until) || a.Outcome.Kind != platform.Interrupted {
		t.Errorf("%+v", a)
	}
	message := job.Status.Transitions[len(job.Status.Transitions)-1].Message
	if want := "Managed spot training interrupted: spot capacity of ml.m5.large is no longer available; 5m4s of training are kept by checkpoints"; message != want {
		t.Errorf("message %q, want %q", message, want)
	}
	pass(t, w, 10*time.Minute)
	m.Restore()
	job = until(t, w, "a", ended)
	wantPhases(t, job, "Starting Downloading Training Interrupted Starting Downloading Training Uploading Completed")
	// What was kept is not done again, and the second agent could have run only for the rest.
	second := job.Status.Attempts[1]
	if again := second.Ended.Sub(second.Running) - steady.Upload; again > steady.Train-kept+3*time.Second {
		t.Errorf("trained %v again after %v were kept", again, kept)
	}
	if max := 900 - int64(kept/time.Second); int64(w.Agents[second.Agent].assignment.MaxRun) != max {
		t.Errorf("MaxRun %d after %v were kept, want %d", w.Agents[second.Agent].assignment.MaxRun, kept, max)
	}
	checkJob(t, w, "a")
}

func TestAgentsAreToldHowToKeepCheckpoints(t *testing.T) {
	t.Parallel()
	w, _ := managedWorld(always(steady))
	create(t, w, Wish{Name: "a", MaxRun: 900, MaxWait: 7200})
	first := until(t, w, "a", in(platform.JobTraining)).Status.Attempts[0]
	w.Agents[first.Agent].Kill()
	pass(t, w, 10*time.Second)
	second := look(t, w, "a").Status.Attempts[1]
	before, after := w.Agents[first.Agent], w.Agents[second.Agent]
	p := after.assignment.Checkpoints
	if p.URI != "s3://bucket/checkpoints/a" || p.Path != "/opt/ml/checkpoints" || p.Every < 60 || p.Epoch <= before.assignment.Checkpoints.Epoch {
		t.Errorf("%+v, before %+v", p, before.assignment.Checkpoints)
	}
	if before.spec.Previous != "" || after.spec.Previous != first.Agent || after.assignment.Purchase != platform.Spot {
		t.Errorf("previous %q and %q, bought %q", before.spec.Previous, after.spec.Previous, after.assignment.Purchase)
	}
}

func TestAJobThatNeverGotCapacityWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	w, m := managedWorld(always(steady))
	m.Withdraw()
	create(t, w, Wish{Name: "a", MaxRun: 600, MaxWait: 1800})
	job := until(t, w, "a", ended)
	wantPhases(t, job, "Starting Stopping MaxWaitTimeExceeded")
	if st := &job.Status; st.State != platform.JobStopped || !st.Started.IsZero() || !st.Ended.Equal(job.Expires()) {
		t.Errorf("%s, started %v, ended %v, expires %v", st.State, st.Started, st.Ended, job.Expires())
	}
}

func TestAJobThatIsInterruptedWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	w, m := managedWorld(always(steady))
	create(t, w, Wish{Name: "a", MaxRun: 600, MaxWait: 1800})
	pass(t, w, 2*time.Minute)
	m.Withdraw()
	wantPhases(t, until(t, w, "a", ended), "Starting Downloading Training Interrupted Stopping MaxWaitTimeExceeded")
	checkJob(t, w, "a")
}

// The agent is told to stop and uploads what there is; without a server it ends by itself.
func TestAJobThatRunsIsStoppedWhenItsWaitingTimeIsOver(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		w, m := managedWorld(always(steady))
		m.Withdraw()
		create(t, w, Wish{Name: "a", MaxRun: 600, MaxWait: 660})
		pass(t, w, 5*time.Minute)
		m.Restore()
		pass(t, w, time.Minute)
		if away {
			w.Crash()
			pass(t, w, 20*time.Minute)
			w.Restart()
		}
		job := until(t, w, "a", ended)
		want := "Starting Downloading Training Stopping Uploading MaxWaitTimeExceeded"
		if away {
			want = "Starting Downloading Training Uploading Stopping MaxWaitTimeExceeded"
		}
		wantPhases(t, job, want)
		if late := job.Status.Attempts[0].Ended.Sub(job.Expires()); late > 15*time.Second {
			t.Errorf("server away %t: ended %v after its time", away, late)
		}
		checkJob(t, w, "a")
	}
}

func TestWorkOnDemandGetsTheRoomOfTheYoungestSpotWork(t *testing.T) {
	t.Parallel()
	w, _ := managedWorld(always(steady))
	for i := range 4 {
		create(t, w, Wish{Name: fmt.Sprint("spot-", i), MaxRun: 900, MaxWait: 7200})
		pass(t, w, 10*time.Second)
	}
	create(t, w, Wish{Name: "mine", Need: one})
	job := until(t, w, "mine", in(platform.JobTraining))
	if waited := job.Status.Attempts[0].Launched.Sub(job.Status.Created); waited > 60*time.Second {
		t.Errorf("waited %v for the room", waited)
	}
	for i := range 4 {
		other := look(t, w, fmt.Sprint("spot-", i))
		if (other.Status.Phase == platform.JobInterrupted) != (i == 3) {
			t.Errorf("spot-%d is %s", i, other.Status.Phase)
		}
	}
	if n := look(t, w, "spot-3").Status.Attempts[0].Notice; n == nil || !strings.Contains(n.Reason, "training job mine") {
		t.Errorf("notice %+v", n)
	}
	for _, name := range []string{"mine", "spot-0", "spot-1", "spot-2", "spot-3"} {
		until(t, w, name, ended)
		checkJob(t, w, name)
	}
}

func TestAnAgentThatIgnoresItsNoticeIsKilledAndBilledUntilItsEnd(t *testing.T) {
	t.Parallel()
	deaf := steady
	deaf.Deaf, deaf.Train = true, 30*time.Minute
	w, m := managedWorld(always(deaf))
	create(t, w, Wish{Name: "a", MaxRun: 3000, MaxWait: 7200})
	pass(t, w, 5*time.Minute)
	m.Withdraw()
	job := until(t, w, "a", in(platform.JobInterrupted))
	a := job.Status.Attempts[0]
	if !w.Agents[a.Agent].Dead || !a.Ended.Equal(a.Notice.Until) {
		t.Errorf("dead %t, ended %v, the notice ended %v", w.Agents[a.Agent].Dead, a.Ended, a.Notice.Until)
	}
	if kept := job.Status.Kept(); kept < 5*time.Minute {
		t.Errorf("kept %v: what it reported before it died is lost", kept)
	}
	until(t, w, "a", ended)
	checkJob(t, w, "a")
}

// The end of a notice is the end of the attempt, also when nobody was there to see it.
func TestNobodyPaysForTimeAfterTheNotice(t *testing.T) {
	t.Parallel()
	deaf := steady
	deaf.Deaf, deaf.Train, deaf.Checkpoint = true, 30*time.Minute, 0
	w, m := managedWorld(always(deaf))
	create(t, w, Wish{Name: "a", MaxRun: 3000, MaxWait: 7200})
	pass(t, w, 5*time.Minute)
	m.Withdraw()
	pass(t, w, 2*time.Second)
	w.Crash()
	pass(t, w, 10*time.Minute)
	w.Agents[look(t, w, "a").Status.Open().Agent].Kill()
	w.Restart()
	job := until(t, w, "a", in(platform.JobInterrupted))
	if a := job.Status.Attempts[0]; !a.Ended.Equal(a.Notice.Until) || a.Outcome.Kind != platform.Interrupted {
		t.Errorf("ended %v with %v, the notice ended %v", a.Ended, a.Outcome, a.Notice.Until)
	}
	until(t, w, "a", ended)
	checkJob(t, w, "a")
}

// The room of a job is nobody else's as long as it is not known whether its launch was written down.
func TestALaunchInDoubtKeepsItsRoom(t *testing.T) {
	t.Parallel()
	w, m := managedWorld(always(steady))
	m.Withdraw()
	create(t, w, Wish{Name: "early", Need: machine, MaxRun: 900, MaxWait: 7200})
	pass(t, w, 2*time.Second)
	create(t, w, Wish{Name: "late", Need: machine, MaxRun: 900, MaxWait: 7200})
	m.Restore()
	commits := 0
	w.Store.Fault = func() (bool, bool) { // the pool's history, then the launch
		commits++
		return commits == 2, true
	}
	pass(t, w, time.Second)
	checkCapacity(t, w, []string{"early", "late"})
	if look(t, w, "late").Status.Open() == nil {
		t.Fatal("it was not the launch that failed")
	}
	until(t, w, "early", ended)
	until(t, w, "late", ended)
}

func TestEverySecondCostsWhatItCostThen(t *testing.T) {
	t.Parallel()
	w, m := managedWorld(always(Plan{Train: 20 * time.Minute}))
	create(t, w, Wish{Name: "a", MaxRun: 3000, MaxWait: 7200})
	pass(t, w, 5*time.Minute)
	m.Set(platform.Offer{Available: true, Rate: platform.HourlyRate{Nanos: 57_500_000, Currency: "USD"}}) // half
	pass(t, w, 5*time.Minute)
	m.Set(platform.Offer{Available: true, Rate: cheap})
	job := until(t, w, "a", ended)
	checkJob(t, w, "a")
	entries, err := w.Store.Ledger(t.Context(), platform.LedgerQuery{Resource: job.Status.ARN})
	if err != nil {
		t.Fatal(err)
	}
	s, err := bill.State(entries, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range s.Lines {
		lines = append(lines, fmt.Sprintf("%s %d s at %d: %d", strings.TrimPrefix(l.Line, string(job.Status.Attempts[0].Agent)), l.Seconds, l.Rate.Nanos, l.Amount.Nanos))
	}
	want := []string{" 299 s at 34500000: 2865417", "/2 300 s at 57500000: 4791667", "/3 601 s at 34500000: 5759583"}
	if !slices.Equal(lines, want) || job.Status.Billable != 90+150+180 {
		t.Errorf("%q, billable %d", lines, job.Status.Billable)
	}
}

// A later attempt's checkpoints win over an earlier one's, whatever the clock did in between.
func TestAttemptsAreInOrderThoughTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	w, m := managedWorld(always(steady))
	create(t, w, Wish{Name: "a", MaxRun: 900, MaxWait: 7200})
	pass(t, w, 2*time.Minute)
	m.Withdraw()
	until(t, w, "a", in(platform.JobInterrupted))
	w.Clock.Advance(-30 * time.Minute)
	m.Restore()
	job := until(t, w, "a", in(platform.JobTraining))
	first, second := &job.Status.Attempts[0], &job.Status.Attempts[1]
	if e := w.Agents[second.Agent].assignment.Checkpoints.Epoch; e <= w.Agents[first.Agent].assignment.Checkpoints.Epoch {
		t.Errorf("epoch %d after %d", e, w.Agents[first.Agent].assignment.Checkpoints.Epoch)
	}
	until(t, w, "a", ended)
	checkJob(t, w, "a")
}

// An agent that dies is an interruption of a spot job, as its machine may have gone; RetryStrategy is not used up.
func TestASpotJobOutlivesItsMachines(t *testing.T) {
	t.Parallel()
	w, _ := managedWorld(always(steady))
	create(t, w, Wish{Name: "a", MaxRun: 900, MaxWait: 7200})
	for range 8 {
		job := until(t, w, "a", in(platform.JobTraining))
		pass(t, w, 65*time.Second)
		w.Agents[job.Status.Open().Agent].Kill()
		pass(t, w, time.Second)
	}
	job := until(t, w, "a", ended)
	if job.Status.State != platform.JobCompleted || len(job.Status.Attempts) != 9 {
		t.Errorf("%s after %d attempts: %s", job.Status.State, len(job.Status.Attempts), job.Status.FailureReason)
	}
	checkJob(t, w, "a")
}

func TestAJobThatCannotBeStartedIsTriedMoreSlowlyAndNotForEver(t *testing.T) {
	t.Parallel()
	w, _ := managedWorld(always(steady))
	w.StartFault = func() error { return platform.Errorf(platform.Internal, "", "cannot fork") }
	create(t, w, Wish{Name: "a", MaxRun: 900, MaxWait: 7200})
	job := until(t, w, "a", ended)
	if st := &job.Status; st.State != platform.JobFailed || len(st.Attempts) != 5 || !strings.Contains(st.FailureReason, "cannot fork (5 times in a row") {
		t.Errorf("%s after %d attempts: %s", st.State, len(st.Attempts), st.FailureReason)
	}
	if took := job.Status.Ended.Sub(job.Status.Created); took < 15*time.Second {
		t.Errorf("tried 5 times within %v", took)
	}
	checkJob(t, w, "a")
}

func TestAStopOutweighsAnInterruption(t *testing.T) {
	t.Parallel()
	w, m := managedWorld(always(steady))
	create(t, w, Wish{Name: "a", MaxRun: 900, MaxWait: 7200})
	pass(t, w, 2*time.Minute)
	m.Withdraw()
	pass(t, w, 2*time.Second)
	if err := w.RequestStop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	agent := w.Agents[look(t, w, "a").Status.Open().Agent]
	if ack, err := w.Controller.Deliver(t.Context(), agent.spec.Token, nil); err != nil || !ack.Stop || ack.Interrupt != nil {
		t.Errorf("the agent is told %+v, %v", ack, err)
	}
	wantPhases(t, until(t, w, "a", ended), "Starting Downloading Training Stopping Uploading Stopped")
	checkJob(t, w, "a")
}

// deadline is a world with room for all in which a job of ten minutes has forty.
func deadlineWorld(t *testing.T) (*Training, *Market) {
	t.Helper()
	m := NewMarket(platform.Offer{Available: false, Rate: cheap})
	w := NewTraining(Config{Plan: always(steady), Market: m, Notice: 60})
	create(t, w, Wish{Name: "a", MaxRun: 600, MaxWait: 7200, Fallback: true, Deadline: w.Clock.Now().Add(40 * time.Minute)})
	return w, m
}

func TestWithoutSpotAJobFallsBackInTimeForItsDeadline(t *testing.T) {
	t.Parallel()
	w, _ := deadlineWorld(t)
	job := until(t, w, "a", ended)
	st := &job.Status
	if st.State != platform.JobCompleted || st.Ended.After(st.Deadline) || st.Attempts[0].Purchase != platform.OnDemand {
		t.Errorf("%s at %v, deadline %v: %+v", st.State, st.Ended, st.Deadline, st.Attempts)
	}
	if st.Billable != st.Seconds() {
		t.Errorf("%d of %d s are billable on demand", st.Billable, st.Seconds())
	}
	checkJob(t, w, "a")
}

// What is on offer helps nobody who finds no room: the job goes on demand in time for those who must make room to have had
// their notice, and then some.
func TestADeadlineIsHeldOnAMachineThatIsFull(t *testing.T) {
	t.Parallel()
	deaf := Plan{Train: 12 * time.Hour, Deaf: true}
	w, _ := managedWorld(func(job string) Plan {
		if job == "a" {
			return steady
		}
		return deaf
	})
	create(t, w, Wish{Name: "full", Need: machine, MaxWait: 86400})
	pass(t, w, time.Minute)
	create(t, w, Wish{Name: "a", MaxRun: 602, MaxWait: 7200, Fallback: true, Deadline: w.Clock.Now().Add(20 * time.Minute)})
	job := until(t, w, "a", ended)
	if st := &job.Status; st.State != platform.JobCompleted || st.Ended.After(st.Deadline) || len(st.Attempts) != 1 || st.Attempts[0].Purchase != platform.OnDemand {
		t.Errorf("%s at %v, deadline %v: %+v", st.State, st.Ended, st.Deadline, st.Attempts)
	}
	if waited := job.Status.Attempts[0].Launched.Sub(job.Status.Created); waited < 3*time.Minute {
		t.Errorf("it waited only %v for spot capacity", waited)
	}
}

func TestWithSpotTheSameJobCostsLess(t *testing.T) {
	t.Parallel()
	w, m := deadlineWorld(t)
	m.Restore()
	until(t, w, "a", in(platform.JobTraining)) // it may wait to see whether the capacity lasts
	pass(t, w, 5*time.Minute)
	m.Withdraw() // and never again
	job := until(t, w, "a", ended)
	st := &job.Status
	if st.State != platform.JobCompleted || st.Ended.After(st.Deadline) || st.Attempts[0].Purchase != platform.Spot {
		t.Errorf("%s at %v, deadline %v: %+v", st.State, st.Ended, st.Deadline, st.Attempts)
	}
	if st.Billable*100 > st.Seconds()*75 {
		t.Errorf("%d of %d s are billable", st.Billable, st.Seconds())
	}
	checkJob(t, w, "a")
}

// A market that does not trade in a type says so to those who wait for it.
func TestAJobThatNoMarketKnowsIsTold(t *testing.T) {
	t.Parallel()
	w := NewTraining(Config{Plan: always(steady), Market: nowhere{}})
	create(t, w, Wish{Name: "a", MaxRun: 600, MaxWait: 1800})
	pass(t, w, 10*time.Second)
	if got := look(t, w, "a").Status.Warnings; len(got) != 1 || !strings.Contains(got[0], "no ml.m5.large here") {
		t.Errorf("warnings %q", got)
	}
	wantPhases(t, until(t, w, "a", ended), "Starting Stopping MaxWaitTimeExceeded")
}

// nowhere is a market without anything.
type nowhere struct{ *Market }

func (nowhere) Offer(_ context.Context, t platform.InstanceType, _ platform.HourlyRate) (platform.Offer, error) {
	return platform.Offer{}, platform.Errorf(platform.Invalid, string(t), "no %s here", t)
}

func (nowhere) Changed() <-chan struct{} { return nil }

// What is known of a pool outlives the server.
func TestAPoolsHistoryOutlivesTheServer(t *testing.T) {
	t.Parallel()
	w, m := deadlineWorld(t)
	pass(t, w, time.Minute)
	m.Restore()
	pass(t, w, time.Minute)
	key := platform.Key{Kind: "spot-pool", Name: "ml.m5.large"}
	before, err := w.Store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	w.Restart()
	m.Withdraw()
	pass(t, w, time.Minute)
	after, err := w.Store.Get(t.Context(), key)
	if err != nil || after.Revision != before.Revision+1 {
		t.Errorf("revision %d after %d, %v", after.Revision, before.Revision, err)
	}
}
