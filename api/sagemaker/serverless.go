package sagemaker

import (
	"fmt"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Serverless variants: they name memory instead of an instance type.

const (
	memoryStep      = 1024 // MB, in which the memory of a serverless variant grows
	cpuOfServerless = 1000 // thousandths of a processor for each step; AWS gives them in proportion and does not say how many
	shortestSleep   = time.Second
)

// checkServerless refuses what a serverless variant cannot be.
func checkServerless(in *sagemaker.CreateEndpointConfigInput, v *sagemaker.ProductionVariant) error {
	c := v.ServerlessConfig
	switch {
	case len(in.ProductionVariants) > 1:
		return invalid("A serverless endpoint must have exactly one production variant; got %d", len(in.ProductionVariants))
	case set(v.InstanceType) || set(v.InitialInstanceCount):
		return invalid("Variant %q must have either ServerlessConfig, or InstanceType and InitialInstanceCount, not both", *v.VariantName)
	case set(in.AsyncInferenceConfig):
		return invalid("AsyncInferenceConfig is not supported for serverless endpoints")
	case *c.MemorySizeInMB%memoryStep != 0:
		return invalid("MemorySizeInMB must be one of 1024, 2048, 3072, 4096, 5120 and 6144; got %d", *c.MemorySizeInMB)
	}
	return checkConcurrency(*c.MaxConcurrency, shapes.Value(c.ProvisionedConcurrency))
}

func checkConcurrency(most, provisioned int32) error {
	if provisioned > most {
		return invalid("ProvisionedConcurrency (%d) must not be greater than MaxConcurrency (%d)", provisioned, most)
	}
	return nil
}

// serverless makes the variant that a serverless configuration asks for.
func (s *service) serverless(c *sagemaker.ProductionVariantServerlessConfig) (platform.Variant, error) {
	price, err := s.Catalog.Serverless()
	if err != nil {
		return platform.Variant{}, invalid("ServerlessConfig: %s", err.Error())
	}
	steps := int64(*c.MemorySizeInMB) / memoryStep
	of := func(r platform.HourlyRate) platform.HourlyRate { r.Nanos *= platform.Nanos(steps); return r }
	return platform.Variant{
		Type: platform.InstanceType(fmt.Sprintf("serverless.%dGB", steps)), Rate: of(price.ProvisionedPerGBHour), Asked: 1, // which proves that the model loads
		Need: platform.Capacity{MilliCPU: steps * cpuOfServerless, MemoryBytes: int64(*c.MemorySizeInMB) << 20},
		Serverless: &platform.Serverless{
			MemoryMiB: int64(*c.MemorySizeInMB), MaxConcurrency: int(*c.MaxConcurrency), Provisioned: int(shapes.Value(c.ProvisionedConcurrency)),
			Use: of(price.PerGBHour), ProvisionedUse: of(price.ProvisionedUsePerGBHour),
		},
	}, nil
}

// desireServerless sets what a serverless variant is to have.
func desireServerless(v *platform.Variant, d *sagemaker.DesiredWeightAndCapacity) error {
	u := d.ServerlessUpdateConfig
	switch {
	case v.Serverless == nil && set(u):
		return invalid("ServerlessUpdateConfig is not supported for variant %q, which is not serverless", v.Name)
	case v.Serverless != nil && set(d.DesiredInstanceCount):
		return invalid("DesiredInstanceCount is not supported for variant %q, which is serverless", v.Name)
	case u == nil:
		return nil
	}
	most, provisioned := int32(v.Serverless.MaxConcurrency), int32(v.Serverless.Provisioned)
	if u.MaxConcurrency != nil {
		most = *u.MaxConcurrency
	}
	if u.ProvisionedConcurrency != nil {
		provisioned = *u.ProvisionedConcurrency
	}
	if err := checkConcurrency(most, provisioned); err != nil {
		return err
	}
	v.Serverless.MaxConcurrency, v.Serverless.Provisioned = int(most), int(provisioned)
	return nil
}

// serverlessConfig is a serverless variant's configuration as it is now, nil for any other.
func serverlessConfig(v *platform.Variant) *sagemaker.ProductionVariantServerlessConfig {
	if v.Serverless == nil {
		return nil
	}
	out := &sagemaker.ProductionVariantServerlessConfig{MemorySizeInMB: ptr(int32(v.Serverless.MemoryMiB)), MaxConcurrency: ptr(int32(v.Serverless.MaxConcurrency))}
	if v.Serverless.Provisioned > 0 {
		out.ProvisionedConcurrency = ptr(int32(v.Serverless.Provisioned))
	}
	return out
}

// checkSleep refuses a tag of an endpoint's sleep that says no time.
func checkSleep(value string) error {
	if d, err := time.ParseDuration(value); err != nil || d < shortestSleep {
		return invalid("Invalid tag %s=%s. It must be a duration of at least %s, such as 15m", platform.TagSleep, value, shortestSleep)
	}
	return nil
}
