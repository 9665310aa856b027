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
