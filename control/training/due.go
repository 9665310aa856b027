package training

import (
	"container/heap"
	"time"
)

// dues are the moments at which waiting jobs want to be looked at, the earliest first. They share one timer of the loop: a
// hundred thousand jobs may wait. An entry whose job has since got another moment is stale and passed over.
type dues []due

type due struct {
	at   time.Time
	name string
}

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dues) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)        { *d = append(*d, x.(due)) }
func (d *dues) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}

// glanced notes that a waiting job was looked at as it is at a revision; again is when it wants to be looked at next, 0 when
// something changes. It tells whether that is earlier than anyone else wants.
func (v *view) glanced(name string, revision int64, again time.Duration, now time.Time) (first bool) {
	g := glance{revision: revision}
	if again > 0 {
		g.due = now.Add(again)
		first = len(v.dues) == 0 || g.due.Before(v.dues[0].at)
		heap.Push(&v.dues, due{g.due, name})
	}
	v.seen[name] = g
	return first
}

// current tells whether a waiting job is as it was last looked at, and not due.
func (v *view) current(name string, revision int64, now time.Time) bool {
	g, ok := v.seen[name]
	return ok && g.revision == revision && (g.due.IsZero() || now.Before(g.due))
}

// fallDue gives the jobs whose moment has come, and the time until the next one's; 0 when there is none.
func (v *view) fallDue(now time.Time) (names []string, next time.Duration) {
	for len(v.dues) > 0 {
		d := v.dues[0]
		live := v.seen[d.name].due.Equal(d.at)
		if live && now.Before(d.at) {
			return names, d.at.Sub(now)
		}
		heap.Pop(&v.dues)
		if live {
			names = append(names, d.name)
		}
	}
	return names, 0
}
