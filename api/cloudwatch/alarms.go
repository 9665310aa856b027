package cloudwatch

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/alarm"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/cloudwatch"
)

// pageOfAlarms is DescribeAlarms' when the request says none.
const pageOfAlarms = 50

// alarms are the operations on alarms. What they cannot do elsewhere is said in docs/endpoints.md: actions are kept and shown,
// and only those that name a scaling policy are carried out, by whoever scales.
func (s *service) alarms() map[string]api.Operation {
	on := func(name func(in any) []string) func(*api.Call, any) []platform.ARN {
		return func(call *api.Call, in any) (arns []platform.ARN) {
			for _, n := range name(in) {
				arns = append(arns, alarmARN(call, n))
			}
			return arns
		}
	}
	return map[string]api.Operation{
		"PutMetricAlarm": {
			Action:    "cloudwatch:PutMetricAlarm",
			Resources: on(func(in any) []string { return []string{*in.(*model.PutMetricAlarmInput).AlarmName} }),
			Handle:    api.HandleVoid(s.putMetricAlarm),
		},
		"DescribeAlarms": {Action: "cloudwatch:DescribeAlarms", Handle: api.Handle(s.describeAlarms)},
		"DeleteAlarms": {
			Action:    "cloudwatch:DeleteAlarms",
			Resources: on(func(in any) []string { return in.(*model.DeleteAlarmsInput).AlarmNames }),
			Handle:    api.HandleVoid(s.deleteAlarms),
		},
		"SetAlarmState": {
			Action:    "cloudwatch:SetAlarmState",
			Resources: on(func(in any) []string { return []string{*in.(*model.SetAlarmStateInput).AlarmName} }),
			Handle:    api.HandleVoid(s.setAlarmState),
		},
	}
}

func alarmARN(call *api.Call, name string) platform.ARN {
	return call.Site.ARN("cloudwatch", "alarm:"+name)
}

func alarmKey(name string) platform.Key { return platform.Key{Kind: platform.KindAlarm, Name: name} }

func invalid(format string, args ...any) error {
	return platform.Errorf(platform.Invalid, "", format, args...)
}

// putMetricAlarm makes an alarm or configures one anew, which keeps its state.
func (s *service) putMetricAlarm(ctx context.Context, call *api.Call, in *model.PutMetricAlarmInput) error {
	if err := checkAlarm(in); err != nil {
		return err
	}
	if _, err := dimensionsOf(in.Dimensions, "Dimensions"); err != nil {
		return err
	}
	for {
		rec, err := s.store.Get(ctx, alarmKey(*in.AlarmName))
		var made *platform.Alarm
		switch {
		case err == nil:
			if made, err = platform.ReadAlarm(rec); err != nil {
				return err
			}
		case platform.Is(err, platform.NotFound):
			rec = platform.Record{Tags: map[string]string{}}
			for _, t := range in.Tags { // those of an alarm that is there stay as they are, as at CloudWatch
				rec.Tags[*t.Key] = *t.Value
			}
			made = platform.NewAlarm(alarmARN(call, *in.AlarmName), call.Principal.ARN, call.Now)
		default:
			return err
		}
		made.Spec, made.Status.Configured = *in, call.Now
		made.Spec.Tags = nil
		if rec, err = made.Record(rec, call.Now); err != nil {
			return err
		}
		err = s.store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
		if !platform.Is(err, platform.Conflict) && !platform.Is(err, platform.AlreadyExists) {
			return err
		}
	}
}

// checkAlarm refuses requests as CloudWatch does, and what this server cannot do.
func checkAlarm(in *model.PutMetricAlarmInput) error {
	for _, c := range []struct {
		asked bool
		what  string
	}{
		{len(in.Metrics) > 0, "Metrics (metric math)"},
		{in.ThresholdMetricId != nil, "ThresholdMetricId (anomaly detection)"},
		{in.ExtendedStatistic != nil, "ExtendedStatistic (percentiles are not kept)"},
		{in.EvaluationWindow != nil, "EvaluationWindow"},
		{in.EvaluationCriteria != nil || in.EvaluationInterval != nil, "EvaluationCriteria"},
		{in.WarmUpConfiguration != nil, "WarmUpConfiguration"},
		{in.ActionConfiguration != nil, "ActionConfiguration"},
	} {
		if c.asked {
			return platform.Errorf(platform.NotSupported, *in.AlarmName, "PutMetricAlarm with %s is not supported by this server", c.what)
		}
	}
	for _, actions := range [][]string{in.AlarmActions, in.OKActions, in.InsufficientDataActions} {
		for _, a := range actions {
			if _, _, _, _, _, ok := platform.ARN(a).Split(); !ok {
				return invalid("Invalid arn syntax: %s", a)
			}
		}
	}
	if err := checkCondition(in); err != nil {
		return err
	}
	return checkPeriods(in)
}

// checkCondition checks what is compared with what.
func checkCondition(in *model.PutMetricAlarmInput) error {
	switch {
	case in.MetricName == nil:
		return invalid("Exactly one element of the metrics list should return data; MetricName is required")
	case in.Namespace == nil:
		return invalid("Namespace is required")
	case in.Statistic == nil:
		return invalid("Exactly one of Statistic and ExtendedStatistic must be specified")
	case in.Threshold == nil || math.IsNaN(*in.Threshold) || math.IsInf(*in.Threshold, 0):
		return invalid("Threshold must be specified, and be a number")
	}
	switch operator := shapes.Value(in.ComparisonOperator); operator {
	case "":
		return invalid("ComparisonOperator is required")
	case alarm.GreaterOrEqual, alarm.Greater, alarm.Less, alarm.LessOrEqual:
	default:
		return platform.Errorf(platform.NotSupported, *in.AlarmName, "ComparisonOperator %s (anomaly detection) is not supported by this server", operator)
	}
	if m := in.TreatMissingData; m != nil && !slices.Contains([]string{alarm.Missing, alarm.Ignore, alarm.Breaching, alarm.NotBreaching}, *m) {
		return invalid("TreatMissingData %s is not one of breaching, notBreaching, ignore and missing", *m)
	}
	return nil
}

// checkPeriods checks how far an alarm looks back: a day, or a week by periods of an hour and more.
func checkPeriods(in *model.PutMetricAlarmInput) error {
	switch {
	case in.Period == nil:
		return invalid("Period must be specified")
	case *in.Period%60 != 0 && !slices.Contains([]int32{10, 20, 30}, *in.Period):
		return invalid("Period must be 10, 20, 30 or a multiple of 60")
	case in.EvaluationPeriods == nil:
		return invalid("EvaluationPeriods is required")
	case in.DatapointsToAlarm != nil && *in.DatapointsToAlarm > *in.EvaluationPeriods:
		return invalid("DatapointsToAlarm must be less than or equal to EvaluationPeriods")
	}
	longest := int64(86400)
	if *in.Period >= 3600 {
		longest = 7 * 86400
	}
	if int64(*in.EvaluationPeriods)*int64(*in.Period) > longest {
		return invalid("Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= %d).", longest)
	}
	return nil
}

func (s *service) describeAlarms(ctx context.Context, call *api.Call, in *model.DescribeAlarmsInput) (*model.DescribeAlarmsOutput, error) {
	out := &model.DescribeAlarmsOutput{MetricAlarms: []model.MetricAlarm{}, CompositeAlarms: []model.CompositeAlarm{}}
	switch {
	case in.ChildrenOfAlarmName != nil || in.ParentsOfAlarmName != nil:
		return nil, platform.Errorf(platform.NotSupported, "", "DescribeAlarms by children or parents of composite alarms is not supported by this server")
	case len(in.AlarmNames) > 0 && in.AlarmNamePrefix != nil:
		return nil, invalid("AlarmNames and AlarmNamePrefix may not be specified together")
	case len(in.AlarmTypes) > 0 && !slices.Contains(in.AlarmTypes, model.AlarmTypeMetricAlarm):
		return out, nil // there are none of the others
	}
	records, next, err := s.alarmRecords(ctx, in)
	if err != nil {
		return nil, err
	}
	for _, rec := range records {
		a, err := platform.ReadAlarm(rec)
		if err != nil {
			return nil, err
		}
		if wanted(a, in) {
			out.MetricAlarms = append(out.MetricAlarms, showAlarm(a))
		}
	}
	if next != "" {
		out.NextToken = &next
	}
	return out, nil
}

// alarmRecords finds the alarms by their names, or a page of all in the order of their names.
func (s *service) alarmRecords(ctx context.Context, in *model.DescribeAlarmsInput) (found []platform.Record, next string, err error) {
	if len(in.AlarmNames) > 0 {
		names := slices.Compact(slices.Sorted(slices.Values(in.AlarmNames)))
		for _, name := range names {
			rec, err := s.store.Get(ctx, alarmKey(name))
			if platform.Is(err, platform.NotFound) {
				continue
			}
			if err != nil {
				return nil, "", err
			}
			found = append(found, rec)
		}
		return found, "", nil
	}
	q := platform.Query{
		Kind: platform.KindAlarm, NamePrefix: shapes.Value(in.AlarmNamePrefix), Sort: platform.ByName, Token: shapes.Value(in.NextToken), Limit: pageOfAlarms,
	}
	if in.MaxRecords != nil {
		q.Limit = int(*in.MaxRecords)
	}
	if in.StateValue != nil {
		q.States = []string{string(*in.StateValue)}
	}
	page, err := s.store.List(ctx, q)
	if platform.Is(err, platform.Invalid) {
		err = refuse("InvalidNextToken", "The next token %q is not valid.", q.Token)
	}
	return page.Records, page.Next, err
}

// wanted applies the filters that the store does not know.
func wanted(a *platform.Alarm, in *model.DescribeAlarmsInput) bool {
	if in.StateValue != nil && string(*in.StateValue) != string(a.Status.State) {
		return false
	}
	prefix := shapes.Value(in.ActionPrefix)
	return prefix == "" || slices.ContainsFunc(slices.Concat(a.Spec.AlarmActions, a.Spec.OKActions, a.Spec.InsufficientDataActions), func(action string) bool {
		return strings.HasPrefix(action, prefix)
	})
}

func showAlarm(a *platform.Alarm) model.MetricAlarm {
	state, enabled := model.StateValue(a.Status.State), a.Spec.ActionsEnabled == nil || *a.Spec.ActionsEnabled
	list := func(of []string) []string { return append([]string{}, of...) }
	out := model.MetricAlarm{
		AlarmName: a.Spec.AlarmName, AlarmArn: new(string(a.Status.ARN)), AlarmDescription: a.Spec.AlarmDescription,
		AlarmConfigurationUpdatedTimestamp: shapes.NewTimestamp(a.Status.Configured), ActionsEnabled: &enabled,
		OKActions: list(a.Spec.OKActions), AlarmActions: list(a.Spec.AlarmActions), InsufficientDataActions: list(a.Spec.InsufficientDataActions),
		StateValue: &state, StateReason: &a.Status.Reason, StateUpdatedTimestamp: shapes.NewTimestamp(a.Status.Updated),
		StateTransitionedTimestamp: shapes.NewTimestamp(a.Status.Transitioned),
		MetricName:                 a.Spec.MetricName, Namespace: a.Spec.Namespace, Statistic: a.Spec.Statistic, Dimensions: append([]model.Dimension{}, a.Spec.Dimensions...),
		Period: a.Spec.Period, Unit: a.Spec.Unit, EvaluationPeriods: a.Spec.EvaluationPeriods, DatapointsToAlarm: a.Spec.DatapointsToAlarm,
		Threshold: a.Spec.Threshold, ComparisonOperator: a.Spec.ComparisonOperator, TreatMissingData: a.Spec.TreatMissingData,
	}
	if a.Status.ReasonData != "" {
		out.StateReasonData = &a.Status.ReasonData
	}
	return out
}

// deleteAlarms deletes all or, when one is missing, none.
func (s *service) deleteAlarms(ctx context.Context, _ *api.Call, in *model.DeleteAlarmsInput) error {
	for {
		var tx platform.Tx
		for _, name := range slices.Compact(slices.Sorted(slices.Values(in.AlarmNames))) {
			rec, err := s.store.Get(ctx, alarmKey(name))
			if platform.Is(err, platform.NotFound) {
				return noAlarm(name)
			}
			if err != nil {
				return err
			}
			tx.Deletes = append(tx.Deletes, platform.Delete{Key: rec.Key, Revision: rec.Revision})
		}
		if err := s.store.Commit(ctx, tx); !platform.Is(err, platform.Conflict) {
			return err
		}
	}
}

func noAlarm(name string) error {
	return api.WithCode("ResourceNotFound", platform.Errorf(platform.NotFound, name, "Unknown alarm: %s", name))
}

// setAlarmState puts an alarm into a state until its metric is asked again: for a full step at least, so that whoever watches
// alarms can see it.
func (s *service) setAlarmState(ctx context.Context, call *api.Call, in *model.SetAlarmStateInput) error {
	data := shapes.Value(in.StateReasonData)
	if data != "" && !json.Valid([]byte(data)) {
		return refuse("InvalidFormat", "TimeStamp or JSON of StateReasonData is not valid: it must be a JSON document")
	}
	for {
		rec, err := s.store.Get(ctx, alarmKey(*in.AlarmName))
		if platform.Is(err, platform.NotFound) {
			return noAlarm(*in.AlarmName)
		}
		if err != nil {
			return err
		}
		a, err := platform.ReadAlarm(rec)
		if err != nil {
			return err
		}
		a.Status.Enter(platform.AlarmState(*in.StateValue), *in.StateReason, data, call.Now)
		a.Status.HeldUntil = call.Now.Add(alarm.Every(time.Duration(*a.Spec.Period) * time.Second))
		if rec, err = a.Record(rec, call.Now); err != nil {
			return err
		}
		if err = s.store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}}); !platform.Is(err, platform.Conflict) {
			return err
		}
	}
}
