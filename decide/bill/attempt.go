package bill

import (
	"slices"
	"time"

	"github.com/stint-ml/stint/platform"
)

// An attempt has one ledger line for each price that it ran at. The lines follow from the attempt alone, so that a crash
// between any two writes neither loses nor doubles one. Prices meet at whole seconds of the attempt: the seconds of its lines
// add up to its own.
//
// When the price changes is known by the server's clock, when an attempt ends by its agent's. A line is therefore closed only
// once the agent has told of a later time: it may have ended before the change and not have been heard yet.

// leastPrice is the least time that a price holds: a market that trembles must not fill the ledger.
const leastPrice = time.Minute

// line is the opening entry of the attempt's n-th price.
func line(job *platform.TrainingJob, a *platform.Attempt, n int) platform.LedgerEntry {
	e := platform.LedgerEntry{
		Line: a.Line(n), Event: platform.LineOpened, At: a.Started, Resource: job.Status.ARN, Attempt: a.Number,
		InstanceType: job.InstanceType(), Count: 1, Purchase: a.Purchase, Rate: job.Status.Rate, OnDemandRate: job.Status.Rate,
	}
	if n < len(a.Prices) {
		e.Rate = a.Prices[n].Rate
	}
	if n > 0 {
		e.At = a.Prices[n].From
	}
	return e
}

// Begin opens the first line of an attempt that has started.
func Begin(job *platform.TrainingJob, a *platform.Attempt) []platform.LedgerEntry {
	a.Lines = 1
	return []platform.LedgerEntry{line(job, a, 0)}
}

// Reprice notes that an instance-hour costs something else from now on, and tells whether that is news. The price that an
// attempt begins with is the one that holds when it starts.
func Reprice(a *platform.Attempt, rate platform.HourlyRate, now time.Time) bool {
	last := len(a.Prices) - 1
	switch {
	case last < 0 || a.Prices[last].Rate == rate:
		return false
	case a.Started.IsZero():
		a.Prices[last].Rate = rate
		return true
	}
	if last >= max(a.Lines, 1) && a.Prices[last].From.After(now) { // it has not come to hold
		a.Prices = a.Prices[:last]
		if a.Prices[last-1].Rate != rate {
			a.Prices = append(a.Prices, platform.Price{From: from(a, now), Rate: rate})
		}
		return true
	}
	a.Prices = append(a.Prices, platform.Price{From: from(a, now), Rate: rate})
	return true
}

// from is the first whole second of the attempt, not before now, at which another price may hold.
func from(a *platform.Attempt, now time.Time) time.Time {
	earliest := a.Started.Add(leastPrice)
	if last := len(a.Prices) - 1; last > 0 {
		earliest = a.Prices[last].From.Add(leastPrice)
	}
	if exact := a.Started.Add(Seconds(a.Started, now).Duration()); exact.After(earliest) {
		return exact
	}
	return earliest
}

// Pass closes the lines whose prices had ceased to hold when the attempt still lived at a time, and opens the next ones.
func Pass(job *platform.TrainingJob, a *platform.Attempt, at time.Time) []platform.LedgerEntry {
	var entries []platform.LedgerEntry
	for ; a.Lines > 0 && a.Lines < len(a.Prices) && a.Prices[a.Lines].From.Before(at); a.Lines++ {
		next := line(job, a, a.Lines)
		entries = append(entries, Close(line(job, a, a.Lines-1), next.At), next)
	}
	return entries
}

// Finish closes the last line of an attempt at its end, and tells what BillableTimeInSeconds it adds to its job. The attempt
// then has its end, its seconds, and no price that never came to hold. An end before what the ledger knows of it is not believed.
func Finish(job *platform.TrainingJob, a *platform.Attempt, at time.Time) ([]platform.LedgerEntry, platform.Seconds) {
	entries := Pass(job, a, at)
	n := max(a.Lines, 1)
	closed := Close(line(job, a, n-1), at)
	a.Lines, a.Prices = n, slices.Clip(a.Prices[:min(n, len(a.Prices))])
	a.Ended, a.Seconds = closed.At, Seconds(a.Started, closed.At)
	var billable platform.Seconds
	for i := range n {
		l := line(job, a, i)
		end := closed.At
		if i+1 < n {
			end = a.Prices[i+1].From
		}
		billable += Billable(Seconds(l.At, end), l.Rate, l.OnDemandRate)
	}
	return append(entries, closed), billable
}
