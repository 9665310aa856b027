package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/applicationautoscaling"
	"github.com/stint-ml/stint/shapes/cloudwatch"
)

// scaled makes a world in which "e" serves, within bounds and with room for all.
func scaled(t *testing.T, low, high int) *Scaled {
	t.Helper()
	w, err := NewScaled(t.Context(), platform.Capacity{MilliCPU: 64_000, MemoryBytes: 64 << 30}, low, high)
	if err != nil {
		t.Fatal(err)
	}
	w.pass(t, 30*time.Second)
	w.serves(t, low)
	return w
}

// pass lets time pass in steps of ten seconds, or at once when there is no server to see it.
func (w *Scaled) pass(t *testing.T, d time.Duration) {
	t.Helper()
	for step := 10 * time.Second; d > 0; d -= step {
		if !w.ServerUp {
			step = d
		}
		if err := w.Pass(t.Context(), min(d, step)); err != nil {
			t.Fatal(err)
		}
	}
}

// serves sees how many instances answer.
func (w *Scaled) serves(t *testing.T, want int) {
	t.Helper()
	if n := w.answering(t); n != want {
		target, err := w.Target(t.Context())
		t.Errorf("%v: %d instances answer, want %d; the target is %+v: %v", w.Clock.Now().Format("15:04:05"), n, want, target, err)
	}
}

func (w *Scaled) target(t *testing.T) *platform.ScalableTarget {
	t.Helper()
	target, err := w.Target(t.Context())
	if err != nil || target == nil {
		t.Fatalf("there is no target: %v", err)
	}
	return target
}

func (w *Scaled) track(t *testing.T, perMinute float64, cooldown time.Duration) {
	t.Helper()
	if err := w.Track(t.Context(), perMinute, cooldown); err != nil {
		t.Fatal(err)
	}
}

func TestInstancesFollowTheLoadAndItsEnd(t *testing.T) {
	t.Parallel()
	w := scaled(t, 1, 8)
	w.track(t, 600, 5*time.Minute)
	w.Load = 9 // 540 a minute: below the target
	w.pass(t, 20*time.Minute)
	w.serves(t, 1)
	w.Load = 18 // doubles
	w.pass(t, 2*time.Minute)
	w.serves(t, 1) // three minutes above the target are not over yet
	w.pass(t, 2*time.Minute)
	w.serves(t, 2)
	w.Load = 1000 // more than all can take
	w.pass(t, 5*time.Minute)
	w.serves(t, 8)
	w.Load = 0
	w.pass(t, 4*time.Minute)
	w.serves(t, 8) // it cools down
	w.pass(t, 7*time.Minute)
	w.serves(t, 1)
	a := w.target(t).Activities
	if len(a) != 3 || a[0].From != 8 || a[0].To != 1 || a[0].Status != "Successful" || a[0].Ended.IsZero() ||
		!strings.HasPrefix(a[0].Message, "Successfully set desired instance count to 1.") || a[2].Description != "Setting desired instance count to 2." {
		t.Errorf("the past is %+v", a)
	}
}

// A server that was away knows of no requests in that time: that is no reason to scale in.
func TestARestartIsNoSilence(t *testing.T) {
	t.Parallel()
	w := scaled(t, 1, 4)
	w.track(t, 600, time.Minute)
	w.Load = 35
	w.pass(t, 5*time.Minute)
	w.serves(t, 4)
	w.Crash()
	w.pass(t, 30*time.Minute)
	w.Again()
	w.pass(t, 20*time.Minute)
	w.serves(t, 4)
	if n := len(w.target(t).Activities); n != 1 {
		t.Errorf("there are %d activities, want the one from before", n)
	}
}

func TestACrashWhileScalingIsTakenUp(t *testing.T) {
	t.Parallel()
	w := scaled(t, 1, 4)
	w.track(t, 600, time.Minute)
	w.Load = 35
	for w.target(t).Underway() == nil {
		w.pass(t, 10*time.Second)
	}
	w.Crash()
	w.pass(t, time.Minute)
	w.Again()
	w.pass(t, time.Minute)
	w.serves(t, 4)
	if a := w.target(t).Activities; len(a) != 1 || a[0].Status != "Successful" {
		t.Errorf("the past is %+v", a)
	}
}

func TestBoundsHoldAtOnceAndATargetGoesWithItsEndpoint(t *testing.T) {
	t.Parallel()
	w := scaled(t, 1, 4)
	target := w.target(t)
	target.Min = 3
	if err := w.Put(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	w.pass(t, 30*time.Second)
	w.serves(t, 3)
	target = w.target(t)
	target.Min, target.Max = 1, 2
	if err := w.Put(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	w.pass(t, 30*time.Second)
	w.serves(t, 2)
	if a := w.target(t).Activities; a[1].Cause != "minimum capacity was set to 3" || a[0].Cause != "maximum capacity was set to 2" {
		t.Errorf("the past is %+v", a)
	}
	if err := w.Change(t.Context(), "e", remove(w.Serving)); err != nil {
		t.Fatal(err)
	}
	w.pass(t, 30*time.Second)
	if target, err := w.Target(t.Context()); target != nil || err != nil {
		t.Errorf("the endpoint has gone, and its target is %+v: %v", target, err)
	}
}

// Without room a change does not come to be; it is taken back, so that the endpoint can be changed again.
func TestAChangeWithoutRoomIsTakenBack(t *testing.T) {
	t.Parallel()
	w, err := NewScaled(t.Context(), platform.Capacity{MilliCPU: 64_000, MemoryBytes: 2 << 30}, 1, 4)
	if err != nil {
		t.Fatal(err)
	}
	w.pass(t, 30*time.Second)
	w.track(t, 600, 10*time.Minute)
	w.Load = 35
	w.pass(t, 15*time.Minute)
	w.serves(t, 1)
	a := w.target(t).Activities
	if len(a) != 1 || a[0].Status != "Unfulfilled" || !strings.Contains(a[0].Message, "no room") {
		t.Errorf("the past is %+v", a)
	}
	if e, err := w.Endpoint(t.Context(), "e"); err != nil || e.Status.State != platform.EndpointInService {
		t.Errorf("the endpoint is %+v: %v", e, err)
	}
}

// schedule gives the target an action.
func (w *Scaled) schedule(t *testing.T, name, when string, low, high int32) {
	t.Helper()
	target := w.target(t)
	target.Actions = append(target.Actions, platform.ScheduledAction{Created: w.Clock.Now(), Done: w.Clock.Now(), Spec: applicationautoscaling.PutScheduledActionRequest{
		ScheduledActionName: &name, Schedule: &when, ScalableTargetAction: &applicationautoscaling.ScalableTargetAction{MinCapacity: &low, MaxCapacity: &high},
	}})
	if err := w.Put(t.Context(), target); err != nil {
		t.Fatal(err)
	}
}

// fired counts how often each action was carried out.
func (w *Scaled) fired(t *testing.T) map[string]int {
	t.Helper()
	times := map[string]int{}
	for _, a := range w.target(t).Activities {
		if _, rest, found := strings.Cut(a.Cause, "scheduled action name "); found {
			times[strings.Fields(rest)[0]]++
		}
	}
	return times
}

func TestScheduledActionsHappenOnceAlsoAcrossARestart(t *testing.T) {
	t.Parallel()
	w := scaled(t, 1, 4) // it is midnight and a half minute
	w.schedule(t, "up", "cron(10 * * * ? *)", 3, 4)
	w.schedule(t, "down", "cron(20 * * * ? *)", 1, 4)
	w.schedule(t, "once", "at(2026-01-01T00:15:00)", 4, 4)
	w.pass(t, 11*time.Minute)
	w.serves(t, 3)
	w.pass(t, 5*time.Minute)
	w.serves(t, 4)
	w.Crash()
	w.pass(t, 5*time.Hour+10*time.Minute) // 5 × up and 6 × down are missed; the last of them is down
	w.Again()
	w.pass(t, time.Minute)
	if got := fmt.Sprint(w.fired(t)); got != "map[down:1 once:1 up:2]" {
		t.Errorf("they happened %s times", got)
	}
	if target := w.target(t); target.Min != 1 {
		t.Errorf("the bounds are %d and %d; the action that came last has the word", target.Min, target.Max)
	}
	w.pass(t, time.Hour)
	if got := fmt.Sprint(w.fired(t)); got != "map[down:2 once:1 up:3]" {
		t.Errorf("they happened %s times", got)
	}
}

func TestSuspendedSchedulesPassBy(t *testing.T) {
	t.Parallel()
	w := scaled(t, 1, 4)
	w.schedule(t, "once", "at(2026-01-01T00:05:00)", 4, 4)
	target := w.target(t)
	target.Suspended.Scheduled = true
	if err := w.Put(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	w.pass(t, 6*time.Minute)
	target = w.target(t)
	target.Suspended.Scheduled = false
	if err := w.Put(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	w.pass(t, 6*time.Minute)
	w.serves(t, 1)
}

// A step scaling policy answers the alarm that names it.
func TestAStepFollowsItsAlarm(t *testing.T) {
	t.Parallel()
	w := scaled(t, 1, 8)
	arn := "arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:1:resource/sagemaker/endpoint/e/variant/AllTraffic:policyName/s"
	target := w.target(t)
	target.Policies = append(target.Policies, platform.ScalingPolicy{ARN: platform.ARN(arn), Spec: applicationautoscaling.PutScalingPolicyRequest{
		PolicyName: new("s"), StepScalingPolicyConfiguration: &applicationautoscaling.StepScalingPolicyConfiguration{
			AdjustmentType: new(applicationautoscaling.AdjustmentTypeChangeInCapacity), Cooldown: new(int32(60)),
			StepAdjustments: []applicationautoscaling.StepAdjustment{
				{MetricIntervalLowerBound: new(0.0), MetricIntervalUpperBound: new(10.0), ScalingAdjustment: new(int32(1))},
				{MetricIntervalLowerBound: new(10.0), ScalingAdjustment: new(int32(3))},
			},
		},
	}})
	if err := w.Put(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	a := &platform.Alarm{Spec: cloudwatch.PutMetricAlarmInput{
		AlarmName: new("queue"), Namespace: new("n"), MetricName: new("queue"), Statistic: new(cloudwatch.StatisticMaximum), Period: new(int32(10)),
		EvaluationPeriods: new(int32(1)), Threshold: new(5.0), ComparisonOperator: new(cloudwatch.ComparisonOperatorGreaterThanThreshold),
		TreatMissingData: new("notBreaching"), AlarmActions: []string{arn},
	}}
	a.Status.Enter(platform.AlarmUnknown, "new", "", w.Clock.Now())
	rec, err := a.Record(platform.Record{}, w.Clock.Now())
	if err == nil {
		err = w.Store.Store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	w.pass(t, 5*time.Minute)
	w.serves(t, 1)
	for range 10 { // more than ten above the threshold
		w.queue(t, 20)
		w.pass(t, 10*time.Second)
	}
	w.pass(t, 20*time.Second)
	w.serves(t, 7) // three, and when that has cooled down three more
	w.pass(t, 10*time.Minute)
	w.serves(t, 7)
}

func (w *Scaled) queue(t *testing.T, length float64) {
	t.Helper()
	d := platform.Datum{Series: platform.Series{Namespace: "n", Name: "queue"}, At: w.Clock.Now(), Value: length}
	if err := w.Telemetry.PutData(t.Context(), "", 0, []platform.Datum{d}); err != nil {
		t.Fatal(err)
	}
}

// Whatever fails and whenever: a step is written down with what it changed, and each scheduled action happens once.
func TestScalingSurvivesFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			chance := rand.New(rand.NewPCG(seed, 9)).IntN
			w := scaled(t, 1, 6)
			w.track(t, 600, time.Minute)
			w.schedule(t, "hourly", "cron(0 * * * ? *)", 1, 6)
			w.Store.Fault = func() (bool, bool) { return chance(10) == 0, chance(2) == 0 }
			for range 60 {
				switch chance(6) {
				case 0:
					w.Crash()
				case 1, 2:
					if !w.ServerUp {
						w.Again()
					}
				case 3:
					w.Load = float64(chance(80))
				}
				w.pass(t, time.Duration(chance(240))*time.Second)
			}
			w.Store.Fault = nil
			if !w.ServerUp {
				w.Again()
			}
			w.Load = 25
			w.pass(t, 30*time.Minute)
			w.serves(t, 3)
			w.checkPast(t)
		})
	}
}

// checkPast sees that the steps follow from each other, and that no action happened twice in an hour.
func (w *Scaled) checkPast(t *testing.T) {
	t.Helper()
	target := w.target(t)
	capacity, hours := 1, map[time.Time]bool{}
	for i := len(target.Activities) - 1; i >= 0; i-- {
		a := target.Activities[i]
		if strings.Contains(a.Cause, "scheduled") {
			if hour := a.Began.Truncate(time.Hour); hours[hour] {
				t.Errorf("the action happened twice in the hour from %v", hour)
			} else {
				hours[hour] = true
			}
			continue
		}
		if len(target.Activities) < 50 && a.From != capacity {
			t.Errorf("a step from %d follows one to %d: %+v", a.From, capacity, a)
		}
		if capacity = a.To; a.Status != "Successful" {
			t.Errorf("an activity is %+v", a)
		}
	}
	if e, err := w.Endpoint(t.Context(), "e"); err != nil || e.Status.Serving.Variants[0].Desired != capacity {
		t.Errorf("the last step was to %d; the endpoint is %+v: %v", capacity, e, err)
	}
	if len(hours) == 0 || shapes.Value(target.Actions[0].Spec.Schedule) == "" {
		t.Error("no action happened")
	}
}

// With nothing there no metric for each instance could tell: the queue does.
func TestABacklogBringsInstancesBackFromNone(t *testing.T) {
	t.Parallel()
	w := scaled(t, 0, 4)
	w.track(t, 600, time.Minute)
	w.pass(t, 5*time.Minute)
	w.serves(t, 0)
	d := platform.Datum{
		Series: platform.Series{Namespace: "AWS/SageMaker", Name: "HasBacklogWithoutCapacity", Dimensions: map[string]string{"EndpointName": "e"}},
		At:     w.Clock.Now(), Value: 1,
	}
	if err := w.Telemetry.PutData(t.Context(), "", 0, []platform.Datum{d}); err != nil {
		t.Fatal(err)
	}
	w.pass(t, 40*time.Second)
	w.serves(t, 1)
	w.pass(t, 10*time.Minute)
	w.serves(t, 0)
	if a := w.target(t).Activities; len(a) != 2 || a[1].Cause != "there is a backlog without capacity" {
		t.Errorf("the past is %+v", a)
	}
}
