package scaling

import (
	"context"
	"slices"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/alarm"
	"github.com/stint-ml/stint/decide/scale"
	"github.com/stint-ml/stint/platform"
)

// backlogFresh is how old the last word of a backlog may be.
const backlogFresh = time.Minute

// ask gathers what decide/scale needs to know, and what each policy asks for.
func (c *Controller) ask(ctx context.Context, s *subject, now time.Time) (scale.Situation, []scale.Wish, error) {
	t := s.target
	situation := scale.Situation{
		Now: now, Current: *s.figure(), Min: t.Min, Max: t.Max, LastOut: t.LastOut, LastIn: t.LastIn, NoOut: t.Suspended.Out, NoIn: t.Suspended.In,
	}
	if situation.Current == 0 {
		var err error
		if situation.Backlog, err = c.waits(ctx, t.Of, now); err != nil {
			return situation, nil, err
		}
	}
	var wishes []scale.Wish
	triggers := triggers{} // read once, and only if there are steps
	for i := range t.Policies {
		p := &t.Policies[i]
		if p.Spec.TargetTrackingScalingPolicyConfiguration != nil {
			w, err := c.track(ctx, s, p, situation)
			if err != nil {
				return situation, nil, err
			}
			wishes = append(wishes, w)
			continue
		}
		found, err := c.step(ctx, p, &triggers, situation)
		if err != nil {
			return situation, nil, err
		}
		wishes = append(wishes, found...)
	}
	return situation, wishes, nil
}

// track asks a target tracking policy.
func (c *Controller) track(ctx context.Context, s *subject, p *platform.ScalingPolicy, situation scale.Situation) (scale.Wish, error) {
	t := scale.TrackingOf(&p.Spec, s.target.Of, p.Alarms)
	points, err := c.points(ctx, t, s.since(c.began, p), situation.Now)
	if err != nil {
		return scale.Wish{}, err
	}
	return t.Wish(points, situation), nil
}

// since is from when on the metrics speak of the capacity that is there now: measured by this process, by the policy as it is,
// and since the endpoint came to rest after its last change.
func (s *subject) since(began time.Time, p *platform.ScalingPolicy) time.Time {
	since := began
	for _, at := range []time.Time{p.Changed, s.endpoint.Status.Changed} {
		if at.After(since) {
			since = at
		}
	}
	return since
}

// gaps is how many periods without data a user's metric may have among those that are looked back on, as CloudWatch's alarms
// bridge them.
const gaps = 2

// points reads a policy's metric, the newest period first, as far as it looks back and no further than since.
func (c *Controller) points(ctx context.Context, t scale.Tracking, since, now time.Time) ([]scale.Point, error) {
	m := t.Metric
	end := alarm.Last(m.Period, now)
	back := max(t.OutPeriods(), t.InPeriods())
	if !m.Counted {
		back += gaps
	}
	n := min(back, int(end.Sub(since)/m.Period))
	if n <= 0 {
		return nil, nil
	}
	start := end.Add(-time.Duration(n) * m.Period)
	found, err := c.Metrics.Aggregate(ctx, m.Series, start, end, m.Period)
	if err != nil {
		return nil, err
	}
	points := make([]scale.Point, n)
	for i := range points {
		points[i].Known = m.Counted
	}
	for _, f := range found {
		if m.Unit == "" || m.Unit == f.Unit {
			points[n-1-int(f.Start.Sub(start)/m.Period)] = scale.Point{Known: true, Value: alarm.Value(f, m.Statistic)}
		}
	}
	if !m.Counted {
		points = slices.DeleteFunc(points, func(p scale.Point) bool { return !p.Known })
	}
	return points, nil
}

// triggers are the alarms that name policies as their actions, by the policies' ARNs.
type triggers map[string][]*platform.Alarm

// step asks a step scaling policy: once for each alarm that triggers it now.
func (c *Controller) step(ctx context.Context, p *platform.ScalingPolicy, all *triggers, situation scale.Situation) ([]scale.Wish, error) {
	if err := all.read(ctx, c.Store); err != nil {
		return nil, err
	}
	policy := scale.SteppingOf(&p.Spec)
	var wishes []scale.Wish
	for _, a := range (*all)[string(p.ARN)] {
		state, err := c.Alarms.AlarmState(ctx, *a.Spec.AlarmName)
		if platform.Is(err, platform.NotFound) || err == nil && state != platform.AlarmRings {
			continue
		}
		if err != nil {
			return nil, err
		}
		breach, err := c.breach(ctx, a, policy, situation.Now)
		if err != nil {
			return nil, err
		}
		wishes = append(wishes, policy.Wish(*a.Spec.AlarmName, breach, situation))
	}
	return wishes, nil
}

// read finds the alarms that act on policies.
func (t *triggers) read(ctx context.Context, store platform.Store) error {
	if len(*t) > 0 {
		return nil
	}
	return control.Each(ctx, store, platform.Query{Kind: platform.KindAlarm}, func(r platform.Record) error {
		a, err := platform.ReadAlarm(r)
		if err != nil || a.Spec.ActionsEnabled != nil && !*a.Spec.ActionsEnabled {
			return err
		}
		for _, action := range a.Spec.AlarmActions {
			(*t)[action] = append((*t)[action], a)
		}
		return nil
	})
}

// breach is how far the metric of an alarm is above its threshold. Of one that rings without data, or because it was told to,
// it is 0.
func (c *Controller) breach(ctx context.Context, a *platform.Alarm, policy scale.Stepping, now time.Time) (float64, error) {
	condition := alarm.ConditionOf(&a.Spec)
	start, end := condition.Range(now)
	found, err := c.Metrics.Aggregate(ctx, a.Series(), start, end, condition.Period)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	slices.Reverse(found) // the newest first
	var values []float64
	for _, f := range found[:min(len(found), condition.Periods)] {
		values = append(values, alarm.Value(f, condition.Statistic))
	}
	return policy.Value(values) - condition.Threshold, nil
}

// waits reports whether something waits for an endpoint that has no capacity.
func (c *Controller) waits(ctx context.Context, of platform.VariantName, now time.Time) (bool, error) {
	series := platform.Series{Namespace: "AWS/SageMaker", Name: "HasBacklogWithoutCapacity", Dimensions: map[string]string{"EndpointName": of.Endpoint}}
	// By periods of ten seconds, of which the newest counts; one that is not over may have begun with the first arrival.
	until := now.Add(time.Second)
	found, err := c.Metrics.Aggregate(ctx, series, until.Add(-backlogFresh), until, 10*time.Second)
	if err != nil || len(found) == 0 {
		return false, err
	}
	return found[len(found)-1].Maximum > 0, nil
}
