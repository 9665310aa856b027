package autoscaling

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/applicationautoscaling"
)

// registerTarget writes a target down or changes what the request names of it. Capacity outside of the bounds is brought within
// them by whoever scales.
func (s *service) registerTarget(ctx context.Context, call *api.Call, in *model.RegisterScalableTargetRequest) (*model.RegisterScalableTargetResponse, error) {
	a, err := addressOf(in.ServiceNamespace, in.ResourceId, in.ScalableDimension)
	if err != nil {
		return nil, err
	}
	least, err := s.leastCapacity(ctx, a)
	if err != nil {
		return nil, err
	}
	arn := platform.ARN("")
	alter := func(t *platform.ScalableTarget, _ *platform.Tx) error {
		arn = t.ARN
		return bound(t, in, least)
	}
	_, err = s.store.Get(ctx, a.key())
	switch {
	case err == nil && len(in.Tags) > 0:
		return nil, invalid("The scalable target that you tried to tag already exists. To update tags on an existing scalable target, use the TagResource API.")
	case err == nil:
		err = s.change(ctx, call, a, alter)
	case platform.Is(err, platform.NotFound):
		arn, err = s.newTarget(ctx, call, a, in, least)
	}
	if err != nil {
		return nil, err
	}
	return &model.RegisterScalableTargetResponse{ScalableTargetARN: new(string(arn))}, nil
}

func (s *service) newTarget(ctx context.Context, call *api.Call, a address, in *model.RegisterScalableTargetRequest, least int) (platform.ARN, error) {
	if in.MinCapacity == nil || in.MaxCapacity == nil {
		return "", invalid("MinCapacity and MaxCapacity are required when a new scalable target is registered")
	}
	id, err := s.id()
	if err != nil {
		return "", err
	}
	t := &platform.ScalableTarget{Of: a.of, Dimension: a.dimension, Max: math.MaxInt32, Origin: platform.Origin{
		ARN:     call.Site.ARN("application-autoscaling", "scalable-target/"+strings.ReplaceAll(id, "-", "")),
		Creator: call.Principal.ARN, Created: call.Now,
	}}
	if err := bound(t, in, least); err != nil {
		return "", err
	}
	rec, err := t.Record(platform.Record{Tags: maps.Clone(in.Tags)}, call.Now)
	if err != nil {
		return "", err
	}
	err = s.store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
	if platform.Is(err, platform.AlreadyExists) { // somebody else was faster
		err = platform.Errorf(platform.Conflict, a.of.ResourceID(), "The scalable target %s is being registered by another request. Try again.", a.of.ResourceID())
	}
	return t.ARN, err
}

// bound gives a target the bounds and suspensions that a request names.
func bound(t *platform.ScalableTarget, in *model.RegisterScalableTargetRequest, least int) error {
	if in.MinCapacity != nil {
		t.Min = int(*in.MinCapacity)
	}
	if in.MaxCapacity != nil {
		t.Max = int(*in.MaxCapacity)
	}
	switch {
	case t.Min < least:
		return invalid("Minimum capacity cannot be less than %d for %s; got %d", least, t.Of.ResourceID(), t.Min)
	case t.Max < t.Min:
		return invalid("Maximum capacity cannot be less than minimum capacity: %d, %d", t.Max, t.Min)
	}
	if s := in.SuspendedState; s != nil {
		for _, c := range []struct {
			from *bool
			to   *bool
		}{
			{s.DynamicScalingInSuspended, &t.Suspended.In}, {s.DynamicScalingOutSuspended, &t.Suspended.Out}, {s.ScheduledScalingSuspended, &t.Suspended.Scheduled},
		} {
			if c.from != nil {
				*c.to = *c.from
			}
		}
	}
	return nil
}

// leastCapacity finds the variant and says how little it may have.
func (s *service) leastCapacity(ctx context.Context, a address) (int, error) {
	rec, err := s.store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: a.of.Endpoint})
	if platform.Is(err, platform.NotFound) {
		return 0, invalid("SageMaker variant doesn't exist: %s", a.of.ResourceID())
	}
	if err != nil {
		return 0, err
	}
	e, err := platform.ReadEndpoint(rec)
	if err != nil {
		return 0, err
	}
	for _, d := range []*platform.Deployment{e.Status.Serving, e.Status.Coming} {
		v := d.Find(a.of.Variant)
		switch {
		case v == nil:
		case v.Scalable(a.dimension) == nil:
			return 0, invalid("The variant %s cannot be scaled by %s: serverless variants have provisioned concurrency, others have instances", a.of.ResourceID(), a.dimension)
		default:
			return d.Floor(a.dimension), nil
		}
	}
	return 0, invalid("SageMaker variant doesn't exist: %s", a.of.ResourceID())
}

// deregisterTarget forgets a target with all that belongs to it. The capacity stays as it is.
func (s *service) deregisterTarget(ctx context.Context, _ *api.Call, in *model.DeregisterScalableTargetRequest) (*model.DeregisterScalableTargetResponse, error) {
	a, err := addressOf(in.ServiceNamespace, in.ResourceId, in.ScalableDimension)
	if err != nil {
		return nil, err
	}
	for {
		rec, err := s.store.Get(ctx, a.key())
		if platform.Is(err, platform.NotFound) {
			return nil, a.missing()
		}
		if err != nil {
			return nil, err
		}
		t, err := platform.ReadScalableTarget(rec)
		if err != nil {
			return nil, err
		}
		tx := platform.Tx{Deletes: []platform.Delete{{Key: rec.Key, Revision: rec.Revision}}}
		for _, p := range t.Policies {
			if err := s.dropAlarms(ctx, p.Alarms, &tx); err != nil {
				return nil, err
			}
		}
		if err = s.store.Commit(ctx, tx); !platform.Is(err, platform.Conflict) {
			return &model.DeregisterScalableTargetResponse{}, err
		}
	}
}

func (s *service) describeTargets(ctx context.Context, call *api.Call, in *model.DescribeScalableTargetsRequest) (*model.DescribeScalableTargetsResponse, error) {
	if in.ScalableDimension != nil && len(in.ResourceIds) == 0 {
		return nil, invalid("If you specify a scalable dimension, you must also specify a resource ID.")
	}
	var found []model.ScalableTarget
	err := s.each(ctx, in.ServiceNamespace, nil, nil, func(t *platform.ScalableTarget) {
		if len(in.ResourceIds) > 0 && !slices.Contains(in.ResourceIds, t.Of.ResourceID()) ||
			in.ScalableDimension != nil && string(*in.ScalableDimension) != string(t.Dimension) {
			return
		}
		role := call.Site.GlobalARN("iam", "role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint")
		found = append(found, model.ScalableTarget{
			ServiceNamespace: sagemaker(), ResourceId: new(t.Of.ResourceID()), ScalableDimension: dimensionOf(t),
			MinCapacity: new(int32(t.Min)), MaxCapacity: new(int32(t.Max)), RoleARN: new(string(role)), CreationTime: shapes.NewTimestamp(t.Created),
			SuspendedState: &model.SuspendedState{
				DynamicScalingInSuspended: &t.Suspended.In, DynamicScalingOutSuspended: &t.Suspended.Out, ScheduledScalingSuspended: &t.Suspended.Scheduled,
			},
			ScalableTargetARN: new(string(t.ARN)),
		})
	})
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(found, func(t *model.ScalableTarget) string { return *t.ResourceId + ":" + string(*t.ScalableDimension) }, in.MaxResults, in.NextToken)
	return &model.DescribeScalableTargetsResponse{ScalableTargets: page, NextToken: next}, err
}

// describeActivities gives what was done, the newest first. Changes that a bound or a cooldown kept from happening are not
// kept, so IncludeNotScaledActivities adds none.
func (s *service) describeActivities(ctx context.Context, _ *api.Call, in *model.DescribeScalingActivitiesRequest) (*model.DescribeScalingActivitiesResponse, error) {
	type activity struct {
		key   string
		shown model.ScalingActivity
	}
	var found []activity
	err := s.each(ctx, in.ServiceNamespace, in.ResourceId, in.ScalableDimension, func(t *platform.ScalableTarget) {
		for _, a := range t.Activities {
			shown := model.ScalingActivity{
				ActivityId: &a.ID, ServiceNamespace: sagemaker(), ResourceId: new(t.Of.ResourceID()), ScalableDimension: dimensionOf(t),
				Description: &a.Description, Cause: &a.Cause, StartTime: shapes.NewTimestamp(a.Began), StatusCode: new(model.ScalingActivityStatusCode(a.Status)),
			}
			if !a.Ended.IsZero() {
				shown.EndTime = shapes.NewTimestamp(a.Ended)
			}
			if a.Message != "" {
				shown.StatusMessage = &a.Message
			}
			if a.Details != "" {
				shown.Details = &a.Details
			}
			newest := fmt.Sprintf("%019d %s %019d", math.MaxInt64-a.Began.UnixNano(), t.ARN, math.MaxInt64-a.Number)
			found = append(found, activity{newest, shown})
		}
	})
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(found, func(a *activity) string { return a.key }, in.MaxResults, in.NextToken)
	out := &model.DescribeScalingActivitiesResponse{ScalingActivities: []model.ScalingActivity{}, NextToken: next}
	for _, a := range page {
		out.ScalingActivities = append(out.ScalingActivities, a.shown)
	}
	return out, err
}
