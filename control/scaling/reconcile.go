package scaling

import (
	"context"
	"fmt"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/alarm"
	"github.com/stint-ml/stint/decide/scale"
	"github.com/stint-ml/stint/platform"
)

// patience is how long a change may take. One that has not come to be by then, as there is no room, is taken back, so that the
// endpoint is not stuck in it.
const patience = 10 * time.Minute

// AWS's words for how an activity stands.
const (
	inProgress  = "InProgress"
	successful  = "Successful"
	unfulfilled = "Unfulfilled"
	overridden  = "Overridden"
)

// subject is a target and the endpoint that it is about, as they were read together.
type subject struct {
	target         *platform.ScalableTarget
	endpoint       *platform.Endpoint
	targetRecord   platform.Record
	endpointRecord platform.Record
	changed        bool // the target
	scaled         bool // the endpoint
}

// Reconcile brings one target forward, or for the loop's own name looks at everything.
func (c *Controller) Reconcile(ctx context.Context, name string) (time.Duration, error) {
	if name == control.ResyncName {
		return 0, c.tracker.Resync(ctx)
	}
	s, err := c.read(ctx, name)
	if err != nil || s == nil {
		return 0, err
	}
	now := c.Clock.Now()
	// 1. What is not there any more is not scaled any more.
	if s.over() {
		return 0, c.deregister(ctx, s)
	}
	// 2. Schedules move the bounds.
	next, err := s.runSchedule(now)
	if err != nil {
		return 0, err
	}
	// 3. What was begun has come to be, or will not.
	s.settle(now)
	// 4. Policies move the capacity within the bounds.
	if err := c.apply(ctx, s, now); err != nil {
		return 0, err
	}
	if err := c.commit(ctx, s, now); platform.Is(err, platform.Conflict) {
		return time.Millisecond, nil // whoever was faster wins; look at what it has come to
	} else if err != nil {
		return 0, err
	}
	again := alarm.Next(s.period(), now).Sub(now)
	if !next.IsZero() {
		again = min(again, max(next.Sub(now), time.Millisecond))
	}
	return again, nil
}

// read gives a target with its endpoint, which is nil when it is gone; nil when there is no such target.
func (c *Controller) read(ctx context.Context, name string) (*subject, error) {
	s := &subject{}
	var err error
	if s.targetRecord, err = c.Store.Get(ctx, platform.Key{Kind: platform.KindScalableTarget, Name: name}); platform.Is(err, platform.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if s.target, err = platform.ReadScalableTarget(s.targetRecord); err != nil {
		return nil, err
	}
	s.endpointRecord, err = c.Store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: s.target.Of.Endpoint})
	if platform.Is(err, platform.NotFound) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.endpoint, err = platform.ReadEndpoint(s.endpointRecord)
	return s, err
}

// over reports whether there is nothing to scale any more: the endpoint goes, or an update has left the variant out.
func (s *subject) over() bool {
	if s.endpoint == nil || s.endpoint.Status.State == platform.EndpointDeleting {
		return true
	}
	return s.endpoint.Status.State == platform.EndpointInService && s.figure() == nil
}

// figure is what is scaled: of the deployment that serves.
func (s *subject) figure() *int {
	v := s.endpoint.Status.Serving.Find(s.target.Of.Variant)
	if v == nil {
		return nil
	}
	return v.Scalable(s.target.Dimension)
}

// period is how finely the target is looked at: by the finest of its metrics.
func (s *subject) period() time.Duration {
	period := time.Minute
	if s.endpoint.Status.State == platform.EndpointInService && *s.figure() == 0 {
		period = 10 * time.Second // something may wait for it
	}
	for i := range s.target.Policies {
		p := &s.target.Policies[i]
		if p.Spec.TargetTrackingScalingPolicyConfiguration == nil {
			return 10 * time.Second // its alarm may be as fine as that
		}
		period = min(period, scale.TrackingOf(&p.Spec, s.target.Of, p.Alarms).Metric.Period)
	}
	return period
}

// deregister forgets a target with the alarms of its policies.
func (c *Controller) deregister(ctx context.Context, s *subject) error {
	tx := platform.Tx{Deletes: []platform.Delete{{Key: s.targetRecord.Key, Revision: s.targetRecord.Revision}}}
	for _, p := range s.target.Policies {
		for _, name := range p.Alarms {
			rec, err := c.Store.Get(ctx, platform.Key{Kind: platform.KindAlarm, Name: name})
			if platform.Is(err, platform.NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			tx.Deletes = append(tx.Deletes, platform.Delete{Key: rec.Key, Revision: rec.Revision})
		}
	}
	c.Log.Info("a scalable target is over with its endpoint", "target", s.targetRecord.Name)
	return c.Store.Commit(ctx, tx)
}

// settle closes the activity that is under way when the endpoint has come to what it asked for, or has taken too long.
func (s *subject) settle(now time.Time) {
	a, st := s.target.Underway(), &s.endpoint.Status
	if a == nil {
		return
	}
	figure := s.figure()
	switch {
	case figure == nil || st.Coming != nil || *figure != a.To: // somebody else has changed it
		a.Status, a.Message = overridden, fmt.Sprintf("The desired %s was changed by someone else.", s.word())
	case st.State == platform.EndpointInService:
		a.Status = successful
		a.Message = fmt.Sprintf("Successfully set desired %s to %d. Change successfully fulfilled by sagemaker.", s.word(), a.To)
	case st.State == platform.EndpointUpdating && now.Sub(a.Began) >= patience:
		a.Status = unfulfilled
		a.Message = fmt.Sprintf("Failed to set desired %s to %d. Reason: there was no room for it within %v.", s.word(), a.To, patience)
		*figure = a.From
		s.scaled = true
	default:
		return
	}
	a.Ended, s.changed = now, true
}

// word is how AWS calls what is scaled.
func (s *subject) word() string {
	if s.target.Dimension == platform.DesiredProvisionedConcurrency {
		return "provisioned concurrency"
	}
	return "instance count"
}

// apply asks the policies and changes the capacity, from InService only, as a caller could.
func (c *Controller) apply(ctx context.Context, s *subject, now time.Time) error {
	if s.endpoint.Status.State != platform.EndpointInService || s.target.Underway() != nil {
		return nil
	}
	situation, wishes, err := c.ask(ctx, s, now)
	if err != nil {
		return err
	}
	d := scale.Decide(wishes, situation)
	figure := s.figure()
	if v := s.endpoint.Status.Serving.Find(s.target.Of.Variant); v.Serverless != nil {
		d.Desired = min(d.Desired, v.Serverless.MaxConcurrency)
	}
	if d.Desired == *figure {
		return nil
	}
	step := platform.ScalingStep{At: now, From: *figure, To: d.Desired}
	s.note(platform.ScalingActivity{
		Description: fmt.Sprintf("Setting desired %s to %d.", s.word(), d.Desired), Cause: d.Cause, Details: d.Details,
		Began: now, Status: inProgress, From: step.From, To: step.To,
	})
	if step.To > step.From {
		s.target.LastOut = step
	} else {
		s.target.LastIn = step
	}
	c.Log.Info("scaling", "target", s.targetRecord.Name, "from", step.From, "to", step.To, "cause", d.Cause, "details", d.Details)
	*figure, s.scaled = d.Desired, true
	return s.endpoint.Status.Enter(platform.EndpointUpdating, now)
}

// note adds an activity to the target's past.
func (s *subject) note(a platform.ScalingActivity) {
	s.target.Note(a)
	s.changed = true
}

// commit writes what has changed, all or nothing.
func (c *Controller) commit(ctx context.Context, s *subject, now time.Time) error {
	var tx platform.Tx
	if s.changed {
		rec, err := s.target.Record(s.targetRecord, now)
		if err != nil {
			return err
		}
		tx.Puts = append(tx.Puts, platform.Put{Record: rec})
	}
	if s.scaled {
		rec, err := s.endpoint.Record(s.endpointRecord, now)
		if err != nil {
			return err
		}
		tx.Puts = append(tx.Puts, platform.Put{Record: rec})
	}
	if len(tx.Puts) == 0 {
		return nil
	}
	return c.Store.Commit(ctx, tx)
}
