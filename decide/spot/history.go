package spot

import (
	"math"
	"time"
)

const (
	// memory is how long what was seen of a pool counts: pools are calm and stormy in turn, for about a day each.
	memory = 16 * time.Hour
	// blind is the longest time between two observations over which the pool counts as seen.
	blind = time.Hour
	// metAt is how long what is seen first is taken to have lasted: an instant falls into a long stretch rather than a short one.
	metAt = 40 * time.Minute
)

// History is what is known of the past availability of one pool of spot capacity, such as an instance type in a zone. It
// is learned online, of constant size, written and read as JSON, and shared by all jobs that would run in the pool; the
// zero value is a pool of which nothing is known, and stands for what other pools have taught. It is not safe for use by
// several goroutines.
type History struct {
	Prior   *Prior    `json:",omitempty"` // nil: BuiltIn
	Since   time.Time // of when spot is as it is
	Last    time.Time // of the latest observation; zero: none yet
	Offered bool
	Fall    Evidence // of spot that was to be had
	Rise    Evidence // of spot that was not
}

// Evidence is what speaks for a pool's own hazards: how many changes were seen, and how many a pool with the hazards of the
// prior would have shown meanwhile. Both fade with time.
type Evidence struct{ Seen, Expected float64 }

// Observe notes whether spot was to be had at an instant. Call it at each decision, and when the market tells of a change.
// An observation that is not after the latest one says nothing new and is passed over. After a gap of over an hour (the
// server was down) nothing is learned of the time between, and spot that is as it was counts as having been so all along.
func (h *History) Observe(at time.Time, offered bool) {
	if h.Last.IsZero() {
		h.Since, h.Last, h.Offered = at.Add(-metAt), at, offered
		return
	}
	passed := at.Sub(h.Last)
	if passed <= 0 {
		return
	}
	fade := math.Exp(-float64(passed) / float64(memory))
	h.Fall.fade(fade)
	h.Rise.fade(fade)
	if passed <= blind {
		prior := h.prior()
		hazards, evidence := prior.Rise, &h.Rise
		if h.Offered {
			hazards, evidence = prior.Fall, &h.Fall
		}
		age := h.Last.Sub(h.Since)
		expected := hazards.expected(age, age+passed)
		if offered != h.Offered {
			evidence.Seen++
			expected /= 2 // the change was somewhere between the two observations
		}
		evidence.Expected += expected
	}
	if offered != h.Offered {
		h.Since = at
	}
	h.Last, h.Offered = at, offered
}

// MeanUp is how long spot will last on average: from now on when it is to be had, else once it is.
func (h *History) MeanUp() time.Duration {
	prior := h.prior()
	age := time.Duration(0)
	if h.Offered {
		age = h.age()
	}
	return prior.Fall.meanLife(age, (prior.FallAlike+h.Fall.Seen)/(prior.FallAlike+h.Fall.Expected))
}

func (h *History) prior() Prior {
	if h.Prior == nil {
		return BuiltIn()
	}
	return *h.Prior
}

// age is how long spot has been as it is.
func (h *History) age() time.Duration { return h.Last.Sub(h.Since) }

// ageOf is the age of a state that a view shows: none when the history has not heard of it yet.
func (h *History) ageOf(offered bool) time.Duration {
	if offered != h.Offered {
		return 0
	}
	return h.age()
}

func (e *Evidence) fade(by float64) {
	e.Seen *= by
	e.Expected *= by
}

// weigh is how likely each scale is, in the end 1 together. The scale of a pool is gamma-distributed and changes come as a
// Poisson process, so that the posterior is gamma again. The scales lie evenly on a logarithmic axis.
func (e Evidence) weigh(alike float64, scales []float64, weights []float64) {
	shape, rate := alike+e.Seen, alike+e.Expected
	most := math.Inf(-1)
	for i, s := range scales {
		weights[i] = shape*math.Log(s) - rate*s
		most = max(most, weights[i])
	}
	sum := 0.0
	for i := range scales {
		weights[i] = math.Exp(weights[i] - most)
		sum += weights[i]
	}
	for i := range scales {
		weights[i] /= sum
	}
}
