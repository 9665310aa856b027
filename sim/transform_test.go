package sim

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

var half = platform.Capacity{MilliCPU: 2000, MemoryBytes: 8 << 30}

// transforms makes a world with one job of so many instances, each with ten objects.
func transforms(t *testing.T, instances int, plan TransformPlan) *Transforms {
	t.Helper()
	w := NewTransforms(machine, func(string) TransformPlan { return plan })
	if err := w.Create(t.Context(), "j", instances, half); err != nil {
		t.Fatal(err)
	}
	return w
}

// until steps until a job is in a state.
func (w *Transforms) until(t *testing.T, name string, state platform.JobState) *platform.TransformJob {
	t.Helper()
	for range 600 {
		job, _, err := w.Job(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if job.Status.State == state {
			return job
		}
		w.Step(t.Context(), time.Second)
	}
	job, _, err := w.Job(t.Context(), name)
	t.Fatalf("the job never became %s: %+v, %v", state, job.Status, err)
	return nil
}

// check proves what must hold of any job that has ended: nothing of it is left, and its bill is that of its attempts.
func (w *Transforms) check(t *testing.T, job *platform.TransformJob) {
	t.Helper()
	for range 3 {
		w.Step(t.Context(), time.Second)
	}
	if left := len(w.Machine.Started()); left > 0 {
		t.Errorf("%d agents are left", left)
	}
	if !w.Room.Take("all", machine, machine) {
		t.Error("room is still held")
	}
	w.Room.Release("all")
	w.checkBill(t, job)
}

func (w *Transforms) checkBill(t *testing.T, job *platform.TransformJob) {
	t.Helper()
	entries, err := w.Store.Ledger(t.Context(), platform.LedgerQuery{Resource: job.Status.ARN})
	if err != nil {
		t.Fatal(err)
	}
	s, err := bill.State(entries, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	var seconds platform.Seconds
	lines := 0
	for _, a := range job.Status.Attempts {
		if a.Ended.IsZero() {
			t.Errorf("attempt %d is open", a.Number)
		}
		if !a.Started.IsZero() {
			lines++
			seconds += bill.Seconds(a.Started, a.Ended)
		}
		if a.Ended.After(job.Status.Ended) {
			t.Errorf("attempt %d ended at %v, the job at %v", a.Number, a.Ended, job.Status.Ended)
		}
	}
	if s.Open || len(s.Lines) != lines || s.Seconds != seconds {
		t.Errorf("the ledger has %d lines and %d s (open %t), the attempts %d and %d s", len(s.Lines), s.Seconds, s.Open, lines, seconds)
	}
}

// made checks that each object's output was made exactly once.
func (w *Transforms) made(t *testing.T, objects int) {
	t.Helper()
	if len(w.Made) != objects {
		t.Errorf("%d outputs of %d objects were made", len(w.Made), objects)
	}
	for u, n := range w.Made {
		if n != 1 {
			t.Errorf("the output of %s was made %d times", u, n)
		}
	}
}

func TestATransformJobIsDoneByAllItsInstances(t *testing.T) {
	t.Parallel()
	w := transforms(t, 2, TransformPlan{Objects: 10})
	job := w.until(t, "j", platform.JobCompleted)
	w.check(t, job)
	w.made(t, 20)
	if len(job.Status.Attempts) != 2 || job.Status.Started.IsZero() {
		t.Errorf("it is %+v", job.Status)
	}
}

// Instances for which there is no room come after those that there is room for.
func TestMoreInstancesThanThereIsRoomForComeLater(t *testing.T) {
	t.Parallel()
	w := transforms(t, 5, TransformPlan{Objects: 10})
	w.Step(t.Context(), time.Second)
	if n := len(w.Machine.Started()); n != 2 {
		t.Errorf("%d agents run at once", n)
	}
	w.check(t, w.until(t, "j", platform.JobCompleted))
	w.made(t, 50)
}

// An agent that is killed is followed by another, which does again nothing that was written down; billing has a line for each.
func TestAKilledAgentIsFollowedByOneThatGoesOn(t *testing.T) {
	t.Parallel()
	w := transforms(t, 1, TransformPlan{Objects: 10})
	for kills := range 3 {
		for range 3 {
			w.Step(t.Context(), time.Second)
		}
		for _, a := range w.Agents {
			a.Kill()
		}
		if kills == 1 { // and the server with it
			w.Crash()
			w.Step(t.Context(), time.Minute)
			w.Restart()
		}
	}
	job := w.until(t, "j", platform.JobCompleted)
	w.check(t, job)
	w.made(t, 10)
	if len(job.Status.Attempts) != 4 {
		t.Errorf("there were %d attempts", len(job.Status.Attempts))
	}
}

func TestAnAgentThatNeverComesFarIsNotLaunchedForEver(t *testing.T) {
	t.Parallel()
	w := transforms(t, 1, TransformPlan{Fails: &platform.Outcome{Kind: platform.InternalError, Reason: "the disk is broken"}})
	job := w.until(t, "j", platform.JobFailed)
	w.check(t, job)
	if len(job.Status.Attempts) != 5 || job.Status.FailureReason != "InternalServerError: the disk is broken (5 times in a row)" {
		t.Errorf("%d attempts: %s", len(job.Status.Attempts), job.Status.FailureReason)
	}
}

func TestAModelThatFailsEndsAllInstances(t *testing.T) {
	t.Parallel()
	w := transforms(t, 2, TransformPlan{Fails: &platform.Outcome{Kind: platform.AlgorithmError, Reason: "AlgorithmError: no"}})
	job := w.until(t, "j", platform.JobFailed)
	w.check(t, job)
	if job.Status.FailureReason != "AlgorithmError: no" {
		t.Error(job.Status.FailureReason)
	}
}

func TestObjectsThatFailFailTheJobAndNotTheOthers(t *testing.T) {
	t.Parallel()
	w := transforms(t, 3, TransformPlan{Objects: 10, Bad: map[int]bool{2: true}})
	job := w.until(t, "j", platform.JobFailed)
	w.check(t, job)
	w.made(t, 30)
	if !strings.HasPrefix(job.Status.FailureReason, "ClientError: s3://in/j/0/0002") {
		t.Error(job.Status.FailureReason)
	}
}

func TestTransformJobsStop(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string]int{"before it is launched": 0, "while it runs": 4} {
		w := transforms(t, 2, TransformPlan{Objects: 10})
		for range steps {
			w.Step(t.Context(), time.Second)
		}
		if err := w.Halt(t.Context(), "j"); err != nil {
			t.Fatal(err)
		}
		job := w.until(t, "j", platform.JobStopped)
		w.check(t, job)
		if steps == 0 && len(job.Status.Attempts) > 0 || len(w.Made) >= 20 {
			t.Errorf("%s: %d attempts, %d outputs", name, len(job.Status.Attempts), len(w.Made))
		}
	}
}

// Nobody passes one who came earlier and finds no room.
func TestTransformJobsKeepTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	w := transforms(t, 1, TransformPlan{Objects: 10})
	w.Step(t.Context(), time.Second)
	for _, name := range []string{"large", "small"} {
		w.Clock.Advance(time.Second)
		need := half
		if name == "large" {
			need = machine
		}
		if err := w.Create(t.Context(), name, 1, need); err != nil {
			t.Fatal(err)
		}
	}
	large, small := w.until(t, "large", platform.JobCompleted), w.until(t, "small", platform.JobCompleted)
	if small.Status.Attempts[0].Launched.Before(large.Status.Attempts[0].Ended) {
		t.Error("the small job passed the large one")
	}
}

// storm lets agents, the server and its store fail for a while.
func (w *Transforms) storm(t *testing.T, random *rand.Rand) {
	t.Helper()
	w.Store.Fault = func() (bool, bool) { return random.IntN(8) == 0, random.IntN(2) == 0 }
	for range 80 {
		w.Step(t.Context(), time.Duration(1+random.IntN(1500))*time.Millisecond)
		for _, spec := range w.Machine.Started() {
			if a := w.Agents[spec.ID]; !a.Dead && random.IntN(25) == 0 {
				a.Kill()
			}
		}
		switch {
		case w.ServerUp && random.IntN(10) == 0:
			w.Crash()
		case !w.ServerUp && random.IntN(3) == 0:
			w.Restart()
		}
	}
	w.Store.Fault = nil
	if !w.ServerUp {
		w.Restart()
	}
}

// Whatever crashes when, every object is done exactly once and the bill is that of the attempts.
func TestStormsOverTransformJobs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := transforms(t, 1+random.IntN(4), TransformPlan{Objects: 10})
		w.storm(t, random)
		job, _, err := w.Job(t.Context(), "j")
		if err != nil {
			t.Fatal(err)
		}
		if !job.Status.State.Ended() {
			job = w.until(t, "j", platform.JobCompleted)
		}
		w.check(t, job)
		if job.Status.State == platform.JobCompleted { // five agents in a row may have been killed before they came to work
			w.made(t, 10*len(job.Status.Shares))
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
