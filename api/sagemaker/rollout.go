package sagemaker

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/stint-ml/stint/decide/rollout"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// How updates are done: deployment configurations, which the developer guide calls deployment guardrails. The service model
// does not state their rules; those of the guide are here.

// checkPolicy refuses a deployment configuration that could not be carried out for any endpoint.
func (s *service) checkPolicy(ctx context.Context, p *sagemaker.DeploymentConfig) error {
	if p == nil {
		return nil
	}
	if set(p.BlueGreenUpdatePolicy) && set(p.RollingUpdatePolicy) {
		return invalid("Only one update policy should be used in DeploymentConfig: BlueGreenUpdatePolicy or RollingUpdatePolicy")
	}
	if set(p.BlueGreenUpdatePolicy) {
		if err := checkRouting(p.BlueGreenUpdatePolicy); err != nil {
			return err
		}
	}
	if !set(p.AutoRollbackConfiguration) {
		return nil
	}
	for _, a := range p.AutoRollbackConfiguration.Alarms {
		name := shapes.Value(a.AlarmName)
		if name == "" {
			return invalid("AutoRollbackConfiguration.Alarms: AlarmName is required")
		}
		_, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindAlarm, Name: name})
		if platform.Is(err, platform.NotFound) {
			return invalid("AutoRollbackConfiguration.Alarms: the alarm %q does not exist", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkRouting(p *sagemaker.BlueGreenUpdatePolicy) error {
	how := p.TrafficRoutingConfiguration
	for _, size := range []struct {
		name  string
		given bool
		of    sagemaker.TrafficRoutingConfigType
	}{
		{"CanarySize", set(how.CanarySize), sagemaker.TrafficRoutingConfigTypeCanary},
		{"LinearStepSize", set(how.LinearStepSize), sagemaker.TrafficRoutingConfigTypeLinear},
	} {
		switch {
		case *how.Type == size.of && !size.given:
			return invalid("TrafficRoutingConfiguration.%s is required when Type is %s", size.name, *how.Type)
		case *how.Type != size.of && size.given:
			return invalid("TrafficRoutingConfiguration.%s must not be given when Type is %s", size.name, *how.Type)
		}
	}
	limit, wait, end := p.MaximumExecutionTimeoutInSeconds, *how.WaitIntervalInSeconds, shapes.Value(p.TerminationWaitInSeconds)
	if limit != nil && *limit <= wait+end {
		return invalid("MaximumExecutionTimeoutInSeconds (%d) must be larger than the total waiting time specified in TerminationWaitInSeconds (%d) and WaitIntervalInSeconds (%d)",
			*limit, end, wait)
	}
	return nil
}

// checkUpdate refuses a deployment configuration that does not fit the fleets that it is for; serving is nil when nothing serves.
func checkUpdate(p *sagemaker.DeploymentConfig, serving, coming *platform.Deployment) error {
	if p == nil {
		return nil
	}
	for _, d := range []*platform.Deployment{serving, coming} {
		if d != nil && serverless(d) {
			return invalid("DeploymentConfig applies to real-time and asynchronous endpoints only; configuration %q has a serverless variant", d.Config)
		}
	}
	if serving != nil && !sameNames(serving, coming) {
		return invalid("With a DeploymentConfig the new endpoint configuration %q must have the same variant names as the old one, %q", coming.Config, serving.Config)
	}
	if set(p.RollingUpdatePolicy) && len(coming.Variants) > 1 {
		return invalid("RollingUpdatePolicy cannot be used for an endpoint with several variants; configuration %q has %d", coming.Config, len(coming.Variants))
	}
	if err := checkSizes(p, serving, coming); err != nil {
		return err
	}
	plan := rollout.Read(p, cmp.Or(serving, coming).Counts(), coming.Counts())
	if bakes := time.Duration(len(plan.Steps)) * plan.Bake; plan.Limit > 0 && bakes >= plan.Limit {
		return invalid("MaximumExecutionTimeoutInSeconds (%d) must be larger than what %d steps of WaitIntervalInSeconds take together (%d)",
			plan.Limit/time.Second, len(plan.Steps), bakes/time.Second)
	}
	return nil
}

// checkSizes applies the bounds of steps and batches, which are parts of a fleet.
func checkSizes(p *sagemaker.DeploymentConfig, serving, coming *platform.Deployment) error {
	var how sagemaker.TrafficRoutingConfig
	var batches sagemaker.RollingUpdatePolicy
	if set(p.BlueGreenUpdatePolicy) {
		how = *p.BlueGreenUpdatePolicy.TrafficRoutingConfiguration
	}
	if set(p.RollingUpdatePolicy) {
		batches = *p.RollingUpdatePolicy
	}
	for _, size := range []struct {
		name        string
		size        *sagemaker.CapacitySize
		fleet       *platform.Deployment
		least, most int // percent of the instances
	}{
		{"CanarySize", how.CanarySize, coming, 0, 50},
		{"LinearStepSize", how.LinearStepSize, coming, 10, 50},
		{"MaximumBatchSize", batches.MaximumBatchSize, coming, 5, 50},
		{"RollbackMaximumBatchSize", batches.RollbackMaximumBatchSize, serving, 0, 100},
	} {
		if size.size == nil || size.fleet == nil {
			continue
		}
		for v := range size.fleet.Variants {
			variant := &size.fleet.Variants[v]
			if part := percentOf(size.size, variant.Desired); part < size.least || part > size.most {
				return invalid("%s must be between %d%% and %d%% of the variant's total instance count; %s %d is %d%% of the %d instances of variant %q", size.name,
					size.least, size.most, *size.size.Type, *size.size.Value, part, variant.Desired, variant.Name)
			}
		}
	}
	return nil
}

// percentOf is the part of a fleet that a size means.
func percentOf(size *sagemaker.CapacitySize, fleet int) int {
	if *size.Type == sagemaker.CapacitySizeTypeCapacityPercent {
		return int(*size.Value)
	}
	return int(*size.Value) * 100 / max(fleet, 1)
}

func serverless(d *platform.Deployment) bool {
	for v := range d.Variants {
		if d.Variants[v].Serverless != nil {
			return true
		}
	}
	return false
}

func sameNames(a, b *platform.Deployment) bool {
	names := map[string]bool{}
	for v := range a.Variants {
		names[a.Variants[v].Name] = true
	}
	for v := range b.Variants {
		if !names[b.Variants[v].Name] {
			return false
		}
	}
	return len(a.Variants) == len(b.Variants)
}

// policyOf is how an update is to be done: as its request says, or as the one before was.
func policyOf(in *sagemaker.UpdateEndpointInput, st *platform.EndpointStatus) *sagemaker.DeploymentConfig {
	if isTrue(in.RetainDeploymentConfig) {
		return st.Policy
	}
	return in.DeploymentConfig
}

// pending is what Describe tells of a deployment that is on its way.
func pending(st *platform.EndpointStatus) *sagemaker.PendingDeploymentSummary {
	if st.Coming == nil || st.State == platform.EndpointDeleting {
		return nil
	}
	out := &sagemaker.PendingDeploymentSummary{EndpointConfigName: &st.Coming.Config, StartTime: shapes.NewTimestamp(st.Coming.Began)}
	share := 0.0
	if st.Rollout != nil {
		share = st.Rollout.Share
	}
	for i, s := range summaries(st.Coming, share) {
		out.ProductionVariants = append(out.ProductionVariants, sagemaker.PendingProductionVariantSummary{
			VariantName: s.VariantName, DeployedImages: s.DeployedImages, CurrentWeight: s.CurrentWeight, DesiredWeight: s.DesiredWeight,
			CurrentInstanceCount: s.CurrentInstanceCount, DesiredInstanceCount: s.DesiredInstanceCount, VariantStatus: stage(st, &st.Coming.Variants[i]),
			CurrentServerlessConfig: s.CurrentServerlessConfig, DesiredServerlessConfig: s.DesiredServerlessConfig,
			InstanceType: instanceType(&st.Coming.Variants[i]),
		})
	}
	return out
}

func instanceType(v *platform.Variant) *sagemaker.ProductionVariantInstanceType {
	if v.Serverless != nil {
		return nil
	}
	return ptr(sagemaker.ProductionVariantInstanceType(v.Type))
}

// stage is where an update stands, in AWS's words for it, and whether a variant of it waits for room.
func stage(st *platform.EndpointStatus, v *platform.Variant) []sagemaker.ProductionVariantStatus {
	r := st.Rollout
	if r == nil { // it has just been asked for
		return []sagemaker.ProductionVariantStatus{{Status: ptr(sagemaker.VariantStatusCreating), StartTime: shapes.NewTimestamp(st.Coming.Began)}}
	}
	plan := rollout.Read(st.Policy, st.Serving.Counts(), st.Coming.Counts())
	at := fmt.Sprintf("step %d of %d, %.0f%% of the requests", r.Step+1, len(plan.Steps), math.Floor(100*r.Share))
	status, message := sagemaker.VariantStatusCreating, at
	switch r.Stage {
	case platform.RolloutPreparing:
		if r.Step > 0 && r.New == 0 { // all are there already, unless one was lost
			status = sagemaker.VariantStatusActivatingTraffic
		}
	case platform.RolloutBaking:
		status, message = sagemaker.VariantStatusBaking, at+until(r.Since.Add(plan.Bake))
	case platform.RolloutLingering:
		status, message = sagemaker.VariantStatusBaking, at+"; the old instances stay"+until(r.Since.Add(plan.Linger))
	case platform.RolloutReturning:
		status, message = sagemaker.VariantStatusDeleting, at+"; "+r.Reason
	case platform.RolloutStuck:
		status, message = sagemaker.VariantStatusDeleting, at+"; the old instances do not come up again; "+r.Reason
	}
	if v.Roomless != "" {
		message += "; " + v.Roomless
	}
	return []sagemaker.ProductionVariantStatus{{Status: &status, StatusMessage: ptr(message[:min(len(message), 1024)]), StartTime: shapes.NewTimestamp(r.Since)}}
}

func until(t time.Time) string { return " until " + t.UTC().Format(time.RFC3339) }
