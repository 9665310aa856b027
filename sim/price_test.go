package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stint-ml/stint/decide/price"
	"github.com/stint-ml/stint/platform"
)

// asked is a request of a made-up trace: when it comes, and how long a worker has it.
type asked struct{ at, work time.Duration }

// traced is what the requests of a trace are like.
type traced struct {
	name       string
	background float64 // requests an hour, at any time
	bursts     float64 // a day
	burst      float64 // requests in each, on average
	lasting    time.Duration
	work       time.Duration // of a request, on average
	parallel   int           // requests at a time on an instance
	start      time.Duration // of an instance
}

const simulatedDays = 28

// play makes four weeks of Poisson arrivals: bursts that come at random, with a background beside them, and works of any length.
func (tr traced) play(rng *rand.Rand) []asked {
	end := simulatedDays * 24 * time.Hour
	var out []asked
	arrive := func(from, to time.Duration, perHour float64) {
		for at := from; perHour > 0; {
			at += time.Duration(rng.ExpFloat64() / perHour * float64(time.Hour))
			if at >= min(to, end) {
				return
			}
			out = append(out, asked{at, time.Duration(rng.ExpFloat64() * float64(tr.work))})
		}
	}
	arrive(0, end, tr.background)
	for at := time.Duration(0); tr.bursts > 0; {
		if at += time.Duration(rng.ExpFloat64() / tr.bursts * float64(24*time.Hour)); at >= end {
			break
		}
		arrive(at, at+tr.lasting, tr.burst/tr.lasting.Hours())
	}
	slices.SortFunc(out, func(a, b asked) int { return int(a.at - b.at) })
	return out
}

// workload is what the metrics would say of a trace: requests by the minute, and their mean latency.
func (tr traced) workload(trace []asked) price.Workload {
	counts, sum := make([]float64, simulatedDays*24*60), time.Duration(0)
	for _, a := range trace {
		counts[a.at/time.Minute]++
		sum += a.work
	}
	return price.Workload{
		Load: price.Seen(time.Minute, counts), Latency: sum / time.Duration(len(trace)), Memory: 2 << 30, StartUp: tr.start, Parallel: tr.parallel,
	}
}

// served is how a queue went: first come, first served, by as many workers.
type served struct {
	begun, ended []time.Duration // of each request
	by           []int           // which worker had it
}

// take gives a request to the first worker that is free when it is ready, else to the one that is free soonest.
func (s *served) take(free []time.Duration, a asked, ready time.Duration) {
	by := 0
	for w := range free {
		if free[w] <= ready {
			by = w
			break
		}
		if free[w] < free[by] {
			by = w
		}
	}
	begin := max(ready, free[by])
	free[by] = begin + a.work
	s.begun, s.ended, s.by = append(s.begun, begin), append(s.ended, free[by]), append(s.by, by)
}

// serve plays a queue before workers that are always there.
func serve(trace []asked, workers int) (s served) {
	free := make([]time.Duration, workers)
	for _, a := range trace {
		s.take(free, a, a.at)
	}
	return s
}

// asleepUnless plays instances that are given back when nothing has been under way for hold, and started by the next request. It
// gives how long they were there and how often they were started.
func asleepUnless(trace []asked, workers int, hold, start time.Duration) (up time.Duration, starts int) {
	const asleep = time.Duration(-1)
	ready, since, last := asleep, time.Duration(0), time.Duration(0)
	free, s := make([]time.Duration, workers), served{}
	for _, a := range trace {
		if ready != asleep && a.at > last+hold {
			up += last + hold - since
			ready = asleep
		}
		if ready == asleep {
			since, ready = a.at, a.at+start
			starts++
		}
		s.take(free, a, max(a.at, ready))
		last = max(last, s.ended[len(s.ended)-1])
	}
	return up + min(last+hold, simulatedDays*24*time.Hour) - since, starts
}

// busyBeside is how long anything ran on each group of so many workers but the first, together.
func (s served) busyBeside(group int) (sum time.Duration) {
	until := map[int]time.Duration{}
	for i := range s.begun { // groups get their requests in order
		g := s.by[i] / group
		if g == 0 {
			continue
		}
		if from := max(s.begun[i], until[g]); s.ended[i] > from {
			sum += s.ended[i] - from
			until[g] = s.ended[i]
		}
	}
	return sum
}

// played is what a mode came to: time that is paid for, in seconds of an instance or a GB.
func played(c price.Case, cost price.Cost, trace []asked) (seconds float64, starts int) {
	workers := int(cost.Units) * c.Parallel
	switch cost.Mode {
	case price.Asleep:
		up, starts := asleepUnless(trace, workers, c.SleepAfter, c.StartUp)
		return up.Seconds() * float64(cost.Units), starts
	case price.Async:
		up, starts := asleepUnless(trace, workers, c.AsyncAfter, c.StartUp)
		return up.Seconds() + serve(trace, workers).busyBeside(c.Parallel).Seconds(), starts
	case price.Batch:
		jobs := map[int][]asked{}
		for _, a := range trace {
			job := int(a.at / c.BatchEvery)
			jobs[job] = append(jobs[job], asked{work: a.work})
		}
		for _, job := range jobs {
			end := slices.Max(serve(job, workers).ended)
			seconds += (c.StartUp + end).Seconds() * float64(cost.Units)
		}
		return seconds, len(jobs) * int(cost.Units)
	case price.Serverless:
		for _, a := range trace {
			seconds += math.Ceil(float64(a.work)/1e6) / 1000
		}
		return seconds * float64(cost.Memory), 0
	}
	panic("not played: " + cost.Mode)
}

// TestAdviceIsProvenBySimulation plays traces request by request, and holds what each mode came to against what it was said to
// cost from the minutes' counts alone. Within the minutes in which a burst begins and ends nothing is known, which makes it up to a
// minute longer: three per cent where all there is are bursts of twenty minutes, and under one elsewhere.
func TestAdviceIsProvenBySimulation(t *testing.T) {
	t.Parallel()
	for _, tr := range []traced{
		{name: "a few a day", background: 0.2, work: 200 * time.Millisecond, parallel: 2, start: 20 * time.Second},
		{name: "seldom, but long", background: 1, work: 20 * time.Second, parallel: 1, start: 30 * time.Second},
		{name: "bursts", bursts: 4, burst: 2000, lasting: 20 * time.Minute, work: 700 * time.Millisecond, parallel: 2, start: 15 * time.Second},
		{name: "long bursts on a background", background: 2, bursts: 2, burst: 9000, lasting: 3 * time.Hour, work: time.Second, parallel: 4, start: time.Minute / 2},
		{name: "steady", background: 900, work: 2 * time.Second, parallel: 2, start: 10 * time.Second},
	} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/%d", tr.name, seed), func(t *testing.T) {
				t.Parallel()
				trace := tr.play(rand.New(rand.NewPCG(seed, 17)))
				c := price.Case{Workload: tr.workload(trace), Terms: price.DefaultTerms, Prices: price.Prices{
					Instance:   platform.HourlyRate{Nanos: 115_000_000, Currency: "USD"},
					Serverless: &platform.ServerlessPrice{PerGBHour: platform.HourlyRate{Nanos: 72_000_000, Currency: "USD"}},
				}}
				for _, m := range []price.Mode{price.Asleep, price.Async, price.Batch, price.Serverless} {
					hold(t, c, c.Of(m), trace)
				}
				answersInTime(t, c, trace)
			})
		}
	}
}

// hold compares the money of a month, and how often something was started.
func hold(t *testing.T, c price.Case, cost price.Cost, trace []asked) {
	t.Helper()
	seconds, starts := played(c, cost, trace)
	months := simulatedDays * 24 / 730.0
	rate := c.Instance
	if cost.Mode == price.Serverless {
		rate = c.Prices.Serverless.PerGBHour
	}
	paid := float64(rate.Nanos) * seconds / 3600 / months
	if off := float64(cost.Monthly.Nanos)/paid - 1; math.Abs(off) > 0.04 {
		t.Errorf("%s: said to cost %v a month, played %.4f (%+.1f %%)", cost.Mode, cost.Monthly, paid/1e9, 100*off)
	}
	if said := cost.Starts * months; cost.Mode != price.Serverless && math.Abs(said-float64(starts)) > 2+0.1*float64(starts) {
		t.Errorf("%s: said to start %.1f times, played %d", cost.Mode, said, starts)
	}
}

// answersInTime sees that the instances of a real-time endpoint are enough: on average nobody waits longer than for the work.
func answersInTime(t *testing.T, c price.Case, trace []asked) {
	t.Helper()
	cost := c.Of(price.RealTime)
	s := serve(trace, int(cost.Units)*c.Parallel)
	waited := time.Duration(0)
	for i, a := range trace {
		waited += s.begun[i] - a.at
	}
	if mean := waited / time.Duration(len(trace)); mean > c.Latency {
		t.Errorf("with %d instances requests wait %v, and take %v", cost.Units, mean, c.Latency)
	}
}
