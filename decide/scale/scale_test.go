package scale

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/applicationautoscaling"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// tracking aims at 100, with cooldowns of five minutes.
func tracking() Tracking {
	return Tracking{
		Policy: "p", Target: 100, Metric: Metric{Series: platform.Series{Name: "m"}, Period: time.Minute},
		OutCooldown: 5 * time.Minute, InCooldown: 5 * time.Minute, HighAlarm: "high", LowAlarm: "low",
	}
}

func points(values ...float64) (out []Point) {
	for _, v := range values {
		out = append(out, Point{Known: !math.IsNaN(v), Value: v})
	}
	return out
}

func times(n int, v float64) (out []float64) {
	for range n {
		out = append(out, v)
	}
	return out
}

func step(minutesAgo time.Duration, from, to int) platform.ScalingStep {
	return platform.ScalingStep{At: noon.Add(-minutesAgo * time.Minute), From: from, To: to}
}

func TestTargetTracking(t *testing.T) {
	t.Parallel()
	gone := math.NaN()
	for what, c := range map[string]struct {
		values []float64 // the newest first
		change func(*Tracking, *Situation)
		want   int
	}{
		"above the target for three periods, in proportion to the newest": {[]float64{250, 150, 101}, nil, 5},
		"twice the load, twice the capacity":                              {times(3, 200), nil, 4},
		"a little above is one more":                                      {times(3, 101), nil, 3},
		"two periods above are too few":                                   {[]float64{500, 500, 99, 500}, nil, 2},
		"a gap tells nothing":                                             {[]float64{500, gone, 500, 500}, nil, 2},
		"nothing is known yet":                                            {nil, nil, 2},
		"never above the most":                                            {times(3, 1e9), nil, 10},
		"a short cooldown looks back on less":                             {[]float64{500}, func(t *Tracking, _ *Situation) { t.OutCooldown = time.Minute }, 10},
		"cooling down":                                                    {times(3, 150), func(_ *Tracking, s *Situation) { s.LastOut = step(4, 1, 2) }, 2},
		"cooled down":                                                     {times(3, 150), func(_ *Tracking, s *Situation) { s.LastOut = step(5, 1, 2) }, 3},
		"a larger step need not cool down":                                {times(3, 200), func(_ *Tracking, s *Situation) { s.LastOut = step(1, 1, 2) }, 4},
		"a scale-in does not keep from scaling out":                       {times(3, 150), func(_ *Tracking, s *Situation) { s.LastIn = step(1, 3, 2) }, 3},
		"scaling out is suspended":                                        {times(3, 200), func(_ *Tracking, s *Situation) { s.NoOut = true }, 2},
		"below nine tenths for as long as the cooldown":                   {times(5, 40), nil, 1},
		"in, by what the busiest period needs":                            {[]float64{0, 0, 0, 0, 80}, func(_ *Tracking, s *Situation) { s.Current = 4 }, 4},
		"in, by what a busy period needs":                                 {[]float64{0, 0, 0, 0, 60}, func(_ *Tracking, s *Situation) { s.Current = 4 }, 3},
		"nine tenths are not below":                                       {times(5, 90), nil, 2},
		"four periods are too few":                                        {append(times(4, 0), 95), nil, 2},
		"never below the least":                                           {times(5, 0), func(_ *Tracking, s *Situation) { s.Current, s.Min = 4, 2 }, 2},
		"to nothing, where that is allowed":                               {times(5, 0), func(_ *Tracking, s *Situation) { s.Min = 0 }, 0},
		"just scaled out":                                                 {times(5, 0), func(_ *Tracking, s *Situation) { s.LastOut = step(4, 1, 2) }, 2},
		"just scaled in":                                                  {times(5, 0), func(_ *Tracking, s *Situation) { s.Current, s.LastIn = 3, step(4, 4, 3) }, 3},
		"scale-in is disabled":                                            {times(5, 0), func(t *Tracking, _ *Situation) { t.NoIn = true }, 2},
		"scaling in is suspended":                                         {times(5, 0), func(_ *Tracking, s *Situation) { s.NoIn = true }, 2},
		"two periods at least, whatever the cooldown":                     {times(1, 0), func(t *Tracking, _ *Situation) { t.InCooldown = 0 }, 2},
		"from nothing, by what waits":                                     {times(3, 250), func(_ *Tracking, s *Situation) { s.Current, s.Min = 0, 0 }, 3},
		"the least was raised":                                            {nil, func(_ *Tracking, s *Situation) { s.Min = 3 }, 3},
		"the most was lowered":                                            {times(3, 200), func(_ *Tracking, s *Situation) { s.Current, s.Max = 9, 6 }, 6},
		"a backlog without capacity":                                      {nil, func(_ *Tracking, s *Situation) { s.Current, s.Min, s.Backlog = 0, 0, true }, 1},
		"a backlog with capacity says nothing":                            {nil, func(_ *Tracking, s *Situation) { s.Backlog = true }, 2},
	} {
		policy, s := tracking(), Situation{Now: noon, Current: 2, Min: 1, Max: 10}
		if c.change != nil {
			c.change(&policy, &s)
		}
		got := Decide([]Wish{policy.Wish(points(c.values...), s)}, s)
		if got.Desired != c.want || (got.Cause == "") != (got.Desired == s.Current) {
			t.Errorf("%s: %+v, want %d", what, got, c.want)
		}
	}
}

func TestADecisionSaysWhyInAWSsWords(t *testing.T) {
	t.Parallel()
	s := Situation{Now: noon, Current: 2, Min: 1, Max: 10}
	got := Decide([]Wish{tracking().Wish(points(250, 150, 101), s)}, s)
	if got.Cause != "monitor alarm high in state ALARM triggered policy p" || got.Details != "m was 250 with a capacity of 2, the target is 100: wants 5" {
		t.Errorf("%+v", got)
	}
}

func TestStepScaling(t *testing.T) {
	t.Parallel()
	at := func(low, high *float64, by int32) model.StepAdjustment {
		return model.StepAdjustment{MetricIntervalLowerBound: low, MetricIntervalUpperBound: high, ScalingAdjustment: &by}
	}
	f := func(v float64) *float64 { return &v }
	out := []model.StepAdjustment{at(f(0), f(10), 1), at(f(10), nil, 3)}
	in := []model.StepAdjustment{at(f(-10), f(0), -1), at(nil, f(-10), -3)}
	for what, c := range map[string]struct {
		adjustment model.AdjustmentType
		steps      []model.StepAdjustment
		breach     float64
		current    int
		change     func(*Stepping, *Situation)
		want       int
	}{
		"the first step, its lower bound included": {"ChangeInCapacity", out, 0, 4, nil, 5},
		"the second step from its lower bound":     {"ChangeInCapacity", out, 10, 4, nil, 7},
		"no step for it":                           {"ChangeInCapacity", out, -1, 4, nil, 4},
		"down, the upper bound included":           {"ChangeInCapacity", in, -10, 6, nil, 3},
		"down, by one":                             {"ChangeInCapacity", in, -9, 6, nil, 5},
		"exactly":                                  {"ExactCapacity", []model.StepAdjustment{at(nil, nil, 7)}, 3, 4, nil, 7},
		"percent, rounded down":                    {"PercentChangeInCapacity", []model.StepAdjustment{at(nil, nil, 30)}, 3, 5, nil, 6},
		"percent, at least one":                    {"PercentChangeInCapacity", []model.StepAdjustment{at(nil, nil, 1)}, 3, 5, nil, 6},
		"percent down, towards zero":               {"PercentChangeInCapacity", []model.StepAdjustment{at(nil, nil, -30)}, -3, 5, nil, 4},
		"percent, the least magnitude":             {"PercentChangeInCapacity", []model.StepAdjustment{at(nil, nil, 1)}, 3, 5, func(t *Stepping, _ *Situation) { t.Least = 2 }, 7},
		"never above the most":                     {"ChangeInCapacity", []model.StepAdjustment{at(nil, nil, 100)}, 3, 5, nil, 10},
		"cooling down":                             {"ChangeInCapacity", out, 1, 5, func(_ *Stepping, s *Situation) { s.LastOut = step(1, 4, 5) }, 5},
		"a larger step":                            {"ChangeInCapacity", out, 11, 5, func(_ *Stepping, s *Situation) { s.LastOut = step(1, 4, 5) }, 8},
		"from nothing":                             {"ChangeInCapacity", out, 1, 0, func(_ *Stepping, s *Situation) { s.Min = 0 }, 1},
	} {
		policy, s := Stepping{Policy: "p", Adjustment: c.adjustment, Steps: c.steps, Cooldown: 5 * time.Minute}, Situation{Now: noon, Current: c.current, Min: 1, Max: 10}
		if c.change != nil {
			c.change(&policy, &s)
		}
		if got := Decide([]Wish{policy.Wish("a", c.breach, s)}, s); got.Desired != c.want {
			t.Errorf("%s: %+v, want %d", what, got, c.want)
		}
	}
	for statistic, want := range map[model.MetricAggregationType]float64{"": 2, "Average": 2, "Minimum": 1, "Maximum": 3} {
		if got := (Stepping{Statistic: statistic}).Value([]float64{2, 1, 3}); got != want {
			t.Errorf("%q of 2, 1 and 3 is %v, want %v", statistic, got, want)
		}
	}
}

func TestPoliciesTogether(t *testing.T) {
	t.Parallel()
	s := Situation{Now: noon, Current: 5, Min: 1, Max: 10}
	for what, c := range map[string]struct {
		wishes []Wish
		want   int
	}{
		"out, as far as any asks":                 {[]Wish{{Desired: 6}, {Desired: 8}, {Desired: 5, Holds: true}, {Desired: 1}}, 8},
		"in only when all track so, and the less": {[]Wish{{Desired: 2, Holds: true}, {Desired: 4, Holds: true}}, 4},
		"one holds":                              {[]Wish{{Desired: 2, Holds: true}, {Desired: 5, Holds: true}}, 5},
		"one that only scales out does not hold": {[]Wish{{Desired: 2, Holds: true}, {Desired: 5}}, 2},
		"a step in is not held":                  {[]Wish{{Desired: 3, steps: true}, {Desired: 5, Holds: true}}, 3},
		"nobody asks":                            {nil, 5},
	} {
		if got := Decide(c.wishes, s); got.Desired != c.want {
			t.Errorf("%s: %+v, want %d", what, got, c.want)
		}
	}
}

// A load that goes up and down as it likes, over a day: the capacity stays within its bounds, a scale-in never follows any
// change sooner than its cooldown, and a load that stays is served within the target as far as the bounds allow.
func TestTrackingFollowsAnyLoadWithoutFlapping(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policy := tracking()
		policy.OutCooldown = time.Duration(rapid.IntRange(0, 600).Draw(t, "out")) * time.Second
		policy.InCooldown = time.Duration(rapid.IntRange(0, 600).Draw(t, "in")) * time.Second
		s := Situation{Now: noon, Min: rapid.IntRange(0, 3).Draw(t, "min")}
		s.Max = s.Min + rapid.IntRange(0, 10).Draw(t, "span")
		s.Current = rapid.IntRange(0, 15).Draw(t, "current")
		var seen []Point
		load, steady := 0.0, 0
		for range 200 {
			if rapid.IntRange(0, 20).Draw(t, "turn") == 0 {
				load, steady = rapid.Float64Range(0, 2000).Draw(t, "load"), 0
			}
			steady++
			s.Now = s.Now.Add(time.Minute)
			seen = append(points(load/float64(max(s.Current, 1))), seen...)
			before := s
			if s = follow(t, policy, s, seen); s.Current != before.Current {
				seen = nil
			}
			if steady > 40 {
				checkSettled(t, policy, s, load)
			}
		}
	})
}

// follow lets the policy decide and carries it out.
func follow(t *rapid.T, policy Tracking, s Situation, seen []Point) Situation {
	d := Decide([]Wish{policy.Wish(seen, s)}, s)
	if d.Desired < s.Min || d.Desired > s.Max {
		t.Fatalf("%d is not between %d and %d", d.Desired, s.Min, s.Max)
	}
	step := platform.ScalingStep{At: s.Now, From: s.Current, To: d.Desired}
	if d.Desired > s.Current {
		s.LastOut = step
	}
	if d.Desired < s.Current {
		for _, last := range []platform.ScalingStep{s.LastIn, s.LastOut} {
			if since := s.Now.Sub(last.At); s.Current <= s.Max && since < policy.InCooldown {
				t.Fatalf("scaled in %v after the last change", since)
			}
		}
		s.LastIn = step
	}
	s.Current = d.Desired
	return s
}

// checkSettled sees that a load that has stayed for long has what it needs, and not much more.
func checkSettled(t *rapid.T, policy Tracking, s Situation, load float64) {
	if s.Current < s.Max && load/float64(max(s.Current, 1)) > policy.Target {
		t.Fatalf("a load of %v is left to %d", load, s.Current)
	}
	if s.Current > max(s.Min, 1) && load/float64(s.Current-1) < policy.Target*lowShare*lowShare {
		t.Fatalf("a load of %v keeps %d", load, s.Current)
	}
}

func TestAPolicyIsReadWithAWSsDefaults(t *testing.T) {
	t.Parallel()
	kind := model.MetricTypeSageMakerVariantInvocationsPerInstance
	in := &model.PutScalingPolicyRequest{PolicyName: new("p"), TargetTrackingScalingPolicyConfiguration: &model.TargetTrackingScalingPolicyConfiguration{
		TargetValue: new(70.0), PredefinedMetricSpecification: &model.PredefinedMetricSpecification{PredefinedMetricType: &kind},
	}}
	got := TrackingOf(in, platform.VariantName{Endpoint: "e", Variant: "v"}, []string{"h", "l"})
	if got.OutCooldown != 300*time.Second || got.OutPeriods() != 3 || got.InPeriods() != 5 || math.Abs(got.LowThreshold()-63) > 1e-9 ||
		got.Metric.Dimensions["EndpointName"] != "e" || got.Metric.Dimensions["VariantName"] != "v" || !strings.HasPrefix(got.Metric.Namespace, "AWS/") {
		t.Errorf("%+v", got)
	}
}
