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

// takes refuses an invocation that does not say which of many models, or of several containers, it is for, and one that does
// where there is nothing to choose.
func (v *variant) takes(in platform.Invocation) error {
	switch {
	case v.ofMany:
		return v.names(in)
	case in.Model != "":
		return misnamed(in)
	}
	return nil
}

// names refuses an invocation that does not name what the variant has several of.
func (v *variant) names(in platform.Invocation) error {
	missing := platform.ErrNoTargetModel
	if v.direct {
		missing = platform.ErrNoTargetContainer
	}
	switch {
	case in.Model == "":
		return platform.Errorf(platform.Invalid, in.Endpoint, "%w", missing)
	case v.direct != namesContainer(in):
		return misnamed(in)
	}
	return nil
}

// namesContainer tells whether it is a container that an invocation names; else it is a model.
func namesContainer(in platform.Invocation) bool {
	return len(in.Header[platform.TargetContainerHeader]) > 0
}

// misnamed refuses an invocation that names what the endpoint has not several of.
func misnamed(in platform.Invocation) error {
	if namesContainer(in) {
		return platform.Errorf(platform.Invalid, in.Endpoint, "Endpoint %s is not configured for direct invocation and does not support target container hostname header.", in.Endpoint)
	}
	return platform.Errorf(platform.Invalid, in.Endpoint, "Endpoint %s is not a multi-model endpoint and does not support target model header.", in.Endpoint)
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
