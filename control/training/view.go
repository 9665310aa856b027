package training

import (
	"cmp"
	"slices"
	"time"

	"github.com/stint-ml/stint/platform"
)

// view is what the controller keeps in mind of the jobs that have not ended, so that looking at the queue costs no I/O:
// who holds capacity, and who waits in the order of arrival. It is rebuilt from the store by resync.
type view struct {
	open  map[string]platform.Capacity
	queue []waiting
	seen  map[string]int64 // of those in the queue: the revision they were reconciled at
}

// waiting is a job that has no open attempt.
type waiting struct {
	created time.Time
	name    string
	need    platform.Capacity
}

func byArrival(a, b waiting) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.name, b.name))
}

// hold notes that a job's attempt is open.
func (v *view) hold(w waiting, c platform.Capacity) {
	v.leaveQueue(w)
	v.open[w.name] = c
}

// wait notes that a job is in the queue.
func (v *view) wait(w waiting, revision int64) {
	delete(v.open, w.name)
	v.seen[w.name] = revision
	if at, found := slices.BinarySearchFunc(v.queue, w, byArrival); !found {
		v.queue = slices.Insert(v.queue, at, w)
	}
}

// forget notes that a job has ended.
func (v *view) forget(w waiting) {
	delete(v.open, w.name)
	v.leaveQueue(w)
}

func (v *view) leaveQueue(w waiting) {
	delete(v.seen, w.name)
	if at, found := slices.BinarySearchFunc(v.queue, w, byArrival); found {
		v.queue = slices.Delete(v.queue, at, at+1)
	}
}

// gone notes that a job's record was deleted; when it was created is not known any more.
func (v *view) gone(name string) {
	delete(v.open, name)
	delete(v.seen, name)
	v.queue = slices.DeleteFunc(v.queue, func(w waiting) bool { return w.name == name })
}

// used is the sum of what open attempts hold.
func (v *view) used() platform.Capacity {
	var sum platform.Capacity
	for _, c := range v.open {
		sum.MilliCPU += c.MilliCPU
		sum.MemoryBytes += c.MemoryBytes
		sum.GPUs += c.GPUs
	}
	return sum
}
