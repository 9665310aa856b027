package spot_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/decide/spot"
)

// drawDuration draws evenly over magnitudes.
func drawDuration(t *rapid.T, least, most time.Duration, name string) time.Duration {
	d := least
	for range rapid.IntRange(0, 14).Draw(t, name+" magnitude") {
		if d *= 2; d >= most {
			break
		}
	}
	return min(max(d+time.Duration(rapid.Int64Range(0, int64(d)).Draw(t, name)), least), most)
}

// drawJob draws a job from ten minutes to weeks that can be done in time, often only just.
func drawJob(t *rapid.T) spot.Job {
	job := spot.Job{Work: drawDuration(t, 10*time.Minute, 500*time.Hour, "work"), PriceRatio: rapid.Float64Range(0.5, 20).Draw(t, "ratio")}
	if rapid.Bool().Draw(t, "changeover") {
		job.Changeover = drawDuration(t, time.Second, time.Hour, "of")
	}
	if rapid.Bool().Draw(t, "at risk") {
		job.AtRisk = drawDuration(t, time.Second, time.Hour, "as much")
	}
	job.Deadline = job.Work + job.Changeover
	if rapid.Bool().Draw(t, "slack") {
		job.Deadline += drawDuration(t, time.Second, 700*time.Hour, "of slack")
	}
	job.Tick = max(drawDuration(t, time.Second, time.Hour, "tick"), job.Deadline/2000) // a case takes no more ticks
	return job
}

func drawView(t *rapid.T, job spot.Job) spot.View {
	v := spot.View{
		Elapsed: time.Duration(rapid.Int64Range(0, int64(job.Deadline)+int64(time.Hour)).Draw(t, "elapsed")),
		Done:    time.Duration(rapid.Int64Range(0, int64(job.Work)).Draw(t, "done")),
		Offered: rapid.Bool().Draw(t, "offered"),
		Running: spot.Choice(rapid.IntRange(0, 2).Draw(t, "running")),
	}
	if v.Running != spot.Wait {
		v.Overhead = time.Duration(rapid.Int64Range(0, int64(job.Changeover)).Draw(t, "overhead"))
	}
	return v
}

// world moves a job as production does, in continuous time, and charges nothing.
type world struct {
	job      spot.Job
	view     spot.View
	unkept   time.Duration // work since the last checkpoint: lost with spot
	finished bool
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	if w.view.Running != spot.Wait {
		idle := min(w.view.Overhead, d)
		w.view.Overhead -= idle
		worked := d - idle
		if need := w.job.Work - w.view.Done - w.unkept; worked >= need {
			w.view.Elapsed += idle + need
			w.finished = true
			return
		}
		w.view.Done += worked
	}
	w.view.Elapsed += d
}

// lose takes spot away, and work with it.
func (w *world) lose(destroyed time.Duration) {
	w.view.Running, w.view.Overhead = spot.Wait, 0
	w.view.Done = max(w.view.Done-destroyed, 0)
}

func (w *world) obey(c spot.Choice) {
	if c != w.view.Running {
		w.view.Running, w.view.Overhead = c, 0
		if c != spot.Wait {
			w.view.Overhead = w.job.Changeover
		}
	}
}

// The promise of the default policy: an adversary offers and takes spot, and destroys up to AtRisk with it, at the worst
// instants; asked at least every tick, and when spot is lost, the policy ends the job in time.
func TestStintNeverMissesADeadline(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		job := drawJob(t)
		past := &spot.History{}
		policy := mustNew(t, spot.Default, job, past)
		w := &world{job: job}
		start := time.Date(2022, 10, 1, 0, 0, 0, 0, time.UTC)
		cruel := rapid.IntRange(1, 20).Draw(t, "cruelty")
		for !w.finished {
			if w.view.Elapsed > 2*job.Deadline+100*job.Tick {
				t.Fatalf("it never ends: %+v", job)
			}
			// The market changes in long and short stretches; drawing less often keeps a case small.
			w.view.Offered = rapid.IntRange(0, 20).Draw(t, "offer") >= cruel
			past.Observe(start.Add(w.view.Elapsed), w.view.Offered)
			repeat := rapid.IntRange(1, 50).Draw(t, "for")
			for range repeat {
				if w.finished {
					break
				}
				choice := policy.Decide(w.view)
				if choice == spot.Spot && !w.view.Offered && w.view.Running != spot.Spot {
					t.Fatalf("takes spot that is not offered: %+v", w.view)
				}
				w.obey(choice)
				w.pass(job.Tick)
			}
			if !w.finished && w.view.Running == spot.Spot && rapid.IntRange(0, 20).Draw(t, "take") < cruel {
				w.lose(job.AtRisk)
			}
		}
		if w.view.Elapsed > job.Deadline {
			t.Fatalf("ended %v after the deadline of %v: %+v", w.view.Elapsed-job.Deadline, job.Deadline, job)
		}
	})
}

// After a gap (a server was down) or a loss beyond what was thought possible, the policy does what can still be done: when
// the deadline can be reached by on-demand at once, it is reached.
func TestStintRecoversFromGapsAndLostWork(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		job := drawJob(t)
		policy := mustNew(t, spot.Default, job, nil)
		w := &world{job: job}
		surprise := rapid.IntRange(0, 30).Draw(t, "surprise after")
		for i := range surprise {
			w.view.Offered = i%3 != 0
			w.obey(policy.Decide(w.view))
			w.pass(job.Tick)
			if w.finished {
				return
			}
		}
		w.lose(time.Duration(rapid.Int64Range(0, int64(job.Work)).Draw(t, "destroyed")))
		w.pass(time.Duration(rapid.Int64Range(0, int64(job.Deadline/4)).Draw(t, "gap")))
		left := job.Deadline - w.view.Elapsed
		inTime := left/job.Tick >= (job.Work-w.view.Done+job.Changeover+job.Tick-1)/job.Tick
		for i := 0; !w.finished; i++ {
			if w.view.Elapsed > 4*job.Deadline+100*job.Tick {
				t.Fatalf("it never ends: %+v", job)
			}
			w.view.Offered = i%2 == 0
			if w.view.Running == spot.Spot && !w.view.Offered {
				w.lose(job.AtRisk)
			}
			choice := policy.Decide(w.view)
			if !inTime && choice == spot.Wait {
				t.Fatalf("waits although it is late already: %+v of %+v", w.view, job)
			}
			w.obey(choice)
			w.pass(job.Tick)
		}
		if inTime && w.view.Elapsed > job.Deadline {
			t.Fatalf("ended %v after the deadline of %v: %+v", w.view.Elapsed-job.Deadline, job.Deadline, job)
		}
	})
}

// A replay cannot be late either, whatever the bits.
func TestStintIsNeverLateInReplay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		job := spot.Job{
			Work:       time.Duration(rapid.IntRange(1, 60).Draw(t, "work")) * tick,
			Changeover: time.Duration(rapid.IntRange(0, 1500).Draw(t, "changeover")) * time.Second, Tick: tick, PriceRatio: 3,
		}
		job.Deadline = job.Work + (job.Changeover+tick-1)/tick*tick + time.Duration(rapid.IntRange(0, 60).Draw(t, "slack"))*tick
		offered := rapid.SliceOfN(rapid.Bool(), 0, 130).Draw(t, "offered")
		past := &spot.History{}
		run := spot.Replay(job, mustNew(t, spot.Default, job, past), offered, past, time.Unix(0, 0))
		if run.Late || run.Done != job.Work {
			t.Fatalf("late: %s", letters(run.Course))
		}
	})
}
