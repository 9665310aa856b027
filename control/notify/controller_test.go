package notify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/control/notify"
	"github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/sim"
)

var born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// topics take what a test lets them.
type topics struct {
	mu    sync.Mutex
	taken map[platform.ARN][]string
	take  func(platform.Notification) error
}

func (s *topics) Publish(_ context.Context, n platform.Notification) error {
	if err := s.take(n); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[n.Topic] = append(s.taken[n.Topic], n.ID)
	return nil
}

func (s *topics) of(topic platform.ARN) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken[topic])
}

type world struct {
	*notify.Controller
	store   *memory.Store
	metrics *telemetry.Telemetry
	topics  *topics
	clock   *sim.Clock
}

func newWorld(take func(platform.Notification) error) *world {
	w := &world{store: memory.New(), topics: &topics{taken: map[platform.ARN][]string{}, take: take}, clock: sim.NewClock(born)}
	w.metrics = telemetry.New(w.clock)
	w.Controller = notify.New(notify.Config{Store: w.store, Topics: w.topics, Metrics: w.metrics, Clock: w.clock, Log: slog.New(slog.DiscardHandler)})
	return w
}

func (w *world) write(t *testing.T, topic platform.ARN, id string) {
	t.Helper()
	n := platform.Notification{ID: id, Topic: topic, Message: "{}", At: w.clock.Now(), About: "arn:aws:sagemaker:r:1:endpoint/e"}
	rec, err := n.Record()
	if err == nil {
		err = w.store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) left(t *testing.T) int {
	t.Helper()
	p, err := w.store.List(t.Context(), platform.Query{Kind: platform.KindNotification})
	if err != nil {
		t.Fatal(err)
	}
	return len(p.Records)
}

// eventually waits until a condition holds, while each step of time passes in a millisecond.
func (w *world) eventually(t *testing.T, step time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		w.clock.Advance(step)
	}
}

// subscribers count what they are told, by its id; whether they take it depends on the topic.
type subscribers struct {
	mu    sync.Mutex
	tries map[string]int
}

func (s *subscribers) of(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries[id]
}

func (s *subscribers) take(n platform.Notification) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries[n.ID]++
	switch {
	case n.Topic == "never", n.Topic == "away" && s.tries[n.ID] < 3:
		return errors.New("it does not answer")
	case n.Topic == "nobody":
		return platform.Errorf(platform.NotFound, "", "nobody has subscribed")
	}
	return nil
}

// What was written down before and after the start is told and forgotten, also where a subscriber is away for a while; one that never
// answers holds up no other, and is given up.
func TestWhatIsWrittenDownIsTold(t *testing.T) {
	t.Parallel()
	s := &subscribers{tries: map[string]int{}}
	w := newWorld(s.take)
	var want []string
	for i := range 20 {
		id := fmt.Sprintf("n%02d", i)
		want = append(want, id)
		w.write(t, "well", id)
		if i == 10 {
			w.write(t, "never", "lost")
			w.write(t, "nobody", "unheard")
			if err := w.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
		}
	}
	for i := range 3 {
		w.write(t, "away", fmt.Sprint("late", i))
	}
	// In so small steps an hour is longer than any machine takes for this.
	w.eventually(t, 50*time.Millisecond, "those that can be told", func() bool { return len(w.topics.of("well")) == 20 && len(w.topics.of("away")) == 3 })
	got := w.topics.of("well")
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("it was told %q", got)
	}
	w.eventually(t, 5*time.Second, "all to be forgotten", func() bool { return w.left(t) == 0 })
	if lost := s.of("lost"); lost < 2 || lost > 100 || s.of("unheard") != 1 {
		t.Errorf("it was tried %d times", lost)
	}
	w.expectFailure(t)
}

// expectFailure sees that what was given up is counted.
func (w *world) expectFailure(t *testing.T) {
	t.Helper()
	failures, err := w.metrics.Find(t.Context(), platform.Series{Name: "NotificationFailures"})
	if err != nil || len(failures) != 1 || failures[0].Dimensions["EndpointName"] != "e" {
		t.Errorf("failures are counted as %v: %v", failures, err)
	}
}

// A process that ends in the middle of a delivery has not told it; the next one does.
func TestADeliveryThatIsBrokenOffIsMadeAgain(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	w := newWorld(nil)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	w.topics.take = func(platform.Notification) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}
	w.write(t, "t", "n")
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-begun
	leave()
	w.Stop()
	w.Stop()
	if w.left(t) != 1 {
		t.Fatal("it is forgotten")
	}
	again := newWorld(func(platform.Notification) error { return nil })
	again.store = w.store
	again.Controller = notify.New(notify.Config{Store: w.store, Topics: again.topics, Metrics: again.metrics, Clock: again.clock, Log: slog.New(slog.DiscardHandler)})
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer again.Stop()
	again.eventually(t, 0, "the delivery", func() bool { return len(again.topics.of("t")) == 1 && again.left(t) == 0 })
}
