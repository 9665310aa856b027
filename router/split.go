package router

import (
	"context"
	"math/rand/v2"
	"slices"

	"github.com/stint-ml/stint/platform"
)

// While an update shifts traffic an endpoint has two sides: what serves, and what comes with its share of the requests.

// pick draws a side by the share and finds the variant in it. What one side cannot answer the other one may.
func (e *endpoint) pick(in platform.Invocation) (*variant, error) {
	if e.next == nil {
		return e.choose(in)
	}
	first, second := e, e.next
	if rand.Float64() < e.share {
		first, second = second, first
	}
	v, err := first.choose(in)
	if err == nil {
		return v, nil
	}
	if v, other := second.choose(in); other == nil {
		return v, nil
	}
	return nil, err
}

// tryBoth is try, and where nothing of the variant can be reached then also that of the other side, as the routes are then.
func (r *Router) tryBoth(ctx context.Context, in platform.Invocation, v *variant) (*platform.Answer, error) {
	answer, err := r.try(ctx, in, v)
	if err == nil || !platform.Is(err, platform.Unavailable) {
		return answer, err
	}
	other := r.beside(in, v)
	if other == nil {
		return answer, err
	}
	return r.try(ctx, in, other)
}

// beside finds a variant for an invocation at the other side than that of v, and lets it in there; nil when there is none that
// could answer.
func (r *Router) beside(in platform.Invocation, v *variant) *variant {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.endpoints[in.Endpoint]
	if e == nil || e.next == nil {
		return nil
	}
	side := e.next
	if v.coming {
		side = e
	}
	other, err := side.choose(in)
	if err != nil || other.flow != nil {
		return nil
	}
	other.letIn.Add(1)
	return other
}

// targets are those of both sides.
func (e *endpoint) targets() (all []*target) {
	for side := e; side != nil; side = side.next {
		for _, v := range side.variants {
			all = append(all, v.targets...)
		}
	}
	return all
}

// retire keeps a route that is replaced by another, which may be nil, as long as requests that it let in are under way where
// no more go. The caller holds the lock.
func (r *Router) retire(e, by *endpoint) {
	r.retired = slices.DeleteFunc(r.retired, (*endpoint).over)
	if e == nil {
		return
	}
	stay := by.targets()
	for _, t := range e.targets() {
		if !slices.Contains(stay, t) {
			e.gone = append(e.gone, t)
			t.pool.close()
		}
	}
	if !e.over() {
		r.retired = append(r.retired, e)
	}
}

// over tells whether nothing is under way at what a retired route alone led to, and nothing on its way there.
func (e *endpoint) over() bool {
	return !e.entered() && !slices.ContainsFunc(e.gone, func(t *target) bool { return t.busy.Load() > 0 })
}

// entered tells whether invocations are on their way from a route to its targets.
func (e *endpoint) entered() bool {
	for side := e; side != nil; side = side.next {
		if slices.ContainsFunc(side.variants, func(v *variant) bool { return v.letIn.Load() > 0 }) {
			return true
		}
	}
	return false
}

// Busy implements platform.Drains.
func (r *Router) Busy(agent platform.AgentID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retired = slices.DeleteFunc(r.retired, (*endpoint).over)
	for _, e := range r.retired {
		for _, t := range e.targets() {
			if t.Agent == agent && (e.entered() || t.busy.Load() > 0) {
				return true
			}
		}
	}
	return false
}
