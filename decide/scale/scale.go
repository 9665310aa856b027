// Package scale decides how much capacity a scalable target is to have: by target tracking (keep a metric near a value), by
// steps (answer an alarm's breach), and by the rules that join policies, cooldowns and bounds.
//
// The rules are those of "Target tracking scaling policies", "Step scaling policies" and "Define cooldown periods" in the
// Application Auto Scaling user guide: scale out at once and in proportion; scale in late, by what the busiest period that is
// looked back on would have needed. Where metrics are read and capacity is changed is the caller's matter.
package scale

import (
	"fmt"
	"math"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Situation is what every policy of a target sees.
type Situation struct {
	Now               time.Time
	Current, Min, Max int
	LastOut, LastIn   platform.ScalingStep // the last changes that were made; zero: never
	Backlog           bool                 // there is no capacity, and something waits for it
	NoOut, NoIn       bool                 // what the owner has suspended of policies
}

// Wish is what one policy asks for.
type Wish struct {
	Desired int    // the current capacity when the policy asks for nothing
	Cause   string // in AWS's words
	Details string // the figures behind it
	// Holds: as long as it asks for no less, this tracking policy keeps others from taking capacity away by tracking.
	Holds bool
	steps bool // by an alarm of the user's: nothing holds it
}

// Decision is what a target is to have, and why when that is a change.
type Decision struct {
	Desired        int
	Cause, Details string
}

// Decide joins what the policies of a target ask for. The result is within the bounds.
func Decide(wishes []Wish, s Situation) Decision {
	// 1. The bounds hold whatever policies say.
	switch {
	case s.Current < s.Min:
		return Decision{Desired: s.Min, Cause: fmt.Sprintf("minimum capacity was set to %d", s.Min)}
	case s.Current > s.Max:
		return Decision{Desired: s.Max, Cause: fmt.Sprintf("maximum capacity was set to %d", s.Max)}
	}
	// 2. Something waits and nothing is there: no metric per instance could tell.
	if s.Backlog && s.Current == 0 && s.Max > 0 && !s.NoOut {
		return Decision{Desired: 1, Cause: "there is a backlog without capacity"}
	}
	// 3. Out, as far as any policy asks for; else in, when no tracking policy holds, as little as any policy asks for.
	chosen := most(wishes, s)
	if chosen.Desired == s.Current {
		chosen = least(wishes, s)
	}
	desired := min(max(chosen.Desired, s.Min), s.Max)
	if desired == s.Current {
		return Decision{Desired: desired}
	}
	return Decision{Desired: desired, Cause: chosen.Cause, Details: chosen.Details}
}

// most chooses among those who would add capacity the one who adds the most.
func most(wishes []Wish, s Situation) Wish {
	chosen := Wish{Desired: s.Current}
	for _, w := range wishes {
		if w.Desired > chosen.Desired && !s.NoOut {
			chosen = w
		}
	}
	return chosen
}

// least chooses among those who would take capacity away the one who takes the least.
func least(wishes []Wish, s Situation) Wish {
	held := false
	for _, w := range wishes {
		held = held || w.Holds && w.Desired >= s.Current
	}
	chosen, found := Wish{Desired: s.Current}, false
	for _, w := range wishes {
		if w.Desired >= s.Current || s.NoIn || held && !w.steps {
			continue
		}
		if !found || w.Desired > chosen.Desired {
			chosen, found = w, true
		}
	}
	return chosen
}

// mayGrow applies a cooldown after a scale-out: until it is over only a larger step may follow.
func (s Situation) mayGrow(desired int, cooldown time.Duration) bool {
	last := s.LastOut
	return last.At.IsZero() || s.Now.Sub(last.At) >= cooldown || desired-s.Current > last.To-last.From
}

// mayShrink applies a cooldown before a scale-in, which begins with any change: capacity that has just come is not sent away.
func (s Situation) mayShrink(cooldown time.Duration) bool {
	for _, last := range []platform.ScalingStep{s.LastOut, s.LastIn} {
		if !last.At.IsZero() && s.Now.Sub(last.At) < cooldown {
			return false
		}
	}
	return true
}

// inProportion is the capacity at which a load that is the value on each of current would be at the target.
func inProportion(current int, value, target float64) int {
	const hair = 1e-9 // 3 × 0.1 ÷ 0.1 is 3, not 4
	return int(math.Ceil(min(float64(max(current, 1))*value/target-hair, math.MaxInt32)))
}
