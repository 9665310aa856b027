package scaling

import (
	"fmt"
	"slices"
	"time"

	"github.com/stint-ml/stint/decide/cron"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

// due is a scheduled action whose time has come.
type due struct {
	action *platform.ScheduledAction
	at     time.Time // the last of its times that have passed
}

// runSchedule carries out the scheduled actions whose times have come since they were dealt with last: each once, however many
// times it has missed, in the order of their last times. It gives when the next one comes. What is suspended passes by.
func (s *subject) runSchedule(now time.Time) (next time.Time, err error) {
	var all []due
	for i := range s.target.Actions {
		a := &s.target.Actions[i]
		last, upcoming, err := times(a, now)
		if err != nil {
			return next, err
		}
		if !last.IsZero() {
			all = append(all, due{a, last})
		}
		if !upcoming.IsZero() && (next.IsZero() || upcoming.Before(next)) {
			next = upcoming
		}
	}
	slices.SortStableFunc(all, func(a, b due) int { return a.at.Compare(b.at) })
	for _, d := range all {
		d.action.Done, s.changed = now, true
		if !s.target.Suspended.Scheduled {
			s.carryOut(d.action, now)
		}
	}
	return next, nil
}

// times gives the last time of an action that has passed and is not dealt with, and the next one; zero when there is none.
func times(a *platform.ScheduledAction, now time.Time) (last, next time.Time, err error) {
	schedule, err := cron.Parse(*a.Spec.Schedule)
	if err != nil {
		return last, next, platform.Errorf(platform.Internal, string(a.ARN), "schedule of a stored action: %w", err)
	}
	zone, err := time.LoadLocation(shapes.Value(a.Spec.Timezone))
	if err != nil {
		return last, next, platform.Errorf(platform.Internal, string(a.ARN), "time zone of a stored action: %w", err)
	}
	after, anchor := a.Done, a.Created
	if a.Spec.StartTime != nil {
		anchor = a.Spec.StartTime.Time
		if before := anchor.Add(-time.Nanosecond); before.After(after) {
			after = before
		}
	}
	for next = schedule.Next(after, anchor, zone); !next.IsZero(); next = schedule.Next(next, anchor, zone) {
		if a.Spec.EndTime != nil && next.After(a.Spec.EndTime.Time) {
			return last, time.Time{}, nil
		}
		if next.After(now) {
			break
		}
		last = next
	}
	return last, next, nil
}

// carryOut moves the target's bounds. One that is not named gives way when the other passes it.
func (s *subject) carryOut(a *platform.ScheduledAction, now time.Time) {
	t, do := s.target, a.Spec.ScalableTargetAction
	if do.MinCapacity != nil {
		t.Min = int(*do.MinCapacity)
		t.Max = max(t.Max, t.Min)
	}
	if do.MaxCapacity != nil {
		t.Max = int(*do.MaxCapacity)
		t.Min = min(t.Min, t.Max)
	}
	bounds := fmt.Sprintf("min capacity to %d and max capacity to %d", t.Min, t.Max)
	s.note(platform.ScalingActivity{
		Description: "Setting " + bounds, Cause: fmt.Sprintf("scheduled action name %s was triggered", *a.Spec.ScheduledActionName),
		Began: now, Ended: now, Status: successful, Message: "Successfully set " + bounds,
	})
}
