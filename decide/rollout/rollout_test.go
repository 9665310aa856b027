package rollout

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func percent(n int32) *sagemaker.CapacitySize {
	return &sagemaker.CapacitySize{Type: new(sagemaker.CapacitySizeTypeCapacityPercent), Value: &n}
}

func instances(n int32) *sagemaker.CapacitySize {
	return &sagemaker.CapacitySize{Type: new(sagemaker.CapacitySizeTypeInstanceCount), Value: &n}
}

// shift is a blue/green update that bakes for 60 s, lingers for 30 s and may take 600 s.
func shift(how sagemaker.TrafficRoutingConfigType, canary, step *sagemaker.CapacitySize) *sagemaker.DeploymentConfig {
	return &sagemaker.DeploymentConfig{BlueGreenUpdatePolicy: &sagemaker.BlueGreenUpdatePolicy{
		TrafficRoutingConfiguration: &sagemaker.TrafficRoutingConfig{Type: &how, WaitIntervalInSeconds: new(int32(60)), CanarySize: canary, LinearStepSize: step},
		TerminationWaitInSeconds:    new(int32(30)), MaximumExecutionTimeoutInSeconds: new(int32(600)),
	}}
}

func batches(size, back *sagemaker.CapacitySize) *sagemaker.DeploymentConfig {
	return &sagemaker.DeploymentConfig{RollingUpdatePolicy: &sagemaker.RollingUpdatePolicy{
		MaximumBatchSize: size, RollbackMaximumBatchSize: back, WaitIntervalInSeconds: new(int32(60)), MaximumExecutionTimeoutInSeconds: new(int32(600)),
	}}
}

func TestTheStepsOfAPlan(t *testing.T) {
	t.Parallel()
	const canary, linear = sagemaker.TrafficRoutingConfigTypeCanary, sagemaker.TrafficRoutingConfigTypeLinear
	for _, c := range []struct {
		config   *sagemaker.DeploymentConfig
		from, to []int
		want     string
		back     int
	}{
		{nil, []int{2}, []int{2}, "1.00", 0},
		{shift(sagemaker.TrafficRoutingConfigTypeAllAtOnce, nil, nil), []int{2}, []int{2}, "1.00", 0},
		{shift(canary, percent(10), nil), []int{1}, []int{1}, "0.10 1.00", 0},
		{shift(canary, instances(1), nil), []int{2}, []int{4}, "0.25 1.00", 0},
		{shift(canary, instances(1), nil), []int{2, 2}, []int{4, 5}, "0.20 1.00", 0},
		{shift(linear, nil, percent(50)), []int{2}, []int{2}, "0.50 1.00", 0},
		{shift(linear, nil, percent(33)), []int{2}, []int{2}, "0.33 0.66 1.00", 0},
		{shift(linear, nil, percent(10)), []int{2}, []int{2}, "0.10 0.20 0.30 0.40 0.50 0.60 0.70 0.80 0.90 1.00", 0},
		{shift(linear, nil, percent(45)), []int{2}, []int{2}, "0.45 0.90 1.00", 0},
		{shift(linear, nil, instances(1)), []int{3}, []int{3}, "0.33 0.67 1.00", 0},
		{batches(instances(1), nil), []int{3}, []int{3}, "0.33/3+1 0.67/2+2 1.00/1+3", 3},
		{batches(percent(50), instances(1)), []int{4}, []int{5}, "0.40/4+2 0.80/3+4 1.00/1+5", 1},
		{batches(percent(5), percent(50)), []int{1}, []int{2}, "0.50/1+1 1.00/1+2", 1},
		{batches(percent(50), percent(100)), []int{5}, []int{2}, "0.50/5+1 1.00/3+2", 5},
		{shift(linear, nil, percent(10)), nil, []int{2}, "1.00", 0}, // there is nothing to take traffic from
	} {
		plan := Read(c.config, c.from, c.to)
		var got []string
		for _, s := range plan.Steps {
			text := fmt.Sprintf("%.2f", s.Share)
			if s.Old > 0 {
				text += fmt.Sprintf("/%d+%d", s.Old, s.New)
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != c.want || plan.Return != c.back {
			t.Errorf("%v → %v: %v, back by %d; want %s, %d", c.from, c.to, got, plan.Return, c.want, c.back)
		}
	}
}

// fleets are instances that do as they are told after a while.
type fleets struct {
	plan     Plan
	rollout  platform.Rollout
	now      time.Time
	old, new Fleet
	verdict  Verdict
	alarm    string
	failure  string
	wait     time.Duration
}

func begin(config *sagemaker.DeploymentConfig, from, to int) *fleets {
	f := &fleets{plan: Read(config, []int{from}, []int{to}), now: began, old: Fleet{Desired: from, Ready: from}, new: Fleet{Desired: to}}
	f.rollout = Begin(f.plan, began)
	return f
}

// bound is how many instances a fleet may have.
func bound(limit, desired int) int {
	if limit > 0 {
		return min(limit, desired)
	}
	return desired
}

// standing applies the bounds and tells how all stands.
func (f *fleets) standing() Standing {
	f.old.Ready, f.new.Ready = min(f.old.Ready, bound(f.rollout.Old, f.old.Desired)), min(f.new.Ready, bound(f.rollout.New, f.new.Desired))
	f.old.Whole, f.new.Whole = f.old.Ready == bound(f.rollout.Old, f.old.Desired), f.new.Ready == bound(f.rollout.New, f.new.Desired)
	return Standing{Plan: f.plan, Rollout: f.rollout, Began: began, Now: f.now, Old: f.old, New: f.new, Alarm: f.alarm, Failure: f.failure}
}

// settle moves as often as there is something to do.
func (f *fleets) settle(t interface{ Fatalf(string, ...any) }) {
	for range 100 {
		m := Next(f.standing())
		f.wait = m.Wait
		if m.Verdict != Going {
			f.rollout, f.verdict = m.Rollout, m.Verdict
			return
		}
		if m.Rollout == f.rollout {
			return
		}
		f.rollout = m.Rollout
	}
	t.Fatalf("it never comes to rest: %+v", f.rollout)
}

func (f *fleets) tick(t *testing.T, d time.Duration) {
	t.Helper()
	f.now = f.now.Add(d)
	f.settle(t)
}

// say is how it stands in short: stage, share, instances that are ready.
func (f *fleets) say() string {
	return fmt.Sprintf("%s %.0f%% %d+%d %d", f.rollout.Stage, 100*f.rollout.Share, f.old.Ready, f.new.Ready, f.verdict)
}

func (f *fleets) want(t *testing.T, want string) {
	t.Helper()
	if got := f.say(); got != want {
		t.Fatalf("after %v it is %q, want %q", f.now.Sub(began), got, want)
	}
}

// Nothing happens a tick too early or too late.
func TestACanaryToTheTick(t *testing.T) {
	t.Parallel()
	f := begin(shift(sagemaker.TrafficRoutingConfigTypeCanary, percent(10), nil), 1, 2)
	f.settle(t)
	f.want(t, "Preparing 0% 1+0 0")
	f.new.Ready = 1
	f.tick(t, 10*time.Second)
	f.want(t, "Preparing 0% 1+1 0")
	if f.wait != 590*time.Second {
		t.Errorf("it waits for %v", f.wait)
	}
	f.new.Ready = 2
	f.tick(t, 10*time.Second)
	f.want(t, "Baking 10% 1+2 0")
	if f.wait != time.Minute {
		t.Errorf("it waits for %v", f.wait)
	}
	f.tick(t, time.Minute-1)
	f.want(t, "Baking 10% 1+2 0")
	if f.wait != 1 {
		t.Errorf("it waits for %v", f.wait)
	}
	f.tick(t, 1)
	f.want(t, "Baking 100% 1+2 0")
	f.tick(t, time.Minute-1)
	f.want(t, "Baking 100% 1+2 0")
	f.tick(t, 1)
	f.want(t, "Lingering 100% 1+2 0")
	f.tick(t, 30*time.Second-1)
	f.want(t, "Lingering 100% 1+2 0")
	f.new.Ready = 1 // one dies, and is missed before the old fleet goes
	f.tick(t, 1)
	f.want(t, "Lingering 100% 1+1 0")
	f.new.Ready = 2
	f.tick(t, 1)
	f.want(t, "Lingering 100% 1+2 1")
}

func TestAnAlarmTakesEverythingBackWheneverItGoesOff(t *testing.T) {
	t.Parallel()
	for at := time.Duration(0); at < 145*time.Second; at += 5 * time.Second {
		f := begin(shift(sagemaker.TrafficRoutingConfigTypeCanary, percent(10), nil), 2, 2)
		f.new.Ready = 2
		f.settle(t)
		for f.now.Before(began.Add(at)) {
			f.tick(t, 5*time.Second)
		}
		f.alarm = "errors"
		f.settle(t)
		if f.verdict != Undone || f.rollout.Share != 0 || !strings.Contains(f.rollout.Reason, `"errors"`) {
			t.Fatalf("at %v: %s: %s", at, f.say(), f.rollout.Reason)
		}
	}
}

func TestAnUpdateThatTakesTooLongOrFailsGoesBack(t *testing.T) {
	t.Parallel()
	f := begin(shift(sagemaker.TrafficRoutingConfigTypeLinear, nil, percent(50)), 1, 1)
	f.tick(t, 600*time.Second-1)
	f.want(t, "Preparing 0% 1+0 0")
	f.tick(t, 1)
	if f.verdict != Undone || !strings.Contains(f.rollout.Reason, "MaximumExecutionTimeoutInSeconds (600)") {
		t.Errorf("%s: %s", f.say(), f.rollout.Reason)
	}
	f = begin(nil, 1, 1)
	f.failure = "the model does not load"
	f.settle(t)
	if f.verdict != Undone || f.rollout.Reason != f.failure {
		t.Errorf("%s: %s", f.say(), f.rollout.Reason)
	}
	// What has been shifted already goes back through the stage that says so, when the old fleet is not all there.
	f = begin(shift(sagemaker.TrafficRoutingConfigTypeLinear, nil, percent(50)), 2, 2)
	f.new.Ready = 2
	f.settle(t)
	f.failure, f.old.Ready = "gone", 1
	f.settle(t)
	f.want(t, "Returning 50% 1+2 0")
	f.failure, f.old.Ready = "", 2
	f.settle(t)
	f.want(t, "Returning 0% 2+2 2")
}

func TestARollingUpdateAndItsReturn(t *testing.T) {
	t.Parallel()
	f := begin(batches(instances(1), instances(1)), 3, 3)
	f.settle(t)
	f.want(t, "Preparing 0% 3+0 0")
	f.new.Ready = 1
	f.settle(t)
	f.want(t, "Baking 33% 3+1 0")
	f.tick(t, time.Minute)
	f.want(t, "Preparing 33% 2+1 0")
	f.new.Ready = 2
	f.settle(t)
	f.tick(t, time.Minute)
	f.new.Ready = 3
	f.settle(t)
	f.want(t, "Baking 100% 1+3 0")
	done := *f
	done.tick(t, time.Minute)
	done.want(t, "Lingering 100% 1+3 1")
	// The alarm goes off in the last bake: the old instances come back one by one.
	f.alarm = "errors"
	f.settle(t)
	f.want(t, "Returning 67% 1+2 0")
	f.alarm = "" // it is over when the requests go back, and that changes nothing
	f.tick(t, time.Second)
	f.want(t, "Returning 67% 1+2 0")
	f.old.Failing = true
	f.tick(t, time.Second)
	f.want(t, "Stuck 67% 1+2 0")
	f.old.Failing, f.old.Ready = false, 2
	f.tick(t, time.Second)
	f.want(t, "Returning 33% 2+1 0")
	f.old.Ready = 3
	f.tick(t, time.Second)
	f.want(t, "Returning 0% 3+1 2")
}

// Whatever happens: the share only grows until all is done, or it comes back to nothing; it never grows while an instance of
// the step is missing; an alarm that goes off takes it back; and what is ready never falls below the smaller fleet by a
// decision of ours.
func TestWhateverHappensToAnUpdate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]*sagemaker.CapacitySize{percent(10), percent(25), percent(33), percent(50), instances(1)}).Draw(t, "size")
		config := rapid.SampledFrom([]*sagemaker.DeploymentConfig{
			nil, shift(sagemaker.TrafficRoutingConfigTypeAllAtOnce, nil, nil), shift(sagemaker.TrafficRoutingConfigTypeCanary, size, nil),
			shift(sagemaker.TrafficRoutingConfigTypeLinear, nil, size), batches(size, nil), batches(size, size),
		}).Draw(t, "config")
		from, to := rapid.IntRange(1, 8).Draw(t, "from"), rapid.IntRange(2, 8).Draw(t, "to")
		f := begin(config, from, to)
		shares, dead := []float64{0}, false
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			was := f.rollout
			dead = f.happen(t) || dead
			before := f.standing()
			f.settle(t)
			f.check(t, was, before, dead)
			shares = append(shares, f.rollout.Share)
			if f.verdict != Going {
				break
			}
		}
		judge(t, f, shares)
	})
}

// check compares how it stands with how it stood before it was decided.
func (f *fleets) check(t *rapid.T, was platform.Rollout, before Standing, dead bool) {
	r := f.rollout
	if r.Share > was.Share && r.Step == was.Step && !before.New.Whole {
		t.Fatalf("the share grows from %v to %v while %d of %d are ready", was.Share, r.Share, f.new.Ready, f.new.Desired)
	}
	if f.alarm != "" && f.verdict == Going && r.Stage != platform.RolloutReturning {
		t.Fatalf("the alarm does nothing: %s", f.say())
	}
	if enough := min(f.old.Desired, f.new.Desired); !dead && f.verdict == Going && f.old.Ready+f.new.Ready < enough {
		t.Fatalf("only %d+%d are ready of %d → %d", f.old.Ready, f.new.Ready, f.old.Desired, f.new.Desired)
	}
}

// happen lets time pass, an instance come up or die, or an alarm go off. It tells of a death.
func (f *fleets) happen(t *rapid.T) (dead bool) {
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0, 1, 2:
		f.new.Ready++
	case 3, 4:
		f.old.Ready++
	case 5, 6, 7:
		f.now = f.now.Add(time.Duration(rapid.IntRange(0, 70).Draw(t, "seconds")) * time.Second)
	case 8:
		f.new.Ready = max(0, f.new.Ready-1)
		return true
	case 9:
		if rapid.IntRange(0, 5).Draw(t, "alarm") == 0 {
			f.alarm = "errors"
		}
	}
	return false
}

// judge sees that shares rose, and perhaps then fell, and that the end is what the verdict says.
func judge(t *rapid.T, f *fleets, shares []float64) {
	top := slices.Index(shares, slices.Max(shares))
	if !slices.IsSorted(shares[:top+1]) {
		t.Fatalf("the shares do not grow: %v", shares)
	}
	rest := slices.Clone(shares[top:])
	slices.Reverse(rest)
	if !slices.IsSorted(rest) {
		t.Fatalf("the shares come back and grow again: %v", shares)
	}
	last := shares[len(shares)-1]
	if f.verdict == Done && (last != 1 || f.new.Ready < f.new.Desired) || f.verdict == Undone && last != 0 || math.IsNaN(last) {
		t.Fatalf("%s with %d of %d ready; %v", f.say(), f.new.Ready, f.new.Desired, shares)
	}
	if f.verdict == Undone && f.rollout.Stage == platform.RolloutReturning && f.old.Ready < f.old.Desired {
		t.Fatalf("it is undone and %d of %d are back", f.old.Ready, f.old.Desired)
	}
}
