package platform

import "time"

// Clock is time as the control plane sees it. The real one is the machine's; sim has a virtual one.
type Clock interface {
	// Now is the current time, in UTC.
	Now() time.Time
	// After delivers once, when d has passed; a d of zero or less delivers at once. stop releases it early.
	After(d time.Duration) (fired <-chan time.Time, stop func())
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now is the wall clock in UTC.
func (SystemClock) Now() time.Time { return time.Now().UTC() }

// After waits on a runtime timer.
func (SystemClock) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// SteadyClock is the machine's clock as it was when it was made, carried on by the monotonic clock: setting the machine's
// time later changes nothing. What is billed is measured with it.
type SteadyClock struct {
	SystemClock
	start time.Time
}

// NewSteadyClock reads the wall clock once.
func NewSteadyClock() SteadyClock { return SteadyClock{start: time.Now()} }

// Now is the start plus what has passed since, in UTC.
func (c SteadyClock) Now() time.Time { return c.start.Add(time.Since(c.start)).Round(0).UTC() }
