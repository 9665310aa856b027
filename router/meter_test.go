package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
)

// clock stands still until a test moves it; a tick of it fires whoever waits.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	ticks chan time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC), ticks: make(chan time.Time)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(time.Duration) (<-chan time.Time, func()) { return c.ticks, func() {} }

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// flaky are metrics that can be out of order for a while.
type flaky struct {
	platform.Metrics
	mu   sync.Mutex
	fail bool
	puts chan struct{} // one for each batch that came, if anyone listens
}

func (f *flaky) PutData(ctx context.Context, producer string, seq int64, data []platform.Datum) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case f.puts <- struct{}{}:
	default:
	}
	if f.fail {
		return errors.New("the disk is full")
	}
	return f.Metrics.PutData(ctx, producer, seq, data)
}

func (f *flaky) breaks(now bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = now
}

// metered is a router whose clock and metrics a test holds.
func metered(t *testing.T, variants ...platform.RouteVariant) (*Router, *clock, *flaky) {
	t.Helper()
	c, f := newClock(), &flaky{puts: make(chan struct{}, 100)}
	f.Metrics = telemetry.New(c)
	r := New(Config{Metrics: f, Clock: c, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(r.Stop)
	r.Set("e", platform.Route{Variants: variants})
	return r, c, f
}

// told is what CloudWatch says of a metric minute by minute; each is "minute: count sum minimum maximum unit".
func told(t *testing.T, m platform.Metrics, variant, name string) (said []string) {
	t.Helper()
	from := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	series := platform.Series{Namespace: "AWS/SageMaker", Name: name, Dimensions: map[string]string{"EndpointName": "e", "VariantName": variant}}
	periods, err := m.Aggregate(t.Context(), series, from, from.Add(time.Hour), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range periods {
		said = append(said, fmt.Sprintf("%d: %v %v %v %v %s", int(p.Start.Sub(from).Minutes()), p.Count, p.Sum, p.Minimum, p.Maximum, p.Unit))
	}
	return said
}

func expect(t *testing.T, m platform.Metrics, variant, name string, want ...string) {
	t.Helper()
	if got := told(t, m, variant, name); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s of %s is %q, want %q", name, variant, got, want)
	}
}

func TestInvocationsAreCountedAsCloudWatchHasThem(t *testing.T) {
	t.Parallel()
	var c *clock
	leaving, leave := context.WithCancel(t.Context())
	answering := container(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		switch string(body) {
		case "break":
			panic(http.ErrAbortHandler)
		case "half":
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "half")
		case "leave":
			leave()
			<-q.Context().Done()
		default:
			c.advance(3 * time.Millisecond)
			status, _ := strconv.Atoi(string(body))
			w.WriteHeader(status)
			fmt.Fprint(w, "answer")
		}
	})
	r, held, m := metered(t, platform.RouteVariant{Name: "v", Weight: 1, Targets: []platform.Target{answering, answering}})
	c = held
	invoke := func(ctx context.Context, body string) {
		in := platform.Invocation{Endpoint: "e", Body: []byte(body), Arrived: c.Now()}
		c.advance(time.Millisecond) // of our own, before
		a, err := r.Invoke(ctx, in)
		if err != nil {
			return
		}
		_, _ = io.ReadAll(a.Body)
		if body == "200" {
			c.advance(5 * time.Millisecond) // and after
		}
		a.Body.Close()
		a.Body.Close() // once more is not counted
	}
	for _, body := range []string{"200", "404", "503", "break", "half"} {
		invoke(t.Context(), body)
	}
	invoke(leaving, "leave")
	c.advance(time.Minute)
	invoke(t.Context(), "200")
	_, _ = r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Variant: "nobody"})
	_, _ = r.Invoke(t.Context(), platform.Invocation{Endpoint: "nobody"})
	expect(t, m, "v", "Invocations") // a request writes nothing
	r.Stop()
	expect(t, m, "v", "Invocations", "0: 6 6 1 1 None", "1: 1 1 1 1 None")
	expect(t, m, "v", "InvocationsPerInstance", "0: 6 3 0.5 0.5 None", "1: 1 0.5 0.5 0.5 None")
	expect(t, m, "v", "Invocation4XXErrors", "0: 6 1 0 1 None", "1: 1 0 0 0 None")
	expect(t, m, "v", "Invocation5XXErrors", "0: 6 3 0 1 None", "1: 1 0 0 0 None")
	expect(t, m, "v", "ModelLatency", "0: 4 9000 0 3000 Microseconds", "1: 1 3000 3000 3000 Microseconds")
	expect(t, m, "v", "OverheadLatency", "0: 4 9000 1000 6000 Microseconds", "1: 1 6000 6000 6000 Microseconds")
	if found, err := m.Find(t.Context(), platform.Series{}); err != nil || len(found) != 6 {
		t.Errorf("there are the series %v: %v", found, err)
	}
}

// slowly is a body whose container lets its reader wait.
type slowly struct{ c *clock }

func (s slowly) Read([]byte) (int, error) {
	s.c.advance(7 * time.Microsecond)
	return 1, nil
}

func TestTheModelIsTimedAsLongAsItKeepsItsReaderWaiting(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := &answer{router: &Router{clock: c}, ctx: t.Context(), body: slowly{c}, model: time.Microsecond}
	for range 3 {
		_, _ = b.Read(make([]byte, 1))
		c.advance(time.Hour) // the reader's own
	}
	if b.model != 22*time.Microsecond {
		t.Errorf("the model took %v", b.model)
	}
}

func TestMetricsAreWrittenEveryFewSecondsAndNoneIsLostToAFault(t *testing.T) {
	t.Parallel()
	r, c, m := metered(t, platform.RouteVariant{Name: "v", Weight: 1, Targets: []platform.Target{container(t, says("yes"))}})
	r.Start()
	r.Start()
	m.breaks(true)
	ask(t, r, platform.Invocation{})
	c.ticks <- c.Now()
	<-m.puts // was refused
	ask(t, r, platform.Invocation{})
	m.breaks(false)
	c.ticks <- c.Now()
	c.ticks <- c.Now() // is taken when the one before is done, and finds nothing
	expect(t, m, "v", "Invocations", "0: 2 2 1 1 None")
	ask(t, r, platform.Invocation{})
	r.Stop()
	r.Stop()
	expect(t, m, "v", "Invocations", "0: 3 3 1 1 None")
}

func BenchmarkCount(b *testing.B) {
	m := newMeter(Config{Metrics: telemetry.New(platform.SystemClock{}), Clock: platform.SystemClock{}, Log: slog.New(slog.DiscardHandler)})
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			m.count(ended{endpoint: "e", variant: "v", instances: 2, status: 200, model: time.Millisecond, overhead: time.Microsecond})
		}
	})
}
