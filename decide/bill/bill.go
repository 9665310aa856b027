// Package bill turns time into money. It is pure: ledger entries in, ledger entries and sums out. Prices arrive as data;
// what is charged for and when it starts and ends is decided by the states, not here.
package bill

import (
	"time"

	"github.com/stint-ml/stint/platform"
)

// Seconds is the billed length of an interval: wall-clock seconds, every started one counted; none if it ends before it starts.
func Seconds(start, end time.Time) platform.Seconds {
	d := end.Sub(start)
	if d <= 0 {
		return 0
	}
	return platform.Seconds((d + time.Second - 1) / time.Second)
}

// Close makes the entry that ends an open line: its seconds and its amount, rounded once.
func Close(open platform.LedgerEntry, end time.Time) platform.LedgerEntry {
	closed := open
	closed.Event, closed.At = platform.LineClosed, end
	if end.Before(open.At) {
		closed.At = open.At
	}
	closed.Seconds = int64(Seconds(open.At, end))
	closed.Amount = open.Rate.Times(closed.Seconds, open.Count)
	return closed
}

// Use makes the one entry of a line of what was used up to a time: its amount, rounded once.
func Use(u platform.Usage, until time.Time) platform.LedgerEntry {
	used := u.Line
	used.Event, used.At = platform.LineUsed, until
	if until.Before(used.From) {
		used.At = used.From
	}
	used.Work = u.Work
	used.Seconds = (u.Milliseconds + 999) / 1000
	used.Amount = used.Rate.TimesMilliseconds(u.Milliseconds)
	return used
}

// Billable is BillableTimeInSeconds of one attempt: its seconds scaled by price paid ÷ on-demand price, rounded half up.
// Source: the managed spot training guide (billable 100 of 500 seconds = 80 % saved).
func Billable(seconds platform.Seconds, paid, onDemand platform.HourlyRate) platform.Seconds {
	if onDemand.Nanos <= 0 || paid == onDemand {
		return seconds
	}
	whole := int64(seconds) * int64(paid.Nanos)
	return platform.Seconds((2*whole + int64(onDemand.Nanos)) / (2 * int64(onDemand.Nanos)))
}

// Statement is what a resource has cost.
type Statement struct {
	Lines    []Line
	Seconds  platform.Seconds // Σ of the lines' seconds
	Billable platform.Seconds // Σ of the lines' billable seconds
	Total    platform.Money   // Σ of the lines' amounts
	OnDemand platform.Money   // what the same seconds cost at list price
	Open     bool             // a line still runs; the figures are as of the time asked
}

// Line is one attempt on the statement.
type Line struct {
	platform.LedgerEntry
	Start    time.Time
	Open     bool
	OnDemand platform.Money
}

// State sums the entries of one resource, in ledger order. A line that is still open is counted up to now.
func State(entries []platform.LedgerEntry, now time.Time) (Statement, error) {
	var s Statement
	at := map[string]int{}
	for _, e := range entries {
		switch e.Event {
		case platform.LineOpened:
			at[e.Line] = len(s.Lines)
			s.Lines = append(s.Lines, Line{LedgerEntry: Close(e, now), Start: e.At, Open: true})
			continue
		case platform.LineUsed:
			s.Lines = append(s.Lines, Line{LedgerEntry: e, Start: e.From, OnDemand: e.Amount})
			continue
		}
		i, ok := at[e.Line]
		if !ok {
			return s, platform.Errorf(platform.Internal, string(e.Resource), "ledger line %s is closed but was never opened", e.Line)
		}
		s.Lines[i] = Line{LedgerEntry: e, Start: s.Lines[i].Start}
	}
	for i := range s.Lines {
		l := &s.Lines[i]
		if l.Event != platform.LineUsed {
			l.OnDemand = l.OnDemandRate.Times(l.Seconds, l.Count)
		}
		s.Seconds += platform.Seconds(l.Seconds)
		s.Billable += Billable(platform.Seconds(l.Seconds), l.Rate, l.OnDemandRate)
		s.Open = s.Open || l.Open
		var err error
		if s.Total, err = s.Total.Plus(l.Amount); err != nil {
			return s, err
		}
		if s.OnDemand, err = s.OnDemand.Plus(l.OnDemand); err != nil {
			return s, err
		}
	}
	return s, nil
}
