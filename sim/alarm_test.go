package sim

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stint-ml/stint/control/alarm"
	storage "github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/cloudwatch"
)

// watched is an alarm on a metric that a test writes: Sum of 60 s above 5, 1 out of 1.
type watched struct {
	*testing.T
	clock   *Clock
	store   *storage.Store
	metrics *telemetry.Telemetry
	alarms  *alarm.Controller
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{T: t, clock: NewClock(time.Date(2026, 3, 1, 12, 0, 10, 0, time.UTC)), store: storage.New()}
	w.metrics = telemetry.New(w.clock)
	w.restart()
	a := &platform.Alarm{Spec: cloudwatch.PutMetricAlarmInput{
		AlarmName: new("a"), Namespace: new("n"), MetricName: new("m"), Statistic: new(cloudwatch.StatisticSum), Period: new(int32(60)),
		EvaluationPeriods: new(int32(1)), Threshold: new(5.0), ComparisonOperator: new(cloudwatch.ComparisonOperatorGreaterThanThreshold),
	}}
	a.Status.Created, a.Status.Configured = w.clock.Now(), w.clock.Now()
	a.Status.Enter(platform.AlarmUnknown, "new", "", w.clock.Now())
	w.put(a, platform.Record{})
	return w
}

func (w *watched) restart() {
	w.alarms = alarm.New(alarm.Config{Store: w.store, Metrics: w.metrics, Clock: w.clock, Log: slog.New(slog.DiscardHandler)})
}

func (w *watched) record() (*platform.Alarm, platform.Record) {
	w.Helper()
	rec, err := w.store.Get(w.Context(), platform.Key{Kind: platform.KindAlarm, Name: "a"})
	if err != nil {
		w.Fatal(err)
	}
	a, err := platform.ReadAlarm(rec)
	if err != nil {
		w.Fatal(err)
	}
	return a, rec
}

func (w *watched) put(a *platform.Alarm, was platform.Record) {
	w.Helper()
	rec, err := a.Record(was, w.clock.Now())
	if err == nil {
		err = w.store.Commit(w.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *watched) measure(value float64) {
	w.Helper()
	d := platform.Datum{Series: platform.Series{Namespace: "n", Name: "m"}, At: w.clock.Now(), Value: value, Unit: "None"}
	if err := w.metrics.PutData(w.Context(), "", 0, []platform.Datum{d}); err != nil {
		w.Fatal(err)
	}
}

func (w *watched) expect(want platform.AlarmState) {
	w.Helper()
	got, err := w.alarms.AlarmState(w.Context(), "a")
	if a, _ := w.record(); err != nil || got != want || a.Status.State != want {
		w.Errorf("at %v the alarm is %s and its record says %s, want %s: %v", w.clock.Now(), got, a.Status.State, want, err)
	}
}

func TestAnAlarmFollowsItsMetricAndWritesOnlyChangesDown(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.expect(platform.AlarmUnknown)
	w.measure(9)
	w.expect(platform.AlarmUnknown) // its minute is not over
	w.clock.Advance(time.Minute)
	w.expect(platform.AlarmRings)
	a, rec := w.record()
	if !a.Status.Transitioned.Equal(w.clock.Now()) || a.Status.Reason == "" || a.Status.ReasonData == "" {
		t.Errorf("the transition is %+v", a.Status)
	}
	for range 2 { // every minute that it stays as it is
		w.measure(9)
		w.clock.Advance(time.Minute)
		if err := w.alarms.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, now := w.record(); now.Revision != rec.Revision {
		t.Errorf("nothing changed, and the record has come from revision %d to %d", rec.Revision, now.Revision)
	}
	w.measure(1)
	w.clock.Advance(time.Minute)
	w.restart()
	if err := w.alarms.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.expect(platform.AlarmOK)
	if _, err := w.alarms.AlarmState(t.Context(), "nobody"); !platform.Is(err, platform.NotFound) {
		t.Errorf("an alarm that is not there answers %v", err)
	}
}

func TestAStateSetByHandHoldsForAStepAndAcrossARestart(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.measure(1)
	w.clock.Advance(time.Minute)
	w.expect(platform.AlarmOK)
	a, rec := w.record()
	a.Status.Enter(platform.AlarmRings, "a drill", "", w.clock.Now())
	a.Status.HeldUntil = w.clock.Now().Add(time.Minute)
	w.put(a, rec)
	w.measure(1)
	w.clock.Advance(59 * time.Second)
	w.restart()
	w.expect(platform.AlarmRings)
	w.clock.Advance(time.Second)
	w.expect(platform.AlarmOK)
}

func TestAnAlarmThatIsConfiguredAnewIsJudgedAtOnce(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.measure(9)
	w.clock.Advance(time.Minute)
	w.expect(platform.AlarmRings)
	w.clock.Advance(time.Second)
	a, rec := w.record()
	a.Spec.Threshold, a.Status.Configured = new(10.0), w.clock.Now()
	w.put(a, rec)
	w.expect(platform.AlarmOK)
}
