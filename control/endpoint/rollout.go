package endpoint

import (
	"context"
	"time"

	"github.com/stint-ml/stint/decide/rollout"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

const (
	// alarmsEvery is how often the alarms of an update are looked at: as finely as an alarm can tell.
	alarmsEvery = time.Second
	// drainsEvery is how often an instance that leaves is asked whether it still has requests under way.
	drainsEvery = 50 * time.Millisecond
)

// observed is what is known of alarms, by their names.
type observed map[string]bool

// observe looks at the alarms that could end an endpoint's update.
func (c *Controller) observe(ctx context.Context, e *platform.Endpoint) (observed, error) {
	seen := observed{}
	for _, name := range alarms(&e.Status) {
		state, err := c.Alarms.AlarmState(ctx, name)
		if err != nil && !platform.Is(err, platform.NotFound) { // one that was deleted meanwhile cannot go off
			return nil, err
		}
		seen[name] = state == platform.AlarmRings
	}
	return seen, nil
}

// alarms are the names of those that could end the update that is under way.
func alarms(st *platform.EndpointStatus) []string {
	if st.Coming == nil || st.Serving == nil || st.Policy == nil || st.Policy.AutoRollbackConfiguration == nil {
		return nil
	}
	var names []string
	for _, a := range st.Policy.AutoRollbackConfiguration.Alarms {
		names = append(names, shapes.Value(a.AlarmName))
	}
	return names
}

// roll brings an update as far as it may go now. Where an alarm was not looked at nothing moves: the update is newer than the
// look, and its own record asks for the next one.
func (c *Controller) roll(e *platform.Endpoint, seen observed, now time.Time) (changed bool, err error) {
	st := &e.Status
	for st.Coming != nil {
		s, known := standing(st, seen, now)
		if !known {
			return changed, nil
		}
		if st.Rollout == nil {
			first := rollout.Begin(s.Plan, now)
			st.Rollout, s.Rollout, changed = &first, first, true
			limit(st)
			continue
		}
		move := rollout.Next(s)
		switch move.Verdict {
		case rollout.Done:
			st.Leave(st.Serving, now)
			st.Serving, st.Coming, st.Config, st.Rollout, st.FailureReason = st.Coming, nil, st.Coming.Config, nil, ""
			st.Serving.Limit(0)
			return true, st.Enter(platform.EndpointInService, now)
		case rollout.Undone:
			return true, abandon(st, move.Rollout.Reason, now)
		}
		if move.Rollout == *st.Rollout {
			return limit(st) || changed, nil
		}
		*st.Rollout, changed = move.Rollout, true
		limit(st)
		if err := c.stateOf(e, now); err != nil {
			return true, err
		}
		shrink(st, st.Serving, now)
		shrink(st, st.Coming, now)
	}
	return changed, nil
}

// stateOf is what the stage of an update means for the endpoint's state.
func (c *Controller) stateOf(e *platform.Endpoint, now time.Time) error {
	st, to := &e.Status, e.Status.State
	switch st.Rollout.Stage {
	case platform.RolloutReturning:
		to = platform.EndpointRollingBack
	case platform.RolloutStuck:
		to = platform.EndpointUpdateRollbackFailed
	}
	if st.State == platform.EndpointUpdateRollbackFailed {
		return nil // it goes on in silence, and is in service again if it comes to an end
	}
	if to != st.State {
		c.Log.Warn("an update goes back", "endpoint", *e.Spec.EndpointName, "stage", st.Rollout.Stage, "reason", st.Rollout.Reason)
		st.FailureReason = st.Rollout.Reason
	}
	return st.Enter(to, now)
}

// limit lays the bounds of the update's step over both fleets; it tells whether anything changed.
func limit(st *platform.EndpointStatus) (changed bool) {
	for _, f := range []struct {
		fleet *platform.Deployment
		bound int
	}{{st.Serving, st.Rollout.Old}, {st.Coming, st.Rollout.New}} {
		if f.fleet != nil && f.fleet.Variants[0].Limit != f.bound {
			f.fleet.Limit(f.bound)
			changed = true
		}
	}
	return changed
}

// standing is how the update stands; false where an alarm is not known.
func standing(st *platform.EndpointStatus, seen observed, now time.Time) (rollout.Standing, bool) {
	s := rollout.Standing{
		Plan: rollout.Read(st.Policy, st.Serving.Counts(), st.Coming.Counts()), Began: st.Coming.Began, Now: now,
		Old: fleet(st.Serving), New: fleet(st.Coming), Failure: hopeless(st.Coming),
	}
	if st.Rollout != nil {
		s.Rollout = *st.Rollout
	}
	for _, name := range alarms(st) {
		off, known := seen[name]
		if !known {
			return s, false
		}
		if off && s.Alarm == "" {
			s.Alarm = name
		}
	}
	return s, true
}

func fleet(d *platform.Deployment) rollout.Fleet {
	if d == nil {
		return rollout.Fleet{Whole: true}
	}
	f := rollout.Fleet{Ready: d.Ready(), Whole: d.Whole()}
	for v := range d.Variants {
		f.Desired += d.Variants[v].Desired
		variant := &d.Variants[v]
		f.Failing = f.Failing || variant.Ready() < variant.Wanted() && (variant.Failures >= triesOfPlatform || variant.Hopeless != "")
	}
	return f
}

// nextMove is when an update is to be looked at again though nothing changes; 0: there is none, or it waits for a change.
func (c *Controller) nextMove(e *platform.Endpoint, seen observed, now time.Time) time.Duration {
	st := &e.Status
	if st.Coming == nil || st.Rollout == nil {
		return 0
	}
	s, known := standing(st, seen, now)
	if !known {
		return alarmsEvery
	}
	wait := rollout.Next(s).Wait
	if len(seen) > 0 {
		return sooner(wait, alarmsEvery)
	}
	return wait
}

// draining tells whether an instance that is to leave still has requests under way. One of an endpoint that is deleted is not
// waited for: the endpoint answers nothing more.
func (c *Controller) draining(e *platform.Endpoint, r *platform.Replica) bool {
	drains, can := c.Routes.(platform.Drains)
	return can && e.Status.State != platform.EndpointDeleting && drains.Busy(r.Agent)
}
