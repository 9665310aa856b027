package async_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// manual is a clock that a test moves.
type manual struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
}

func newManual() *manual {
	return &manual{now: born.Add(time.Hour), timers: map[chan time.Time]time.Time{}}
}

func (c *manual) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manual) After(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fired := make(chan time.Time, 1)
	if d <= 0 {
		fired <- c.now
	} else {
		c.timers[fired] = c.now.Add(d)
	}
	return fired, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, fired)
	}
}

func (c *manual) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for fired, at := range c.timers {
		if !c.now.Before(at) {
			fired <- c.now
			delete(c.timers, fired)
		}
	}
}

// greatest is the greatest value of a metric of the endpoint, -1 when it has none.
func (w *world) greatest(name string, more ...string) float64 {
	dimensions := map[string]string{"EndpointName": "e"}
	if len(more) > 0 {
		dimensions["VariantName"] = more[0]
	}
	all, err := w.metrics.Aggregate(w.tb.Context(), platform.Series{Namespace: "AWS/SageMaker", Name: name, Dimensions: dimensions}, born, born.Add(48*time.Hour), 48*time.Hour)
	if err != nil {
		w.tb.Fatal(err)
	}
	if len(all) == 0 {
		return -1
	}
	return all[0].Maximum
}

// What finds no instance waits, and says so at once; when its time is over it has failed.
func TestAnInvocationWaitsUntilItExpires(t *testing.T) {
	t.Parallel()
	clock := newManual()
	w := newWorld(t, clock)
	w.endpoint(0, 1)
	for i := range 3 { // before the start, so that all three are known when the clock moves
		w.ask(fmt.Sprintf("right-%d", i), true, func(in *platform.AsyncInvocation) { in.TTL = 60 * platform.Seconds(i+1) })
	}
	c := w.process(t, forEver())
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	eventually(t, "the backlog to be told of without a tick", func() bool { return w.greatest("HasBacklogWithoutCapacity") == 1 })
	clock.advance(10 * time.Second)
	eventually(t, "the size to be told", func() bool {
		return w.greatest("ApproximateBacklogSize") == 3 && w.greatest("ApproximateAgeOfOldestRequest") == 10
	})
	if w.greatest("ApproximateBacklogSizePerInstance") != -1 {
		t.Error("without instances there is a backlog for each")
	}
	clock.advance(50 * time.Second)
	eventually(t, "the first to expire", func() bool { return w.count(platform.KindAsyncInvocation) == 2 })
	if failure := w.object("s3://b/right-0-error.out"); !strings.Contains(failure, "longer than 60 seconds") {
		t.Errorf("the failure is %q", failure)
	}
	// An instance comes: what is in time is answered.
	w.endpoint(1, 1)
	eventually(t, "the others to be answered", func() bool { return w.count(platform.KindAsyncInvocation) == 0 })
	if len(w.asked) != 2 || w.object("s3://b/right-2.out") == "" {
		t.Errorf("%q were asked", w.asked)
	}
	clock.advance(10 * time.Second)
	eventually(t, "the figures", func() bool {
		return w.greatest("ExpiredRequests", "v") == 1 && w.greatest("InvocationFailures", "v") == 1 && w.greatest("InvocationsProcessed", "v") == 1 &&
			w.greatest("TimeInBacklog", "v") == 60_000 && w.greatest("TotalProcessingTime", "v") == 60_000
	})
}
