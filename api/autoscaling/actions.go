package autoscaling

import (
	"context"
	"slices"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/cron"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/applicationautoscaling"
)

const maxActions = 200 // of a target, AWS's

// putAction makes a scheduled action or changes what the request names of it.
func (s *service) putAction(ctx context.Context, call *api.Call, in *model.PutScheduledActionRequest) (*model.PutScheduledActionResponse, error) {
	a, err := addressOf(in.ServiceNamespace, in.ResourceId, in.ScalableDimension)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, call, a, func(t *platform.ScalableTarget, _ *platform.Tx) error {
		least, err := s.leastCapacity(ctx, a)
		if err != nil {
			return err
		}
		act := t.Action(*in.ScheduledActionName)
		spec := *in
		if act != nil { // start and end are not kept when they are not named
			spec.Schedule, spec.Timezone = orElse(spec.Schedule, act.Spec.Schedule), orElse(spec.Timezone, act.Spec.Timezone)
			spec.ScalableTargetAction = orElse(spec.ScalableTargetAction, act.Spec.ScalableTargetAction)
		}
		if err := checkAction(&spec, act == nil || shapes.Value(act.Spec.Schedule) != *spec.Schedule, call.Now, least); err != nil {
			return err
		}
		switch {
		case act == nil && len(t.Actions) >= maxActions:
			return platform.Errorf(platform.LimitExceeded, a.of.ResourceID(), "You already have the maximum number (%d) of scheduled actions for %s.", maxActions, a.of.ResourceID())
		case act == nil:
			id, err := s.id()
			if err != nil {
				return err
			}
			t.Actions = append(t.Actions, platform.ScheduledAction{ARN: a.arn(call, "scheduledAction", id, "scheduledActionName/"+*in.ScheduledActionName), Created: call.Now, Done: call.Now})
			act = &t.Actions[len(t.Actions)-1]
		case *act.Spec.Schedule != *spec.Schedule || shapes.Value(act.Spec.Timezone) != shapes.Value(spec.Timezone):
			act.Done = call.Now // what the old schedule has missed is not made up for
		}
		act.Spec = spec
		return nil
	})
	return &model.PutScheduledActionResponse{}, err
}

func orElse[T any](given, kept *T) *T {
	if given != nil {
		return given
	}
	return kept
}

func checkAction(spec *model.PutScheduledActionRequest, fresh bool, now time.Time, least int) error {
	if spec.Schedule == nil {
		return invalid("Schedule is required")
	}
	schedule, err := cron.Parse(*spec.Schedule)
	if err != nil {
		return invalid("Invalid schedule expression: %s", err)
	}
	zone, err := time.LoadLocation(shapes.Value(spec.Timezone))
	if err != nil || shapes.Value(spec.Timezone) == "Local" {
		return invalid("Invalid time zone: %s", *spec.Timezone)
	}
	if fresh && schedule.Once() && schedule.Next(now, now, zone).IsZero() {
		return invalid("The time of the schedule %s is in the past", *spec.Schedule)
	}
	if spec.StartTime != nil && spec.EndTime != nil && !spec.StartTime.Before(spec.EndTime.Time) {
		return invalid("StartTime must be before EndTime")
	}
	return checkBounds(spec.ScalableTargetAction, least)
}

func checkBounds(do *model.ScalableTargetAction, least int) error {
	if do == nil || do.MinCapacity == nil && do.MaxCapacity == nil {
		return invalid("At least one of minimum capacity and maximum capacity should be provided")
	}
	for _, bound := range []*int32{do.MinCapacity, do.MaxCapacity} {
		if bound != nil && int(*bound) < least {
			return invalid("Minimum capacity and maximum capacity cannot be less than %d; got %d", least, *bound)
		}
	}
	if do.MinCapacity != nil && do.MaxCapacity != nil && *do.MaxCapacity < *do.MinCapacity {
		return invalid("Maximum capacity cannot be less than minimum capacity: %d, %d", *do.MaxCapacity, *do.MinCapacity)
	}
	return nil
}

func (s *service) deleteAction(ctx context.Context, call *api.Call, in *model.DeleteScheduledActionRequest) (*model.DeleteScheduledActionResponse, error) {
	a, err := addressOf(in.ServiceNamespace, in.ResourceId, in.ScalableDimension)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, call, a, func(t *platform.ScalableTarget, _ *platform.Tx) error {
		if t.Action(*in.ScheduledActionName) == nil {
			return platform.Errorf(platform.NotFound, *in.ScheduledActionName, "No scheduled action found for service namespace: sagemaker, resource ID: %s, scalable dimension: %s, scheduled action name: %s", *in.ResourceId, *in.ScalableDimension, *in.ScheduledActionName)
		}
		t.Actions = slices.DeleteFunc(t.Actions, func(a platform.ScheduledAction) bool { return *a.Spec.ScheduledActionName == *in.ScheduledActionName })
		return nil
	})
	return &model.DeleteScheduledActionResponse{}, err
}

func (s *service) describeActions(ctx context.Context, _ *api.Call, in *model.DescribeScheduledActionsRequest) (*model.DescribeScheduledActionsResponse, error) {
	var found []model.ScheduledAction
	err := s.each(ctx, in.ServiceNamespace, in.ResourceId, in.ScalableDimension, func(t *platform.ScalableTarget) {
		for i := range t.Actions {
			a := &t.Actions[i]
			if len(in.ScheduledActionNames) > 0 && !slices.Contains(in.ScheduledActionNames, *a.Spec.ScheduledActionName) {
				continue
			}
			found = append(found, model.ScheduledAction{
				ScheduledActionName: a.Spec.ScheduledActionName, ScheduledActionARN: new(string(a.ARN)), ServiceNamespace: sagemaker(), Schedule: a.Spec.Schedule,
				Timezone: a.Spec.Timezone, ResourceId: new(t.Of.ResourceID()), ScalableDimension: dimensionOf(t), StartTime: a.Spec.StartTime, EndTime: a.Spec.EndTime,
				ScalableTargetAction: a.Spec.ScalableTargetAction, CreationTime: shapes.NewTimestamp(a.Created),
			})
		}
	})
	if err != nil {
		return nil, err
	}
	key := func(a *model.ScheduledAction) string {
		return *a.ResourceId + ":" + string(*a.ScalableDimension) + ":" + *a.ScheduledActionName
	}
	page, next, err := pageOf(found, key, in.MaxResults, in.NextToken)
	return &model.DescribeScheduledActionsResponse{ScheduledActions: page, NextToken: next}, err
}
