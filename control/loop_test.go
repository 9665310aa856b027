package control_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/sim"
)

// open starts a loop whose calls arrive in the channel; answer says what each returns.
func open(t *testing.T, answer func(name string, call int) (time.Duration, error)) (*control.Loop, *sim.Clock, <-chan string) {
	t.Helper()
	clock := sim.NewClock(time.Unix(1e9, 0))
	calls := make(chan string, 100)
	count := map[string]int{}
	l := &control.Loop{Name: "test", Clock: clock, Log: slog.New(slog.DiscardHandler)}
	l.Reconcile = func(_ context.Context, name string) (time.Duration, error) {
		count[name]++
		again, err := answer(name, count[name])
		calls <- name
		return again, err
	}
	t.Cleanup(l.Stop)
	return l, clock, calls
}

// next waits for a call, advancing the clock until it comes.
func next(t *testing.T, clock *sim.Clock, step time.Duration, calls <-chan string) string {
	t.Helper()
	for deadline := time.After(60 * time.Second); ; {
		select {
		case name := <-calls:
			return name
		case <-deadline:
			t.Fatal("no call came")
		case <-time.After(time.Millisecond):
			clock.Advance(step)
		}
	}
}

func TestWhatWaitsIsCalledOnceAndInOrder(t *testing.T) {
	t.Parallel()
	l, clock, calls := open(t, func(string, int) (time.Duration, error) { return 0, nil })
	for _, name := range []string{"a", "b", "a", "c", "b"} {
		l.Enqueue(name)
	}
	l.Start()
	l.Start() // again: nothing
	for _, want := range []string{"a", "b", "c"} {
		if got := next(t, clock, 0, calls); got != want {
			t.Fatalf("%s was called, want %s", got, want)
		}
	}
	l.Enqueue("d") // had a or b been called twice, it would come before d
	if got := next(t, clock, 0, calls); got != "d" {
		t.Errorf("%s was called, want d", got)
	}
}

// patient is a clock that remembers for how long it was asked to wait.
type patient struct {
	*sim.Clock
	waits []time.Duration
}

func (p *patient) After(d time.Duration) (<-chan time.Time, func()) {
	p.waits = append(p.waits, d)
	return p.Clock.After(d)
}

func TestFailuresAreTriedAgainLaterAndLater(t *testing.T) {
	t.Parallel()
	l, clock, calls := open(t, func(_ string, call int) (time.Duration, error) {
		if call < 5 {
			return 0, errors.New("not yet")
		}
		return 0, nil
	})
	asked := &patient{Clock: clock}
	l.Clock = asked
	l.Start()
	l.Enqueue("a")
	for range 5 {
		next(t, clock, 10*time.Millisecond, calls)
	}
	l.Stop()
	if want := []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}; !slices.Equal(asked.waits, want) {
		t.Errorf("it waits for %v, want %v", asked.waits, want)
	}
}

func TestANameIsCalledAgainWhenItsTimeHasCome(t *testing.T) {
	t.Parallel()
	l, clock, calls := open(t, func(_ string, call int) (time.Duration, error) {
		if call == 1 {
			return time.Hour, nil
		}
		return 0, nil
	})
	start := clock.Now()
	l.Start()
	l.Enqueue("a")
	next(t, clock, 0, calls)
	next(t, clock, 10*time.Minute, calls)
	if passed := clock.Now().Sub(start); passed < time.Hour {
		t.Errorf("called again after %v", passed)
	}
}

func TestStopWaitsForTheCallInFlight(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	var left bool
	l, _, _ := open(t, func(string, int) (time.Duration, error) {
		close(entered)
		<-leave
		left = true
		return 0, nil
	})
	l.Stop() // before Start: nothing to wait for
	l.Start()
	l.Enqueue("a")
	<-entered
	go close(leave)
	l.Stop()
	if !left {
		t.Error("Stop came back before the call had")
	}
	l.Stop()
}

// A loop may be stopped at any point of a reconcile, also as that returns and asks to be called again.
func TestALoopStopsWhileItPlans(t *testing.T) {
	t.Parallel()
	clock := sim.NewClock(time.Unix(1e9, 0))
	var many sync.WaitGroup
	for range 16 { // more than there are processors, so that they are interrupted anywhere
		many.Go(func() {
			for range 1000 {
				l := &control.Loop{Name: "test", Clock: clock, Log: slog.New(slog.DiscardHandler)}
				called := make(chan struct{}, 1)
				l.Reconcile = func(context.Context, string) (time.Duration, error) {
					called <- struct{}{}
					return time.Hour, nil
				}
				l.Enqueue("a")
				l.Start()
				<-called
				l.Stop()
			}
		})
	}
	many.Wait()
}
