package router

import (
	"cmp"
	"slices"

	"github.com/stint-ml/stint/platform"
)

// The slack of affinity: an instance takes the models that prefer it until it has this much more under way than the others have
// on average. What goes beyond spills to the model's next instance, which loads it too.
const (
	slackFactor = 1.25 // of the average, as in consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2018)
	slackLeast  = 4    // so that a few invocations at once do not spread a model over all instances
)

// takes refuses an invocation that does not say which of many models it is for, and one that does where there is one model.
func (v *variant) takes(in platform.Invocation) error {
	switch {
	case v.ofMany && in.Model == "":
		return platform.Errorf(platform.Invalid, in.Endpoint, "%w", platform.ErrNoTargetModel)
	case !v.ofMany && in.Model != "":
		return platform.Errorf(platform.Invalid, in.Endpoint, "Endpoint %s is not a multi-model endpoint and does not support target model header.", in.Endpoint)
	}
	return nil
}

// near gives the targets as a model prefers them, by rendezvous hashing: each model has an order of its own, which instances
// that come or go change only for the models that they have or get. Targets that have too much to do come last, the one with
// the least first.
func (v *variant) near(model string) []*target {
	type place struct {
		*target
		rank uint64
		busy int64
		full bool
	}
	places := make([]place, len(v.targets))
	var total int64
	key := hash(model)
	for i, t := range v.targets {
		places[i] = place{target: t, rank: mix(key ^ t.seed), busy: t.busy.Load()}
		total += places[i].busy
	}
	bound := max(slackLeast, int64(slackFactor*float64(total+1)/float64(len(places))))
	for i := range places {
		places[i].full = places[i].busy >= bound
	}
	slices.SortFunc(places, func(a, b place) int {
		switch {
		case a.full != b.full && b.full:
			return -1
		case a.full != b.full:
			return 1
		case a.full:
			return cmp.Or(cmp.Compare(a.busy, b.busy), cmp.Compare(b.rank, a.rank))
		}
		return cmp.Compare(b.rank, a.rank)
	})
	out := make([]*target, len(places))
	for i := range places {
		out[i] = places[i].target
	}
	return out
}

// hash is FNV-1a, of 64 bits.
func hash(text string) uint64 {
	sum := uint64(14695981039346656037)
	for i := range len(text) {
		sum = (sum ^ uint64(text[i])) * 1099511628211
	}
	return sum
}

// mix spreads a number over all bits, as SplitMix64 does: two that differ little come out as if drawn.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
