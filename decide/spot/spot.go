// Package spot decides, moment by moment, where a training job runs so that it ends before its deadline at the least cost:
// on spot, on demand, or not at all for now. The policies live here, what is learned of a pool's past availability, the
// replay of a policy over recorded availability, and how often to checkpoint. It is pure: time, availability and progress
// arrive as data. Markets, prices in money and the moving of jobs must not live here.
package spot

import (
	"fmt"
	"strings"
	"time"
)

// Choice is where a job runs, or is to run from now on.
type Choice int

// The choices. Wait is the zero value: nothing runs and nothing is paid.
const (
	Wait Choice = iota
	Spot
	OnDemand
)

// String is the choice as a person reads it.
func (c Choice) String() string {
	return [...]string{"wait", "spot", "on-demand"}[c]
}

// Job is what is known of a job for its whole life.
type Job struct {
	Work       time.Duration // compute that it needs
	Deadline   time.Duration // from its beginning until it must have ended
	Changeover time.Duration // after each start: time that is paid but makes no progress
	Tick       time.Duration // how often its policy is asked; waiting, it may hear of a change this late
	PriceRatio float64       // on-demand price ÷ spot price
	// AtRisk is the most that losing spot costs besides the next changeover: work since the last checkpoint, and the time
	// until the loss is noticed. 0 where a loss is told at a tick and destroys nothing, as in Replay.
	AtRisk time.Duration
}

// View is what is known at one decision.
type View struct {
	Elapsed  time.Duration // since the job's beginning
	Done     time.Duration // work that is kept whatever happens; it may go back when a checkpoint proves unusable
	Overhead time.Duration // of the present start, still to pass without progress
	Offered  bool          // spot is to be had now. A job that runs on spot may keep it even if nobody else could get it
	Running  Choice        // Wait: nothing runs
}

// Policy answers where a job runs from now until it is asked again: at the latest after Job.Tick, and at once when spot
// was lost. It never answers Spot when none is to be had. It may be asked at any time, in any order and again: an answer
// depends on the view and on the pool's history alone. It is not safe for use by several goroutines, nor while its
// history is written to.
type Policy interface {
	Decide(View) Choice
}

// Default is the name of Stint's own policy.
const Default = "stint"

// constructors in the order in which people read the names.
var constructors = []struct {
	name string
	make func(Job, *History) Policy
}{
	{Default, func(j Job, past *History) Policy { return newStint(j, past) }},
	{"uniform-progress", func(j Job, _ *History) Policy { return uniformProgress{job: j, hysteresis: true} }},
	{"greedy", func(j Job, _ *History) Policy { return greedy{job: j} }},
	{"spot-only", func(Job, *History) Policy { return spotOnly{} }},
	{"on-demand", func(Job, *History) Policy { return onDemand{} }},
}

// Names are the policies that New knows, the default first.
func Names() []string {
	names := make([]string, len(constructors))
	for i, c := range constructors {
		names[i] = c.name
	}
	return names
}

// New makes the policy of that name for a job. The past is what is known of the pool that the job would run in; the policy
// reads it at each decision and never changes it: whoever asks tells the history first what it sees (History.Observe).
// nil is a pool of which nothing is known.
//
// The default holds every deadline that can be held: if Work + Changeover fits before it and the policy is asked as it
// says, the job ends in time whatever the market does. "uniform-progress" and "greedy" have their authors' safety net, which
// may miss by a tick; "spot-only" has none.
func New(name string, job Job, past *History) (Policy, error) {
	if err := job.check(); err != nil {
		return nil, err
	}
	if past == nil {
		past = &History{}
	}
	for _, c := range constructors {
		if c.name == name {
			return c.make(job, past), nil
		}
	}
	return nil, fmt.Errorf("unknown spot policy %q: known are %s", name, strings.Join(Names(), ", "))
}

func (j Job) check() error {
	switch {
	case j.Work <= 0:
		return fmt.Errorf("a job's work must be more than 0, not %v", j.Work)
	case j.Deadline <= 0:
		return fmt.Errorf("a job's deadline must be more than 0 after its beginning, not %v", j.Deadline)
	case j.Tick <= 0:
		return fmt.Errorf("the time between two decisions must be more than 0, not %v", j.Tick)
	case j.Changeover < 0 || j.AtRisk < 0:
		return fmt.Errorf("a changeover of %v and %v at risk: neither can be less than 0", j.Changeover, j.AtRisk)
	case !(j.PriceRatio > 0): // not a number, too
		return fmt.Errorf("the on-demand price must be more than 0 times the spot price, not %v", j.PriceRatio)
	}
	return nil
}

// canSpot tells whether the job could be on spot from now on.
func (v View) canSpot() bool { return v.Offered || v.Running == Spot }
