package endpoint

import (
	"context"
	"fmt"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

// The back-off of a variant whose instances end without having been ready, once it is in service.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// triesOfPlatform is how often an instance is launched anew that the platform failed while its deployment comes up. What the
// container itself fails at, it would fail at again.
const triesOfPlatform = 3

// roomless is how long an endpoint for which there is no room waits before it looks again.
const roomless = 2 * time.Second

// Reconcile brings one endpoint forward, or for the loop's own name looks at everything.
func (c *Controller) Reconcile(ctx context.Context, name string) (time.Duration, error) {
	if name == control.ResyncName {
		return 0, c.tracker.Resync(ctx)
	}
	agents, err := control.AgentsOf(ctx, c.Runner, platform.Key{Kind: platform.KindEndpoint, Name: name})
	if err != nil {
		return 0, err
	}
	e, err := c.read(ctx, name)
	if platform.Is(err, platform.NotFound) {
		c.Routes.Remove(name)
		delete(c.used, name)
		return 0, c.sweep(ctx, agents, nil)
	}
	if err != nil {
		return 0, err
	}
	// 1. Take note of what has been.
	flows, seen, err := c.catchUp(ctx, e, agents)
	if err != nil {
		return 0, err
	}
	// 2. Follow the requests, move the deployments on, and write down what is to be launched.
	now := c.Clock.Now()
	e, soon, err := c.move(ctx, name, flows, seen, now)
	if err != nil {
		return 0, err
	}
	if e.Status.State == platform.EndpointDeleting && len(e.Status.Leaving) == 0 {
		return 0, c.forget(ctx, e, agents)
	}
	e, again, err := c.launch(ctx, name, now)
	if err != nil {
		return 0, err
	}
	// 3. Traffic first goes where it should, then what it has left is ended.
	to := route(e)
	c.Routes.Set(name, to)
	if heedless(to, flows) {
		soon = sooner(soon, lookAtFlow)
	}
	drains, err := c.actOn(ctx, e, agents)
	return sooner(sooner(again, soon), sooner(drains, c.nextMove(e, seen, now))), err
}

// catchUp takes note of what has been since: instances that have ended, whose last words count, what requests have used, and
// alarms that have gone off.
func (c *Controller) catchUp(ctx context.Context, e *platform.Endpoint, agents map[platform.AgentID]platform.AgentStatus) (map[string]platform.Flow, observed, error) {
	if err := c.noteEnds(ctx, e, agents); err != nil {
		return nil, nil, err
	}
	flows, err := c.settle(ctx, e, false)
	if err != nil {
		return nil, nil, err
	}
	seen, err := c.observe(ctx, e)
	return flows, seen, err
}

// move lets an endpoint follow its requests and moves its deployments on. It gives when to look again.
func (c *Controller) move(ctx context.Context, name string, flows map[string]platform.Flow, seen observed, now time.Time) (e *platform.Endpoint, again time.Duration, err error) {
	e, err = c.change(ctx, name, func(e *platform.Endpoint) (platform.Tx, bool, error) {
		tx, changed, err := c.advance(e, seen, now)
		followed, wait := c.follow(e, flows, now, &tx)
		again = wait
		return tx, changed || followed, err
	})
	return e, again, err
}

// noteEnds closes every replica whose agent has ended.
func (c *Controller) noteEnds(ctx context.Context, e *platform.Endpoint, agents map[platform.AgentID]platform.AgentStatus) error {
	var ended []platform.Replica
	e.Status.Each(func(r *platform.Replica) {
		if a, known := agents[r.Agent]; known && !a.Running {
			ended = append(ended, *r)
		}
	})
	name := *e.Spec.EndpointName
	for _, r := range ended {
		if box, ok := c.Runner.(platform.Undelivered); ok {
			reports, err := box.Reports(ctx, r.Agent, r.ReportSeq)
			if err != nil {
				return err
			}
			if _, err := c.take(ctx, name, r.Number, reports); err != nil {
				return err
			}
		}
		a := agents[r.Agent]
		outcome := platform.Outcome{Kind: platform.InternalError, Reason: "the instance's agent ended without a report: " + a.Detail}
		_, err := c.change(ctx, name, func(e *platform.Endpoint) (platform.Tx, bool, error) {
			if e.Status.Replica(r.Number) == nil {
				return platform.Tx{}, false, nil
			}
			var tx platform.Tx
			err := c.end(ctx, e, r.Number, outcome, a.Ended, &tx)
			return tx, true, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// advance is what follows from how the endpoint stands, without launching anything.
func (c *Controller) advance(e *platform.Endpoint, seen observed, now time.Time) (platform.Tx, bool, error) {
	st := &e.Status
	// 1. An endpoint that is to go has nothing but what leaves.
	if st.State == platform.EndpointDeleting {
		changed := st.Leave(st.Serving, now)
		changed = st.Leave(st.Coming, now) || changed
		st.Serving, st.Coming, st.Rollout = nil, nil, nil
		return platform.Tx{}, changed, nil
	}
	// 2. What comes takes over step by step, or never will.
	if st.Coming != nil {
		changed, err := c.roll(e, seen, now)
		return platform.Tx{}, changed, err
	}
	// 3. What serves has as many instances as are wanted, no more.
	changed := false
	if st.Serving != nil {
		changed = shrink(st, st.Serving, now)
		back := st.State == platform.EndpointRollingBack && len(st.Leaving) == 0
		if (st.State == platform.EndpointUpdating || back) && st.Serving.Whole() {
			return platform.Tx{}, true, st.Enter(platform.EndpointInService, now)
		}
	}
	return platform.Tx{}, changed, nil
}

// shrink takes the youngest replicas out of traffic where there are more than are wanted; those that are not ready first.
func shrink(st *platform.EndpointStatus, d *platform.Deployment, now time.Time) bool {
	changed := false
	if d == nil {
		return false
	}
	for v := range d.Variants {
		variant := &d.Variants[v]
		for len(variant.Replicas) > variant.Wanted() {
			last := len(variant.Replicas) - 1
			for i, r := range variant.Replicas {
				if r.Ready.IsZero() {
					last = i
				}
			}
			r := variant.Replicas[last]
			r.Left = now
			st.Leaving = append(st.Leaving, r)
			variant.Replicas = append(variant.Replicas[:last:last], variant.Replicas[last+1:]...)
			changed = true
		}
	}
	return changed
}

// hopeless says why a deployment will not come up, empty while it may.
func hopeless(d *platform.Deployment) string {
	for v := range d.Variants {
		if reason := d.Variants[v].Hopeless; reason != "" {
			return reason
		}
	}
	return ""
}

// abandon gives up what was to come. What served before goes on serving; if requests had gone to what came, the endpoint is
// rolling back until that is gone.
func abandon(st *platform.EndpointStatus, reason string, now time.Time) error {
	st.Leave(st.Coming, now)
	st.Coming, st.Rollout, st.FailureReason = nil, nil, reason
	if st.Serving == nil {
		return st.Enter(platform.EndpointFailed, now)
	}
	st.Serving.Limit(0)
	if st.State == platform.EndpointRollingBack && len(st.Leaving) > 0 {
		return nil
	}
	return st.Enter(platform.EndpointInService, now)
}

// route is where requests go as the endpoint stands.
func route(e *platform.Endpoint) platform.Route {
	st := &e.Status
	out := platform.Route{ARN: st.ARN}
	if st.Serving != nil {
		out.Variants, out.Async = choices(e, st.Serving), st.Serving.Async != nil
	}
	if st.Serving != nil && st.Rollout != nil && st.Rollout.Share > 0 {
		out.Next, out.Share = choices(e, st.Coming), st.Rollout.Share
	}
	return out
}

// choices are the variants of a deployment with the instances that answer.
func choices(e *platform.Endpoint, d *platform.Deployment) (out []platform.RouteVariant) {
	for v := range d.Variants {
		variant := &d.Variants[v]
		rv := platform.RouteVariant{Name: variant.Name, Config: d.Config, Weight: variant.Weight, Elastic: elastic(e, d, variant), Capture: platform.CaptureOf(d.Capture, variant.Role), OfMany: platform.OfMany(&variant.Container), Direct: variant.Direct}
		for _, r := range variant.Replicas {
			if !r.Ready.IsZero() {
				rv.Targets = append(rv.Targets, platform.Target{Agent: r.Agent, Address: r.Address})
			}
		}
		out = append(out, rv)
	}
	return out
}

// actOn starts and stops agents so that they are as the endpoint says, and sweeps away those that are done. It gives when to
// look again for what has to finish first.
func (c *Controller) actOn(ctx context.Context, e *platform.Endpoint, agents map[platform.AgentID]platform.AgentStatus) (again time.Duration, failure error) {
	e.Status.Each(func(r *platform.Replica) {
		if failure != nil {
			return
		}
		c.Room.Hold(string(r.Agent), held(r.Capacity))
		switch a, known := agents[r.Agent]; {
		case !known: // just written down, or a crash came before it was started
			failure = c.start(ctx, e, *r)
		case a.Running && !r.Left.IsZero() && c.draining(e, r):
			again = drainsEvery
		case a.Running && !r.Left.IsZero():
			failure = c.Runner.Stop(ctx, r.Agent)
		}
	})
	if failure != nil {
		return again, failure
	}
	return again, c.sweep(ctx, agents, e)
}

// sweep lets the runner forget the agents that have ended and that no record speaks of any more.
func (c *Controller) sweep(ctx context.Context, agents map[platform.AgentID]platform.AgentStatus, e *platform.Endpoint) error {
	live := map[platform.AgentID]bool{}
	if e != nil {
		e.Status.Each(func(r *platform.Replica) { live[r.Agent] = true })
	}
	for id, a := range agents {
		if live[id] {
			continue
		}
		if a.Running { // nobody wants it: its record was lost to it
			if err := c.Runner.Stop(ctx, id); err != nil {
				return err
			}
			continue
		}
		c.Room.Release(string(id))
		if err := c.Runner.Remove(ctx, id); err != nil {
			return err
		}
		c.deliveries.Forget(id)
	}
	return nil
}

// forget deletes the record of an endpoint of which nothing is left.
func (c *Controller) forget(ctx context.Context, e *platform.Endpoint, agents map[platform.AgentID]platform.AgentStatus) error {
	name := *e.Spec.EndpointName
	if _, err := c.settle(ctx, e, true); err != nil {
		return err
	}
	c.Routes.Remove(name)
	c.Routes.Flows(name) // nothing is under way any more
	if err := c.sweep(ctx, agents, nil); err != nil {
		return err
	}
	key := platform.Key{Kind: platform.KindEndpoint, Name: name}
	rec, err := c.Store.Get(ctx, key)
	if err != nil {
		return err
	}
	if err := c.Store.Commit(ctx, platform.Tx{Deletes: []platform.Delete{{Key: key, Revision: rec.Revision}}}); err != nil {
		return fmt.Errorf("delete endpoint %s: %w", name, err)
	}
	return nil
}
