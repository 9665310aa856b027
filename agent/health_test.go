package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// leaping is a clock on which whoever waits is there at once.
type leaping struct{ now time.Time }

func (l *leaping) Now() time.Time { return l.now }

func (l *leaping) After(d time.Duration) (<-chan time.Time, func()) {
	l.now = l.now.Add(d)
	fired := make(chan time.Time, 1)
	fired <- l.now
	return fired, func() {}
}

// guarded lets a container be guarded that answers as it does after so long a time: with a status, or after so much time.
func guarded(t *testing.T, longest platform.Seconds, patience time.Duration, answers func(since time.Duration) (status int, takes time.Duration)) (verdict string, after time.Duration) {
	t.Helper()
	clock := &leaping{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	began := clock.now
	a := &agent{Config: Config{Clock: clock}, job: platform.Assignment{Longest: longest}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ask := func(limit time.Duration) (int, error) {
		since := clock.now.Sub(began)
		if since > 2*time.Hour {
			cancel()
		}
		status, takes := answers(since)
		clock.now = clock.now.Add(min(takes, limit))
		switch {
		case takes > limit:
			return 0, context.DeadlineExceeded
		case status == 0:
			return 0, errors.New("connection refused")
		}
		return status, nil
	}
	err := a.guard(ctx, ask, patience)
	if err != nil {
		if !errors.Is(err, errUnhealthy) {
			t.Errorf("%v", err)
		}
		verdict = err.Error()
	}
	return verdict, clock.now.Sub(began)
}

func TestContainersAreEndedWhenTheyAreNotHealthyAnyMore(t *testing.T) {
	t.Parallel()
	const never = 24 * time.Hour
	for name, c := range map[string]struct {
		longest  platform.Seconds
		patience time.Duration
		answers  func(since time.Duration) (int, time.Duration)
		verdict  string // empty: it is left alone
		from, to time.Duration
	}{
		"healthy":                     {answers: func(time.Duration) (int, time.Duration) { return 200, time.Millisecond }},
		"slow, as one that queues":    {answers: func(time.Duration) (int, time.Duration) { return 200, 25 * time.Second }},
		"busy with a long invocation": {answers: func(s time.Duration) (int, time.Duration) { return 200, max(0, time.Minute-s%(2*time.Minute)) }},
		"one bad answer in between": {answers: func(s time.Duration) (int, time.Duration) {
			if int(s/(5*time.Second))%4 != 0 {
				return 503, 0
			}
			return 200, 0
		}},
		"errors": {
			answers: func(s time.Duration) (int, time.Duration) {
				if s > time.Minute {
					return 503, 0
				}
				return 200, 0
			}, verdict: "for 30 seconds it has answered /ping with status 503", from: 90 * time.Second, to: 100 * time.Second,
		},
		"refused":                     {answers: func(time.Duration) (int, time.Duration) { return 0, 0 }, verdict: "for 30 seconds it has answered /ping with a broken connection", from: 30 * time.Second, to: 40 * time.Second},
		"one that is slow to restart": {patience: 4 * time.Minute, answers: func(time.Duration) (int, time.Duration) { return 503, 0 }, verdict: "for 240 seconds", from: 4 * time.Minute, to: 250 * time.Second},
		"silence":                     {answers: func(time.Duration) (int, time.Duration) { return 200, never }, verdict: "it has not answered /ping for 90 seconds", from: 90 * time.Second, to: 130 * time.Second},
		"silence where invocations take long": {
			longest: 3600, answers: func(time.Duration) (int, time.Duration) { return 200, never }, verdict: "for 3630 seconds", from: 3630 * time.Second, to: 3700 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			verdict, after := guarded(t, c.longest, max(tolerance, c.patience), c.answers)
			if !strings.HasSuffix(verdict, c.verdict) && !strings.Contains(verdict, c.verdict) || (verdict == "") != (c.verdict == "") {
				t.Errorf("the verdict is %q", verdict)
			}
			if c.verdict != "" && (after < c.from || after > c.to) {
				t.Errorf("it came after %v", after)
			}
		})
	}
}
