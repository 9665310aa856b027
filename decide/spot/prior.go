package spot

import (
	"math"
	"time"
)

// ages are the classes of how long spot has been as it is, up or down: the end of each; the last one has none. Hazards fall
// by age like a power law (what has lasted will last), so classes that grow fourfold are enough: finer ones change no score.
var ages = [...]time.Duration{10 * time.Minute, 40 * time.Minute, 160 * time.Minute, 640 * time.Minute}

// classes is how many classes of age there are.
const classes = len(ages) + 1

// Hazards are how often a pool changes, in events an hour, by class of age: within 10, 40, 160 and 640 minutes since it last
// changed, and later.
type Hazards [classes]float64

// Prior is what many pools have taught about one that is not known yet. A pool's hazards are those here times a scale of
// its own; the scale of a pool that is drawn at random has mean 1 and variance 1/Alike.
type Prior struct {
	Fall, Rise           Hazards // of spot that is to be had, and of spot that is not
	FallAlike, RiseAlike float64
}

// BuiltIn is fitted to the availability of p2 (K80) and p3 (V100) instances in two zones of us-west-2 in 2022: eight pools
// of two weeks each, looked at every 10 minutes ("Can't Be Late" traces, windows by Frontier-CS, MIT licence). `make
// bench-spot` fits it anew and prints it.
func BuiltIn() Prior {
	return Prior{
		Fall: Hazards{2.03, 1.16, 0.64, 0.40, 0.22}, FallAlike: 3.5,
		Rise: Hazards{3.94, 1.30, 0.58, 0.25, 0.13}, RiseAlike: 8.6,
	}
}

func class(age time.Duration) int {
	for i, end := range ages {
		if age < end {
			return i
		}
	}
	return classes - 1
}

// times scales all hazards.
func (h Hazards) times(scale float64) Hazards {
	for i := range h {
		h[i] *= scale
	}
	return h
}

// expected is the number of changes to expect between two ages, if a change did not begin a new age.
func (h Hazards) expected(from, to time.Duration) float64 {
	sum := 0.0
	for i, rate := range h {
		end := to
		if i < len(ages) {
			end = min(to, ages[i])
		}
		if end > from {
			sum += rate * (end - from).Hours()
			from = end
		}
	}
	return sum
}

// meanLife is the mean time until the next change from an age on.
func (h Hazards) meanLife(age time.Duration, scale float64) time.Duration {
	mean, alive := 0.0, 1.0
	for i := class(age); i < classes; i++ {
		rate := h[i] * scale
		if i == len(ages) {
			mean += alive / rate
			break
		}
		end := math.Exp(-rate * (ages[i] - age).Hours())
		mean += alive * (1 - end) / rate
		alive *= end
		age = ages[i]
	}
	return time.Duration(min(mean, maxHours) * float64(time.Hour))
}

// maxHours keeps a mean life within what a duration holds, when nothing ever changes.
const maxHours = 24 * 365
