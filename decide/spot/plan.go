package spot

import (
	"math"
	"slices"
	"time"
)

const (
	// mostSteps bounds the plan's size: a longer job is planned in longer steps than it is asked in.
	mostSteps = 450
	// leastPlanned and timesWork bound the slack that is planned with: more than that is as good as this much.
	leastPlanned = 48 * time.Hour
	timesWork    = 3
	// growth is how much coarser the plan's levels of slack become from one to the next.
	growth = 0.08

	states = 2 * classes // of a pool: spot not to be had, by class of age; and to be had, by class of age
	homes  = 3           // where the job is, in the order of Choice
	never  = math.MaxFloat32 / 4
)

// scales are the pools that a plan is made for: in how often spot goes, and in how often it comes, each against the prior.
var scales = [...]float64{0.3, 1, 3}

const pools = len(scales) * len(scales)

// A plan holds what a job will still cost from each position on, in prices of one step on spot, if it goes on as cheaply as
// it can without ever putting the deadline at risk: a Markov decision process, solved backwards in time, once for each pool
// of a grid of pools. A position is
//
//	(steps until the deadline, slack, the pool's state, where the job is)
//
// Slack is the time until the deadline that neither work nor the present changeover needs. Waiting takes a step of it,
// each start a changeover, and nothing gives any back. Spot may be chosen only while slack for the next changeover is left,
// should it be lost; that is the worst that can happen.
type plan struct {
	step   time.Duration
	steps  int
	levels []float64 // of slack, in steps, from 0 up
	ratio  float32
	change float64 // of a changeover, in steps
	risk   float64 // Job.AtRisk, in steps
	chains [pools][states]moves
	wait   []shift // from each level, a step of slack less
	start  []shift // from each level, a changeover less

	// Of all layers only every stride-th is kept, and those of the stretch that was asked for last: the others are solved
	// again from the kept one below. A plan is thereby twenty times smaller and is computed twice.
	stride  int
	kept    []layer
	stretch []layer // layers at·stride … at·stride + stride − 1
	at      int
}

// A layer is the mean cost after a step, for a number of steps that will then be left: for each pool, home, state and level.
type layer []float32

// shift reads between two levels: (1 − part)·[from] + part·[from + 1]. A level that lies below all has ok false.
type shift struct {
	from int
	part float32
	ok   bool
}

// moves are how a pool's state goes on in a step: changes, grows older by a class, or stays.
type moves struct {
	change, older, stay       float32
	changeTo, olderTo, stayTo int
}

// newPlan lays out the plan of a job and solves it. There is none when no slack is left to plan with.
func newPlan(job Job, prior Prior) *plan {
	slack := min(job.Deadline-job.Work, max(leastPlanned, timesWork*job.Work))
	if slack <= 0 {
		return nil
	}
	horizon := job.Work + slack
	step := max(job.Tick, (horizon+mostSteps-1)/mostSteps)
	p := &plan{
		step: step, steps: int(horizon/step) + 1, ratio: float32(job.PriceRatio),
		change: float64(job.Changeover) / float64(step), risk: float64(job.AtRisk) / float64(step),
	}
	p.levels = levels(float64(slack)/float64(step), p.change)
	p.wait, p.start = p.shifts(1), p.shifts(p.change)
	for i, fall := range scales {
		for j, rise := range scales {
			p.chains[i*len(scales)+j] = chain(prior, step, fall, rise)
		}
	}
	p.stride = max(int(math.Sqrt(float64(p.steps))), 1)
	p.solve()
	return p
}

// levels are fine where a changeover matters and coarser from there on.
func levels(slack, change float64) []float64 {
	fine := 0.25
	if change > 0.125 {
		fine = change / math.Ceil(change/fine)
	}
	all := []float64{0}
	for s := 0.0; s < slack; {
		s = min(s+max(fine, growth*s), slack)
		all = append(all, s)
	}
	return all
}

func (p *plan) shifts(by float64) []shift {
	all := make([]shift, len(p.levels))
	for i, s := range p.levels {
		all[i] = p.between(s - by)
	}
	return all
}

// between finds where a slack lies among the levels. It forgives what rounding takes.
func (p *plan) between(slack float64) shift {
	const rounding = 1e-6
	if slack < -rounding {
		return shift{}
	}
	last := len(p.levels) - 1
	i, found := slices.BinarySearch(p.levels, slack)
	if found || slack <= 0 {
		return shift{from: min(i, max(last-1, 0)), part: b2f(i == last && last > 0), ok: true}
	}
	if i > last {
		return shift{from: max(last-1, 0), part: b2f(last > 0), ok: true}
	}
	below := p.levels[i-1]
	part := (slack - below) / (p.levels[i] - below)
	if part < rounding {
		part = 0
	}
	return shift{from: i - 1, part: float32(part), ok: true}
}

func b2f(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

// chain is how a pool with such scales goes on, step by step.
func chain(prior Prior, step time.Duration, fall, rise float64) [states]moves {
	var all [states]moves
	hours := step.Hours()
	for i := range classes {
		older, stayOn := i+1, 1.0
		if i < len(ages) {
			began := time.Duration(0)
			if i > 0 {
				began = ages[i-1]
			}
			stayOn = max(1-float64(step)/float64(ages[i]-began), 0)
		} else {
			older = i
		}
		young := class(0)
		for up := range 2 {
			rate := prior.Rise[i] * rise
			if up == 1 {
				rate = prior.Fall[i] * fall
			}
			same := math.Exp(-rate * hours)
			all[up*classes+i] = moves{
				change: float32(1 - same), changeTo: (1-up)*classes + young,
				stay: float32(same * stayOn), stayTo: up*classes + i,
				older: float32(same * (1 - stayOn)), olderTo: up*classes + older,
			}
		}
	}
	return all
}

// index of the first level of a pool, a home and a state in a layer.
func (p *plan) index(pool, home, state int) int {
	return ((pool*homes+home)*states + state) * len(p.levels)
}

func (p *plan) empty() layer { return make(layer, p.index(pools, 0, 0)) }

// layer is the one for so many steps left.
func (p *plan) layer(left int) layer {
	left = min(max(left, 0), p.steps-1)
	if at := left / p.stride; at != p.at {
		p.at = at
		p.stretch[0] = p.kept[at]
		p.fill(at * p.stride)
	}
	return p.stretch[left%p.stride]
}

// solve computes all layers once and keeps some.
func (p *plan) solve() {
	p.stretch = make([]layer, p.stride)
	for i := range p.stretch {
		p.stretch[i] = p.empty()
	}
	last := (p.steps - 1) / p.stride
	p.kept = make([]layer, last+1)
	p.kept[0] = p.empty() // with no step left all is done: every other case was excluded before
	value := p.empty()
	for p.at = 0; ; p.at++ {
		p.stretch[0] = p.kept[p.at]
		p.fill(p.at * p.stride)
		if p.at == last {
			return
		}
		p.kept[p.at+1] = p.empty()
		p.back((p.at+1)*p.stride, p.stretch[p.stride-1], value, p.kept[p.at+1])
	}
}

// fill computes the stretch from its first layer on.
func (p *plan) fill(first int) {
	value := p.empty()
	for i := 1; i < p.stride; i++ {
		p.back(first+i, p.stretch[i-1], value, p.stretch[i])
	}
}

// back goes one step back in time: from the layer after the step, the value of each position with left steps to go, and
// from that the layer before it.
func (p *plan) back(left int, after, value, before layer) {
	done := 0 // levels from this one on have no work left
	for done < len(p.levels) && float64(left)-p.levels[done] > 1e-6 {
		done++
	}
	n := len(p.levels)
	for pool := range pools {
		for state := range states {
			var rows, values [homes][]float32
			for home := range homes {
				at := p.index(pool, home, state)
				rows[home], values[home] = after[at:at+n], value[at:at+n]
				clear(values[home][done:])
			}
			p.choose(left, done, state >= classes, rows, values)
		}
		for state := range states {
			p.expect(pool, state, value, before)
		}
	}
}

// choose takes, at each level that has work left, the cheapest of what may be chosen.
func (p *plan) choose(left, done int, up bool, after, value [homes][]float32) {
	const rounding = 1e-6
	for i := range done {
		s := p.levels[i]
		wait, demandNew, spotNew, spotOn := float32(never), float32(never), float32(never), float32(never)
		if s-1 >= p.change-rounding {
			wait = p.wait[i].read(after[Wait])
		}
		demandOn := p.ratio + after[OnDemand][i]
		begin := p.start[i]
		if begin.ok {
			demandNew = p.ratio + begin.read(after[OnDemand])
		}
		if up {
			ending := float64(left)-s <= 1-p.change
			if s >= p.change+p.risk-rounding || ending {
				spotOn = 1 + after[Spot][i]
			}
			if begin.ok && (s-p.change >= p.change+p.risk-rounding || ending) {
				spotNew = 1 + begin.read(after[Spot])
			}
		}
		anew := min(wait, demandNew)
		value[Wait][i] = min(anew, spotNew)
		value[Spot][i] = min(anew, spotOn)
		value[OnDemand][i] = min(wait, demandOn, spotNew)
	}
}

// expect is the mean, over how the pool goes on, of the value at the next decision. A job on spot that goes is nowhere.
func (p *plan) expect(pool, state int, value, before layer) {
	m, n := &p.chains[pool][state], len(p.levels)
	for home := range homes {
		row := func(to int) []float32 {
			if home == int(Spot) && to < classes {
				return value[p.index(pool, int(Wait), to):][:n]
			}
			return value[p.index(pool, home, to):][:n]
		}
		changed, older, same := row(m.changeTo), row(m.olderTo), row(m.stayTo)
		out := before[p.index(pool, home, state):][:n]
		for i := range out {
			out[i] = m.change*changed[i] + m.older*older[i] + m.stay*same[i]
		}
	}
}

// read is the cost at a slack between two levels. Beside a level where the deadline cannot be held any more it is that of
// the other: whether a choice is safe is decided exactly elsewhere.
func (s shift) read(row []float32) float32 {
	if s.part == 0 || len(row) == 1 {
		return row[s.from]
	}
	a, b := row[s.from], row[s.from+1]
	if a >= never/2 {
		return b
	}
	return a + s.part*(b-a)
}
