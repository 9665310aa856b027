package endpoint

import (
	"fmt"
	"slices"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Some variants follow their requests: a serverless one has an instance for each invocation under way, and keeps it for a while
// after; one with instances of its own has none of them while its endpoint sleeps.

const (
	keepIdle       platform.Seconds = 5 * 60      // of an instance of a serverless variant that has nothing to do
	lookAtFlow                      = time.Second // how often an endpoint is looked at while requests come
	serverlessBody                  = 4 << 20     // AWS's bytes for a serverless invocation
	perInstance                     = 1024        // invocations that may wait for each instance of an endpoint that sleeps
)

// elasticID names a variant of a deployment for its flow.
func elasticID(d *platform.Deployment, v *platform.Variant) string {
	return fmt.Sprintf("%s@%d", v.Name, d.Began.UnixNano())
}

// elastic says how a variant follows its requests, nil when it does not.
func elastic(e *platform.Endpoint, d *platform.Deployment, v *platform.Variant) *platform.Elastic {
	switch {
	case v.Serverless != nil:
		out := &platform.Elastic{ID: elasticID(d, v), PerTarget: 1, Max: v.Serverless.MaxConcurrency, MaxBody: serverlessBody}
		for _, r := range v.Replicas {
			if r.Purchase == platform.Provisioned {
				out.Provisioned = append(out.Provisioned, r.Agent)
			}
		}
		return out
	case e.SleepAfter() > 0 && v.Desired > 0:
		return &platform.Elastic{ID: elasticID(d, v), Max: perInstance * v.Desired}
	}
	return nil
}

// follow lets what serves have the instances that its requests ask for. It gives when to look again.
func (c *Controller) follow(e *platform.Endpoint, flows map[string]platform.Flow, now time.Time, tx *platform.Tx) (changed bool, again time.Duration) {
	d := e.Status.Serving
	if d == nil {
		return false, 0
	}
	for i := range d.Variants {
		v := &d.Variants[i]
		f, routed := flows[elasticID(d, v)]
		var wait time.Duration
		var news bool
		switch {
		case v.Serverless != nil:
			news, wait = c.followServerless(e, v, f, routed, now, tx)
		case elastic(e, d, v) == nil:
			news, v.Asleep = v.Asleep, false
		case routed:
			news, wait = followSleep(v, f, e.SleepAfter(), now)
		}
		changed = changed || news
		if f.Open > 0 {
			wait = lookAtFlow
		}
		again = sooner(again, wait)
	}
	return changed, again
}

// heedless tells whether a route has an elastic variant of which nothing has been heard: its silence has to be waited for, too.
func heedless(to platform.Route, flows map[string]platform.Flow) bool {
	for _, v := range to.Variants {
		if v.Elastic != nil {
			if _, known := flows[v.Elastic.ID]; !known {
				return true
			}
		}
	}
	return false
}

// sooner is the earlier of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// followSleep lets a variant sleep when it has idled for long enough, and wakes it when a request waits.
func followSleep(v *platform.Variant, f platform.Flow, after time.Duration, now time.Time) (changed bool, again time.Duration) {
	idle := now.Sub(f.Last)
	switch {
	case f.Open > 0:
		changed, v.Asleep = v.Asleep, false
	case v.Asleep:
	case idle >= after:
		changed, v.Asleep = true, true
	default:
		again = after - idle
	}
	return changed, again
}

// followServerless asks for an instance for each invocation under way, gives those back that have idled for long enough, and keeps
// as many provisioned as are to be.
func (c *Controller) followServerless(e *platform.Endpoint, v *platform.Variant, f platform.Flow, routed bool, now time.Time, tx *platform.Tx) (changed bool, again time.Duration) {
	was, keep := v.Asked, c.KeepIdle.Duration()
	// 1. Those that are provisioned: not fewer, not more than are wanted.
	changed = c.provision(e, v, now, tx)
	// 2. Those that have idled leave; the youngest of them first.
	for i := len(v.Replicas) - 1; i >= 0 && routed; i-- {
		r := v.Replicas[i]
		since, idles := f.Idle[r.Agent]
		if !idles || r.Purchase != platform.OnUse {
			continue
		}
		if left := keep - now.Sub(since); left > 0 {
			again = sooner(again, left)
			continue
		}
		dismiss(&e.Status, v, i, now)
		changed = true
	}
	// 3. What is asked for is what invocations need now, or what is still there.
	v.Asked = len(v.Replicas)
	if f.Open > v.Asked {
		v.Asked = min(f.Open, v.Serverless.MaxConcurrency)
	}
	return changed || v.Asked != was, again
}

// provision makes instances that are paid for by use into provisioned ones, while there are too few of these; too many leave.
func (c *Controller) provision(e *platform.Endpoint, v *platform.Variant, now time.Time, tx *platform.Tx) (changed bool) {
	for i := range v.Replicas {
		r := &v.Replicas[i]
		if provisioned(v) >= v.Serverless.Provisioned {
			break
		}
		if r.Purchase == platform.OnUse && !r.Ready.IsZero() {
			r.Purchase, r.Started = platform.Provisioned, now
			tx.Ledger = append(tx.Ledger, opening(e, r))
			changed = true
		}
	}
	for i := len(v.Replicas) - 1; i >= 0 && provisioned(v) > v.Serverless.Provisioned; i-- {
		if v.Replicas[i].Purchase == platform.Provisioned {
			dismiss(&e.Status, v, i, now)
			changed = true
		}
	}
	return changed
}

// provisioned counts the instances of a serverless variant that are paid for by their time.
func provisioned(v *platform.Variant) (n int) {
	for i := range v.Replicas {
		if v.Replicas[i].Purchase == platform.Provisioned {
			n++
		}
	}
	return n
}

// dismiss takes one replica of a variant out of traffic.
func dismiss(st *platform.EndpointStatus, v *platform.Variant, at int, now time.Time) {
	r := v.Replicas[at]
	r.Left = now
	st.Leaving = append(st.Leaving, r)
	v.Replicas = slices.Delete(slices.Clone(v.Replicas), at, at+1)
}
