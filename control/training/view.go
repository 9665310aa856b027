package training

import (
	"cmp"
	"slices"
	"time"

	"github.com/stint-ml/stint/decide/schedule"
	"github.com/stint-ml/stint/platform"
)

// view is what the controller keeps in mind of the jobs that have not ended, so that looking at the queue costs no I/O:
// who holds capacity, and who waits in the order of arrival. It is rebuilt from the store by resync.
type view struct {
	open  map[string]holding
	line  map[string]*waiting // who stands in one of the queues
	seen  map[string]glance   // of those that wait
	dues  dues                // of those that wait and want to be looked at again
	spot  map[string]spotJob  // the managed spot jobs among all of them
	queue struct{ onDemand, spot []*waiting }
	plans int // how often the queues were gone through
}

// holding is what an open attempt takes of the machine.
type holding struct {
	capacity platform.Capacity
	purchase platform.Purchase
	launched time.Time
	noticed  bool
}

// glance is how a waiting job was when it was last looked at.
type glance struct {
	revision int64
	due      time.Time // when it is to be looked at again even if nothing changes; zero: never
}

// spotJob is what a change of the market needs to know of a job.
type spotJob struct {
	pool     platform.InstanceType
	rate     platform.HourlyRate // on-demand
	fallback bool
}

// waiting is a job in a queue.
type waiting struct {
	created  time.Time
	name     string
	need     platform.Capacity
	pool     platform.InstanceType
	purchase platform.Purchase
	since    int // the view's plans when it came into line
}

func newView() view {
	return view{open: map[string]holding{}, line: map[string]*waiting{}, seen: map[string]glance{}, spot: map[string]spotJob{}}
}

func byArrival(a, b *waiting) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.name, b.name))
}

// hold notes that a job's attempt is open.
func (v *view) hold(job *platform.TrainingJob) {
	name, open := *job.Spec.TrainingJobName, job.Status.Open()
	v.leaveLine(name)
	v.meet(job)
	v.open[name] = holding{open.Capacity, open.Purchase, open.Launched, open.Notice != nil}
}

// wait notes that a job stands in the queue of a purchase. One that changes queues keeps its place in the order.
func (v *view) wait(job *platform.TrainingJob, purchase platform.Purchase) {
	name := *job.Spec.TrainingJobName
	delete(v.open, name)
	v.meet(job)
	w := &waiting{job.Status.Created, name, job.Status.Need, job.InstanceType(), purchase, v.plans}
	if was := v.line[name]; was != nil {
		if was.purchase == purchase && was.created.Equal(w.created) {
			return
		}
		w.since = was.since
		v.leaveLine(name)
	}
	q := v.queueOf(purchase)
	if at, found := slices.BinarySearchFunc(*q, w, byArrival); !found {
		*q = slices.Insert(*q, at, w)
	}
	v.line[name] = w
}

// idle notes that a job waits for something other than room.
func (v *view) idle(job *platform.TrainingJob) {
	name := *job.Spec.TrainingJobName
	delete(v.open, name)
	v.leaveLine(name)
	v.meet(job)
}

// meet keeps what the market's changes mean to a job.
func (v *view) meet(job *platform.TrainingJob) {
	if job.IsSpot() {
		v.spot[*job.Spec.TrainingJobName] = spotJob{job.InstanceType(), job.Status.Rate, job.Status.Fallback}
	}
}

// forget notes that a job has ended or is gone.
func (v *view) forget(name string) {
	delete(v.open, name)
	delete(v.spot, name)
	v.leaveLine(name)
}

func (v *view) leaveLine(name string) {
	delete(v.seen, name)
	w := v.line[name]
	if w == nil {
		return
	}
	delete(v.line, name)
	q := v.queueOf(w.purchase)
	if at, found := slices.BinarySearchFunc(*q, w, byArrival); found {
		*q = slices.Delete(*q, at, at+1)
	}
}

func (v *view) queueOf(p platform.Purchase) *[]*waiting {
	if p == platform.Spot {
		return &v.queue.spot
	}
	return &v.queue.onDemand
}

// heldUp tells whether a job has been in line before and found no room: spot capacity may be on offer, but not for it.
func (v *view) heldUp(name string) bool {
	w := v.line[name]
	return w != nil && w.since < v.plans
}

// poolHeldUp tells whether the first in the line for spot capacity are of a pool and have found no room.
func (v *view) poolHeldUp(pool platform.InstanceType) bool {
	return slices.ContainsFunc(heads(v.queue.spot), func(w *waiting) bool { return w.pool == pool && w.since < v.plans })
}

// spotHeldUp tells whether anyone stands in line for spot capacity and has found no room.
func (v *view) spotHeldUp() bool {
	return slices.ContainsFunc(heads(v.queue.spot), func(w *waiting) bool { return w.since < v.plans })
}

// heads are the first of a queue. More than a machine of many cores can start at once is not worth looking at.
func heads(queue []*waiting) []*waiting { return queue[:min(len(queue), 64)] }

// waits are the heads of the queues as the schedule wants them, clamped to the machine.
func (v *view) waits(machine platform.Capacity) []schedule.Waiting {
	var out []schedule.Waiting
	for _, queue := range [][]*waiting{v.queue.onDemand, v.queue.spot} {
		for _, w := range heads(queue) {
			out = append(out, schedule.Waiting{Name: w.name, Need: w.need.Clamp(machine), Purchase: w.purchase})
		}
	}
	return out
}

// reclaimable is the spot work that runs.
func (v *view) reclaimable() []schedule.Running {
	var out []schedule.Running
	for name, h := range v.open {
		if h.purchase == platform.Spot || h.noticed {
			out = append(out, schedule.Running{Name: name, Capacity: h.capacity, Launched: h.launched, Noticed: h.noticed})
		}
	}
	return out
}

// used is the sum of what open attempts hold.
func (v *view) used() platform.Capacity {
	var sum platform.Capacity
	for _, h := range v.open {
		sum.MilliCPU += h.capacity.MilliCPU
		sum.MemoryBytes += h.capacity.MemoryBytes
		sum.GPUs += h.capacity.GPUs
	}
	return sum
}
