// Package rollout decides how an update of an endpoint goes on: which share of the requests goes to the new fleet of
// instances, when the next step begins, when the old fleet may go, and when all goes back. It is pure: from what stands
// where, the time and the alarms to the next move. Instances, routes and the alarms themselves must not live here.
//
// The words are those of "Update models in production" of the SageMaker developer guide: after each shift of traffic a step
// bakes, and an alarm that goes off before the old fleet is terminated takes everything back.
package rollout

import (
	"math"
	"time"

	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Plan is what a deployment configuration means for the fleets at hand.
type Plan struct {
	Steps  []Step        // in order; after the last all requests go to the new fleet
	Bake   time.Duration // after each step
	Linger time.Duration // after the last bake, until the old fleet is terminated
	Limit  time.Duration // from the beginning to the end of the last bake; 0: none
	Return int           // instances of the old fleet that a rollback in batches brings back at once
}

// Step is a state of both fleets that is kept for a while.
type Step struct {
	Share    float64 // of the requests that the new fleet gets
	Old, New int     // instances that either fleet may have, in a rolling update; 0: all
}

// Read makes the plan of an update from a fleet to another, of which each variant's number of instances is given. Without a
// configuration, or an old fleet, all goes over at once.
func Read(config *sagemaker.DeploymentConfig, from, to []int) Plan {
	p := Plan{Steps: []Step{{Share: 1}}}
	switch {
	case config == nil || len(from) == 0:
	case config.RollingUpdatePolicy != nil:
		p = rolling(config.RollingUpdatePolicy, total(from), total(to))
	case config.BlueGreenUpdatePolicy != nil:
		p = blueGreen(config.BlueGreenUpdatePolicy, to)
	}
	return p
}

func blueGreen(policy *sagemaker.BlueGreenUpdatePolicy, fleet []int) Plan {
	how := policy.TrafficRoutingConfiguration
	p := Plan{Bake: seconds(how.WaitIntervalInSeconds), Linger: seconds(policy.TerminationWaitInSeconds), Limit: seconds(policy.MaximumExecutionTimeoutInSeconds)}
	switch *how.Type {
	case sagemaker.TrafficRoutingConfigTypeCanary:
		p.Steps = append(p.Steps, Step{Share: share(how.CanarySize, fleet)})
	case sagemaker.TrafficRoutingConfigTypeLinear:
		size := share(how.LinearStepSize, fleet)
		// A rest of less than a tenth of a step is no step: three steps of 33 % are all.
		for k := 1.0; k < math.Ceil(1/size-0.1); k++ {
			p.Steps = append(p.Steps, Step{Share: k * size})
		}
	}
	p.Steps = append(p.Steps, Step{Share: 1})
	return p
}

// rolling replaces instances in batches: before each the old fleet has given up what the batches before have replaced.
func rolling(policy *sagemaker.RollingUpdatePolicy, from, to int) Plan {
	from, to = max(from, 1), max(to, 1)
	p := Plan{Bake: seconds(policy.WaitIntervalInSeconds), Limit: seconds(policy.MaximumExecutionTimeoutInSeconds), Return: from}
	if back := policy.RollbackMaximumBatchSize; back != nil {
		p.Return = batch(back, from)
	}
	size := batch(policy.MaximumBatchSize, to)
	for had := 0; had < to; had += size {
		has := min(had+size, to)
		p.Steps = append(p.Steps, Step{Share: float64(has) / float64(to), New: has, Old: partOf(from, to-had, to)})
	}
	return p
}

// partOf gives n·part/whole instances, none too few.
func partOf(n, part, whole int) int { return (n*part + whole - 1) / whole }

// batch is how many instances of a fleet a size means: at least one, and not more than it says.
func batch(size *sagemaker.CapacitySize, fleet int) int {
	n := int(*size.Value)
	if *size.Type == sagemaker.CapacitySizeTypeCapacityPercent {
		n = fleet * n / 100
	}
	return min(max(n, 1), fleet)
}

// share is the part of the requests that a size means: a percentage as it stands, a number of instances as their part of the
// fleet. Where variants differ none gets more than was asked.
func share(size *sagemaker.CapacitySize, fleet []int) float64 {
	n := float64(*size.Value)
	if *size.Type == sagemaker.CapacitySizeTypeCapacityPercent {
		return min(n/100, 1)
	}
	least := 1.0
	for _, instances := range fleet {
		least = min(least, n/float64(max(instances, 1)))
	}
	return least
}

func total(fleet []int) (n int) {
	for _, instances := range fleet {
		n += instances
	}
	return n
}

func seconds(n *int32) time.Duration { return time.Duration(shapes.Value(n)) * time.Second }
