package trace_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/drivers/market/markettest"
	"github.com/stint-ml/stint/drivers/market/trace"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/sim"
)

var (
	begun    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	onDemand = platform.HourlyRate{Nanos: 3_060_000_000, Currency: "USD"}
)

// written puts a trace into a file.
func written(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// replayed opens the text of a trace on a virtual clock.
func replayed(t *testing.T, text string, o trace.Options) (platform.Market, *sim.Clock) {
	t.Helper()
	clock := sim.NewClock(begun)
	o.Clock = clock
	m, err := trace.Open(written(t, "trace.csv", text), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, clock
}

// offer is what the market offers now, as text.
func offer(t *testing.T, m platform.Market, of platform.InstanceType) string {
	t.Helper()
	o, err := m.Offer(t.Context(), of, onDemand)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%v %v", o.Available, platform.Money(o.Rate))
}

func TestConformance(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("seconds,available,price,instance_type\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "%d,%d,,ml.a\n", 60*i, i%2)
	}
	markettest.Run(t, func(t *testing.T) markettest.Case {
		clock := sim.NewClock(begun)
		m, err := trace.Open(written(t, "trace.csv", text.String()), trace.Options{Clock: clock, Discount: 0.7})
		if err != nil {
			t.Fatal(err)
		}
		return markettest.Case{Market: m, Type: "ml.a", Unknown: "ml.b", Change: func() { clock.Advance(time.Minute) }}
	})
}

func TestOffersFollowTheClock(t *testing.T) {
	t.Parallel()
	const text = "seconds,available,price,instance_type\n0,1,0.5,a\n60,0,0.75,a\n90,1,,a\n0,0,,b\n100,1,2,b\n"
	for name, tt := range map[string]struct {
		options trace.Options
		step    time.Duration
		want    string // of a, a step apart
	}{
		"at its own speed":     {trace.Options{Discount: 0.5}, 30 * time.Second, "true 0.50 USD, true 0.50 USD, false 0.75 USD, true 1.53 USD, true 1.53 USD"},
		"ten times as fast":    {trace.Options{Speed: 10}, 3 * time.Second, "true 0.50 USD, true 0.50 USD, false 0.75 USD, true 3.06 USD, true 3.06 USD"},
		"begun before":         {trace.Options{Start: begun.Add(-time.Minute)}, 30 * time.Second, "false 0.75 USD, true 3.06 USD, true 3.06 USD, true 3.06 USD, true 3.06 USD"},
		"to begin":             {trace.Options{Start: begun.Add(time.Minute)}, 30 * time.Second, "true 0.50 USD, true 0.50 USD, true 0.50 USD, true 0.50 USD, false 0.75 USD"},
		"again from the start": {trace.Options{Repeat: true}, 30 * time.Second, "true 0.50 USD, true 0.50 USD, false 0.75 USD, true 3.06 USD, true 0.50 USD"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, clock := replayed(t, text, tt.options)
			var got []string
			for range 5 {
				got = append(got, offer(t, m, "a"))
				clock.Advance(tt.step)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("%s\nwant %s", strings.Join(got, ", "), tt.want)
			}
		})
	}
}

func TestAnotherTypeIsUnknown(t *testing.T) {
	t.Parallel()
	m, _ := replayed(t, "seconds,available,instance_type\n0,1,a\n", trace.Options{})
	if _, err := m.Offer(t.Context(), "c", onDemand); !platform.Is(err, platform.Invalid) {
		t.Errorf("%v", err)
	}
}

// heard waits for news, letting time pass by the step until it comes.
func heard(t *testing.T, m platform.Market, clock *sim.Clock, step time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		select {
		case <-m.Changed():
			return
		case <-time.After(time.Millisecond): // the market's goroutine may be about to tell
			clock.Advance(step)
		}
	}
	t.Fatal("no change was told")
}

func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	m, clock := replayed(t, "seconds,available,instance_type\n0,1,a\n0,1,b\n600,0,a\n1200,0,b\n1800,1,b\n", trace.Options{Repeat: true})
	select {
	case <-m.Changed():
		t.Error("told of a change before there was one")
	default:
	}
	for _, want := range []string{"false, true", "false, false", "true, true", "false, true"} {
		heard(t, m, clock, 20*time.Second)
		// What is told last is what holds: a step is shorter than any row.
		a, b := offer(t, m, "a"), offer(t, m, "b")
		if got := strings.Fields(a)[0] + ", " + strings.Fields(b)[0]; got != want {
			t.Errorf("%s is offered, want %s", got, want)
		}
	}
}

func TestCloseEndsTheWaitAtOnce(t *testing.T) {
	t.Parallel()
	m, _ := replayed(t, "seconds,available\n0,1\n60,0\n", trace.Options{})
	for range 2 {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := offer(t, m, "a"); got != "true 3.06 USD" {
		t.Errorf("after the end %s", got)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	file := written(t, "t.csv", "seconds,available\n0,1\n")
	for _, tt := range []struct {
		options trace.Options
		want    string
	}{
		{trace.Options{Speed: -1}, "a trace cannot be replayed at -1 times its speed; it must be more than 0"},
		{trace.Options{Speed: math.NaN()}, "a trace cannot be replayed at NaN times its speed; it must be more than 0"},
		{trace.Options{Speed: math.Inf(1)}, "a trace cannot be replayed at +Inf times its speed; it must be more than 0"},
		{trace.Options{Discount: 1}, "a spot discount of 1 makes no price; it must be from 0 to less than 1"},
		{trace.Options{Discount: math.NaN()}, "a spot discount of NaN makes no price; it must be from 0 to less than 1"},
		{trace.Options{Repeat: true}, file + " cannot be repeated: a table of changes ends with its last row, and this one has no other"},
	} {
		tt.options.Clock = sim.NewClock(begun)
		if _, err := trace.Open(file, tt.options); !platform.Is(err, platform.Invalid) || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	if _, err := trace.Open(file+"x", trace.Options{Clock: sim.NewClock(begun)}); !platform.Is(err, platform.NotFound) {
		t.Errorf("no file: %v", err)
	}
}

// At any moment, at any speed, repeated or not: the offer is that of the row a naive search finds.
func TestTheOfferIsTheRowThatHolds(t *testing.T) {
	t.Parallel()
	file := written(t, "trace.csv", "")
	rapid.Check(t, func(t *rapid.T) {
		text, length := "seconds,available,price\n0,0,\n", 0
		begins := []int{0} // of the rows, each with its number for a price
		for i, step := range rapid.SliceOfN(rapid.IntRange(1, 5000), 1, 20).Draw(t, "steps") {
			length += step
			begins = append(begins, length)
			text += fmt.Sprintf("%d,0,%d\n", length, i+1)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		clock := sim.NewClock(begun)
		o := trace.Options{Clock: clock, Repeat: rapid.Bool().Draw(t, "repeat"), Speed: rapid.SampledFrom([]float64{0.5, 1, 2, 64}).Draw(t, "speed")}
		opened, err := trace.Open(file, o)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close() //nolint:errcheck // it has nothing to lose
		passed := time.Duration(rapid.IntRange(0, 100_000).Draw(t, "passed")) * time.Second
		clock.Advance(passed)
		position := time.Duration(float64(passed) * o.Speed)
		if o.Repeat {
			for position >= time.Duration(length)*time.Second {
				position -= time.Duration(length) * time.Second
			}
		}
		var want platform.Nanos
		for i, begin := range begins {
			if time.Duration(begin)*time.Second <= position {
				want = platform.Nanos(i) * platform.NanosPerUnit
			}
		}
		if want == 0 {
			want = onDemand.Nanos
		}
		got, err := opened.Offer(t.Context(), "any", onDemand)
		if err != nil || got.Rate.Nanos != want {
			t.Fatalf("%+v, %v; want %d at %v", got, err, want, position)
		}
	})
}
