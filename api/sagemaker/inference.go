package sagemaker

import (
	"context"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// on declares an operation that is done to one named resource.
func on[In any](action string, arn func(*api.Call, *string) platform.ARN, name func(*In) *string, handle func(context.Context, *api.Call, any) (any, error)) api.Operation {
	return api.Operation{
		Action: "sagemaker:" + action, Handle: handle,
		Resources: api.On(func(c *api.Call, in *In) platform.ARN { return arn(c, name(in)) }),
	}
}

// inference are the operations on models, endpoint configurations and endpoints.
func (s *service) inference() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateModel":                        on("CreateModel", modelARN, func(in *sagemaker.CreateModelInput) *string { return in.ModelName }, api.Handle(s.createModel)),
		"DescribeModel":                      on("DescribeModel", modelARN, func(in *sagemaker.DescribeModelInput) *string { return in.ModelName }, api.Handle(s.describeModel)),
		"DeleteModel":                        on("DeleteModel", modelARN, func(in *sagemaker.DeleteModelInput) *string { return in.ModelName }, api.HandleVoid(s.deleteModel)),
		"CreateEndpointConfig":               on("CreateEndpointConfig", configARN, func(in *sagemaker.CreateEndpointConfigInput) *string { return in.EndpointConfigName }, api.Handle(s.createEndpointConfig)),
		"DescribeEndpointConfig":             on("DescribeEndpointConfig", configARN, func(in *sagemaker.DescribeEndpointConfigInput) *string { return in.EndpointConfigName }, api.Handle(s.describeEndpointConfig)),
		"DeleteEndpointConfig":               on("DeleteEndpointConfig", configARN, func(in *sagemaker.DeleteEndpointConfigInput) *string { return in.EndpointConfigName }, api.HandleVoid(s.deleteEndpointConfig)),
		"CreateEndpoint":                     on("CreateEndpoint", endpointARN, func(in *sagemaker.CreateEndpointInput) *string { return in.EndpointName }, api.Handle(s.createEndpoint)),
		"DescribeEndpoint":                   on("DescribeEndpoint", endpointARN, func(in *sagemaker.DescribeEndpointInput) *string { return in.EndpointName }, api.Handle(s.describeEndpoint)),
		"UpdateEndpoint":                     on("UpdateEndpoint", endpointARN, func(in *sagemaker.UpdateEndpointInput) *string { return in.EndpointName }, api.Handle(s.updateEndpoint)),
		"UpdateEndpointWeightsAndCapacities": on("UpdateEndpointWeightsAndCapacities", endpointARN, func(in *sagemaker.UpdateEndpointWeightsAndCapacitiesInput) *string { return in.EndpointName }, api.Handle(s.updateWeights)),
		"DeleteEndpoint":                     on("DeleteEndpoint", endpointARN, func(in *sagemaker.DeleteEndpointInput) *string { return in.EndpointName }, api.HandleVoid(s.deleteEndpoint)),
		"ListModels":                         {Action: "sagemaker:ListModels", Handle: api.Handle(s.listModels)},
		"ListEndpointConfigs":                {Action: "sagemaker:ListEndpointConfigs", Handle: api.Handle(s.listEndpointConfigs)},
		"ListEndpoints":                      {Action: "sagemaker:ListEndpoints", Handle: api.Handle(s.listEndpoints)},
	}
}
