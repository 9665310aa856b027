package scale

import (
	"fmt"
	"math"
	"time"

	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/applicationautoscaling"
)

// Stepping is a step scaling policy.
type Stepping struct {
	Policy     string
	Adjustment model.AdjustmentType
	Steps      []model.StepAdjustment
	Least      int // that a change in percent changes
	Cooldown   time.Duration
	Statistic  model.MetricAggregationType // of the alarm's values
}

// SteppingOf reads a valid policy.
func SteppingOf(in *model.PutScalingPolicyRequest) Stepping {
	c := in.StepScalingPolicyConfiguration
	return Stepping{
		Policy: *in.PolicyName, Adjustment: shapes.Value(c.AdjustmentType), Steps: c.StepAdjustments, Least: int(shapes.Value(c.MinAdjustmentMagnitude)),
		Cooldown: cooldown(c.Cooldown), Statistic: shapes.Value(c.MetricAggregationType),
	}
}

// Value joins the values that an alarm has evaluated, of which there is at least one.
func (t Stepping) Value(values []float64) float64 {
	low, high, sum := values[0], values[0], 0.0
	for _, v := range values {
		low, high, sum = min(low, v), max(high, v), sum+v
	}
	switch t.Statistic {
	case model.MetricAggregationTypeMinimum:
		return low
	case model.MetricAggregationTypeMaximum:
		return high
	default:
		return sum / float64(len(values))
	}
}

// Wish says what the policy asks for when an alarm triggers it; breach is how far the metric is above the alarm's threshold.
func (t Stepping) Wish(alarm string, breach float64, s Situation) Wish {
	hold := Wish{Desired: s.Current, steps: true}
	step, found := t.find(breach)
	if !found {
		return hold
	}
	desired := min(max(t.adjusted(s.Current, int(*step.ScalingAdjustment)), s.Min), s.Max)
	if desired > s.Current && !s.mayGrow(desired, t.Cooldown) || desired < s.Current && !s.mayShrink(t.Cooldown) {
		return hold
	}
	return Wish{
		Desired: desired, steps: true, Cause: fmt.Sprintf("monitor alarm %s in state ALARM triggered policy %s", alarm, t.Policy),
		Details: fmt.Sprintf("the metric is %.4g from the alarm's threshold with a capacity of %d: wants %d", breach, s.Current, desired),
	}
}

// find finds the step whose interval a breach is in. Above the threshold the lower bound belongs to an interval, below it the
// upper one.
func (t Stepping) find(breach float64) (model.StepAdjustment, bool) {
	for _, s := range t.Steps {
		low, high := math.Inf(-1), math.Inf(1)
		if s.MetricIntervalLowerBound != nil {
			low = *s.MetricIntervalLowerBound
		}
		if s.MetricIntervalUpperBound != nil {
			high = *s.MetricIntervalUpperBound
		}
		if breach >= 0 && breach >= low && breach < high || breach < 0 && breach > low && breach <= high {
			return s, true
		}
	}
	return model.StepAdjustment{}, false
}

// adjusted applies a step. Percents above 1 are rounded down to a whole, those between 0 and 1 up to 1, and so below 0.
func (t Stepping) adjusted(current, by int) int {
	switch t.Adjustment {
	case model.AdjustmentTypeExactCapacity:
		return by
	case model.AdjustmentTypePercentChangeInCapacity:
		change := float64(current) * float64(by) / 100
		whole := int(math.Trunc(change))
		if whole == 0 && change != 0 {
			whole = int(math.Copysign(1, change))
		}
		if whole > 0 {
			whole = max(whole, t.Least)
		}
		if whole < 0 {
			whole = min(whole, -t.Least)
		}
		return current + whole
	default:
		return current + by
	}
}
