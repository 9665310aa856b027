package autoscaling

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/alarm"
	"github.com/stint-ml/stint/decide/scale"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/applicationautoscaling"
	"github.com/stint-ml/stint/shapes/cloudwatch"
)

const maxPolicies = 50 // of a target, AWS's

// putPolicy makes a policy or configures one anew. Target tracking gets its alarms in the same transaction.
func (s *service) putPolicy(ctx context.Context, call *api.Call, in *model.PutScalingPolicyRequest) (*model.PutScalingPolicyResponse, error) {
	a, err := addressOf(in.ServiceNamespace, in.ResourceId, in.ScalableDimension)
	if err != nil {
		return nil, err
	}
	out := &model.PutScalingPolicyResponse{Alarms: []model.Alarm{}}
	err = s.change(ctx, call, a, func(t *platform.ScalableTarget, tx *platform.Tx) error {
		p := t.Policy(*in.PolicyName)
		if in.PolicyType == nil {
			in.PolicyType = new(model.PolicyTypeStepScaling)
			if p != nil {
				in.PolicyType = p.Spec.PolicyType
			}
		}
		if err := checkPolicy(in, a.dimension); err != nil {
			return err
		}
		if err := checkOnly(in, t.Policies); err != nil {
			return err
		}
		switch {
		case p == nil && len(t.Policies) >= maxPolicies:
			return platform.Errorf(platform.LimitExceeded, a.of.ResourceID(), "You already have the maximum number (%d) of scaling policies for %s.", maxPolicies, a.of.ResourceID())
		case p == nil:
			id, err := s.id()
			if err != nil {
				return err
			}
			t.Policies = append(t.Policies, platform.ScalingPolicy{ARN: a.arn(call, "scalingPolicy", id, "policyName/"+*in.PolicyName), Created: call.Now})
			p = &t.Policies[len(t.Policies)-1]
		case *p.Spec.PolicyType != *in.PolicyType:
			return invalid("The policy %s is of type %s, which cannot be changed to %s; delete it first", *in.PolicyName, *p.Spec.PolicyType, *in.PolicyType)
		}
		p.Spec, p.Changed = *in, call.Now
		out.PolicyARN = new(string(p.ARN))
		return s.giveAlarms(ctx, call, a, p, tx, out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkPolicy refuses what is not valid, and what is not built.
func checkPolicy(in *model.PutScalingPolicyRequest, dimension platform.Dimension) error {
	step, track := in.StepScalingPolicyConfiguration, in.TargetTrackingScalingPolicyConfiguration
	switch *in.PolicyType {
	case model.PolicyTypePredictiveScaling:
		return unsupported("PredictiveScaling")
	case model.PolicyTypeTargetTrackingScaling:
		if track == nil || step != nil {
			return invalid("TargetTrackingScalingPolicyConfiguration, and no other configuration, is required for a policy of type TargetTrackingScaling")
		}
		return checkTracking(track, dimension)
	default:
		if step == nil || track != nil {
			return invalid("StepScalingPolicyConfiguration, and no other configuration, is required for a policy of type StepScaling")
		}
		return checkSteps(step)
	}
}

// checkOnly refuses a second policy that tracks the same predefined metric: two targets for one figure have no meaning.
func checkOnly(in *model.PutScalingPolicyRequest, others []platform.ScalingPolicy) error {
	metric := trackedMetric(in)
	for i := range others {
		if other := &others[i].Spec; metric != "" && *other.PolicyName != *in.PolicyName && trackedMetric(other) == metric {
			return invalid("Only one TargetTrackingScaling policy for a given metric specification is allowed; %s tracks %s already", *other.PolicyName, metric)
		}
	}
	return nil
}

// trackedMetric is the predefined metric that a policy tracks, empty when it tracks none.
func trackedMetric(in *model.PutScalingPolicyRequest) model.MetricType {
	if c := in.TargetTrackingScalingPolicyConfiguration; c != nil && c.PredefinedMetricSpecification != nil {
		return *c.PredefinedMetricSpecification.PredefinedMetricType
	}
	return ""
}

func checkTracking(c *model.TargetTrackingScalingPolicyConfiguration, dimension platform.Dimension) error {
	if *c.TargetValue <= 0 || math.IsInf(*c.TargetValue, 0) || math.IsNaN(*c.TargetValue) {
		return invalid("TargetValue must be a positive number; got %v", *c.TargetValue)
	}
	for name, seconds := range map[string]*int32{"ScaleInCooldown": c.ScaleInCooldown, "ScaleOutCooldown": c.ScaleOutCooldown} {
		if shapes.Value(seconds) < 0 {
			return invalid("%s must not be negative; got %d", name, *seconds)
		}
	}
	return checkMetric(c.PredefinedMetricSpecification, c.CustomizedMetricSpecification, dimension)
}

func checkMetric(p *model.PredefinedMetricSpecification, custom *model.CustomizedMetricSpecification, dimension platform.Dimension) error {
	switch {
	case (p == nil) == (custom == nil):
		return invalid("Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be given")
	case p != nil:
		serverless := *p.PredefinedMetricType == model.MetricTypeSageMakerVariantProvisionedConcurrencyUtilization
		if !scale.Predefined(*p.PredefinedMetricType) || serverless != (dimension == platform.DesiredProvisionedConcurrency) {
			return invalid("The predefined metric type %s is not supported for the scalable dimension %s", *p.PredefinedMetricType, dimension)
		}
		return nil
	case len(custom.Metrics) > 0:
		return unsupported("CustomizedMetricSpecification with Metrics (metric math)")
	case custom.MetricName == nil || custom.Namespace == nil || custom.Statistic == nil:
		return invalid("MetricName, Namespace and Statistic of CustomizedMetricSpecification are required")
	default:
		return nil
	}
}

func checkSteps(c *model.StepScalingPolicyConfiguration) error {
	switch {
	case c.AdjustmentType == nil:
		return invalid("AdjustmentType is required")
	case len(c.StepAdjustments) == 0:
		return invalid("At least one StepAdjustment is required")
	case shapes.Value(c.Cooldown) < 0:
		return invalid("Cooldown must not be negative; got %d", *c.Cooldown)
	case c.MinAdjustmentMagnitude != nil && *c.AdjustmentType != model.AdjustmentTypePercentChangeInCapacity:
		return invalid("MinAdjustmentMagnitude is only supported with PercentChangeInCapacity")
	}
	type interval struct{ low, high float64 }
	var all []interval
	for _, s := range c.StepAdjustments {
		i := interval{math.Inf(-1), math.Inf(1)}
		if s.MetricIntervalLowerBound != nil {
			i.low = *s.MetricIntervalLowerBound
		}
		if s.MetricIntervalUpperBound != nil {
			i.high = *s.MetricIntervalUpperBound
		}
		if i.low >= i.high {
			return invalid("The lower bound of a step adjustment must be less than its upper bound; got %v and %v", i.low, i.high)
		}
		if slices.ContainsFunc(all, func(o interval) bool { return i.low < o.high && o.low < i.high }) {
			return invalid("The intervals of the step adjustments must not overlap")
		}
		all = append(all, i)
	}
	return nil
}

// giveAlarms lets a tracking policy have its alarms, as they follow from its configuration now.
func (s *service) giveAlarms(ctx context.Context, call *api.Call, a address, p *platform.ScalingPolicy, tx *platform.Tx, out *model.PutScalingPolicyResponse) error {
	if *p.Spec.PolicyType != model.PolicyTypeTargetTrackingScaling {
		return nil
	}
	// 1. As many names as there are to be alarms.
	names := []string{"AlarmHigh", "AlarmLow"}
	if shapes.Value(p.Spec.TargetTrackingScalingPolicyConfiguration.DisableScaleIn) {
		names = names[:1]
	}
	for len(p.Alarms) < len(names) {
		id, err := s.id()
		if err != nil {
			return err
		}
		p.Alarms = append(p.Alarms, "TargetTracking-"+a.of.ResourceID()+"-"+names[len(p.Alarms)]+"-"+id)
	}
	if err := s.dropAlarms(ctx, p.Alarms[len(names):], tx); err != nil {
		return err
	}
	p.Alarms = p.Alarms[:len(names)]
	// 2. The alarms, which keep their states.
	for i, spec := range alarmsOf(p, a) {
		rec, err := s.store.Get(ctx, platform.Key{Kind: platform.KindAlarm, Name: p.Alarms[i]})
		var made *platform.Alarm
		switch {
		case err == nil:
			if made, err = platform.ReadAlarm(rec); err != nil {
				return err
			}
		case platform.Is(err, platform.NotFound):
			made = platform.NewAlarm(alarmARN(call, p.Alarms[i]), call.Principal.ARN, call.Now)
		default:
			return err
		}
		made.Spec, made.Status.Configured = spec, call.Now
		if rec, err = made.Record(rec, call.Now); err != nil {
			return err
		}
		tx.Puts = append(tx.Puts, platform.Put{Record: rec})
		out.Alarms = append(out.Alarms, model.Alarm{AlarmName: &p.Alarms[i], AlarmARN: new(string(made.Status.ARN))})
	}
	return nil
}

func alarmARN(call *api.Call, name string) platform.ARN {
	return call.Site.ARN("cloudwatch", "alarm:"+name)
}

// alarmsOf are the alarms that show what a tracking policy looks for: the high one, and the low one unless it never scales in.
func alarmsOf(p *platform.ScalingPolicy, a address) []cloudwatch.PutMetricAlarmInput {
	t := scale.TrackingOf(&p.Spec, a.of, p.Alarms)
	one := func(name string, periods int, operator cloudwatch.ComparisonOperator, threshold float64, missing string) cloudwatch.PutMetricAlarmInput {
		in := cloudwatch.PutMetricAlarmInput{
			AlarmName: &name, AlarmDescription: new("DO NOT EDIT OR DELETE. For TargetTrackingScaling policy " + string(p.ARN) + "."),
			ActionsEnabled: new(true), AlarmActions: []string{string(p.ARN)}, Namespace: &t.Metric.Namespace, MetricName: &t.Metric.Name,
			Statistic: &t.Metric.Statistic, Period: new(int32(t.Metric.Period / time.Second)), EvaluationPeriods: new(int32(periods)),
			Threshold: &threshold, ComparisonOperator: &operator, TreatMissingData: &missing,
		}
		if t.Metric.Unit != "" {
			in.Unit = new(cloudwatch.StandardUnit(t.Metric.Unit))
		}
		for _, name := range slices.Sorted(maps.Keys(t.Metric.Dimensions)) {
			in.Dimensions = append(in.Dimensions, cloudwatch.Dimension{Name: &name, Value: new(t.Metric.Dimensions[name])})
		}
		return in
	}
	high, low := alarm.Missing, alarm.Missing
	if t.Metric.Counted { // nothing was counted because there was nothing
		high, low = alarm.NotBreaching, alarm.Breaching
	}
	out := []cloudwatch.PutMetricAlarmInput{one(p.Alarms[0], t.OutPeriods(), alarm.Greater, t.Target, high)}
	if !t.NoIn {
		out = append(out, one(p.Alarms[1], t.InPeriods(), alarm.Less, t.LowThreshold(), low))
	}
	return out
}

// dropAlarms adds to a transaction that alarms are to go; those that are gone are fine.
func (s *service) dropAlarms(ctx context.Context, names []string, tx *platform.Tx) error {
	for _, name := range names {
		rec, err := s.store.Get(ctx, platform.Key{Kind: platform.KindAlarm, Name: name})
		if platform.Is(err, platform.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		tx.Deletes = append(tx.Deletes, platform.Delete{Key: rec.Key, Revision: rec.Revision})
	}
	return nil
}

func (s *service) deletePolicy(ctx context.Context, call *api.Call, in *model.DeleteScalingPolicyRequest) (*model.DeleteScalingPolicyResponse, error) {
	a, err := addressOf(in.ServiceNamespace, in.ResourceId, in.ScalableDimension)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, call, a, func(t *platform.ScalableTarget, tx *platform.Tx) error {
		p := t.Policy(*in.PolicyName)
		if p == nil {
			return platform.Errorf(platform.NotFound, *in.PolicyName, "No scaling policy found for service namespace: sagemaker, resource ID: %s, scalable dimension: %s, policy name: %s", *in.ResourceId, *in.ScalableDimension, *in.PolicyName)
		}
		if err := s.dropAlarms(ctx, p.Alarms, tx); err != nil {
			return err
		}
		t.Policies = slices.DeleteFunc(t.Policies, func(p platform.ScalingPolicy) bool { return *p.Spec.PolicyName == *in.PolicyName })
		return nil
	})
	return &model.DeleteScalingPolicyResponse{}, err
}

func (s *service) describePolicies(ctx context.Context, call *api.Call, in *model.DescribeScalingPoliciesRequest) (*model.DescribeScalingPoliciesResponse, error) {
	var found []model.ScalingPolicy
	err := s.each(ctx, in.ServiceNamespace, in.ResourceId, in.ScalableDimension, func(t *platform.ScalableTarget) {
		for i := range t.Policies {
			p := &t.Policies[i]
			if len(in.PolicyNames) > 0 && !slices.Contains(in.PolicyNames, *p.Spec.PolicyName) {
				continue
			}
			shown := model.ScalingPolicy{
				PolicyARN: new(string(p.ARN)), PolicyName: p.Spec.PolicyName, ServiceNamespace: sagemaker(), ResourceId: new(t.Of.ResourceID()),
				ScalableDimension: dimensionOf(t), PolicyType: p.Spec.PolicyType, StepScalingPolicyConfiguration: p.Spec.StepScalingPolicyConfiguration,
				TargetTrackingScalingPolicyConfiguration: p.Spec.TargetTrackingScalingPolicyConfiguration,
				Alarms:                                   []model.Alarm{}, CreationTime: shapes.NewTimestamp(p.Created),
			}
			for _, name := range p.Alarms {
				shown.Alarms = append(shown.Alarms, model.Alarm{AlarmName: &name, AlarmARN: new(string(alarmARN(call, name)))})
			}
			found = append(found, shown)
		}
	})
	if err != nil {
		return nil, err
	}
	key := func(p *model.ScalingPolicy) string {
		return *p.ResourceId + ":" + string(*p.ScalableDimension) + ":" + *p.PolicyName
	}
	page, next, err := pageOf(found, key, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &model.DescribeScalingPoliciesResponse{ScalingPolicies: page, NextToken: next}, s.nameAlarms(ctx, page)
}

// nameAlarms adds to step scaling policies the alarms that trigger them.
func (s *service) nameAlarms(ctx context.Context, page []model.ScalingPolicy) error {
	steps := map[string]*model.ScalingPolicy{}
	for i := range page {
		if *page[i].PolicyType == model.PolicyTypeStepScaling {
			steps[*page[i].PolicyARN] = &page[i]
		}
	}
	if len(steps) == 0 {
		return nil
	}
	q := platform.Query{Kind: platform.KindAlarm, Sort: platform.ByName}
	for {
		found, err := s.store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, rec := range found.Records {
			a, err := platform.ReadAlarm(rec)
			if err != nil {
				return err
			}
			for _, arn := range a.Spec.AlarmActions {
				if p := steps[arn]; p != nil {
					p.Alarms = append(p.Alarms, model.Alarm{AlarmName: a.Spec.AlarmName, AlarmARN: new(string(a.Status.ARN))})
				}
			}
		}
		if q.Token = found.Next; q.Token == "" {
			return nil
		}
	}
}
