package store

import (
	"sync"

	"github.com/stint-ml/stint/platform"
)

// Watchers tells readers which records have changed. The zero value is ready; its methods are safe for concurrent use.
type Watchers struct {
	mu     sync.Mutex
	all    map[*watcher]struct{}
	closed bool
}

// watcher holds the keys that its reader has not taken yet, each once, in the order of their first change. So it never
// grows beyond the number of the records.
type watcher struct {
	kind    platform.Kind
	mu      sync.Mutex
	order   []platform.Key
	waiting map[platform.Key]struct{}
	wake    chan struct{} // of capacity 1
	done    chan struct{}
	out     chan platform.Key
}

// Watch is platform.Store's.
func (w *Watchers) Watch(kind platform.Kind) (changed <-chan platform.Key, stop func()) {
	x := &watcher{
		kind: kind, waiting: map[platform.Key]struct{}{},
		wake: make(chan struct{}, 1), done: make(chan struct{}), out: make(chan platform.Key),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		close(x.out)
		return x.out, func() {}
	}
	if w.all == nil {
		w.all = map[*watcher]struct{}{}
	}
	w.all[x] = struct{}{}
	go x.run()
	return x.out, func() { w.stop(x) }
}

func (w *Watchers) stop(x *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, running := w.all[x]; running {
		delete(w.all, x)
		close(x.done)
	}
}

// Close ends all watching.
func (w *Watchers) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for x := range w.all {
		close(x.done)
	}
	w.all = nil
}

// Publish tells of changed records. It never waits for a reader.
func (w *Watchers) Publish(keys []platform.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.all {
		x.add(keys)
	}
}

func (x *watcher) add(keys []platform.Key) {
	x.mu.Lock()
	for _, k := range keys {
		if _, merged := x.waiting[k]; k.Kind == x.kind && !merged {
			x.waiting[k] = struct{}{}
			x.order = append(x.order, k)
		}
	}
	some := len(x.order) > 0
	x.mu.Unlock()
	if some {
		select {
		case x.wake <- struct{}{}:
		default:
		}
	}
}

func (x *watcher) run() {
	defer close(x.out)
	for {
		select {
		case <-x.wake:
		case <-x.done:
			return
		}
		for k, some := x.next(); some; k, some = x.next() {
			select {
			case x.out <- k:
			case <-x.done:
				return
			}
		}
	}
}

// next takes a key out before it is offered: a change that comes while the reader takes it must be told again, for the
// reader may look at the record before that change.
func (x *watcher) next() (platform.Key, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.order) == 0 {
		x.order = nil
		return platform.Key{}, false
	}
	k := x.order[0]
	x.order = x.order[1:]
	delete(x.waiting, k)
	return k, true
}
