package spot

import "time"

// onDemand never uses spot.
type onDemand struct{}

func (onDemand) Decide(View) Choice { return OnDemand }

// spotOnly is AWS's managed spot: spot whenever there is some, nothing else ever.
type spotOnly struct{}

func (spotOnly) Decide(v View) Choice { return spotOrWait(v) }

func spotOrWait(v View) Choice {
	if v.canSpot() {
		return Spot
	}
	return Wait
}

// greedy takes spot whenever there is some and otherwise waits, until only on-demand can hold the deadline.
// Source: Wu and others, "Can't Be Late", NSDI 2024.
type greedy struct{ job Job }

func (p greedy) Decide(v View) Choice { return p.job.safetyNet(v, spotOrWait(v)) }

// uniformProgress spreads the work evenly over the time until the deadline: behind that line it does not wait for spot.
// With hysteresis it leaves on-demand only when it is ahead by two changeovers. Source: as greedy.
type uniformProgress struct {
	job        Job
	hysteresis bool
}

func (p uniformProgress) Decide(v View) Choice {
	choice := spotOrWait(v)
	if choice == Wait && float64(v.Done) < p.expected(v.Elapsed) {
		choice = OnDemand
	}
	if v.Running == OnDemand {
		ahead := float64(v.Done) > p.expected(v.Elapsed+2*p.job.Changeover)
		if !v.canSpot() || p.hysteresis && !ahead {
			choice = OnDemand
		}
	}
	return p.job.safetyNet(v, choice)
}

func (p uniformProgress) expected(elapsed time.Duration) float64 {
	return float64(elapsed) * float64(p.job.Work) / float64(p.job.Deadline)
}

// safetyNet overrides a choice when only on-demand, from now until the end, can hold the deadline. It is the published
// policies' own rule: a little earlier than need be, as it holds two changeovers in reserve.
func (j Job) safetyNet(v View, choice Choice) Choice {
	left, work := j.left(v), j.remaining(v)+j.AtRisk
	if j.ticks(work+2*j.Changeover) >= left && v.Running != Spot {
		choice = OnDemand
	}
	if j.ticks(work+j.Changeover) >= left {
		choice = OnDemand
		if v.Running == Spot && v.Overhead == 0 {
			choice = Spot
		}
	}
	return choice
}
