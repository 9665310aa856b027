package main

import (
	"github.com/stint-ml/stint/decide/spot"
)

// classEnds are the ends of the hazards' classes of age in ticks; the last one has none.
var classEnds = []int{1, 4, 16, 64}

// tally counts, for one window, how often the pool could have changed and did, by class of age.
type tally struct{ at, changed [len(spot.Hazards{})]float64 }

func (t *tally) exposure(class int) float64 {
	return t.at[class] - t.changed[class]/2 // a change comes, on average, in the middle of its tick
}

// fit is what environments teach about pools: hazards by age as a window would show them whose own scale is 1, and how far the
// windows' scales are apart. A window's scale and the hazards are estimated in turn until both stand (gamma-Poisson frailty).
// Without the scales calm windows would teach that what has lasted lasts even more than it does within each.
func fit(r *record, environments []string) spot.Prior {
	var falls, rises []tally
	for _, e := range environments {
		for _, window := range r.windows[e] {
			fall, rise := count(window)
			falls, rises = append(falls, fall), append(rises, rise)
		}
	}
	var prior spot.Prior
	prior.Fall, prior.FallAlike = frailty(falls)
	prior.Rise, prior.RiseAlike = frailty(rises)
	return prior
}

func count(window []bool) (fall, rise tally) {
	age, known := 1, false // before its first change, how old a window's state is cannot be seen
	for t := 1; t < len(window); t++ {
		changed := window[t] != window[t-1]
		if known {
			of := &rise
			if window[t-1] {
				of = &fall
			}
			class := 0
			for class < len(classEnds) && age > classEnds[class] {
				class++
			}
			of.at[class]++
			if changed {
				of.changed[class]++
			}
		}
		age++
		if changed {
			age, known = 1, true
		}
	}
	return fall, rise
}

func frailty(tallies []tally) (spot.Hazards, float64) {
	const (
		rounds     = 200
		leastSpan  = 0.05 // variance of the scales: 20 pools' worth of evidence at most
		worthAVote = 5    // expected changes from which on a window says something about the variance
	)
	perTick := spot.Hazards{}
	scales := make([]float64, len(tallies))
	for i := range scales {
		scales[i] = 1
	}
	alike := 2.0
	for range rounds {
		for class := range perTick {
			changed, exposed := 0.01, 0.3
			for i := range tallies {
				changed += tallies[i].changed[class]
				exposed += tallies[i].exposure(class) * scales[i]
			}
			perTick[class] = changed / exposed
		}
		spread, votes := 0.0, 0.0
		for i := range tallies {
			seen, expected := 0.0, 0.0
			for class := range perTick {
				seen += tallies[i].changed[class]
				expected += tallies[i].exposure(class) * perTick[class]
			}
			scales[i] = (alike + seen) / (alike + expected)
			if expected > worthAVote {
				ratio := seen / expected
				spread += (ratio-1)*(ratio-1) - 1/expected
				votes++
			}
		}
		alike = 1 / max(spread/max(votes, 1), leastSpan)
	}
	for class := range perTick {
		perTick[class] /= tick.Hours()
	}
	return perTick, alike
}
