package sagemaker

import (
	"fmt"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Models of several containers: inference pipelines, and containers that are asked directly.

// checkContainers refuses containers that do not go together. One alone becomes the primary one.
func checkContainers(in *sagemaker.CreateModelInput) error {
	direct := direct(in)
	switch {
	case len(in.Containers) > 0 && in.PrimaryContainer != nil:
		return invalid("You must specify either PrimaryContainer or Containers, not both")
	case len(in.Containers) == 0 && in.PrimaryContainer == nil:
		return invalid("You must specify PrimaryContainer or Containers")
	case len(in.Containers) > platform.MostContainers:
		return invalid("Containers may have at most %d members; got %d", platform.MostContainers, len(in.Containers))
	case len(in.Containers) == 1:
		in.PrimaryContainer, in.Containers = &in.Containers[0], nil
	}
	if in.PrimaryContainer != nil {
		if direct {
			return invalid("InferenceExecutionConfig Mode Direct needs a model of at least 2 Containers")
		}
		return checkContainer(in.PrimaryContainer)
	}
	return checkSeveral(in.Containers, direct)
}

// checkSeveral refuses what several containers cannot be.
func checkSeveral(all []sagemaker.ContainerDefinition, direct bool) error {
	many := 0
	for i := range all {
		if err := checkContainer(&all[i]); err != nil {
			return err
		}
		if platform.OfMany(&all[i]) {
			many++
		}
		if direct && shapes.Value(all[i].ContainerHostname) == "" {
			return invalid("ContainerHostname is required for each container when InferenceExecutionConfig Mode is Direct; container %d has none", i+1)
		}
	}
	switch {
	case many > 1 && !direct:
		return invalid("More than one container in MultiModel mode is not supported with inference pipeline.")
	case many > 0:
		return unsupported("A container with Mode MultiModel beside others", "give it a model of its own")
	}
	names := map[string]bool{}
	for i := range all {
		name := hostname(all, i)
		if names[name] {
			return invalid("ContainerHostname must be unique within a model; %q is given twice", name)
		}
		names[name] = true
	}
	return nil
}

// hostname is what one of several containers is called: what it is not given is counted from 1, as AWS does.
func hostname(all []sagemaker.ContainerDefinition, at int) string {
	if name := shapes.Value(all[at].ContainerHostname); name != "" {
		return name
	}
	return fmt.Sprintf("container-%d", at+1)
}

// direct tells whether requests name the container that they are for.
func direct(in *sagemaker.CreateModelInput) bool {
	c := in.InferenceExecutionConfig
	return c != nil && shapes.Value(c.Mode) == sagemaker.InferenceExecutionModeDirect
}

// containersOf are the containers of a model as instances get them.
func containersOf(in *sagemaker.CreateModelInput) platform.ModelContainers {
	out := platform.ModelContainers{Direct: direct(in)}
	if in.PrimaryContainer != nil {
		out.Container = located(*in.PrimaryContainer)
		return out
	}
	for i, c := range in.Containers {
		c.ContainerHostname = ptr(hostname(in.Containers, i))
		if i == 0 {
			out.Container = located(c)
			continue
		}
		out.Further = append(out.Further, located(c))
	}
	return out
}

// located says where a container's model is in one way.
func located(c sagemaker.ContainerDefinition) sagemaker.ContainerDefinition {
	if uri := modelData(&c); uri != "" {
		c.ModelDataUrl = ptr(string(uri))
	}
	return c
}

// several tells whether a model has more than one container.
func several(m *platform.Model) bool { return len(m.Spec.Containers) > 1 }

// checkVariantOfSeveral refuses a model of several containers where AWS does, or where requests cannot name one of them.
func checkVariantOfSeveral(in *sagemaker.CreateEndpointConfigInput, v *sagemaker.ProductionVariant, m *platform.Model) error {
	switch {
	case set(v.ServerlessConfig):
		return invalid("Variant %q is serverless, and its model %q has several containers, which need instances", *v.VariantName, *v.ModelName)
	case set(in.AsyncInferenceConfig) && direct(&m.Spec):
		return invalid("Asynchronous invocations cannot name the container that they are for; the model %q has InferenceExecutionConfig Mode Direct", *v.ModelName)
	}
	return nil
}
