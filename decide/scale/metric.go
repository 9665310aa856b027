package scale

import (
	"cmp"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/applicationautoscaling"
	"github.com/stint-ml/stint/shapes/cloudwatch"
)

// Metric is what a tracking policy measures.
type Metric struct {
	platform.Series
	Statistic cloudwatch.Statistic
	Unit      string // of the values that count; empty: any
	Period    time.Duration
	// Counted: the platform counts it, so a period without data had nothing to count. Of a user's metric nothing is known then.
	Counted bool
}

// predefined are the metrics that AWS has a name for, of variants.
var predefined = map[model.MetricType]Metric{
	model.MetricTypeSageMakerVariantInvocationsPerInstance: {
		Series: platform.Series{Name: "InvocationsPerInstance"}, Statistic: cloudwatch.StatisticSum, Period: time.Minute, Counted: true,
	},
	model.MetricTypeSageMakerVariantConcurrentRequestsPerModelHighResolution: {
		Series: platform.Series{Name: "ConcurrentRequestsPerModel"}, Statistic: cloudwatch.StatisticAverage, Period: 10 * time.Second, Counted: true,
	},
	model.MetricTypeSageMakerVariantProvisionedConcurrencyUtilization: {
		Series: platform.Series{Name: "ServerlessProvisionedConcurrencyUtilization"}, Statistic: cloudwatch.StatisticMaximum, Period: time.Minute, Counted: true,
	},
}

// Predefined reports whether a predefined metric is one of variants.
func Predefined(t model.MetricType) bool { return predefined[t].Name != "" }

// TrackingOf reads a valid policy of a variant.
func TrackingOf(in *model.PutScalingPolicyRequest, v platform.VariantName, alarms []string) Tracking {
	c := in.TargetTrackingScalingPolicyConfiguration
	t := Tracking{
		Policy: *in.PolicyName, Target: *c.TargetValue, OutCooldown: cooldown(c.ScaleOutCooldown), InCooldown: cooldown(c.ScaleInCooldown),
		NoIn: shapes.Value(c.DisableScaleIn),
	}
	if len(alarms) > 0 {
		t.HighAlarm, t.LowAlarm = alarms[0], alarms[len(alarms)-1] // without scaling in there is no low one
	}
	if p := c.PredefinedMetricSpecification; p != nil {
		t.Metric = predefined[*p.PredefinedMetricType]
		t.Metric.Namespace, t.Metric.Dimensions = "AWS/SageMaker", map[string]string{"EndpointName": v.Endpoint, "VariantName": v.Variant}
		return t
	}
	custom := c.CustomizedMetricSpecification
	t.Metric = Metric{
		Series:    platform.Series{Namespace: *custom.Namespace, Name: *custom.MetricName, Dimensions: map[string]string{}},
		Statistic: cloudwatch.Statistic(cmp.Or(shapes.Value(custom.Statistic), model.MetricStatisticAverage)), Unit: shapes.Value(custom.Unit), Period: time.Minute,
	}
	for _, d := range custom.Dimensions {
		t.Metric.Dimensions[*d.Name] = *d.Value
	}
	return t
}

// cooldown is a request's, or what AWS takes for variants.
func cooldown(seconds *int32) time.Duration {
	if seconds == nil {
		return defaultOfSageMaker
	}
	return time.Duration(*seconds) * time.Second
}
