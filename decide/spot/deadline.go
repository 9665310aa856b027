package spot

import "time"

// ticks is how many ticks d needs, a started one counted whole.
func (j Job) ticks(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64((d + j.Tick - 1) / j.Tick)
}

// left is how many whole ticks remain before the deadline.
func (j Job) left(v View) int64 {
	if v.Elapsed >= j.Deadline {
		return 0
	}
	return int64((j.Deadline - v.Elapsed) / j.Tick)
}

// remaining is the work still to do.
func (j Job) remaining(v View) time.Duration { return max(j.Work-v.Done, 0) }

// after is the view one tick after a choice, when nothing unforeseen happened.
func (j Job) after(v View, c Choice) View {
	if c == Wait {
		return View{Elapsed: v.Elapsed + j.Tick, Done: v.Done}
	}
	overhead := j.overhead(v, c)
	return View{
		Elapsed: v.Elapsed + j.Tick, Done: v.Done + max(j.Tick-overhead, 0), Overhead: max(overhead-j.Tick, 0), Running: c,
	}
}

// overhead is what must pass before the choice makes progress.
func (j Job) overhead(v View, c Choice) time.Duration {
	if c == v.Running {
		return v.Overhead
	}
	return j.Changeover
}

// reachable tells whether on-demand alone, from this view on, ends the job before its deadline.
func (j Job) reachable(v View) bool {
	work := j.remaining(v)
	return work == 0 || j.ticks(work+j.overhead(v, OnDemand)) <= j.left(v)
}

// safe tells whether a choice leaves the deadline reachable whatever the market does: a tick later spot is gone for good,
// with what its loss may cost at most.
func (j Job) safe(v View, c Choice) bool {
	next := j.after(v, c)
	if c == Spot {
		next.Running, next.Overhead = Wait, 0
		if j.remaining(next) > 0 {
			next.Done -= j.AtRisk
		}
	}
	return j.left(v) > 0 && j.reachable(next)
}
