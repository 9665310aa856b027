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
	// patience is what waiting for a step costs, in prices of a step on spot: enough to end a job early that could as well
	// end late, too little to change what it costs.
	patience = 0.05
	// growth is how much coarser the plan's levels of slack become from one to the next.
	growth = 0.08

	states = 2 * classes // of a pool: spot not to be had, by class of age; and to be had, by class of age
	homes  = 3           // where the job is, in the order of Choice
	never  = math.MaxFloat32 / 4

	rounding = 1e-6 // of a step: what floating point may add or take
)

// A plan holds what a job will still cost in one certain pool from each position on, in prices of one step on spot, if it
// goes on as cheaply as it can without ever putting the deadline at risk: a Markov decision process, solved backwards in
// time. A position is
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
	chain  [states]moves
	wait   []shift // from each level, a step of slack less
	start  []shift // from each level, a changeover less

	// Of all layers only every stride-th is kept, and those of the stretch that was asked for last: the others are solved
	// again from the kept one below. A plan is thereby twenty times smaller and is computed twice.
	stride  int
	kept    []layer
	stretch []layer // layers at·stride … at·stride + stride − 1
	at      int
}

// A layer is the mean cost after a step, for a number of steps that will then be left: for each home, state and level.
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

// plannedSlack is how much slack a job is planned with; without any there is no plan to make.
func plannedSlack(job Job) time.Duration {
	return min(job.Deadline-job.Work, max(leastPlanned, timesWork*job.Work))
}

// newPlan solves the plan of a job that has slack, in a pool of these hazards.
func newPlan(job Job, fall, rise Hazards) *plan {
	slack := plannedSlack(job)
	horizon := job.Work + slack
	step := max(job.Tick, (horizon+mostSteps-1)/mostSteps)
	p := &plan{
		step: step, steps: int(horizon/step) + 1, ratio: float32(job.PriceRatio),
		change: float64(job.Changeover) / float64(step), risk: float64(job.AtRisk) / float64(step),
	}
	p.levels = levels(float64(slack)/float64(step), p.change, p.risk)
	p.wait, p.start = p.shifts(1), p.shifts(p.change)
	p.chain = chain(step, fall, rise)
	p.stride = max(int(math.Sqrt(float64(p.steps))), 1)
	p.solve()
	return p
}

// levels are fine where a changeover matters and coarser from there on. Where a choice begins to be safe there always is one:
// between two levels of which only one can hold the deadline the plan would see more slack than there is.
func levels(slack, change, risk float64) []float64 {
	fine := 0.25
	if change > 0.125 {
		fine = change / math.Ceil(change/fine)
	}
	all := []float64{0}
	for s := 0.0; s < slack; {
		s = min(s+max(fine, growth*s), slack)
		all = append(all, s)
	}
	for _, edge := range [...]float64{change, change + 1, change + risk, 2*change + risk} {
		if i, found := slices.BinarySearch(all, edge); !found && edge < slack {
			all = slices.Insert(all, i, edge)
		}
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

// chain is how a pool of these hazards goes on, step by step.
func chain(step time.Duration, fall, rise Hazards) [states]moves {
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
			rate := rise[i]
			if up == 1 {
				rate = fall[i]
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

// row is the part of a layer for a home and a state, by level.
func (p *plan) row(l layer, home Choice, state int) []float32 {
	n := len(p.levels)
	return l[(int(home)*states+state)*n:][:n]
}

func (p *plan) empty() layer { return make(layer, homes*states*len(p.levels)) }

// costs of each choice at a view of the job, in a state of the pool.
func (p *plan) costs(job Job, v View, state int) [homes]float64 {
	// Slack beyond what is planned with changes nothing.
	step := float64(p.step)
	work := float64(job.remaining(v)+v.Overhead) / step
	slack := min(float64(job.Deadline-v.Elapsed)/step-work, p.levels[len(p.levels)-1])
	after := p.layer(int(math.Round(work+slack)) - 1)
	costs := [homes]float64{Wait: patience, Spot: 1, OnDemand: float64(p.ratio)}
	for c := range Choice(homes) {
		slackThen, workThen := slack-1+float64(v.Overhead)/step, float64(job.remaining(v))/step
		if c != Wait {
			overhead := float64(job.overhead(v, c)) / step
			slackThen, workThen = slackThen+1-overhead, workThen+overhead-1
		}
		costs[c] += float64(p.rest(p.row(after, c, state), p.between(max(slackThen, 0)), workThen))
	}
	return costs
}

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
	for done < len(p.levels) && float64(left)-p.levels[done] > rounding {
		done++
	}
	for state := range states {
		var rows, values [homes][]float32
		for home := range Choice(homes) {
			rows[home], values[home] = p.row(after, home, state), p.row(value, home, state)
			clear(values[home][done:])
		}
		p.choose(left, done, state >= classes, rows, values)
		p.extend(done, values[Wait])
	}
	for state := range states {
		for home := range Choice(homes) {
			p.expect(home, state, value, before)
		}
		clear(p.row(before, Spot, state)[done:]) // a job that is done loses nothing with its capacity
	}
}

// extend goes on, for a job that waits, as if work could be less than none. Waiting leaves work as it is, but reading between
// two levels of slack takes some from the one and gives it to the other: if the first changeover, too, vanished with the last
// of the work, waiting would seem to pay.
func (p *plan) extend(done int, waiting []float32) {
	if done == 0 || waiting[done-1] >= never/2 {
		return
	}
	for i := done; i < len(waiting); i++ {
		waiting[i] = waiting[done-1] - float32(p.levels[i]-p.levels[done-1])*min(p.ratio, 1)
	}
}

// choose takes, at each level that has work left, the cheapest of what may be chosen.
func (p *plan) choose(left, done int, up bool, after, value [homes][]float32) {
	for i := range done {
		s := p.levels[i]
		work := float64(left) - s
		wait, demandNew, spotNew, spotOn := float32(never), float32(never), float32(never), float32(never)
		if s-1 >= p.change-rounding {
			wait = patience + p.rest(after[Wait], p.wait[i], work)
		}
		demandOn := p.ratio + after[OnDemand][i]
		begin := p.start[i]
		if begin.ok {
			demandNew = p.ratio + p.rest(after[OnDemand], begin, work-1+p.change)
		}
		if up {
			ending := work <= 1-p.change
			if s >= p.change+p.risk-rounding || ending {
				spotOn = 1 + after[Spot][i]
			}
			if begin.ok && (s-p.change >= p.change+p.risk-rounding || ending) {
				spotNew = 1 + p.rest(after[Spot], begin, work-1+p.change)
			}
		}
		anew := min(wait, demandNew)
		value[Wait][i] = min(anew, spotNew)
		value[Spot][i] = min(anew, spotOn)
		value[OnDemand][i] = min(wait, demandOn, spotNew)
	}
}

// rest is the cost of the work that a choice leaves, a changeover under way included. Near a job's end the cost between two
// levels of slack is no straight line: no work costs nothing, and a started step is paid whole.
func (p *plan) rest(row []float32, slack shift, work float64) float32 {
	if work <= rounding {
		return 0
	}
	return max(slack.read(row), float32(math.Ceil(work-rounding))*min(p.ratio, 1))
}

// expect is the mean, over how the pool goes on, of the value at the next decision. A job on spot that goes is nowhere.
func (p *plan) expect(home Choice, state int, value, before layer) {
	m := &p.chain[state]
	next := func(to int) []float32 {
		if home == Spot && to < classes {
			return p.row(value, Wait, to)
		}
		return p.row(value, home, to)
	}
	changed, older, same := next(m.changeTo), next(m.olderTo), next(m.stayTo)
	out := p.row(before, home, state)
	changed, older, same = changed[:len(out)], older[:len(out)], same[:len(out)]
	for i := range out {
		out[i] = m.change*changed[i] + m.older*older[i] + m.stay*same[i]
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
