package sim

import (
	"context"
	"log/slog"
	"time"

	"github.com/stint-ml/stint/control/alarm"
	"github.com/stint-ml/stint/control/scaling"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/applicationautoscaling"
)

// Scaled is a world of endpoints whose variants are scaled: the real controllers of alarms and of scaling beside that of
// endpoints, and a load that is counted as the data plane would.
type Scaled struct {
	*Serving
	Alarms  *alarm.Controller
	Scaling *scaling.Controller
	// Load is the requests a second to the endpoint "e".
	Load float64
}

// NewScaled makes a world with the endpoint "e", of one variant, and a target of it within bounds.
func NewScaled(ctx context.Context, machine platform.Capacity, low, high int) (*Scaled, error) {
	w := &Scaled{Serving: NewServing(machine, func(string) ServingPlan { return ServingPlan{Load: 3 * time.Second} })}
	w.begin()
	if err := w.Create(ctx, "e", w.Deployment("one", low)); err != nil {
		return nil, err
	}
	return w, w.Put(ctx, &platform.ScalableTarget{
		Of: platform.VariantName{Endpoint: "e", Variant: "AllTraffic"}, Dimension: platform.DesiredInstanceCount, Min: low, Max: high,
		Origin: platform.Origin{ARN: "arn:aws:application-autoscaling:us-east-1:000000000000:scalable-target/1", Created: w.Clock.Now()},
	})
}

func (w *Scaled) begin() {
	w.Alarms = alarm.New(alarm.Config{Store: w.Store, Metrics: w.Telemetry, Clock: w.Clock, Log: slog.New(slog.DiscardHandler)})
	w.Scaling = scaling.New(scaling.Config{Store: w.Store, Metrics: w.Telemetry, Alarms: w.Alarms, Clock: w.Clock, Log: slog.New(slog.DiscardHandler)})
}

// Again begins a new server process.
func (w *Scaled) Again() {
	w.Restart()
	w.begin()
}

// Put stores a target as it is, over whatever is there.
func (w *Scaled) Put(ctx context.Context, t *platform.ScalableTarget) error {
	was, err := w.Store.Get(ctx, platform.Key{Kind: platform.KindScalableTarget, Name: platform.TargetName(t.Of, t.Dimension)})
	if err != nil && !platform.Is(err, platform.NotFound) {
		return err
	}
	rec, err := t.Record(was, w.Clock.Now())
	if err != nil {
		return err
	}
	return w.Store.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
}

// Target reads the target; nil when it is gone.
func (w *Scaled) Target(ctx context.Context) (*platform.ScalableTarget, error) {
	name := platform.TargetName(platform.VariantName{Endpoint: "e", Variant: "AllTraffic"}, platform.DesiredInstanceCount)
	rec, err := w.Store.Get(ctx, platform.Key{Kind: platform.KindScalableTarget, Name: name})
	if platform.Is(err, platform.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return platform.ReadScalableTarget(rec)
}

// Track gives the target a policy for so many invocations a minute for each instance, with both cooldowns alike.
func (w *Scaled) Track(ctx context.Context, perMinute float64, cooldown time.Duration) error {
	t, err := w.Target(ctx)
	if err != nil {
		return err
	}
	seconds, kind := int32(cooldown/time.Second), applicationautoscaling.MetricTypeSageMakerVariantInvocationsPerInstance
	t.Policies = append(t.Policies, platform.ScalingPolicy{Created: w.Clock.Now(), Changed: w.Clock.Now(), Spec: applicationautoscaling.PutScalingPolicyRequest{
		PolicyName: new("p"), TargetTrackingScalingPolicyConfiguration: &applicationautoscaling.TargetTrackingScalingPolicyConfiguration{
			TargetValue: &perMinute, ScaleOutCooldown: &seconds, ScaleInCooldown: &seconds,
			PredefinedMetricSpecification: &applicationautoscaling.PredefinedMetricSpecification{PredefinedMetricType: &kind},
		},
	}})
	return w.Put(ctx, t)
}

// Pass lets time pass, with its requests.
func (w *Scaled) Pass(ctx context.Context, d time.Duration) error {
	w.Step(ctx, d)
	if !w.ServerUp {
		return nil
	}
	if err := w.count(ctx, d); err != nil {
		return err
	}
	_ = w.Alarms.Drain(ctx) // what failed is tried again when more time passes
	_ = w.Scaling.Drain(ctx)
	return nil
}

// count writes the requests of a time down, as the router does: with the beginning of the minute as their time.
func (w *Scaled) count(ctx context.Context, d time.Duration) error {
	for _, v := range w.Routes["e"].Variants {
		if n := float64(len(v.Targets)); n > 0 && w.Load > 0 {
			requests := w.Load * d.Seconds()
			err := w.Telemetry.PutData(ctx, "", 0, []platform.Datum{{
				Series: platform.Series{Namespace: "AWS/SageMaker", Name: "InvocationsPerInstance", Dimensions: map[string]string{"EndpointName": "e", "VariantName": v.Name}},
				At:     w.Clock.Now().Truncate(time.Minute), Unit: "None", Value: requests / n, Count: requests, Minimum: 1 / n, Maximum: 1 / n,
			}})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
