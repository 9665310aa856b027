package spot

import "math"

// scales are the pools that plans are made for: how often spot goes, and how often it comes, each against the prior.
var scales = [...]float64{0.3, 1, 3}

// unlikely pools are not asked: that spares most plans, and no score is the worse for it.
const unlikely = 0.02

// stint is Stint's own policy: it takes, of the choices that leave the deadline reachable in the worst case, the one whose
// cost to the end is least in the mean over the pools that this one may be, given its history.
type stint struct {
	job   Job
	past  *History
	plans [len(scales)][len(scales)]*plan // by scale of fall and of rise; nil until that pool is likely
}

func newStint(job Job, past *History) *stint {
	p := &stint{job: job, past: past}
	if plannedSlack(job) > 0 {
		p.costs(View{}) // solves what the first decision asks
	}
	return p
}

// Decide never answers a choice that could cost the deadline while another one could not.
func (p *stint) Decide(v View) Choice {
	if p.job.remaining(v) == 0 {
		return v.Running // there is nothing left to do or to save
	}
	var costs [homes]float64
	if plannedSlack(p.job) > 0 {
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

// costs are what is to be paid from now on after each choice, but for what is common to all.
func (p *stint) costs(v View) [homes]float64 {
	var falls, rises [len(scales)]float64
	prior := p.past.prior()
	p.past.Fall.weigh(prior.FallAlike, scales[:], falls[:])
	p.past.Rise.weigh(prior.RiseAlike, scales[:], rises[:])
	state := class(p.past.ageOf(v.Offered))
	if v.canSpot() {
		state += classes
	}
	var costs [homes]float64
	for i, fall := range falls {
		for j, rise := range rises {
			if fall*rise < unlikely {
				continue
			}
			if p.plans[i][j] == nil {
				p.plans[i][j] = newPlan(p.job, prior.Fall.times(scales[i]), prior.Rise.times(scales[j]))
			}
			for c, cost := range p.plans[i][j].costs(p.job, v, state) {
				costs[c] += fall * rise * cost
			}
		}
	}
	return costs
}
