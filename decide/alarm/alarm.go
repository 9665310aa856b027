// Package alarm decides the state of a metric alarm: from the statistics of the periods that it looks back on to OK, ALARM or
// INSUFFICIENT_DATA, with the reason in CloudWatch's words.
//
// The rules are those of "How alarm state is evaluated when data is missing" and "Avoiding premature transitions to alarm
// state" in the CloudWatch user guide; the tables there are this package's tests. When to look, and what follows from a state,
// is the caller's matter.
package alarm

import (
	"cmp"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/cloudwatch"
)

// The ways to treat missing data.
const (
	Missing      = "missing"
	Ignore       = "ignore"
	Breaching    = "breaching"
	NotBreaching = "notBreaching"
)

// The operators that compare with a fixed threshold.
const (
	GreaterOrEqual = model.ComparisonOperatorGreaterThanOrEqualToThreshold
	Greater        = model.ComparisonOperatorGreaterThanThreshold
	Less           = model.ComparisonOperatorLessThanThreshold
	LessOrEqual    = model.ComparisonOperatorLessThanOrEqualToThreshold
)

// settle is how long after the end of a period its figures are taken for whole: whoever counts writes every five seconds.
const settle = 6 * time.Second

// extra are the periods that an alarm looks back on beyond those that it evaluates, in case some of these are missing. CloudWatch
// tells of its own range only that it is 5 for 3.
const extra = 2

// Condition is what an alarm looks for.
type Condition struct {
	Statistic  model.Statistic
	Unit       string // of the values that count; empty: any
	Period     time.Duration
	Periods    int // evaluated: N
	Datapoints int // of these that must breach: M
	Operator   model.ComparisonOperator
	Threshold  float64
	Missing    string
}

// ConditionOf reads a valid request.
func ConditionOf(spec *model.PutMetricAlarmInput) Condition {
	periods := int(*spec.EvaluationPeriods)
	return Condition{
		Statistic: *spec.Statistic, Unit: string(shapes.Value(spec.Unit)), Period: time.Duration(*spec.Period) * time.Second,
		Periods: periods, Datapoints: cmp.Or(int(shapes.Value(spec.DatapointsToAlarm)), periods),
		Operator: *spec.ComparisonOperator, Threshold: *spec.Threshold, Missing: cmp.Or(shapes.Value(spec.TreatMissingData), Missing),
	}
}

// Every is how often there can be news of periods of a length: every minute, or every ten seconds of shorter ones.
func Every(period time.Duration) time.Duration {
	if period < time.Minute {
		return 10 * time.Second
	}
	return time.Minute
}

// Last is the end of the last period of a length whose figures are whole.
func Last(period time.Duration, now time.Time) time.Time {
	return now.Add(-settle).Truncate(Every(period))
}

// Next is when there can be news again.
func Next(period time.Duration, now time.Time) time.Time {
	return Last(period, now).Add(Every(period) + settle)
}

// Range is what the alarm looks back on: whole periods, aligned to its beginning.
func (c Condition) Range(now time.Time) (start, end time.Time) {
	end = Last(c.Period, now)
	return end.Add(-time.Duration(c.Periods+extra) * c.Period), end
}

// Value is one statistic of a period.
func Value(s platform.Statistics, statistic model.Statistic) float64 {
	switch statistic {
	case model.StatisticSampleCount:
		return s.Count
	case model.StatisticSum:
		return s.Sum
	case model.StatisticMinimum:
		return s.Minimum
	case model.StatisticMaximum:
		return s.Maximum
	default:
		return s.Sum / s.Count
	}
}

func (c Condition) breached(value float64) bool {
	switch c.Operator {
	case GreaterOrEqual:
		return value >= c.Threshold
	case Greater:
		return value > c.Threshold
	case Less:
		return value < c.Threshold
	default:
		return value <= c.Threshold
	}
}

// point is one period with data.
type point struct {
	platform.Statistics
	value    float64
	breaches bool
	age      int // 1 is the newest period
}

// points are the periods with data, the newest first.
func (c Condition) points(found []platform.Statistics, end time.Time) []point {
	var out []point
	for i := len(found) - 1; i >= 0; i-- {
		s := found[i]
		if s.Count == 0 || c.Unit != "" && c.Unit != s.Unit {
			continue
		}
		v := Value(s, c.Statistic)
		out = append(out, point{s, v, c.breached(v), int(end.Sub(s.Start) / c.Period)})
	}
	return out
}

// Evaluate decides from the statistics of the Range at now, ascending as platform.Metrics gives them, and the state so far.
func (c Condition) Evaluate(found []platform.Statistics, now time.Time, was platform.AlarmState) Verdict {
	_, end := c.Range(now)
	all := c.points(found, end)
	used := all[:min(len(all), c.Periods)]
	breaching := 0
	for _, p := range used {
		if p.breaches {
			breaching++
		}
	}
	state := c.state(used, breaching, was)
	return Verdict{State: state, Reason: c.reason(state, used, c.Periods-len(used)), Data: c.data(used, now)}
}

// state applies the tables.
func (c Condition) state(used []point, breaching int, was platform.AlarmState) platform.AlarmState {
	filled := c.Periods - len(used)
	switch {
	// 1. Enough of what is known breaches, or all that is needed is known, or whatever is missing is known to be good.
	case breaching >= c.Datapoints:
		return platform.AlarmRings
	case filled == 0 || c.Missing == NotBreaching:
		return platform.AlarmOK
	// 2. What is missing breaches.
	case c.Missing == Breaching:
		if breaching+filled >= c.Datapoints {
			return platform.AlarmRings
		}
		return platform.AlarmOK
	// 3. Nothing is known.
	case len(used) == 0 && c.Missing == Missing:
		return platform.AlarmUnknown
	// 4. Some of what is known is good.
	case breaching < len(used):
		return platform.AlarmOK
	// 5. All that is known breaches, and began so long ago that what has not come since will not come to tell otherwise.
	case len(used) > 0 && c.Missing == Missing && used[len(used)-1].age >= c.Datapoints:
		return platform.AlarmRings
	// 6. It may be too early to tell.
	default:
		return was
	}
}
