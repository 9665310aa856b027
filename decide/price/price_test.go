package price

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

func perHour(nanos platform.Nanos) platform.HourlyRate {
	return platform.HourlyRate{Nanos: nanos, Currency: "USD"}
}

// small is a model of 2 GB on ml.m5.large, at the prices of us-east-1, that answers in a tenth of a second.
func small(l Load) Case {
	return Case{
		Workload: Workload{Load: l, Latency: 100 * time.Millisecond, Memory: 2 << 30, Parallel: 2},
		Prices: Prices{Instance: perHour(115_000_000), Serverless: &platform.ServerlessPrice{
			PerGBHour: perHour(72_000_000), ProvisionedPerGBHour: perHour(18_000_000), ProvisionedUsePerGBHour: perHour(41_400_000),
		}},
		Terms: DefaultTerms,
	}
}

// day is a day of minutes in which so many requests come in the minutes named.
func day(counts map[int]float64) Load {
	minutes := make([]float64, 24*60)
	for at, n := range counts {
		minutes[at] = n
	}
	return Seen(time.Minute, minutes)
}

func with(c Case, edit func(*Case)) Case {
	edit(&c)
	return c
}

// A month is 730 hours, or 730/24 days.
func TestCostsByHand(t *testing.T) {
	t.Parallel()
	oneADay, burst := small(day(map[int]float64{600: 1})), with(small(day(map[int]float64{600: 3600})), func(c *Case) { c.Latency = 2 * time.Second })
	oneADay.Latency = 0
	for _, c := range []struct {
		name  string
		of    Case
		mode  Mode
		want  string
		units int64
	}{
		// 730 h × 0.115.
		{"one instance that is always there", small(Even(1e6)), RealTime, "83.95 USD", 1},
		// The worked example of AWS's pricing page: 1,000,000 × 0.1 s × 2 GB × 0.00002.
		{"memory by its use", small(Even(1e6)), Serverless, "4.00 USD", 2},
		// 730 h × 2 GB × 2 × 0.018, and 1,000,000 × 0.1 s × 2 GB × 0.0000115. Of 0.038 erlangs one instance loses 3.7 %, two 0.07 %.
		{"memory that is kept ready", small(Even(1e6)), Provisioned, "54.86 USD", 2},
		// 15 min a day: 0.25 h × 730/24 = 7.604166… h × 0.115; rounded to 27,375 s.
		{"an instance asleep but for a quarter of an hour", oneADay, Asleep, "0.874479167 USD", 1},
		// And as long as the request takes: 16 min a day are 29,200 s.
		{"an instance asleep but for a long request", with(oneADay, func(c *Case) { c.Latency = time.Minute }), Asleep, "0.932777778 USD", 1},
		{"a queue with one request a day", oneADay, Async, "0.874479167 USD", 1},
		// A request a minute, and 15 minutes without one never come.
		{"an instance that never sleeps", small(Seen(time.Minute, []float64{1, 0, 0, 1, 0})), Asleep, "83.95 USD", 1},
		// 3600 × 2 s on 2 at a time are an hour, and then a quarter: 4500 s × 730/24 = 136,875 s.
		{"a burst that is queued", burst, Async, "4.372395833 USD", 1},
		// At once: 60 a second × 2 s are 120 erlangs. With 130 servers they wait 0.4 of their work… the least even number is 122.
		{"a burst at once", burst, RealTime, "5120.95 USD", 61},
		// The hour's work a day, 3600 s × 730/24 = 109,500 s.
		{"a burst in one batch", burst, Batch, "3.497916667 USD", 1},
		// And a minute to start each day: 111,325 s.
		{"a batch that has to start", with(burst, func(c *Case) { c.StartUp = time.Minute }), Batch, "3.556215278 USD", 1},
		{"nothing is asked, and paid for all the same", small(Even(0)), RealTime, "83.95 USD", 1},
		{"nothing is asked, asleep", small(Even(0)), Asleep, "0.00 USD", 1},
		{"nothing is asked, serverless", small(Even(0)), Serverless, "0.00 USD", 1},
		{"nothing is asked, queued", small(Even(0)), Async, "0.00 USD", 1},
		{"nothing is asked, in batches", small(Even(0)), Batch, "0.00 USD", 1},
	} {
		if got := c.of.Of(c.mode); got.Monthly.String() != c.want || got.Units != c.units || got.Why != "" {
			t.Errorf("%s: %v with %d units (%s), want %s with %d", c.name, got.Monthly, got.Units, got.Why, c.want, c.units)
		}
	}
}

// One request an hour at random, a quarter of an hour of patience and as much of starting: from one silence to the next it is
// asleep for 1/λ, and then there for the start and (exp(λK)−1)/λ, so that it sleeps for 1 ÷ (λS + exp(λK)) of the time.
func TestAStartIsPaidFor(t *testing.T) {
	t.Parallel()
	c := with(small(Even(730)), func(c *Case) { c.Latency, c.StartUp = 0, 15*time.Minute })
	asleep := 1 / (0.25 + math.Exp(0.25))
	got := c.Of(Async)
	if want := (1 - asleep) * 730; math.Abs(got.Hours/want-1) > 0.005 {
		t.Errorf("there for %.2f h, want %.2f", got.Hours, want)
	}
	if want := asleep * 730; math.Abs(got.Starts/want-1) > 0.01 {
		t.Errorf("%.1f starts, want %.1f", got.Starts, want)
	}
}

func TestServersAreErlangs(t *testing.T) {
	t.Parallel()
	// M/M/1 waits ρ/(1−ρ) of its work: as long as that at ½. M/M/2 waits ρ²/(1−ρ²): as long at √½.
	for _, c := range []struct {
		erlangs float64
		want    int64
	}{{0, 1}, {0.5, 1}, {0.5001, 2}, {2 * math.Sqrt(0.4999), 2}, {2 * math.Sqrt(0.5001), 3}, {99, 0}, {1e12, 0}} {
		if got := servers(c.erlangs, 99); got != c.want {
			t.Errorf("servers(%g) = %d, want %d", c.erlangs, got, c.want)
		}
	}
	// The classic table of the loss formula: 10 lines lose a hundredth of 4.46 erlangs.
	if a, b := lossless(4.46, 0.01, 200), lossless(4.47, 0.01, 200); a != 10 || b != 11 {
		t.Errorf("lossless: %d and %d, want 10 and 11", a, b)
	}
}

func TestAModeThatCannotTakeTheLoadSaysWhy(t *testing.T) {
	t.Parallel()
	base := small(Even(1000))
	for _, c := range []struct {
		mode Mode
		edit func(*Case)
		want string
	}{
		{Serverless, func(c *Case) { c.Memory = 6<<30 + 1 }, "the model takes 6.0 GB of memory, more than the 6 GB that there are"},
		{Serverless, func(c *Case) { c.Payload = 4<<20 + 1 }, "a request has up to 4194305 bytes, more than the 4 MB that it takes"},
		{Serverless, func(c *Case) { c.Slowest = 61 * time.Second }, "a request takes up to 61 s, longer than the 60 s that it may"},
		{Serverless, func(c *Case) { c.GPU = true }, "it has no accelerators"},
		{Async, func(c *Case) { c.Shares = true }, "it would have to be the only variant of its endpoint"},
		{Provisioned, func(c *Case) { c.Prices.Serverless = nil }, "the catalogue has no price for it"},
		{Serverless, func(c *Case) { c.Load = Even(1e9); c.Latency = 2 * time.Second }, "it takes more than 200 requests at a time"},
		{Serverless, func(c *Case) { c.StartUp = time.Minute }, "the first request would wait 60 s until an instance is up, longer than the 60 s that it may take"},
		{Asleep, func(c *Case) { c.StartUp = 90 * time.Second }, "the first request would wait 90 s"},
		{RealTime, func(c *Case) { c.Latency = 2 * time.Minute }, "a request takes up to 120 s"},
		{RealTime, func(c *Case) { c.Payload = 26 << 20 }, "more than the 25 MB"},
		{RealTime, func(c *Case) { c.Load = Even(1e12) }, "it takes more than 1000 instances"},
		{Async, func(c *Case) { c.Latency = 2 * time.Hour }, "a request takes up to 7200 s, longer than the 3600 s"},
		{Async, func(c *Case) { c.Payload = 1<<30 + 1 }, "more than the 1024 MB"},
		{Batch, func(c *Case) { c.Load = Even(1e14) }, "it takes more than 1000 instances"},
		{RealTime, func(c *Case) { c.Instance = perHour(math.MaxInt64) }, "it costs more than a billion a month"},
	} {
		got := with(base, c.edit).Of(c.mode)
		if !strings.HasPrefix(got.Why, c.want) && !strings.HasSuffix(got.Why, c.want) && !strings.Contains(got.Why, c.want) || got.Monthly != (platform.Money{}) {
			t.Errorf("%s: %q at %v, want %q", c.mode, got.Why, got.Monthly, c.want)
		}
	}
	if got := with(base, func(c *Case) { c.Memory, c.Payload, c.Slowest = 6<<30, 4<<20, time.Minute }).Of(Serverless); got.Why != "" || got.Memory != 6 {
		t.Errorf("what just goes: %+v", got)
	}
}

func TestBreakEvenByHand(t *testing.T) {
	t.Parallel()
	// A request costs 0.1 s × 2 GB × 0.00002 = 0.000004; the instance 83.95. They are equal at 20,987,500 requests.
	// By then 21 million × 0.1 s are 0.8 erlangs, which two workers of one instance serve. Whole seconds are priced: 20,987,496
	// requests work 2,098,749.6 s, which are 2,098,750, too.
	spans := small(Even(1)).Spans([]Mode{RealTime, Serverless})
	if len(spans) < 2 || spans[0].Mode != Serverless || spans[1].Mode != RealTime || spans[1].From != 20_987_496 {
		t.Errorf("%+v", spans)
	}
	if u := small(Even(1)).Utilisation(20_987_500); math.Abs(u-20_987_500*0.1/2/2_628_000) > 1e-9 {
		t.Errorf("utilisation %g", u)
	}
}

func TestAdvice(t *testing.T) {
	t.Parallel()
	always := func(n int64) platform.Money { return small(Even(0)).Now(RealTime, n) }
	for _, c := range []struct {
		name   string
		of     Case
		mode   Mode
		now    platform.Money
		best   Mode
		later  Mode
		change bool
		saves  string
	}{
		{"little traffic", small(Even(10_000)), RealTime, always(1), Serverless, "", true, "83.91 USD"},
		{"two instances where one is enough", with(small(Even(35e6)), func(c *Case) { c.Prices.Serverless = nil }), RealTime, always(2), RealTime, Batch, true, "83.95 USD"},
		{"all is well", with(small(Even(35e6)), func(c *Case) { c.Prices.Serverless = nil }), RealTime, always(1), RealTime, Batch, false, "0.00"},
		{"a large model, seldom asked", with(small(day(map[int]float64{600: 9})), func(c *Case) { c.Memory = 7 << 30 }), RealTime, always(1), Asleep, "", true, "83.017445833 USD"},
		{"it answers later already", with(small(day(map[int]float64{600: 9})), func(c *Case) { c.Memory, c.StartUp = 7<<30, 2*time.Minute }), Async, always(1), Async, "", true, "82.902318056 USD"},
		{"another currency", small(Even(10_000)), RealTime, platform.Money{Nanos: 1e12, Currency: "CNY"}, Serverless, "", false, "0.00"},
	} {
		a := c.of.Advise(c.mode, c.now)
		later := Mode("")
		if a.Later != nil {
			later = a.Later.Mode
		}
		if a.Best == nil || a.Best.Mode != c.best || later != c.later || a.Change != c.change || a.Saves.String() != c.saves || len(a.Costs) != len(Modes) {
			t.Errorf("%s: best %+v, later %q, change %v, saves %v", c.name, a.Best, later, a.Change, a.Saves)
		}
	}
	if a := with(small(Even(1)), func(c *Case) { c.Payload = 1 << 40 }).Advise(RealTime, always(1)); a.Best != nil || a.Later != nil || a.Change {
		t.Errorf("nothing takes it: %+v", a)
	}
}

// What there is costs what it costs, also where it is too much or too little for the load, or a mode could not take it.
func TestWhatIsPaidNow(t *testing.T) {
	t.Parallel()
	large := with(small(day(map[int]float64{600: 1})), func(c *Case) { c.Memory, c.Latency = 9<<30, 0 })
	for _, c := range []struct {
		of    Case
		mode  Mode
		units int64
		want  string
	}{
		{large, RealTime, 3, "251.85 USD"},
		{large, Asleep, 3, "2.6234375 USD"},             // three times what one costs
		{large, Provisioned, 1, "118.26 USD"},           // 730 h × 9 GB × 0.018, and 30 ms of use, which are rounded to none
		{small(Even(1e6)), Provisioned, 1, "28.58 USD"}, // half of what is kept for two, and the use
		{small(Even(1e6)), Serverless, 0, "4.00 USD"},
	} {
		if got := c.of.Now(c.mode, c.units); got.String() != c.want {
			t.Errorf("%d of %s: %v, want %s", c.units, c.mode, got, c.want)
		}
	}
}

func TestHowSure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		requests float64
		watched  time.Duration
		want     Confidence
	}{
		{0, 30 * aDay, NoTraffic}, {99, 30 * aDay, Low}, {1e6, 59 * time.Minute, Low}, {3, time.Minute, Low},
		{100, time.Hour, Fair}, {1e6, aDay, Fair}, {100, aWeek, Good},
	} {
		if got, why := Sure(c.requests, c.watched); got != c.want || (why == "") != (got == Good) {
			t.Errorf("%g in %v: %s, %q", c.requests, c.watched, got, why)
		}
	}
}

// drawn is any workload.
func drawn(t *rapid.T) Case {
	c := small(Even(0))
	c.Latency = time.Duration(rapid.Int64Range(0, int64(70*time.Second)).Draw(t, "latency"))
	c.StartUp = time.Duration(rapid.Int64Range(0, int64(2*time.Minute)).Draw(t, "start"))
	c.Memory = rapid.Int64Range(0, 8<<30).Draw(t, "memory")
	c.Parallel = rapid.IntRange(0, 96).Draw(t, "parallel")
	c.SleepAfter = time.Duration(rapid.IntRange(0, 7200).Draw(t, "sleep")) * time.Second
	c.AsyncAfter = time.Duration(rapid.IntRange(0, 7200).Draw(t, "scale in")) * time.Second
	c.Load = Even(rapid.Float64Range(0, 1e8).Draw(t, "even"))
	if rapid.Bool().Draw(t, "seen") {
		counts := make([]float64, rapid.IntRange(1, 3000).Draw(t, "intervals"))
		for range rapid.IntRange(0, 60).Draw(t, "bursts") {
			at := rapid.IntRange(0, len(counts)-1).Draw(t, "at")
			counts[at] += float64(rapid.IntRange(1, 500).Draw(t, "requests"))
		}
		c.Load = Seen(time.Duration(rapid.IntRange(1, 300).Draw(t, "every"))*time.Second, counts)
	}
	return c
}

// Whatever comes, a cost is a finite amount that is not below nothing, and no instances work longer than there is time.
func TestCostsAreAmounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		if by := rapid.Float64Range(0, 50).Draw(t, "by"); rapid.Bool().Draw(t, "scaled") {
			c.Load = c.Load.Scaled(by)
		}
		for _, m := range Modes {
			if cost := c.Of(m); cost.Why == "" {
				isAmount(t, cost)
			} else if cost != (Cost{Mode: m, Why: cost.Why}) {
				t.Fatalf("it has a price and cannot be had: %+v", cost)
			}
		}
		if asleep, awake := c.Of(Asleep), c.Of(RealTime); asleep.Monthly.Nanos > awake.Monthly.Nanos {
			t.Fatalf("asleep costs %v, awake %v", asleep.Monthly, awake.Monthly)
		}
	})
}

func isAmount(t *rapid.T, cost Cost) {
	for what, v := range map[string]float64{"hours": cost.Hours, "starts": cost.Starts, "waiting": cost.Waiting} {
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			t.Fatalf("%s: %s are %v", cost.Mode, what, v)
		}
	}
	if cost.Monthly.Nanos < 0 || cost.Monthly.Currency != "USD" || cost.Units < 1 || cost.Waiting > 1 {
		t.Fatalf("%+v", cost)
	}
}

// More of the same load never costs less, but for a queue: when that gets another instance, what is left of an interval of the
// first one is saved, once a start at most.
func TestCostsGrowWithTheLoad(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		low := c.Load.Scaled(rapid.Float64Range(0, 3).Draw(t, "from"))
		high := low.Scaled(rapid.Float64Range(1, 10).Draw(t, "by"))
		for _, m := range Modes {
			c.Load = low
			less := c.Of(m)
			c.Load = high
			more := c.Of(m)
			slack := platform.Nanos(1_000_000)
			if m == Async {
				slack += more.Monthly.Nanos / 10
			}
			if less.Why == "" && more.Why == "" && more.Monthly.Nanos+slack < less.Monthly.Nanos {
				t.Fatalf("%s: %v for %g requests, %v for %g", m, less.Monthly, low.Monthly(), more.Monthly, high.Monthly())
			}
			if less.Why != "" && more.Why == "" {
				t.Fatalf("%s takes %g requests and not %g: %s", m, high.Monthly(), low.Monthly(), less.Why)
			}
		}
	})
}

// Where Spans says that another mode becomes the cheapest, it is, and with one request less it is not.
func TestBreakEvensAreWhereCostsCross(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		modes := []Mode{rapid.SampledFrom(Modes).Draw(t, "one"), rapid.SampledFrom(Modes).Draw(t, "other")}
		cheapest := func(requests int64) Mode {
			if best := c.AtRequests(float64(requests)).Cheapest(modes); best != nil {
				return best.Mode
			}
			return ""
		}
		spans := c.Spans(modes)
		if spans[0].From != 1 || spans[0].Mode != cheapest(1) {
			t.Fatalf("it begins with %+v", spans[0])
		}
		for i, s := range spans[1:] {
			if s.From <= spans[i].From || s.Mode == spans[i].Mode {
				t.Fatalf("%+v after %+v", s, spans[i])
			}
			if at, before := cheapest(s.From), cheapest(s.From-1); at != s.Mode || before == s.Mode {
				t.Fatalf("%q is said to become the cheapest at %d: there it is %q, before it %q", s.Mode, s.From, at, before)
			}
		}
	})
}

// The cheapest is the one that costs least of those that take the load.
func TestTheCheapestCostsLeast(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		best := c.Cheapest(Modes)
		for _, m := range Modes {
			if cost := c.Of(m); cost.Why == "" && (best == nil || cost.Monthly.Nanos < best.Monthly.Nanos) {
				t.Fatalf("%+v is cheaper than %+v", cost, best)
			}
		}
	})
}

func BenchmarkSpans(b *testing.B) {
	counts := make([]float64, 7*24*60)
	for i := range counts {
		counts[i] = float64(i * 7919 % 13 / 11)
	}
	c := small(Seen(time.Minute, counts))
	for b.Loop() {
		c.Spans([]Mode{RealTime, Asleep})
	}
}
