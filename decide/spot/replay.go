package spot

import "time"

// Course is where a job was, tick by tick.
type Course []Choice

// Ticks counts the ticks of one choice.
func (c Course) Ticks(of Choice) int {
	n := 0
	for _, choice := range c {
		if choice == of {
			n++
		}
	}
	return n
}

// Hours is what a course is charged in hours of on-demand: each tick whole, one on spot for the PriceRatio-th part.
func (c Course) Hours(job Job) float64 {
	return job.Tick.Hours() * (float64(c.Ticks(OnDemand)) + float64(c.Ticks(Spot))/job.PriceRatio)
}

// Run is what became of a job.
type Run struct {
	Course Course
	Done   time.Duration // work, Job.Work if it ended
	Ended  time.Duration // since the beginning, at a tick; 0 if the market was never good enough
	Late   bool          // it ended after the deadline or never
}

// Replay plays a job against recorded availability, a tick after the other; after the record's end none is offered. The
// history is told at each tick, from the instant start on, before the policy is asked; nil tells nobody.
//
// Accounting, of the public leaderboard for "Can't Be Late" policies: spot is lost only at a tick, without loss of work; a
// started tick is charged whole; the changeover is paid at the new price; the job ends at the tick at which the rest of
// its work is at most a millisecond.
func Replay(job Job, policy Policy, offered []bool, past *History, start time.Time) Run {
	if past == nil {
		past = &History{}
	}
	var run Run
	var v View
	for t := 0; ; t++ {
		run.Done = min(v.Done, job.Work)
		if job.Work-v.Done <= time.Millisecond {
			run.Ended, run.Late = v.Elapsed, v.Elapsed > job.Deadline
			return run
		}
		if t >= len(offered) && v.Elapsed > job.Deadline && v.Running != OnDemand {
			run.Late = true // and nothing will come any more that it could go on with
			return run
		}
		v.Offered = t < len(offered) && offered[t]
		if v.Running == Spot && !v.Offered {
			v.Running, v.Overhead = Wait, 0
		}
		past.Observe(start.Add(v.Elapsed), v.Offered)
		choice := policy.Decide(v)
		if choice == Spot && !v.Offered {
			choice = Wait
		}
		run.Course = append(run.Course, choice)
		v = job.after(v, choice)
	}
}
