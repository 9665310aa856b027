package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/stint-ml/stint/platform"
)

// finalSync is how long a simulated agent needs, of the time that a notice leaves, to end the user's code and bring its last
// checkpoint home.
const finalSync = 10 * time.Second

// Agent is a simulated agent: it asks what it is to do, goes through its plan by the clock, writes down what it has to
// report, and delivers it when the server is there.
type Agent struct {
	courier
	Outcome *platform.Outcome // what it reported, if it came so far

	world      *Training
	plan       Plan
	assignment *platform.Assignment // nil until the server has given it
	stage      stage
	entered    time.Time     // the stage
	restored   time.Duration // of the work, from checkpoints
	generation int64
	overran    bool // the user's code ran as long as it might
}

// stage is where a simulated agent stands.
type stage int

const (
	waking stage = iota
	downloading
	working
	uploading
	over
)

// work does what is due by now.
func (a *Agent) work(ctx context.Context) {
	if !a.ask(ctx) || a.interrupted() && a.yield() {
		return
	}
	for a.stage < over && a.due() {
		a.advance()
	}
	if a.stage != working {
		return
	}
	a.write(platform.Report{Logs: []platform.LogEvent{{Timestamp: a.world.Clock.Now(), Message: fmt.Sprintf("line %d", len(a.Journal)+1)}}})
	if c := a.plan.Checkpoint; c > 0 && a.Done() >= a.world.Saved[a.spec.Owner.Name]+c {
		a.save()
	}
}

// ask tells whether the agent knows what it is to do, and finds out if it can.
func (a *Agent) ask(ctx context.Context) bool {
	if a.assignment == nil {
		a.assignment = a.fetch(ctx)
	}
	return a.assignment != nil
}

// interrupted tells whether the agent is to give its capacity back. A stop outweighs an interruption.
func (a *Agent) interrupted() bool {
	return a.interrupt != nil && a.stage < over && !a.stops && !a.plan.Deaf
}

// inStage is how long the agent has been where it is.
func (a *Agent) inStage() time.Duration { return a.world.Clock.Now().Sub(a.entered) }

// Done is how much of the job's work is done, as its code sees it.
func (a *Agent) Done() time.Duration {
	if a.stage != working {
		return a.restored
	}
	return min(a.plan.Train, a.restored+a.inStage())
}

// due tells whether the present stage is over.
func (a *Agent) due() bool {
	switch a.stage {
	case waking:
		return true
	case downloading:
		return a.stops || a.inStage() >= a.plan.Download
	case working:
		return a.stops || a.Done() >= a.plan.Train || a.assignment.MaxRun > 0 && a.inStage() >= a.assignment.MaxRun.Duration()
	default:
		return a.inStage() >= a.plan.Upload
	}
}

// advance enters the next stage of the plan.
func (a *Agent) advance() {
	switch a.stage {
	case waking:
		a.write(platform.Report{Phase: platform.PhaseDownloading})
	case downloading:
		a.restored = a.world.Saved[a.spec.Owner.Name]
		a.write(platform.Report{Phase: platform.PhaseTraining})
	case working:
		a.overran = a.Done() < a.plan.Train
		a.restored = a.Done()
		a.write(platform.Report{Phase: platform.PhaseUploading})
	default:
		a.conclude()
	}
	a.stage++
	a.over = a.stage == over
	a.entered = a.world.Clock.Now()
}

// conclude reports how it ended.
func (a *Agent) conclude() {
	switch {
	case a.stops:
		a.Outcome = &platform.Outcome{Kind: platform.StopObeyed}
	case a.overran:
		a.Outcome = &platform.Outcome{Kind: platform.MaxRuntimeExceeded}
	case a.plan.Fails:
		a.Outcome = &platform.Outcome{Kind: platform.AlgorithmError, ExitCode: 1, Reason: "AlgorithmError: , exit code: 1"}
	default:
		a.Outcome = &platform.Outcome{Kind: platform.Succeeded, Model: "s3://bucket/out/model.tar.gz"}
	}
	a.write(platform.Report{Outcome: a.Outcome})
}

// save brings a checkpoint of the present state home. What another agent of the job has saved since is not undone.
func (a *Agent) save() {
	job := a.spec.Owner.Name
	if a.Done() <= a.world.Saved[job] {
		return
	}
	a.world.Saved[job] = a.Done()
	a.generation++
	a.write(platform.Report{Checkpoint: &platform.Checkpoint{Generation: a.generation, At: a.world.Clock.Now(), Files: 1, Bytes: 1 << 20, Shipped: 1 << 20}})
}

// yield gives the capacity back: user code that keeps checkpoints has saved its state, and the last one is brought home. It
// takes a moment, in which the user's code may still end by itself; a model that is being uploaded is not thrown away while
// there is time.
func (a *Agent) yield() bool {
	now := a.world.Clock.Now()
	if a.stage == uploading && now.Add(finalSync).Before(a.interrupt.Until) {
		return false
	}
	if a.stage == working {
		if a.Done() >= a.plan.Train {
			return false
		}
		if now.Before(a.interrupt.At.Add(min(finalSync, a.interrupt.Until.Sub(a.interrupt.At)/2))) {
			return true
		}
		if a.plan.Checkpoint > 0 {
			a.save()
		}
	}
	a.Outcome = &platform.Outcome{Kind: platform.Interrupted, Reason: a.interrupt.Reason}
	a.write(platform.Report{Outcome: a.Outcome})
	a.stage, a.over = over, true
	return true
}
