package stint

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/stint-ml/stint/decide/price"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

// changes tells how to serve a variant otherwise.
type changes struct {
	endpoint, variant, model string
	arn                      platform.ARN
	instance                 platform.InstanceType
	sleep                    time.Duration
	from                     price.Mode // how it is served now
	have                     int64      // with how many instances
}

// usualConcurrency is what a serverless endpoint may have at a time at least, as the SageMaker SDK has it. It costs nothing, and
// within a minute more may come together than its count tells.
const usualConcurrency = 5

// modelOf is the model that a variant serves, as its configuration names it; a word for it when that was deleted.
func (s *service) modelOf(ctx context.Context, e *platform.Endpoint, v *platform.Variant) string {
	var config platform.EndpointConfig
	rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindEndpointConfig, Name: e.Status.Serving.Config})
	if err == nil && json.Unmarshal(rec.Doc, &config) == nil {
		for _, one := range config.Spec.ProductionVariants {
			if shapes.Value(one.VariantName) == v.Name && one.ModelName != nil {
				return *one.ModelName
			}
		}
	}
	return "MODEL"
}

// to gives the commands that lead to a mode. They name every field of the API that they set.
func (c changes) to(cost *price.Cost) (steps []string) {
	instances := fmt.Sprintf("InstanceType=%s,InitialInstanceCount=%d", c.instance, cost.Units)
	switch cost.Mode {
	case price.RealTime, price.Asleep:
		return c.online(cost, instances)
	case price.Serverless, price.Provisioned:
		size := fmt.Sprintf("MemorySizeInMB=%d,MaxConcurrency=%d", cost.Memory<<10, max(usualConcurrency, cost.Units))
		if cost.Mode == price.Provisioned {
			size += fmt.Sprintf(",ProvisionedConcurrency=%d", cost.Units)
		}
		return c.configured("serverless", "ServerlessConfig={"+size+"}", "")
	case price.Async:
		scaled := c.endpoint
		if c.from != price.Async {
			scaled += "-async"
			steps = c.configured("async", instances, " --async-inference-config 'OutputConfig={S3OutputPath=s3://BUCKET/PREFIX}'")
		}
		return append(steps,
			fmt.Sprintf("aws application-autoscaling register-scalable-target --service-namespace sagemaker --resource-id %s --scalable-dimension %s --min-capacity 0 --max-capacity %d",
				platform.VariantName{Endpoint: scaled, Variant: c.variant}.ResourceID(), platform.DesiredInstanceCount, cost.Units),
			"and a policy that follows HasBacklogWithoutCapacity and ApproximateBacklogSizePerInstance: aws application-autoscaling put-scaling-policy")
	default:
		return []string{
			fmt.Sprintf("aws sagemaker create-transform-job --transform-job-name %s-1 --model-name %s --transform-resources InstanceType=%s,InstanceCount=%d --transform-input 'DataSource={S3DataSource={S3DataType=S3Prefix,S3Uri=s3://BUCKET/IN}}' --transform-output S3OutputPath=s3://BUCKET/OUT",
				c.endpoint, c.model, c.instance, cost.Units),
			"aws sagemaker delete-endpoint --endpoint-name " + c.endpoint,
		}
	}
}

// online leads to instances, and lets them sleep or not.
func (c changes) online(cost *price.Cost, instances string) (steps []string) {
	switch {
	case c.from != price.RealTime && c.from != price.Asleep:
		steps = c.configured("real-time", instances, "")
	case c.have != cost.Units:
		steps = append(steps, fmt.Sprintf("aws sagemaker update-endpoint-weights-and-capacities --endpoint-name %s --desired-weights-and-capacities VariantName=%s,DesiredInstanceCount=%d",
			c.endpoint, c.variant, cost.Units))
	}
	switch {
	case cost.Mode == price.Asleep && c.from != price.Asleep:
		steps = append(steps, fmt.Sprintf("aws sagemaker add-tags --resource-arn %s --tags Key=%s,Value=%s", c.arn, platform.TagSleep, short(c.sleep)))
	case cost.Mode == price.RealTime && c.from == price.Asleep:
		steps = append(steps, fmt.Sprintf("aws sagemaker delete-tags --resource-arn %s --tag-keys %s", c.arn, platform.TagSleep))
	}
	return steps
}

// configured makes a configuration and brings the endpoint to it, or, from or to asynchronous inference, which no update can do, another
// endpoint. What a shell would take apart stands in quotes.
func (c changes) configured(suffix, how, also string) []string {
	name := c.endpoint + "-" + suffix
	steps := []string{
		fmt.Sprintf("aws sagemaker create-endpoint-config --endpoint-config-name %s --production-variants 'VariantName=%s,ModelName=%s,%s'%s", name, c.variant, c.model, how, also),
		fmt.Sprintf("aws sagemaker update-endpoint --endpoint-name %s --endpoint-config-name %s", c.endpoint, name),
	}
	if c.from == price.Async || suffix == "async" {
		steps[1] = fmt.Sprintf("aws sagemaker create-endpoint --endpoint-name %s --endpoint-config-name %s", name, name)
		steps = append(steps, fmt.Sprintf("aws sagemaker delete-endpoint --endpoint-name %s  # when all its callers ask %s", c.endpoint, name))
	}
	return steps
}

// short is a duration as a tag has it: 15m, not 15m0s.
func short(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

// assumptions are what the costs rest on that nobody measured.
func assumptions(c weighed, load *AssumedLoad, in *GetEndpointAdviceRequest) []string {
	out := []string{"a month has 730 hours, and brings what was seen over and over again"}
	if in.RequestsPerMonth != nil {
		out[0] = "a month has 730 hours; requests come as those that were seen did, and else at random"
	}
	out = append(out,
		fmt.Sprintf("an instance works on %d at a time, a request takes as long everywhere, and there are enough instances that in the busiest minute requests wait no longer than they are worked on (M/M/c)", load.Parallel),
		fmt.Sprintf("instances are given back %s after the last request, asynchronous ones after %s; batches run every %s", short(c.SleepAfter), short(c.AsyncAfter), short(c.BatchEvery)),
	)
	switch load.MemoryFrom {
	case "measured":
		out = append(out, fmt.Sprintf("the model needs %d MB: what its processes have now and %d %% more", load.MemoryInMB, headroom))
	case "the instance's":
		out = append(out, fmt.Sprintf("the model may need all %d MB of its instance: its memory was not measured and can be given", load.MemoryInMB))
	}
	if load.StartUpFrom == "assumed" {
		out = append(out, fmt.Sprintf("an instance takes %g s to start, which was not measured", load.StartUpSeconds))
	}
	if c.Payload == 0 {
		out = append(out, "requests are small enough for every mode: their size is not measured and can be given")
	}
	return append(out, "storage and transfer of data are not counted")
}
