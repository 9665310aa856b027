package sim

import (
	"context"
	"slices"
	"time"

	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/drivers/market/trace"
	"github.com/stint-ml/stint/platform"
)

const (
	spotJobName = "job"
	// saveEvery is how much work a simulated job does between two checkpoints: it saves whenever it is looked at.
	saveEvery = time.Second
	// message is how long a word between agent and server takes.
	message = 100 * time.Millisecond
)

// spotWorld is one run of a SpotJob: the real controller and its brain, with a market that replays the trace.
type spotWorld struct {
	*Training
	job     SpotJob
	rows    []trace.Row
	begun   time.Time
	tick    time.Duration // between two questions to the brain; 0: it is asked when the market changes, and no more
	waitEnd time.Duration // when the job has waited as long as it may
}

// Run plays the job under a policy of decide/spot: the real controller decides, launches, gives notice and bills, on a virtual
// clock; the agent is simulated and saves its work continually. A job that misses its deadline goes on until twice the time
// has passed, to see how late it is. Invalid: a job that makes no sense, an unknown policy.
func (j SpotJob) Run(ctx context.Context, policy string) (SpotRun, error) {
	if err := j.check(); err != nil {
		return SpotRun{}, err
	}
	if !slices.Contains(spot.Names(), policy) {
		return SpotRun{}, platform.Errorf(platform.Invalid, policy, "unknown spot policy %q", policy)
	}
	clock := NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	market, err := trace.Replay(j.Trace, trace.Options{Clock: clock, Discount: j.Discount})
	if err != nil {
		return SpotRun{}, err
	}
	defer market.Close() //nolint:errcheck // it has nothing to lose
	rows, err := j.Trace.Rows(j.InstanceType)
	if err != nil {
		return SpotRun{}, err
	}
	w := &spotWorld{job: j, rows: rows, begun: clock.Now(), tick: j.Deadline / 400, waitEnd: min(2*j.Deadline, longestJob)}
	w.Training = NewTraining(Config{
		Clock: clock, Market: market, Policy: policy, StartUp: platform.Seconds(wholeSeconds(j.Changeover)),
		Plan: func(string) Plan { return Plan{Download: j.Changeover, Train: j.Work, Checkpoint: saveEvery} },
	})
	wish := Wish{
		Name: spotJobName, Need: platform.Capacity{MilliCPU: 1000, MemoryBytes: 1 << 30}, InstanceType: j.InstanceType, Rate: j.OnDemand,
		MaxRun: platform.Seconds(wholeSeconds(j.Work)), MaxWait: platform.Seconds(wholeSeconds(w.waitEnd)),
	}
	if policy == "spot-only" { // which is what a job without a wish to fall back has
		w.tick = 0
	} else {
		wish.Fallback, wish.Deadline = true, w.begun.Add(j.Deadline)
	}
	if err := w.Create(ctx, wish); err != nil {
		return SpotRun{}, err
	}
	return w.play(ctx, policy)
}

// play lets time pass from event to event until the job has ended.
func (w *spotWorld) play(ctx context.Context, policy string) (SpotRun, error) {
	w.Step(ctx, 0)
	for {
		if err := ctx.Err(); err != nil {
			return SpotRun{}, err
		}
		job, err := w.Job(ctx, spotJobName)
		if err != nil {
			return SpotRun{}, err
		}
		if job.Status.State.Ended() {
			return w.result(ctx, job, policy)
		}
		if w.Clock.Now().Sub(w.begun) > w.waitEnd+time.Hour {
			return SpotRun{}, platform.Errorf(platform.Internal, spotJobName, "the simulated job does not end in phase %s", job.Status.Phase)
		}
		w.Step(ctx, w.untilNext(job))
	}
}

// untilNext is how long nothing happens: until the market changes, the brain is due, or the agent comes to something.
func (w *spotWorld) untilNext(job *platform.TrainingJob) time.Duration {
	now := w.Clock.Now().Sub(w.begun)
	next := w.waitEnd
	if next <= now { // waited out: the job is being stopped
		next = now + time.Second
	}
	if w.tick > 0 {
		next = min(next, now/w.tick*w.tick+w.tick)
	}
	for _, row := range w.rows {
		if row.From > now {
			next = min(next, row.From)
			break
		}
	}
	wait := next - now
	if open := job.Status.Open(); open != nil {
		if a := w.Agents[open.Agent]; a != nil {
			wait = min(wait, w.untilAgent(a, open))
		}
	}
	return max(wait, time.Millisecond)
}

// untilAgent is how long the agent has nothing to do.
func (w *spotWorld) untilAgent(a *Agent, open *platform.Attempt) time.Duration {
	switch now := w.Clock.Now(); {
	case a.stage == waking || a.stage == over || a.stops || open.Notice != nil && a.interrupt == nil:
		return message
	case a.interrupt != nil && a.stage == working:
		return max(message, a.interrupt.At.Add(finalSync).Sub(now))
	case a.interrupt != nil:
		return message
	case a.stage == downloading:
		return a.plan.Download - a.inStage()
	case a.stage == working:
		return a.plan.Train - a.Done()
	}
	return message
}

// result reads from the job's history and its ledger what became of it.
func (w *spotWorld) result(ctx context.Context, job *platform.TrainingJob, policy string) (SpotRun, error) {
	st := &job.Status
	run := SpotRun{Policy: policy, Finished: st.State == platform.JobCompleted, Done: min(w.Saved[spotJobName], w.job.Work)}
	if run.Finished {
		run.Done = w.job.Work
	}
	since := func(t time.Time) time.Duration { return t.Sub(w.begun) }
	at := time.Duration(0)
	for i := range st.Attempts {
		a := &st.Attempts[i]
		if a.Started.IsZero() {
			continue
		}
		run.add(at, since(a.Started), Waiting)
		working := a.Ended
		if !a.Running.IsZero() {
			working = a.Running
		}
		run.add(since(a.Started), since(working), ChangingOver)
		stay := OnSpot
		if a.Purchase == platform.OnDemand {
			stay = OnDemand
		}
		run.add(since(working), since(a.Ended), stay)
		at = since(a.Ended)
		if a.Outcome != nil && a.Outcome.Kind == platform.Interrupted {
			run.Interruptions++
		}
	}
	if !run.Finished {
		run.add(at, since(st.Ended), Waiting)
	}
	run.Late = !run.Finished || run.Ended() > w.job.Deadline
	entries, err := w.Store.Ledger(ctx, platform.LedgerQuery{Resource: st.ARN})
	if err != nil {
		return SpotRun{}, err
	}
	statement, err := bill.State(entries, w.Clock.Now())
	if err != nil {
		return SpotRun{}, err
	}
	run.Cost = statement.Total
	run.Cost.Currency = w.job.OnDemand.Currency // of a job that never ran, too
	return run, nil
}
