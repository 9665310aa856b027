// Package sim runs the real control and decide packages on a virtual clock with simulated drivers, so that years of
// operation and every kind of fault can be tried in seconds and tried again from a seed.
//
// No decision is made here; only worlds are built and broken.
package sim

import (
	"sync"
	"time"
)

// Clock is a virtual clock: it stands still until it is advanced.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*timer]struct{}
}

type timer struct {
	due   time.Time
	fired chan time.Time
}

// NewClock starts a clock at a moment.
func NewClock(start time.Time) *Clock {
	return &Clock{now: start.UTC(), timers: map[*timer]struct{}{}}
}

// Now is the virtual time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After fires when the clock has been advanced by d.
func (c *Clock) After(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{due: c.now.Add(d), fired: make(chan time.Time, 1)}
	if d <= 0 {
		t.fired <- c.now
		return t.fired, func() {}
	}
	c.timers[t] = struct{}{}
	return t.fired, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, t)
	}
}

// Advance moves time on and fires the timers that fall due.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t := range c.timers {
		if !t.due.After(c.now) {
			t.fired <- c.now
			delete(c.timers, t)
		}
	}
}
