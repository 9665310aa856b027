// Package optimal knows the whole future: from recorded availability it finds the cheapest course of a job that holds its
// deadline. No policy can do better; it is what policies are measured against. Nothing that decides in production may live
// here.
package optimal

import (
	"errors"
	"math"
	"time"

	"github.com/stint-ml/stint/decide/spot"
)

// ErrUnreachable says that not even on-demand from the first tick on holds the deadline.
var ErrUnreachable = errors.New("the work and one changeover do not fit before the deadline")

// Solve finds, by dynamic programming, the course of least cost among those that keep to spot where it is offered and whose
// ticks, less a changeover for each entry into spot or on-demand, hold the job's work within the whole ticks before its
// deadline. The course covers all of those ticks; after the end of the work it waits.
//
// A position is (tick, state, idle ticks so far, entries so far); its value is the fewest on-demand ticks, which for a given
// number of idle ticks is also the least cost, as spot is never dearer. Entries are bounded: within one stretch of offered
// ticks a course needs at most one entry into spot, as idle ticks can be moved to its ends, and likewise one into on-demand
// between two stretches.
func Solve(job spot.Job, offered []bool) (spot.Course, error) {
	g := newGrid(job, offered)
	if g.slack < 0 || g.slack < job.Changeover {
		return nil, ErrUnreachable
	}
	for t := range g.ticks {
		g.step(t)
	}
	return g.course(job)
}

const never = math.MaxInt32 / 2

// states in the order of spot.Choice: wait, spot, on-demand.
const states = 3

type grid struct {
	offered []bool
	tick    time.Duration
	cost    time.Duration // of an entry
	slack   time.Duration // what idle ticks and entries may take together
	ticks   int
	idle    int // most idle ticks
	entries int // most entries
	fewest  []int32
	next    []int32
	from    [][]uint8 // for each tick and position after it: the state before it
}

func newGrid(job spot.Job, offered []bool) *grid {
	g := &grid{tick: job.Tick, cost: job.Changeover, ticks: int(job.Deadline / job.Tick)}
	g.offered = make([]bool, g.ticks)
	copy(g.offered, offered)
	g.slack = time.Duration(g.ticks)*job.Tick - job.Work
	if g.slack < 0 {
		return g
	}
	g.idle = int(g.slack / job.Tick)
	stretches := 0
	for t, has := range g.offered {
		if has && (t == 0 || !g.offered[t-1]) {
			stretches++
		}
	}
	g.entries = 2*stretches + 1
	if g.cost > 0 {
		g.entries = min(g.entries, int(g.slack/g.cost))
	}
	size := states * (g.idle + 1) * (g.entries + 1)
	g.fewest, g.next, g.from = make([]int32, size), make([]int32, size), make([][]uint8, g.ticks)
	for i := range g.fewest { // beyond a row's room they stay so
		g.fewest[i], g.next[i] = never, never
	}
	g.fewest[g.at(int(spot.Wait), 0, 0)] = 0
	return g
}

func (g *grid) at(state, idle, entries int) int {
	return (state*(g.idle+1)+idle)*(g.entries+1) + entries
}

// step moves every position over one tick.
func (g *grid) step(t int) {
	from := make([]uint8, len(g.next))
	for idle := range g.idle + 1 {
		g.pause(idle, from)
		g.work(spot.OnDemand, idle, 1, from)
		if g.offered[t] {
			g.work(spot.Spot, idle, 0, from)
		} else {
			for e := range g.room(idle) {
				g.next[g.at(int(spot.Spot), idle, e)] = never
			}
		}
	}
	g.fewest, g.next, g.from[t] = g.next, g.fewest, from
}

// pause comes to wait: from any state with one idle tick less.
func (g *grid) pause(idle int, from []uint8) {
	for e := range g.room(idle) {
		to := g.at(int(spot.Wait), idle, e)
		g.next[to] = never
		for before := range states {
			if idle == 0 {
				break
			}
			if on := g.fewest[g.at(before, idle-1, e)]; on < g.next[to] {
				g.next[to], from[to] = on, uint8(before)
			}
		}
	}
}

// work comes to run for a tick: on from the same state, or anew from another with one entry less.
func (g *grid) work(state spot.Choice, idle int, onDemand int32, from []uint8) {
	for e := range g.room(idle) {
		best, back := g.fewest[g.at(int(state), idle, e)], int(state)
		for before := range states {
			if e == 0 || before == int(state) {
				continue
			}
			if on := g.fewest[g.at(before, idle, e-1)]; on < best {
				best, back = on, before
			}
		}
		to := g.at(int(state), idle, e)
		g.next[to], from[to] = min(best+onDemand, never), uint8(back)
	}
}

// room is how many entries, none included, a course with so many idle ticks has time for.
func (g *grid) room(idle int) int {
	most := g.entries
	if g.cost > 0 {
		most = min(most, int((g.slack-time.Duration(idle)*g.tick)/g.cost))
	}
	return most + 1
}

// course walks back from the cheapest last position.
func (g *grid) course(job spot.Job) (spot.Course, error) {
	best, least := [states]int{}, math.Inf(1)
	for state := range states {
		for idle := 0; idle <= g.idle; idle++ {
			for entries := 0; entries <= g.entries; entries++ {
				on := g.fewest[g.at(state, idle, entries)]
				if on >= never {
					continue
				}
				hours := float64(on) + float64(g.ticks-idle-int(on))/job.PriceRatio
				if hours < least {
					best, least = [states]int{state, idle, entries}, hours
				}
			}
		}
	}
	if math.IsInf(least, 1) {
		return nil, ErrUnreachable
	}
	course := make(spot.Course, g.ticks)
	state, idle, entries := best[0], best[1], best[2]
	for t := g.ticks - 1; t >= 0; t-- {
		course[t] = spot.Choice(state)
		before := int(g.from[t][g.at(state, idle, entries)])
		switch {
		case state == int(spot.Wait):
			idle--
		case state != before:
			entries--
		}
		state = before
	}
	return course, nil
}
