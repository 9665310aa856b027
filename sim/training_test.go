package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stint-ml/stint/control/training"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

var machine = platform.Capacity{MilliCPU: 4000, MemoryBytes: 16 << 30}

// world makes jobs of random length and size, some of which fail by themselves.
func world(t *testing.T, chance Chance, jobs int) (*Training, []string) {
	t.Helper()
	plans := map[string]Plan{}
	w := NewTraining(Config{Machine: machine, Plan: func(job string) Plan { return plans[job] }})
	var names []string
	for i := range jobs {
		name := fmt.Sprintf("job-%d", i)
		names = append(names, name)
		plans[name] = Plan{
			Download: time.Duration(chance(20)) * time.Second, Train: time.Duration(1+chance(300)) * time.Second,
			Upload: time.Duration(chance(10)) * time.Second, Fails: chance(5) == 0,
		}
		need := platform.Capacity{MilliCPU: int64(1+chance(8)) * 1000, MemoryBytes: int64(1+chance(20)) << 30}
		if err := w.Create(t.Context(), Wish{Name: name, Need: need, Retries: int32(chance(3))}); err != nil {
			t.Fatal(err)
		}
		w.Clock.Advance(time.Duration(chance(1000)) * time.Millisecond)
	}
	return w, names
}

// allEnded reports whether nothing is left to do.
func allEnded(t *testing.T, w *Training, names []string) bool {
	t.Helper()
	for _, name := range names {
		job, err := w.Job(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if !job.Status.State.Ended() {
			return false
		}
	}
	return true
}

// Nothing goes wrong: every job ends as its code does, and the machine is never asked for more than it has.
func TestAQuietWorldFinishesEverything(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewPCG(1, 1)).IntN
	w, names := world(t, chance, 30)
	for range 4000 {
		w.Step(t.Context(), 5*time.Second)
		checkCapacity(t, w, names)
		if allEnded(t, w, names) {
			break
		}
	}
	w.Step(t.Context(), time.Second)
	for _, name := range names {
		job, err := w.Job(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		want := platform.JobCompleted
		if w.config.Plan(name).Fails {
			want = platform.JobFailed
		}
		if job.Status.State != want || len(job.Status.Attempts) != 1 {
			t.Errorf("%s is %s after %d attempts, want %s after 1", name, job.Status.State, len(job.Status.Attempts), want)
		}
		checkJob(t, w, name)
	}
	if agents := w.Machine.Started(); len(agents) != 0 {
		t.Errorf("%d agents were never removed", len(agents))
	}
}

// disturb breaks something, perhaps.
func disturb(ctx context.Context, t *testing.T, w *Training, names []string, chance Chance) {
	t.Helper()
	switch chance(12) {
	case 0:
		if w.ServerUp {
			w.Crash()
		}
	case 1, 2:
		if !w.ServerUp {
			w.Restart()
		}
	case 3:
		if agents := w.Machine.Started(); len(agents) > 0 {
			w.Agents[agents[chance(len(agents))].ID].Kill()
		}
	case 4:
		if chance(3) == 0 {
			if err := w.RequestStop(ctx, names[chance(len(names))]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Whatever is killed and whenever: no job is lost or run twice, ledger and history agree, and the log is whole.
func TestFaultsLoseNothingAndDoubleNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			chance := rand.New(rand.NewPCG(seed, 7)).IntN
			w, names := world(t, chance, 6)
			storm := true
			w.Store.Fault = func() (bool, bool) { return storm && chance(10) == 0, chance(2) == 0 }
			w.StartFault = func() error {
				if !storm || chance(10) != 0 {
					return nil
				}
				return platform.Errorf([]platform.ErrorKind{platform.Unavailable, platform.Internal}[chance(2)], "", "cannot fork")
			}
			for range 150 {
				disturb(t.Context(), t, w, names, chance)
				w.Step(t.Context(), time.Duration(chance(20_000))*time.Millisecond)
				checkCapacity(t, w, names)
			}
			// The storm is over: everything must come to its end.
			storm = false
			if !w.ServerUp {
				w.Restart()
			}
			for range 3000 {
				if allEnded(t, w, names) {
					break
				}
				w.Step(t.Context(), 10*time.Second)
			}
			w.Step(t.Context(), time.Second)
			for _, name := range names {
				checkJob(t, w, name)
			}
			if agents := w.Machine.Started(); len(agents) != 0 {
				t.Errorf("%d agents were never removed", len(agents))
			}
		})
	}
}

// checkCapacity sees that open attempts fit the machine.
func checkCapacity(t *testing.T, w *Training, names []string) {
	t.Helper()
	free := machine
	for _, name := range names {
		job, err := w.Job(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if open := job.Status.Open(); open != nil {
			free = free.Minus(open.Capacity)
		}
	}
	if free.MilliCPU < 0 || free.MemoryBytes < 0 {
		t.Fatalf("open attempts take %v more than the machine has", free)
	}
}

// checkJob holds a job that should have ended against its agents, its ledger and its log.
func checkJob(t *testing.T, w *Training, name string) {
	t.Helper()
	job, err := w.Job(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	st := &job.Status
	if !st.State.Ended() || st.Open() != nil {
		t.Fatalf("%s is %s (%s), with an open attempt: %t", name, st.State, st.Phase, st.Open() != nil)
	}
	if !job.IsSpot() && len(st.Attempts) > 1+job.Retries() {
		t.Errorf("%s: %d attempts with %d retries", name, len(st.Attempts), job.Retries())
	}
	for i := range st.Attempts {
		checkAttempt(t, w, job, &st.Attempts[i])
	}
	checkLedger(t, w, job)
}

// checkAttempt holds what is recorded of an attempt against what its agent wrote down.
func checkAttempt(t *testing.T, w *Training, job *platform.TrainingJob, a *platform.Attempt) {
	t.Helper()
	agent := w.Agents[a.Agent]
	if agent == nil {
		if !a.Started.IsZero() || a.Outcome.Kind != platform.InternalError && a.Outcome.Kind != platform.Interrupted {
			t.Errorf("%s attempt %d has no agent, yet %+v", *job.Spec.TrainingJobName, a.Number, a)
		}
		return
	}
	if agent.Outcome != nil && *agent.Outcome != *a.Outcome {
		t.Errorf("%s attempt %d: the agent wrote %+v, the record says %+v", *job.Spec.TrainingJobName, a.Number, agent.Outcome, a.Outcome)
	}
	if agent.Outcome == nil && a.Outcome.Kind != platform.InternalError && (a.Outcome.Kind != platform.Interrupted || a.Notice == nil) {
		t.Errorf("%s attempt %d: the agent wrote no outcome, the record says %+v", *job.Spec.TrainingJobName, a.Number, a.Outcome)
	}
	checkLog(t, w, a, agent)
}

// checkLog sees that each line that the agent wrote stands in the log once and in order.
func checkLog(t *testing.T, w *Training, a *platform.Attempt, agent *Agent) {
	t.Helper()
	var want []string
	for _, r := range agent.Journal {
		for _, e := range r.Logs {
			want = append(want, e.Message)
		}
	}
	got, err := w.Telemetry.Read(t.Context(), platform.LogRead{Group: training.LogGroup, Stream: a.LogStream, Forward: true, Limit: 10_000, MaxBytes: 1 << 30})
	if err != nil && (len(want) > 0 || !platform.Is(err, platform.NotFound)) {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d lines in the log, %d were written", a.LogStream, len(got), len(want))
	}
	for i := range got {
		if got[i].Message != want[i] {
			t.Fatalf("%s: line %d is %q, want %q", a.LogStream, i, got[i].Message, want[i])
		}
	}
}

// checkLedger sees that each attempt that began has one line for each of its prices, opened and closed once, one after the
// other, and that they add up to what Describe says.
func checkLedger(t *testing.T, w *Training, job *platform.TrainingJob) {
	t.Helper()
	entries, err := w.Store.Ledger(t.Context(), platform.LedgerQuery{Resource: job.Status.ARN})
	if err != nil {
		t.Fatal(err)
	}
	s, err := bill.State(entries, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	var lines int
	for _, a := range job.Status.Attempts {
		if a.Started.IsZero() {
			continue
		}
		if want := bill.Seconds(a.Started, a.Ended); a.Seconds != want {
			t.Errorf("%s attempt %d: %d s, from its times %d s", *job.Spec.TrainingJobName, a.Number, a.Seconds, want)
		}
		checkPrices(t, job, &a, s.Lines)
		lines += len(a.Prices)
	}
	if len(entries) != 2*lines || s.Open || s.Seconds != job.Status.Seconds() || s.Billable != job.Status.Billable {
		t.Errorf("%s: %d entries for %d lines, open %t, %d s in the ledger, %d s in the history, billable %d and %d",
			*job.Spec.TrainingJobName, len(entries), lines, s.Open, s.Seconds, job.Status.Seconds(), s.Billable, job.Status.Billable)
	}
}

// checkPrices sees that an attempt's lines cover its time without gap or overlap, each at the price that the attempt had.
func checkPrices(t *testing.T, job *platform.TrainingJob, a *platform.Attempt, lines []bill.Line) {
	t.Helper()
	at := a.Started
	for n, p := range a.Prices {
		i := slices.IndexFunc(lines, func(l bill.Line) bool { return l.Line == a.Line(n) })
		if i < 0 {
			t.Errorf("%s attempt %d has no line %s", *job.Spec.TrainingJobName, a.Number, a.Line(n))
			return
		}
		if l := lines[i]; !l.Start.Equal(at) || l.Rate != p.Rate || l.Purchase != a.Purchase || l.OnDemandRate != job.Status.Rate {
			t.Errorf("%s attempt %d: line %+v, price %+v from %v", *job.Spec.TrainingJobName, a.Number, l, p, at)
		}
		at = lines[i].At
	}
	if !at.Equal(a.Ended) {
		t.Errorf("%s attempt %d ended %v, its last line %v", *job.Spec.TrainingJobName, a.Number, a.Ended, at)
	}
}
