package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// errorsAlarm watches every update of these tests.
const errorsAlarm = "errors"

func guarded(c sagemaker.DeploymentConfig) *sagemaker.DeploymentConfig {
	c.AutoRollbackConfiguration = &sagemaker.AutoRollbackConfig{Alarms: []sagemaker.Alarm{{AlarmName: new(errorsAlarm)}}}
	return &c
}

func size(kind sagemaker.CapacitySizeType, n int32) *sagemaker.CapacitySize {
	return &sagemaker.CapacitySize{Type: &kind, Value: &n}
}

// canary is an update that bakes for 20 s and lingers for 10 s.
func canary(percent int32) *sagemaker.DeploymentConfig {
	return guarded(sagemaker.DeploymentConfig{BlueGreenUpdatePolicy: &sagemaker.BlueGreenUpdatePolicy{
		TrafficRoutingConfiguration: &sagemaker.TrafficRoutingConfig{
			Type: new(sagemaker.TrafficRoutingConfigTypeCanary), WaitIntervalInSeconds: new(int32(20)), CanarySize: size(sagemaker.CapacitySizeTypeCapacityPercent, percent),
		}, TerminationWaitInSeconds: new(int32(10)), MaximumExecutionTimeoutInSeconds: new(int32(600)),
	}})
}

func linear(percent int32) *sagemaker.DeploymentConfig {
	c := canary(1)
	c.BlueGreenUpdatePolicy.TrafficRoutingConfiguration = &sagemaker.TrafficRoutingConfig{
		Type: new(sagemaker.TrafficRoutingConfigTypeLinear), WaitIntervalInSeconds: new(int32(20)), LinearStepSize: size(sagemaker.CapacitySizeTypeCapacityPercent, percent),
	}
	return c
}

func rolling(batch, back int32) *sagemaker.DeploymentConfig {
	return guarded(sagemaker.DeploymentConfig{RollingUpdatePolicy: &sagemaker.RollingUpdatePolicy{
		MaximumBatchSize: size(sagemaker.CapacitySizeTypeInstanceCount, batch), WaitIntervalInSeconds: new(int32(20)),
		RollbackMaximumBatchSize: size(sagemaker.CapacitySizeTypeInstanceCount, back), MaximumExecutionTimeoutInSeconds: new(int32(600)),
	}})
}

func updateBy(w *Serving, config string, instances int, policy *sagemaker.DeploymentConfig) func(*platform.EndpointStatus) error {
	return func(st *platform.EndpointStatus) error {
		return st.Update(w.Deployment(config, instances), policy, w.Clock.Now())
	}
}

// shifting is an endpoint of so many instances that begins an update.
func shifting(t *testing.T, instances, next int, policy *sagemaker.DeploymentConfig) *Serving {
	t.Helper()
	w := serving(t, instances)
	w.Alarms[errorsAlarm] = platform.AlarmOK
	w.until(t, platform.EndpointInService)
	if err := w.Change(t.Context(), "e", updateBy(w, "two", next, policy)); err != nil {
		t.Fatal(err)
	}
	return w
}

// now reads the endpoint and sees that what its route promises is there.
func (w *Serving) now(t *testing.T) *platform.Endpoint {
	t.Helper()
	e, err := w.Endpoint(t.Context(), "e")
	if err != nil {
		t.Fatal(err)
	}
	if w.answering(t) == 0 {
		t.Fatalf("nothing answers in %s: %+v", e.Status.State, e.Status.Rollout)
	}
	return e
}

// shares steps second by second until the update is over, and tells the shares that it went through with their seconds.
func (w *Serving) shares(t *testing.T) string {
	t.Helper()
	var told []string
	last, since := -1.0, w.Clock.Now()
	for range 600 {
		e := w.now(t)
		share, over := w.Routes["e"].Share, e.Status.State == platform.EndpointInService
		if share != last || over {
			if last >= 0 {
				told = append(told, fmt.Sprintf("%.0f%%:%ds", 100*last, w.Clock.Now().Sub(since)/time.Second))
			}
			last, since = share, w.Clock.Now()
		}
		if over {
			return strings.Join(told, " ")
		}
		w.Step(t.Context(), time.Second)
	}
	t.Fatalf("the update does not end: %v", told)
	return ""
}

// finish sees that in the end so many instances of a configuration are there and nothing else, and that the bill is right.
func (w *Serving) finish(t *testing.T, config string, instances int) {
	t.Helper()
	for range 3 {
		w.Step(t.Context(), time.Second)
	}
	e := w.now(t)
	st := &e.Status
	if st.Config != config || st.Coming != nil || st.Rollout != nil || w.Routes["e"].Next != nil || len(w.Machine.Started()) != instances || w.answering(t) != instances {
		t.Errorf("%s serves with %d agents, %d of which answer; coming %+v at %+v", st.Config, len(w.Machine.Started()), w.answering(t), st.Coming, st.Rollout)
	}
	if err := w.Change(t.Context(), "e", remove(w)); err != nil {
		t.Fatal(err)
	}
	w.until(t, "")
	checkServingLedger(t, w, st.ARN)
}

func TestUpdatesShiftTrafficToTheSecond(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy *sagemaker.DeploymentConfig
		want   string
	}{
		"canary": {canary(10), "0%:3s 10%:20s 100%:30s"},
		"linear": {linear(33), "0%:3s 33%:20s 66%:20s 100%:30s"},
		"bare":   {nil, "0%:3s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := shifting(t, 2, 3, c.policy)
			w.Step(t.Context(), 0)
			if got := w.shares(t); got != c.want {
				t.Errorf("the shares are %s, want %s", got, c.want)
			}
			w.finish(t, "two", 3)
		})
	}
}

// The old instances are there, and billed, until the time to go back to them is over.
func TestTheOldInstancesStayUntilTheEnd(t *testing.T) {
	t.Parallel()
	w := shifting(t, 2, 1, canary(50))
	for w.now(t).Status.State == platform.EndpointUpdating {
		if n := len(w.Routes["e"].Variants[0].Targets); n != 2 {
			t.Fatalf("%d old instances are left", n)
		}
		w.Step(t.Context(), time.Second)
	}
	w.finish(t, "two", 1)
}

func TestAnAlarmBringsTheOldVersionBack(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]*sagemaker.DeploymentConfig{"canary": canary(10), "linear": linear(50), "rolling": rolling(1, 1)} {
		for _, at := range []time.Duration{0, 10 * time.Second, 30 * time.Second, 45 * time.Second} {
			t.Run(fmt.Sprint(name, at), func(t *testing.T) {
				t.Parallel()
				w := shifting(t, 3, 3, policy)
				for until := w.Clock.Now().Add(at); w.Clock.Now().Before(until); w.Step(t.Context(), time.Second) {
					w.now(t)
				}
				shifted := w.Routes["e"].Share > 0
				w.Alarms[errorsAlarm] = platform.AlarmRings
				w.Step(t.Context(), time.Second)
				if e := w.now(t); shifted && e.Status.State != platform.EndpointRollingBack {
					t.Errorf("it is %s", e.Status.State)
				}
				if name != "rolling" && w.Routes["e"].Share > 0 {
					t.Errorf("%v of the requests still go to what fails", w.Routes["e"].Share)
				}
				for range 60 {
					w.now(t)
					w.Step(t.Context(), time.Second)
				}
				e := w.now(t)
				if e.Status.State != platform.EndpointInService || !strings.Contains(e.Status.FailureReason, `"errors"`) {
					t.Errorf("it is %s: %s", e.Status.State, e.Status.FailureReason)
				}
				w.finish(t, "one", 3)
			})
		}
	}
}

// A rolling update needs room for one batch more, and never has fewer instances than there were.
func TestARollingUpdateKeepsItsCapacity(t *testing.T) {
	t.Parallel()
	w := shifting(t, 3, 3, rolling(1, 1))
	most := 0
	for w.now(t).Status.State == platform.EndpointUpdating {
		if n := w.answering(t); n < 3 {
			t.Fatalf("only %d answer", n)
		}
		e := w.now(t)
		most = max(most, len(e.Status.Serving.Variants[0].Replicas)+len(e.Status.Coming.Variants[0].Replicas))
		w.Step(t.Context(), time.Second)
	}
	if most != 4 {
		t.Errorf("there were up to %d instances", most)
	}
	w.finish(t, "two", 3)
}

// What can neither go on nor back serves with what it has; it goes back once it can, and takes another update.
func TestARollbackThatFails(t *testing.T) {
	t.Parallel()
	for _, heals := range []bool{true, false} {
		t.Run(fmt.Sprint(heals), func(t *testing.T) {
			t.Parallel()
			w := shifting(t, 2, 2, rolling(1, 1))
			for w.now(t).Status.Rollout == nil || w.now(t).Status.Rollout.Step == 0 {
				w.Step(t.Context(), time.Second)
			}
			plan := w.plan
			w.plan = func(config string) ServingPlan { return ServingPlan{Load: time.Second, Fails: config == "one"} }
			w.Alarms[errorsAlarm] = platform.AlarmRings
			for w.now(t).Status.State != platform.EndpointUpdateRollbackFailed {
				w.Step(t.Context(), time.Second)
			}
			if n := w.answering(t); n != 2 {
				t.Errorf("%d answer", n)
			}
			if heals {
				w.plan = plan
				for w.now(t).Status.State != platform.EndpointInService {
					w.Step(t.Context(), time.Second)
				}
				w.finish(t, "one", 2)
				return
			}
			w.Alarms[errorsAlarm] = platform.AlarmOK
			if err := w.Change(t.Context(), "e", updateBy(w, "three", 2, canary(50))); err != nil {
				t.Fatal(err)
			}
			w.shares(t)
			w.finish(t, "three", 2)
		})
	}
}

// An instance that is to leave is not told before its last request is answered.
func TestWhatLeavesFinishesFirst(t *testing.T) {
	t.Parallel()
	w := serving(t, 1)
	e := w.until(t, platform.EndpointInService)
	old := e.Status.Serving.Variants[0].Replicas[0].Agent
	until := w.Clock.Now().Add(40 * time.Second)
	w.Answering[old] = until
	if err := w.Change(t.Context(), "e", update(w, "two", 1)); err != nil {
		t.Fatal(err)
	}
	for w.Clock.Now().Before(until.Add(-time.Second)) {
		w.Step(t.Context(), time.Second)
		if s := w.Agents[old]; s.stops || s.Dead {
			t.Fatalf("it was told to stop %v too early", until.Sub(w.Clock.Now()))
		}
	}
	if e := w.now(t); e.Status.Config != "two" || len(e.Status.Leaving) != 1 {
		t.Errorf("%s serves, %d leave", e.Status.Config, len(e.Status.Leaving))
	}
	w.finish(t, "two", 1)
}

// Whatever is killed and whenever, and whatever alarms go off: an update comes to an end, either version serves then and
// nothing else is there, something answers all the time unless it was killed, and every second is billed.
func TestUpdatesSurviveFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			shiftThroughFaults(t, rand.New(rand.NewPCG(seed, 7)).IntN, seed%2 == 0)
		})
	}
}

func shiftThroughFaults(t *testing.T, chance Chance, kills bool) {
	policies := []*sagemaker.DeploymentConfig{canary(10), linear(25), linear(50), rolling(1, 1), rolling(2, 4), nil}
	w := shifting(t, 2+chance(3), 2+chance(3), policies[chance(len(policies))])
	storm := true
	w.Store.Fault = func() (bool, bool) { return storm && chance(10) == 0, chance(2) == 0 }
	for i := range 100 {
		disturbShift(w, chance, kills)
		if e, err := w.Endpoint(t.Context(), "e"); err == nil && e.Status.State == platform.EndpointInService && chance(25) == 0 {
			if err := w.Change(t.Context(), "e", updateBy(w, fmt.Sprintf("v%d!", i), 2+chance(3), policies[chance(len(policies))])); err != nil {
				t.Fatal(err)
			}
		}
		w.Step(t.Context(), time.Duration(chance(5000))*time.Millisecond)
		if r := w.Routes["e"]; !kills && w.ServerUp && len(r.Variants) > 0 && w.answering(t) < 2 {
			t.Fatalf("%d answer of at least 2", w.answering(t))
		}
	}
	// The storm is over: the update ends.
	storm, w.Alarms[errorsAlarm] = false, platform.AlarmOK
	if !w.ServerUp {
		w.Restart()
	}
	w.Step(t.Context(), time.Minute) // whoever backs off tries again
	e := w.until(t, platform.EndpointInService)
	w.finish(t, e.Status.Config, e.Status.Serving.Variants[0].Desired)
}

// disturbShift breaks something, perhaps.
func disturbShift(w *Serving, chance Chance, kills bool) {
	switch chance(12) {
	case 0:
		w.Crash()
	case 1, 2, 3, 4:
		if !w.ServerUp {
			w.Restart()
		}
	case 5:
		if agents := w.Machine.Started(); kills && len(agents) > 0 && chance(3) == 0 {
			w.Agents[agents[chance(len(agents))].ID].Kill()
		}
	case 6:
		if chance(6) == 0 {
			w.Alarms[errorsAlarm] = platform.AlarmRings
		}
	case 7, 8:
		w.Alarms[errorsAlarm] = platform.AlarmOK
	}
}
