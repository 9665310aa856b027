package async

import (
	"container/heap"
	"time"
)

// entry is an invocation that is owed, as little of it as is needed to choose it.
type entry struct {
	id      string
	of      time.Time // when its endpoint was created
	arrived time.Time
	expires time.Time
	seq     int  // in which order entries became known
	begun   bool // it may have been answered already: by an earlier process, or by a try that could not be written down
	tries   int  // containers that had it and gave no answer
	at      [2]int
}

// queue holds the invocations of one endpoint that wait. It gives the one that arrived first, and knows which one expires first,
// without looking at the others.
type queue struct{ arrivals, expiries order }

func newQueue() queue {
	return queue{
		arrivals: order{which: 0, before: func(a, b *entry) bool {
			if !a.arrived.Equal(b.arrived) {
				return a.arrived.Before(b.arrived)
			}
			return a.seq < b.seq
		}},
		expiries: order{which: 1, before: func(a, b *entry) bool { return a.expires.Before(b.expires) }},
	}
}

func (q *queue) len() int { return len(q.arrivals.entries) }

func (q *queue) push(e *entry) {
	heap.Push(&q.arrivals, e)
	heap.Push(&q.expiries, e)
}

// first is the entry that arrived first, nil when none waits.
func (q *queue) first() *entry { return q.arrivals.top() }

// expired gives the entry whose time is over, nil when none's is.
func (q *queue) expired(now time.Time) *entry {
	if e := q.expiries.top(); e != nil && !now.Before(e.expires) {
		return e
	}
	return nil
}

// remove takes an entry out that waits.
func (q *queue) remove(e *entry) {
	heap.Remove(&q.arrivals, e.at[0])
	heap.Remove(&q.expiries, e.at[1])
}

// order is a heap of entries, each of which knows its place in it.
type order struct {
	entries []*entry
	which   int
	before  func(a, b *entry) bool
}

func (o *order) top() *entry {
	if len(o.entries) == 0 {
		return nil
	}
	return o.entries[0]
}

// Len, Less, Swap, Push and Pop are heap.Interface's.
func (o *order) Len() int { return len(o.entries) }

// Less is heap.Interface's.
func (o *order) Less(i, j int) bool { return o.before(o.entries[i], o.entries[j]) }

// Swap is heap.Interface's.
func (o *order) Swap(i, j int) {
	o.entries[i], o.entries[j] = o.entries[j], o.entries[i]
	o.entries[i].at[o.which], o.entries[j].at[o.which] = i, j
}

// Push is heap.Interface's.
func (o *order) Push(x any) {
	e := x.(*entry)
	e.at[o.which] = len(o.entries)
	o.entries = append(o.entries, e)
}

// Pop is heap.Interface's.
func (o *order) Pop() any {
	last := len(o.entries) - 1
	e := o.entries[last]
	o.entries[last] = nil
	o.entries = o.entries[:last]
	return e
}
