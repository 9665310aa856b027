package scale

import (
	"fmt"
	"time"
)

// How many periods are looked back on: as many as the cooldown covers, within the bounds of AWS's own alarms. Who lets an
// action cool down for a minute only wants to see it soon.
const (
	mostOut            = 3
	fewestIn, mostIn   = 2, 15
	lowShare           = 0.9 // of the target: below there is too much capacity
	defaultOfSageMaker = 300 * time.Second
)

// Tracking is a target tracking policy.
type Tracking struct {
	Policy                  string
	Target                  float64
	Metric                  Metric
	OutCooldown, InCooldown time.Duration
	NoIn                    bool // only ever scales out
	HighAlarm, LowAlarm     string
}

// Point is the metric's value in one period; Known is false when there is none.
type Point struct {
	Known bool
	Value float64
}

// OutPeriods is how many periods in a row must be above the target to scale out.
func (t Tracking) OutPeriods() int { return min(max(1, t.covered(t.OutCooldown)), mostOut) }

// InPeriods is how many periods in a row must be below nine tenths of the target to scale in.
func (t Tracking) InPeriods() int { return min(max(fewestIn, t.covered(t.InCooldown)), mostIn) }

// LowThreshold is below what a period counts for scaling in.
func (t Tracking) LowThreshold() float64 { return t.Target * lowShare }

func (t Tracking) covered(cooldown time.Duration) int {
	return int((cooldown + t.Metric.Period - 1) / t.Metric.Period)
}

// Wish says what the policy asks for, from the points since the target's capacity last changed, the newest first. A point that is
// not known tells nothing: it neither scales out nor in.
func (t Tracking) Wish(points []Point, s Situation) Wish {
	hold := Wish{Desired: s.Current, Holds: !t.NoIn}
	if n := t.OutPeriods(); all(points, n, func(v float64) bool { return v > t.Target }) {
		desired := max(inProportion(s.Current, points[0].Value, t.Target), s.Current+1)
		if !s.mayGrow(desired, t.OutCooldown) {
			return hold
		}
		return Wish{Desired: desired, Holds: hold.Holds, Cause: t.cause(t.HighAlarm), Details: t.details(points[0].Value, s.Current, desired)}
	}
	n := t.InPeriods()
	if t.NoIn || s.Current <= s.Min || !all(points, n, func(v float64) bool { return v < t.LowThreshold() }) || !s.mayShrink(t.InCooldown) {
		return hold
	}
	busiest := 0.0
	for _, p := range points[:n] {
		busiest = max(busiest, p.Value)
	}
	desired := min(inProportion(s.Current, busiest, t.Target), s.Current)
	return Wish{Desired: desired, Holds: true, Cause: t.cause(t.LowAlarm), Details: t.details(busiest, s.Current, desired)}
}

func (t Tracking) cause(alarm string) string {
	return fmt.Sprintf("monitor alarm %s in state ALARM triggered policy %s", alarm, t.Policy)
}

func (t Tracking) details(value float64, current, desired int) string {
	return fmt.Sprintf("%s was %.4g with a capacity of %d, the target is %.4g: wants %d", t.Metric.Name, value, current, t.Target, desired)
}

// all reports whether the newest n points are known and hold.
func all(points []Point, n int, holds func(float64) bool) bool {
	if len(points) < n {
		return false
	}
	for _, p := range points[:n] {
		if !p.Known || !holds(p.Value) {
			return false
		}
	}
	return true
}
