package rollout

import (
	"fmt"
	"math"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Standing is how an update stands.
type Standing struct {
	Plan     Plan
	Rollout  platform.Rollout
	Began    time.Time // the update
	Now      time.Time
	Old, New Fleet
	Alarm    string // the name of one that has gone off
	Failure  string // why the new fleet does not come up
}

// Fleet is what stands of a fleet.
type Fleet struct {
	Desired int  // instances, when nothing bounds them
	Ready   int  // of them
	Whole   bool // as many are ready as it may have now
	Failing bool // what is to come up does not, again and again
}

// Verdict is what becomes of the update as a whole.
type Verdict int

// The verdicts. Going is the zero value.
const (
	Going  Verdict = iota
	Done           // the new fleet serves alone
	Undone         // the old fleet serves alone
)

// Move is what is to be done now.
type Move struct {
	Rollout platform.Rollout // to be written down; as it was when there is nothing to do
	Verdict Verdict
	Wait    time.Duration // until there is something to do if nothing else changes; 0: only when something does
}

// Begin is where the update that a plan describes begins.
func Begin(p Plan, now time.Time) platform.Rollout {
	return platform.Rollout{Stage: platform.RolloutPreparing, Since: now, Old: p.Steps[0].Old, New: p.Steps[0].New}
}

// Next gives one move; whoever carries it out asks again until there is none. It only gives requests to the new fleet when as
// many of its instances are ready as the step is to have, and takes none from it unless all go back.
func Next(s Standing) Move {
	if s.Rollout.Stage == platform.RolloutReturning || s.Rollout.Stage == platform.RolloutStuck {
		return goBack(s)
	}
	if reason := s.trouble(); reason != "" {
		m := Move{Rollout: s.Rollout}
		m.Rollout.Reason = reason
		if s.Rollout.Share == 0 { // nothing has changed for anybody
			m.Verdict = Undone
			return m
		}
		m.Rollout.Stage, m.Rollout.Since = platform.RolloutReturning, s.Now
		return m
	}
	return s.goOn()
}

// trouble says why the update must not go on, empty when it may.
func (s Standing) trouble() string {
	switch {
	case s.Failure != "":
		return s.Failure
	case s.Alarm != "":
		return fmt.Sprintf("The update was rolled back because the alarm %q went off", s.Alarm)
	case s.Plan.Limit > 0 && s.Rollout.Stage != platform.RolloutLingering && !s.Now.Before(s.Began.Add(s.Plan.Limit)):
		return fmt.Sprintf("The update did not end within its MaximumExecutionTimeoutInSeconds (%d)", s.Plan.Limit/time.Second)
	}
	return ""
}

func (s Standing) goOn() Move {
	m := Move{Rollout: s.Rollout}
	r := &m.Rollout
	enter := func(stage platform.RolloutStage) { r.Stage, r.Since = stage, s.Now }
	last := r.Step >= len(s.Plan.Steps)-1
	switch r.Stage {
	case platform.RolloutPreparing:
		if !s.New.Whole {
			m.Wait = s.untilLimit()
			return m
		}
		r.Share = s.Plan.Steps[r.Step].Share
		enter(platform.RolloutBaking)
	case platform.RolloutBaking:
		if left := r.Since.Add(s.Plan.Bake).Sub(s.Now); left > 0 {
			m.Wait = least(left, s.untilLimit())
			return m
		}
		if last {
			enter(platform.RolloutLingering)
			return m
		}
		r.Step++
		r.Old, r.New = s.Plan.Steps[r.Step].Old, s.Plan.Steps[r.Step].New
		enter(platform.RolloutPreparing)
	default: // lingering
		if left := r.Since.Add(s.Plan.Linger).Sub(s.Now); left > 0 {
			m.Wait = left
		} else if s.New.Whole { // an instance that was lost meanwhile comes up again while the old fleet is there
			m.Verdict = Done
		}
	}
	return m
}

// goBack brings the requests back to the old fleet: at once when it is all there, else as its instances come up again.
func goBack(s Standing) Move {
	m := Move{Rollout: s.Rollout}
	r := &m.Rollout
	batches := r.Old > 0
	if s.Old.Whole && (!batches || r.Old >= s.Old.Desired) {
		r.Share, m.Verdict = 0, Undone
		return m
	}
	// 1. What is back has its part of the requests, and the new fleet keeps what it needs for the rest.
	r.Share = min(r.Share, max(0, 1-float64(s.Old.Ready)/float64(max(s.Old.Desired, 1))))
	if batches {
		r.New = min(r.New, max(1, int(math.Ceil(r.Share*float64(s.New.Desired)))))
	}
	// 2. The next batch comes when the one before is there.
	if s.Old.Whole {
		r.Old = min(r.Old+s.Plan.Return, s.Old.Desired)
	}
	// 3. It may be that they do not come up any more.
	stage := platform.RolloutReturning
	if s.Old.Failing {
		stage = platform.RolloutStuck
	}
	if r.Stage != stage {
		r.Stage, r.Since = stage, s.Now
	}
	return m
}

// untilLimit is how long the update may still take; 0: as long as it likes.
func (s Standing) untilLimit() time.Duration {
	if s.Plan.Limit == 0 {
		return 0
	}
	return s.Began.Add(s.Plan.Limit).Sub(s.Now)
}

// least gives the smaller of two times, of which 0 is none.
func least(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
