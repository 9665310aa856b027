package trace

import (
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// stopped is a clock that stands.
type stopped struct {
	platform.SystemClock
	at time.Time
}

func (c stopped) Now() time.Time { return c.at }

// The market wakes when another row begins to hold, and at least once a minute.
func TestWhenTheMarketLooksAgain(t *testing.T) {
	t.Parallel()
	trace := &Trace{Name: "t", Length: 100 * time.Second, rows: map[platform.InstanceType][]Row{
		"a": {{}, {From: 40 * time.Second, Available: true}}, "b": {{}, {From: 60 * time.Second, Available: true}},
	}}
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		passed time.Duration
		speed  float64
		repeat bool
		want   time.Duration
	}{
		{0, 1, false, 40 * time.Second},
		{0, 0.5, false, time.Minute}, // 80 s
		{0, 4, false, 10 * time.Second},
		{45 * time.Second, 1, false, 15 * time.Second},
		{70 * time.Second, 1, false, time.Minute}, // nothing comes any more
		{70 * time.Second, 1, true, 30 * time.Second},
		{130 * time.Second, 1, true, 10 * time.Second},
		{-time.Hour, 1, false, 40 * time.Second}, // then it has not begun
		{0, 1e9, false, time.Millisecond},
	} {
		m := &market{Options: Options{Clock: stopped{at: start.Add(tt.passed)}, Start: start, Speed: tt.speed, Repeat: tt.repeat}, trace: trace}
		if got := m.untilChange(); got != tt.want {
			t.Errorf("after %v at %v times the speed, repeated %v: in %v, want %v", tt.passed, tt.speed, tt.repeat, got, tt.want)
		}
	}
}
