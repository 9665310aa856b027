package async

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errLate says that something has waited for too long.
var errLate = errors.New("the time to wait is over")

// gate lets so many invocations at once through to an endpoint's containers, in the order in which they come to it.
type gate struct {
	mu      sync.Mutex
	limit   int
	inside  int
	waiting []chan struct{}
}

// resize sets how many may be inside. Those that are inside stay.
func (g *gate) resize(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = limit
	g.admit()
}

// enter waits for a place, until ctx ends or late fires, which is errLate. Whoever has entered must leave.
func (g *gate) enter(ctx context.Context, late <-chan time.Time) error {
	turn := make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, turn)
	g.admit()
	g.mu.Unlock()
	reason := errLate
	select {
	case <-turn:
		return nil
	case <-late:
	case <-ctx.Done():
		reason = ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.waiting {
		if w == turn {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return reason
		}
	}
	g.inside-- // its turn came meanwhile
	g.admit()
	return reason
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.admit()
}

// admit lets in who may; the caller holds the lock.
func (g *gate) admit() {
	for len(g.waiting) > 0 && g.inside < g.limit {
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
		g.inside++
	}
}
