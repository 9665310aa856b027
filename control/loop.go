// Package control moves the world towards what the store says is wanted. Each resource has a package below with its
// reconciler; here is what they share: the loop that calls them and the tokens that agents prove themselves with.
//
// Loops are level-triggered: a reconciler looks at how things are, not at what happened, and may be called at any time and
// any number of times. Nothing here reads the machine's clock or its randomness; both are injected.
package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Reconcile brings one resource forward. It returns how long to wait before it is called again for the same name, 0 for
// "when something changes". An error is logged and retried with back-off.
type Reconcile func(ctx context.Context, name string) (again time.Duration, err error)

// The back-off of a name whose reconcile fails.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Loop calls one Reconcile, one name at a time, in the order in which names were enqueued; a name that is enqueued again
// while it waits is called once.
type Loop struct {
	Name      string
	Clock     platform.Clock
	Log       *slog.Logger
	Reconcile Reconcile

	mu      sync.Mutex
	waiting []string
	queued  map[string]bool
	retries map[string]int
	timers  map[string]func() // stops the timer that will enqueue the name
	wake    chan struct{}
	cancel  context.CancelFunc
	done    sync.WaitGroup
	ctx     context.Context // the loop's own life, from Start to Stop
}

// Start begins to work. Names enqueued earlier are kept.
func (l *Loop) Start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		return
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.init()
	l.done.Add(1)
	go l.work(l.ctx)
}

// Stop ends the loop and waits for the reconcile in flight. Stopping twice, or without a start, is fine.
func (l *Loop) Stop() {
	l.mu.Lock()
	cancel := l.cancel
	if cancel != nil {
		cancel() // before the lock is given back: a reconcile that returns now plans nothing more
	}
	for _, stop := range l.timers {
		stop()
	}
	l.timers = nil
	l.mu.Unlock()
	if cancel != nil {
		l.done.Wait()
	}
}

// Enqueue asks for a call for the name, soon.
func (l *Loop) Enqueue(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.init()
	if stop, ok := l.timers[name]; ok {
		stop()
		delete(l.timers, name)
	}
	if l.queued[name] {
		return
	}
	l.queued[name] = true
	l.waiting = append(l.waiting, name)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Go runs f until the loop stops; the loop's Stop waits for it.
func (l *Loop) Go(f func(ctx context.Context)) {
	l.done.Add(1)
	go func() {
		defer l.done.Done()
		f(l.ctx)
	}()
}

func (l *Loop) init() {
	if l.wake == nil {
		l.wake = make(chan struct{}, 1)
		l.queued = map[string]bool{}
		l.retries = map[string]int{}
	}
	if l.timers == nil {
		l.timers = map[string]func(){}
	}
}

func (l *Loop) work(ctx context.Context) {
	defer l.done.Done()
	for {
		name, ok := l.next()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-l.wake:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		again, err := l.Reconcile(ctx, name)
		l.settle(ctx, name, again, err)
	}
}

func (l *Loop) next() (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.waiting = nil // let go of the array that the queue grew
		return "", false
	}
	name := l.waiting[0]
	l.waiting = l.waiting[1:]
	delete(l.queued, name)
	return name, true
}

// Drain works off in the caller's goroutine what is enqueued, and what that enqueues, on a loop that was not started: for
// worlds that must not depend on goroutines. What fails is left to whoever enqueues it again.
func (l *Loop) Drain(ctx context.Context) {
	for {
		name, ok := l.next()
		if !ok {
			return
		}
		if _, err := l.Reconcile(ctx, name); err != nil {
			l.Log.Debug("reconcile failed", "loop", l.Name, "name", name, "error", err)
		}
	}
}

// settle plans the next call of a name after one has returned.
func (l *Loop) settle(ctx context.Context, name string, again time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		again = min(firstRetry<<min(l.retries[name], 16), lastRetry)
		l.retries[name]++
		l.Log.Warn("reconcile failed; will try again", "loop", l.Name, "name", name, "in", again, "error", err)
	default:
		delete(l.retries, name)
	}
	if again <= 0 || l.queued[name] {
		return
	}
	if stop, ok := l.timers[name]; ok {
		stop()
	}
	fired, stop := l.Clock.After(again)
	gone := make(chan struct{})
	var once sync.Once
	l.timers[name] = func() { once.Do(func() { stop(); close(gone) }) }
	go func() {
		select {
		case <-fired:
			l.Enqueue(name)
		case <-gone:
		}
	}()
}
