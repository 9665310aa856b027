package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Agent is a simulated agent: it goes through its plan by the clock, writes down what it has to report, and delivers it when
// the server is there.
type Agent struct {
	Began   time.Time
	Dead    bool              // its process has ended
	Journal []platform.Report // all it ever wrote down
	Outcome *platform.Outcome // what it reported, if it came so far

	world *Training
	spec  platform.AgentSpec
	plan  Plan
	acked int64
	phase int // of its plan
	stops bool
}

// write puts a report into the journal.
func (a *Agent) write(r platform.Report) {
	r.Seq, r.At = int64(len(a.Journal))+1, a.world.Clock.Now()
	a.Journal = append(a.Journal, r)
}

// work does what is due by now.
func (a *Agent) work() {
	passed := a.world.Clock.Now().Sub(a.Began)
	due := []time.Duration{0, a.plan.Download, a.plan.Download + a.plan.Train, a.plan.Download + a.plan.Train + a.plan.Upload}
	for a.Outcome == nil && a.phase < len(due) && (passed >= due[a.phase] || a.stops && a.phase > 0) {
		a.advance()
		a.phase++
	}
	if a.Outcome == nil && a.phase == 2 {
		a.write(platform.Report{Logs: []platform.LogEvent{{Timestamp: a.world.Clock.Now(), Message: fmt.Sprintf("line %d", len(a.Journal)+1)}}})
	}
}

// advance enters the next phase of the plan.
func (a *Agent) advance() {
	switch a.phase {
	case 0:
		a.write(platform.Report{Phase: platform.PhaseDownloading})
	case 1:
		a.write(platform.Report{Phase: platform.PhaseTraining})
	case 2:
		a.write(platform.Report{Phase: platform.PhaseUploading})
	default:
		a.Outcome = &platform.Outcome{Kind: platform.Succeeded, Model: "s3://bucket/out/model.tar.gz"}
		switch {
		case a.stops:
			a.Outcome.Kind = platform.StopObeyed
		case a.plan.Fails:
			a.Outcome = &platform.Outcome{Kind: platform.AlgorithmError, ExitCode: 1, Reason: "AlgorithmError: , exit code: 1"}
		}
		a.write(platform.Report{Outcome: a.Outcome})
	}
}

// deliver sends what is not acknowledged, and ends the process when nothing is left to do.
func (a *Agent) deliver(ctx context.Context) {
	if !a.world.ServerUp {
		return
	}
	ack, err := a.world.Controller.Deliver(ctx, a.spec.Token, a.Journal[a.acked:])
	if err != nil {
		return
	}
	a.acked = max(a.acked, ack.Seq)
	a.stops = a.stops || ack.Stop
	if ack.Gone || a.Outcome != nil && a.acked == int64(len(a.Journal)) {
		a.end("exit code 0")
	}
}

// Kill ends the process at once; what it wrote down stays on its machine.
func (a *Agent) Kill() { a.end("killed by signal 9") }

func (a *Agent) stop() { a.stops = true }

func (a *Agent) end(how string) {
	if a.Dead {
		return
	}
	a.Dead = true
	a.world.Machine.Undelivered(a.spec.ID, a.Journal...)
	a.world.Machine.End(a.spec.ID, how)
}
