package router

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/stint-ml/stint/platform"
)

// choose finds the variant: the one asked for, or one by weight among those that can answer.
func (e *endpoint) choose(in platform.Invocation) (*variant, error) {
	v := e.byWeight()
	if in.Variant != "" {
		at := slices.IndexFunc(e.variants, func(v *variant) bool { return v.name == in.Variant })
		if at < 0 {
			return nil, platform.Errorf(platform.Invalid, in.Variant, "Variant %s not found for endpoint %s", in.Variant, in.Endpoint)
		}
		v = e.variants[at]
	}
	if v == nil || !v.open() {
		return nil, notReady(in.Endpoint)
	}
	if err := v.takes(in); err != nil {
		return nil, err
	}
	return v, nil
}

// open tells whether requests may go to the variant: it has containers, or will have.
func (v *variant) open() bool { return len(v.targets) > 0 || v.flow != nil }

// byWeight draws a variant among those that are open; nil when none is. Weights that are all zero count alike as one.
func (e *endpoint) byWeight() *variant {
	var last *variant
	point := 0.0
	if len(e.variants) > 1 {
		point = rand.Float64() * e.weight
	}
	for _, v := range e.variants {
		if !v.open() || v.weight <= 0 && e.weight > 0 {
			continue
		}
		last = v
		if point -= v.weight; point < 0 {
			break
		}
	}
	return last
}

func notReady(name string) error {
	return platform.Errorf(platform.Unavailable, name, "no container of endpoint %s is ready to answer", name)
}

// order gives the variant's targets in the order in which they are to be asked: those with the least under way first, where
// equals take turns; of many models those first that are likely to have this one.
func (v *variant) order(model string) []*target {
	n := len(v.targets)
	if n <= 1 || v.bound == 1 { // the first that is free, so that the others come to idle
		return v.targets
	}
	if v.ofMany && !v.direct {
		return v.near(model)
	}
	from := int(v.next.Add(1)) % n
	out := slices.Concat(v.targets[from:], v.targets[:from])
	slices.SortStableFunc(out, func(a, b *target) int { return cmp.Compare(a.busy.Load(), b.busy.Load()) })
	return out
}
