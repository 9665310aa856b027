package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/shapes/sagemaker"
)

// serverlessFlags make a variant that has no instances of its own.
type serverlessFlags struct {
	memory                   string
	concurrency, provisioned int
	megabytes                int32 // memory, checked
}

func (f *serverlessFlags) define(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.memory, "serverless", "", "no instances: a `SIZE` of memory, 1GB to 6GB, for each request under way, paid for by the millisecond")
	flags.IntVar(&f.concurrency, "max-concurrency", 5, "serverless: how many requests at once")
	flags.IntVar(&f.provisioned, "provisioned", 0, "serverless: how many of them are always ready, paid for by their time")
}

// check reads the flags; instances tells whether some were asked for, too.
func (f *serverlessFlags) check(instances bool) error {
	if f.memory == "" {
		return nil
	}
	bytes, err := parseBytes(f.memory)
	switch {
	case err != nil:
		return usage("--serverless %w", err)
	case instances:
		return usage("--serverless stands in place of --instance and --count; give one of them")
	case bytes%(1<<30) != 0 || bytes < 1<<30 || bytes > 6<<30:
		return usage("--serverless %s should be 1GB, 2GB, … or 6GB", f.memory)
	}
	f.megabytes = int32(bytes >> 20) //nolint:gosec // at most 6,144
	return nil
}

// lay turns a variant of instances into a serverless one.
func (f *serverlessFlags) lay(v *sagemaker.ProductionVariant) {
	if f.megabytes == 0 {
		return
	}
	v.InstanceType, v.InitialInstanceCount = nil, nil
	v.ServerlessConfig = &sagemaker.ProductionVariantServerlessConfig{MemorySizeInMB: &f.megabytes, MaxConcurrency: new(int32(f.concurrency))} //nolint:gosec // the API bounds it
	if f.provisioned > 0 {
		v.ServerlessConfig.ProvisionedConcurrency = new(int32(f.provisioned)) //nolint:gosec // likewise
	}
}

// serverlessText says what a serverless variant has.
func serverlessText(c *sagemaker.ProductionVariantServerlessConfig) string {
	text := fmt.Sprintf("serverless, %d GB × %d at most", *c.MemorySizeInMB/1024, *c.MaxConcurrency)
	if c.ProvisionedConcurrency != nil {
		text += fmt.Sprintf(", %d provisioned", *c.ProvisionedConcurrency)
	}
	return text
}
