// Package price says what one way of serving inference costs for a given load, and where another becomes the cheaper one. It is
// pure: what came, how long it took and what things cost are data, and the answer is the same function of them every time. It
// knows nothing of endpoints' records, metrics or clocks, and changes nothing.
//
// A month has 730 hours, as AWS reckons. Quantities are expectations and may be broken; each is rounded once to whole seconds,
// and money is then integer arithmetic: rate × seconds × count, rounded once to a nano-unit by platform.HourlyRate.Times.
package price

import (
	"fmt"
	"math"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Month is what the costs are of.
const Month = 730 * time.Hour

// Mode is a way of serving inference.
type Mode string

// The modes.
const (
	RealTime    Mode = "real-time"              // instances that are always there
	Asleep      Mode = "real-time-asleep"       // the same, given back when nothing is asked for a while
	Serverless  Mode = "serverless"             // memory, paid for while a request is answered
	Provisioned Mode = "serverless-provisioned" // the same, kept ready, which is paid for too
	Async       Mode = "asynchronous"           // a queue before instances, as many as it needs, down to none
	Batch       Mode = "batch-transform"        // no endpoint: what has gathered is worked off by a job now and then
)

// Modes are all modes, those that answer at once first.
var Modes = []Mode{RealTime, Asleep, Serverless, Provisioned, Async, Batch}

// AtOnce tells whether the mode answers a request while its caller waits.
func (m Mode) AtOnce() bool { return m != Async && m != Batch }

// Workload is what is to be served.
type Workload struct {
	Load     Load
	Latency  time.Duration // of the model, for one request: the mean
	Slowest  time.Duration // 0: not known
	Payload  int64         // bytes of the largest request; 0: not known
	Memory   int64         // bytes that the model takes up, with what is to stay free beside it
	StartUp  time.Duration // from the launch of an instance until it answers
	Parallel int           // requests that an instance works on at a time
	GPU      bool          // the model runs on accelerators
	Shares   bool          // its endpoint has other variants, beside which there can be no serverless or asynchronous one
}

// Prices are what things cost. Without a price of serverless inference it is not to be had.
type Prices struct {
	Instance   platform.HourlyRate
	Serverless *platform.ServerlessPrice
}

// Terms are what is chosen, not measured.
type Terms struct {
	SleepAfter time.Duration // without a request, until a sleeping endpoint's instances are given back; at least a minute counts
	AsyncAfter time.Duration // without a request, until an asynchronous endpoint's last instance is given back
	BatchEvery time.Duration // from one batch transform job to the next
	// ServerlessKeep is how long an instance of a serverless endpoint stays ready after a request. That costs nothing, and decides
	// how many requests wait.
	ServerlessKeep time.Duration
}

// DefaultTerms are what holds where nothing else was chosen. A quarter of an hour is the tag's customary value, and what a target
// tracking policy waits before it scales in.
var DefaultTerms = Terms{SleepAfter: 15 * time.Minute, AsyncAfter: 15 * time.Minute, BatchEvery: 24 * time.Hour, ServerlessKeep: 5 * time.Minute}

// Case is all that costs follow from.
type Case struct {
	Workload
	Prices
	Terms
}

// Cost is what a mode costs in a month, or why it cannot take the load.
type Cost struct {
	Mode    Mode
	Why     string // it cannot; then nothing else is told
	Monthly platform.Money
	Units   int64   // instances; of serverless modes requests at a time
	Memory  int64   // of serverless modes: GB each
	Hours   float64 // that are paid for: of an instance, of serverless modes of a request at work
	Starts  float64 // in the month, each of which a request waits for
	Waiting float64 // part of the requests that come while nothing is ready
}

// The limits of AWS's modes, which are Stint's too.
const (
	onlineLimit     = 60 * time.Second // for an answer in real time and of serverless inference
	asyncLimit      = time.Hour
	onlinePayload   = 25 << 20
	serverlessInput = 4 << 20
	asyncPayload    = 1 << 30
	batchPayload    = 100 << 20
	serverlessGB    = 6
	serverlessMost  = 200 // requests at a time
	mostInstances   = 1000
)

// Of prices a mode, with as much of everything as the load takes. It is the one function that break-evens, plots and advice go by.
func (c Case) Of(m Mode) Cost {
	cost := Cost{Mode: m}
	if cost.Why = c.unfit(m); cost.Why == "" {
		c.fill(&cost)
	}
	if cost.Why != "" {
		return Cost{Mode: m, Why: cost.Why}
	}
	return cost
}

// Now prices a mode with the instances, or the requests that are kept ready for, that there are, whether they fit the load or not.
func (c Case) Now(m Mode, units int64) platform.Money {
	cost := Cost{Mode: m, Units: units}
	c.fill(&cost)
	return cost.Monthly
}

// fill reckons the cost, for as many units as it says or, when it says none, as the load takes.
func (c Case) fill(cost *Cost) {
	switch cost.Mode {
	case RealTime, Asleep:
		c.online(cost)
	case Serverless, Provisioned:
		c.serverless(cost)
	case Async:
		c.async(cost)
	case Batch:
		c.batch(cost)
	}
}

// unfit says why a mode cannot take the requests, however many they are.
func (c Case) unfit(m Mode) string {
	payload, limit := limits(m)
	if c.Payload > payload {
		return fmt.Sprintf("a request has up to %d bytes, more than the %d MB that it takes", c.Payload, payload>>20)
	}
	if slow := max(c.Latency, c.Slowest); slow > limit {
		return fmt.Sprintf("a request takes up to %.4g s, longer than the %g s that it may", slow.Seconds(), limit.Seconds())
	}
	if waits := m == Asleep || m == Serverless; waits && c.StartUp+c.Latency > onlineLimit {
		return fmt.Sprintf("the first request would wait %.3g s until an instance is up, longer than the %g s that it may take", c.StartUp.Seconds(), onlineLimit.Seconds())
	}
	if c.Shares && (m == Serverless || m == Provisioned || m == Async) {
		return "it would have to be the only variant of its endpoint"
	}
	if m == Serverless || m == Provisioned {
		return c.unfitServerless()
	}
	return ""
}

// limits are the bytes of a request that a mode takes, and how long it may take.
func limits(m Mode) (int64, time.Duration) {
	switch m {
	case Serverless, Provisioned:
		return serverlessInput, onlineLimit
	case Async:
		return asyncPayload, asyncLimit
	case Batch:
		return batchPayload, asyncLimit
	default:
		return onlinePayload, onlineLimit
	}
}

func (c Case) unfitServerless() string {
	switch {
	case c.GPU:
		return "it has no accelerators"
	case c.Prices.Serverless == nil:
		return "the catalogue has no price for it"
	case c.memoryGB() > serverlessGB:
		return fmt.Sprintf("the model takes %.1f GB of memory, more than the %d GB that there are", float64(c.Memory)/(1<<30), serverlessGB)
	}
	return ""
}

// memoryGB is the least size of a serverless instance.
func (c Case) memoryGB() int64 { return max(1, (c.Memory+1<<30-1)>>30) }

// parallel is at least one request at a time.
func (c Case) parallel() int64 { return int64(max(1, c.Parallel)) }

// online prices instances that answer at once, always there or asleep when nothing is asked.
func (c Case) online(cost *Cost) {
	if cost.Units == 0 {
		cost.Units = c.instances()
	}
	if cost.Units == 0 {
		cost.Why = fmt.Sprintf("it takes more than %d instances", mostInstances)
		return
	}
	up := Month.Seconds()
	if cost.Mode == Asleep {
		awake, starts := c.Load.awake(c.SleepAfter+c.Latency, c.StartUp)
		up *= awake
		c.waits(cost, starts)
	}
	cost.charge(c.Instance, up, cost.Units)
	cost.Hours = up * float64(cost.Units) / 3600
}

// waits notes how often and by how many requests a start is waited for: by those that cause it and those that come meanwhile.
func (c Case) waits(cost *Cost, starts float64) {
	cost.Starts = starts
	if requests := c.Load.Monthly(); requests > 0 {
		cost.Waiting = min(1, starts*(1+c.Load.company()*c.StartUp.Seconds())/requests)
	}
}

// serverless prices memory by its use. A started millisecond counts whole; what starts cost is not charged for.
func (c Case) serverless(cost *Cost) {
	cost.Memory = c.memoryGB()
	loss := throttled
	if cost.Mode == Provisioned {
		loss = unready
	}
	if cost.Units == 0 {
		cost.Units = lossless(c.erlangs(), loss, serverlessMost)
	}
	if cost.Units == 0 {
		cost.Why = fmt.Sprintf("it takes more than %d requests at a time", serverlessMost)
		return
	}
	milliseconds := math.Ceil(float64(c.Latency) / float64(time.Millisecond))
	use := c.Load.Monthly() * max(milliseconds, 1) / 1000
	cost.Hours = use / 3600
	if cost.Mode == Serverless {
		cost.charge(c.Prices.Serverless.PerGBHour, use, cost.Memory)
		_, starts := c.Load.awake(c.ServerlessKeep+c.Latency, c.StartUp)
		c.waits(cost, starts)
		return
	}
	cost.charge(c.Prices.Serverless.ProvisionedPerGBHour, Month.Seconds(), cost.Memory*cost.Units)
	kept := cost.Monthly
	cost.charge(c.Prices.Serverless.ProvisionedUsePerGBHour, use, cost.Memory)
	cost.Monthly.Nanos += kept.Nanos
	cost.Waiting = unready
}

// How many of the requests at the busiest time may find a serverless endpoint with as many at work as it may have, and how many
// one with no provisioned instance free.
const (
	throttled = 0.001
	unready   = 0.01
)

// async prices a queue: one instance from the first request until nothing has come for a while, and beside it as many as keep
// the queue shorter than an hour, for as long as they work.
func (c Case) async(cost *Cost) {
	each := c.Latency.Seconds() / float64(c.parallel()) // instance-seconds of a request
	cost.Units = max(1, int64(math.Ceil(c.Load.peak(time.Hour)*each)))
	if cost.Units > mostInstances {
		cost.Why = fmt.Sprintf("it takes more than %d instances", mostInstances)
		return
	}
	queued, beside := c.Load.queued(each, cost.Units)
	awake, starts := queued.awake(c.AsyncAfter+c.Latency, c.StartUp)
	up := awake*Month.Seconds() + beside
	cost.charge(c.Instance, up, 1)
	cost.Hours = up / 3600
	c.waits(cost, starts)
}

// batch prices jobs: each starts once and then works without a pause.
func (c Case) batch(cost *Cost) {
	each := c.Latency.Seconds() / float64(c.parallel())
	cost.Units = max(1, int64(math.Ceil(c.Load.peak(c.BatchEvery)*each)))
	if cost.Units > mostInstances {
		cost.Why = fmt.Sprintf("it takes more than %d instances", mostInstances)
		return
	}
	cost.Starts = c.Load.batches(c.BatchEvery) * float64(cost.Units)
	up := cost.Starts*c.StartUp.Seconds() + c.Load.Monthly()*each
	cost.charge(c.Instance, up, 1)
	cost.Hours, cost.Waiting = up/3600, 1
}

// charge sets the price of so many seconds of count things, unless that is more than money can tell.
func (cost *Cost) charge(rate platform.HourlyRate, seconds float64, count int64) {
	if total := seconds / 3600 * float64(count) * float64(rate.Nanos); !(total < math.MaxInt64/4) { // sums of two still fit
		cost.Why = "it costs more than a billion a month"
		return
	}
	cost.Monthly = rate.Times(int64(math.Round(seconds)), count)
}

// erlangs is the traffic of the busiest time: how many requests are worked on at a time then, on average.
func (c Case) erlangs() float64 { return c.Load.peak(c.Latency) * c.Latency.Seconds() }

// instances is how many answer at once what comes at the busiest time; 0: more than there may be.
func (c Case) instances() int64 {
	n := servers(c.erlangs(), mostInstances*c.parallel())
	return (n + c.parallel() - 1) / c.parallel()
}
