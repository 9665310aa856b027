package agent

import (
	"context"
	"slices"
	"sync"

	"github.com/stint-ml/stint/platform"
)

// bookLimit is how far beyond the first object that is not done with others may be: the book names each of these.
const bookLimit = 1000

// book keeps which objects are done with, and writes it down for whoever may have to go on. What is done with while it writes
// goes together into the next entry, so that many small objects do not wait for the disk each.
type book struct {
	agent *agent

	mu       sync.Mutex
	progress platform.TransformProgress
	open     []platform.URI // begun and not done with, in order
	changed  bool
	wake     chan struct{} // holds a token when there is something to write, or nothing will come any more
	room     *sync.Cond
	closed   bool
	written  chan struct{} // closed when all is written
}

func newBook(a *agent, progress platform.TransformProgress) *book {
	b := &book{agent: a, progress: progress, wake: make(chan struct{}, 1), written: make(chan struct{})}
	b.room = sync.NewCond(&b.mu)
	go b.write()
	return b
}

// begin notes that an object is being worked on, unless it is done with; objects are begun in order. It waits while too many
// beyond the first of those that are worked on are done with, until ctx ends.
func (b *book) begin(ctx context.Context, u platform.URI) bool {
	defer context.AfterFunc(ctx, func() {
		b.mu.Lock() // whoever has seen that ctx goes on waits by now, and is woken
		defer b.mu.Unlock()
		b.room.Broadcast()
	})()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.progress.Done(u) {
		return false
	}
	for len(b.open) > 0 && len(b.progress.Beyond) >= bookLimit && ctx.Err() == nil {
		b.room.Wait()
	}
	b.open = append(b.open, u)
	return true
}

// done notes that an object is done with; err is why it could not be transformed. One whose work was broken off stays open.
func (b *book) done(u platform.URI, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &b.progress
	p.Objects++
	if err != nil {
		if p.Failed++; p.Failed == 1 {
			p.Reason = reasonOf(u, err)
		}
	}
	at, _ := slices.BinarySearch(p.Beyond, u)
	p.Beyond = slices.Insert(p.Beyond, at, u)
	if at := slices.Index(b.open, u); at >= 0 {
		b.open = slices.Delete(b.open, at, at+1)
	}
	// All before the first that is open are done with: they were begun in order.
	n := len(p.Beyond)
	if len(b.open) > 0 {
		n, _ = slices.BinarySearch(p.Beyond, b.open[0])
	}
	if n > 0 {
		p.Through, p.Beyond = max(p.Through, p.Beyond[n-1]), slices.Delete(p.Beyond, 0, n)
	}
	b.changed = true
	b.room.Broadcast()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// close writes what is left and gives how it all stands.
func (b *book) close() platform.TransformProgress {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	<-b.written
	return b.progress
}

func (b *book) write() {
	defer close(b.written)
	for {
		<-b.wake
		b.mu.Lock()
		changed, closed, now := b.changed, b.closed, b.progress
		now.Beyond = slices.Clone(now.Beyond)
		b.changed = false
		b.mu.Unlock()
		if changed {
			report := platform.Report{At: b.agent.Clock.Now(), Progress: &now}
			if _, err := b.agent.spool.append(context.Background(), report, durable); err != nil {
				b.agent.Log.Error("progress could not be written down", "error", err)
			}
		}
		if closed {
			return
		}
	}
}
