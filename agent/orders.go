package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// The reasons for which work is broken off.
var (
	errStop        = errors.New("the job was asked to stop")
	errMaxRun      = errors.New("the job reached its longest run time")
	errInterrupted = errors.New("the job's capacity is being taken away")
	errGone        = errors.New("the control plane does not want this agent any more")
)

const (
	// lateSync is what the last checkpoints get when the notice comes after the capacity should have gone: the control plane
	// was away, and the capacity is still there, or nobody would be here to use it.
	lateSync = 5 * time.Second
	// The end of the notice that the agent keeps for itself: to write its outcome down, deliver it and exit. It is a part of
	// the notice, within these bounds.
	leastSpare = 100 * time.Millisecond
	mostSpare  = 2 * time.Second
)

// orders are what is asked of the agent while it works: to stop, or to make way as its capacity is being taken. Neither is
// ever taken back. A job that is to stop and to make way stops.
type orders struct {
	clock platform.Clock

	// work ends with the first order, or with the agent's life. Its cause is that first order; why knows better.
	work     context.Context
	breakOff context.CancelCauseFunc

	noticed chan struct{} // closed when the notice has been given and the user's code can read it

	mu     sync.Mutex
	asked  bool      // to stop
	notice *notice   // nil: none
	quiet  time.Time // the last moment at which there certainly was no notice
}

// notice is an interruption as the agent sees it. ends is by the agent's own clock, at which its capacity goes.
type notice struct {
	platform.Interruption
	heard, ends time.Time
}

func newOrders(life context.Context, clock platform.Clock) *orders {
	o := &orders{clock: clock, noticed: make(chan struct{}), quiet: clock.Now()}
	o.work, o.breakOff = context.WithCancelCause(life)
	return o
}

// stop asks the work to stop.
func (o *orders) stop() {
	o.mu.Lock()
	o.asked = true
	o.mu.Unlock()
	o.breakOff(errStop)
}

// hear takes what an answer said of an interruption; sent is when the question was. The first notice counts, and announce tells
// the user's code of it before anything is broken off.
func (o *orders) hear(i *platform.Interruption, sent time.Time, announce func(notice)) {
	o.mu.Lock()
	switch {
	case i == nil:
		o.quiet = sent
		o.mu.Unlock()
		return
	case o.notice != nil:
		o.mu.Unlock()
		return
	}
	n := o.read(*i)
	o.notice = &n
	o.mu.Unlock()
	announce(n)
	close(o.noticed)
	o.breakOff(errInterrupted)
}

// read tells by the agent's clock when a notice ends; mu is held. The two clocks may differ, and the machine's may have been
// set meanwhile, so only spans count: the notice is no older than the last answer that had none.
func (o *orders) read(i platform.Interruption) notice {
	now := o.clock.Now()
	age := min(max(0, now.Sub(i.At)), now.Sub(o.quiet))
	return notice{Interruption: i, heard: now, ends: now.Add(i.Until.Sub(i.At) - age)}
}

// given is the notice, nil as long as there is none.
func (o *orders) given() *notice {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.notice
}

// why is the reason for which the work is to end now; nil: none.
func (o *orders) why(life context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case life.Err() != nil:
		return errGone
	case o.asked:
		return errStop
	case o.notice != nil:
		return errInterrupted
	}
	return nil
}

// whole is how long the notice is in all.
func (n *notice) whole() time.Duration { return n.Until.Sub(n.At) }

// late is whether the capacity should have gone when the notice was heard.
func (n *notice) late() bool { return !n.ends.After(n.heard) }

// workEnds is when the user's code must have ended, so that its last checkpoints come home in reserve.
func (n *notice) workEnds(reserve time.Duration) time.Time {
	return n.ends.Add(-min(reserve, n.whole()/2))
}

// spare is the end of the notice that the agent keeps for itself.
func (n *notice) spare() time.Duration { return min(max(n.whole()/20, leastSpare), mostSpare) }

// syncEnds is when the agent breaks off whatever it still ships.
func (n *notice) syncEnds() time.Time {
	if n.late() {
		return n.heard.Add(lateSync)
	}
	return n.ends.Add(-n.spare())
}

// leaves is when the agent is gone at the latest, even if nobody has taken its outcome.
func (n *notice) leaves() time.Time { return n.syncEnds().Add(n.spare() / 2) }

// before gives a context that ends, with errInterrupted as its cause, at a moment of an interruption, whether its notice has
// been given or comes later. done must be called.
func (o *orders) before(life context.Context, moment func(*notice) time.Time) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(life)
	go func() {
		select {
		case <-o.noticed:
		case <-ctx.Done():
			return
		}
		fired, stop := o.clock.After(moment(o.given()).Sub(o.clock.Now()))
		defer stop()
		select {
		case <-fired:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
