package spot

import "math"

// stint is Stint's own policy: it takes, of the choices that leave the deadline reachable in the worst case, the one whose
// cost to the end is least in the mean over the pools that this one may be, given its history.
type stint struct {
	job  Job
	past *History
	plan *plan
}

func newStint(job Job, past *History) *stint {
	return &stint{job: job, past: past, plan: newPlan(job, past.prior())}
}

// Decide never answers a choice that could cost the deadline while another one could not.
func (p *stint) Decide(v View) Choice {
	if p.job.remaining(v) == 0 {
		return v.Running // there is nothing left to do or to save
	}
	var costs [homes]float64
	if p.plan != nil {
		costs = p.costs(v)
	}
	best, least := OnDemand, math.Inf(1)
	for _, c := range [...]Choice{Spot, Wait, OnDemand} {
		if c == Spot && !v.canSpot() || !p.job.safe(v, c) {
			continue
		}
		if costs[c] < least {
			best, least = c, costs[c]
		}
	}
	if math.IsInf(least, 1) && v.Running == Spot && !p.job.reachable(v) {
		return Spot // too late for another changeover: only staying can still make it
	}
	return best
}

// costs are what is to be paid from now on after each choice.
func (p *stint) costs(v View) [homes]float64 {
	// 1. Where the job is in its plan. Slack beyond what is planned with changes nothing.
	plan := p.plan
	step := float64(plan.step)
	work := float64(p.job.remaining(v)+v.Overhead) / step
	slack := min(float64(p.job.Deadline-v.Elapsed)/step-work, plan.levels[len(plan.levels)-1])
	after := plan.layer(int(math.Round(work+slack)) - 1)

	// 2. How likely each pool is.
	var falls, rises [len(scales)]float64
	prior := p.past.prior()
	p.past.Fall.weigh(prior.FallAlike, scales[:], falls[:])
	p.past.Rise.weigh(prior.RiseAlike, scales[:], rises[:])
	state := class(p.past.ageOf(v.Offered))
	if v.canSpot() {
		state += classes
	}

	// 3. What each choice costs, in the mean.
	var at [homes]shift
	costs := [homes]float64{Wait: 0, Spot: 1, OnDemand: float64(plan.ratio)}
	for c := range Choice(homes) {
		left := slack - 1 + float64(v.Overhead)/step
		if c != Wait {
			left -= float64(p.job.overhead(v, c))/step - 1
		}
		at[c] = plan.between(max(left, 0))
	}
	for i, fall := range falls {
		for j, rise := range rises {
			for c := range Choice(homes) {
				row := after[plan.index(i*len(scales)+j, int(c), state):][:len(plan.levels)]
				costs[c] += fall * rise * float64(at[c].read(row))
			}
		}
	}
	return costs
}
