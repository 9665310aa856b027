// Package stint is Stint's own service, for what AWS has no call for: the bill of one resource, exact to the second, straight
// from the ledger; the notice that takes a managed spot job's capacity away; the launches of a job, its checkpoints and what they keep;
// what the spot market offers; when an endpoint was asked last, and what its traffic would cost otherwise. It speaks AWS JSON
// and is signed and authorized like any other (stint:GetCost), so that any AWS SDK's signer can call it. What AWS has a call
// for belongs to the package of that service.
package stint

import (
	"context"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

// Config is what the service works with.
type Config struct {
	Store   platform.Store
	Catalog platform.Catalog
	Market  platform.Market
	Notice  platform.Seconds     // of an interruption that does not say how long its own is; 0 is AWS's two minutes
	Metrics platform.Metrics     // of endpoints
	Memory  platform.MemoryMeter // nil: it cannot be measured
	// ServerlessKeep is how long an idle instance of a serverless endpoint is kept; 0 is five minutes.
	ServerlessKeep platform.Seconds
}

type service struct{ Config }

var (
	text    = shapes.Shape{Name: "String", Kind: shapes.KindString, Min: 1, HasMin: true, Max: 256, HasMax: true}
	arn     = shapes.Shape{Name: "ResourceArn", Kind: shapes.KindString, Min: 20, HasMin: true, Max: 2048, HasMax: true}
	name    = shapes.Shape{Name: "TrainingJobName", Kind: shapes.KindString, Min: 1, HasMin: true, Max: 63, HasMax: true}
	seconds = shapes.Shape{Name: "NoticeSeconds", Kind: shapes.KindInteger, Min: 0, HasMin: true, Max: 86400, HasMax: true}
	types   = shapes.Shape{Name: "InstanceTypes", Kind: shapes.KindList, Elem: &text, Max: 1000, HasMax: true}

	endpointName = shapes.Shape{Name: "EndpointName", Kind: shapes.KindString, Min: 1, HasMin: true, Max: 63, HasMax: true}
	days         = shapes.Shape{Name: "Days", Kind: shapes.KindInteger, Min: 1, HasMin: true, Max: 90, HasMax: true}
	perMonth     = shapes.Shape{Name: "RequestsPerMonth", Kind: shapes.KindLong, Min: 0, HasMin: true, Max: 1_000_000_000, HasMax: true}
	latency      = shapes.Shape{Name: "LatencyMilliseconds", Kind: shapes.KindDouble, Min: 0, HasMin: true, Max: 3_600_000, HasMax: true}
	megabytes    = shapes.Shape{Name: "MemoryInMB", Kind: shapes.KindInteger, Min: 1, HasMin: true, Max: 100_000_000, HasMax: true}
	payload      = shapes.Shape{Name: "PayloadBytes", Kind: shapes.KindLong, Min: 0, HasMin: true, Max: 1 << 40, HasMax: true}
	flag         = shapes.Shape{Name: "Boolean", Kind: shapes.KindBoolean}

	model = shapes.Service{
		Name: "stint", Protocols: []string{"json"}, JSONVersion: "1.1", TargetPrefix: "Stint", SigningName: "stint",
		Operations: []shapes.Operation{
			operation[GetCostRequest, GetCostResponse]("GetCost", shapes.Member{Name: "ResourceArn", Shape: &arn, Required: true}),
			operation[GetEndpointActivityRequest, GetEndpointActivityResponse]("GetEndpointActivity",
				shapes.Member{Name: "EndpointName", Shape: &endpointName, Required: true}),
			operation[GetEndpointAdviceRequest, GetEndpointAdviceResponse]("GetEndpointAdvice",
				shapes.Member{Name: "EndpointName", Shape: &endpointName, Required: true}, shapes.Member{Name: "Days", Shape: &days},
				shapes.Member{Name: "RequestsPerMonth", Shape: &perMonth}, shapes.Member{Name: "LatencyMilliseconds", Shape: &latency},
				shapes.Member{Name: "MemoryInMB", Shape: &megabytes}, shapes.Member{Name: "PayloadBytes", Shape: &payload}, shapes.Member{Name: "Curve", Shape: &flag}),
			operation[GetSpotOffersRequest, GetSpotOffersResponse]("GetSpotOffers", shapes.Member{Name: "InstanceTypes", Shape: &types}),
			operation[GetTrainingJobAttemptsRequest, GetTrainingJobAttemptsResponse]("GetTrainingJobAttempts",
				shapes.Member{Name: "TrainingJobName", Shape: &name, Required: true}),
			operation[InterruptTrainingJobRequest, InterruptTrainingJobResponse]("InterruptTrainingJob",
				shapes.Member{Name: "TrainingJobName", Shape: &name, Required: true},
				shapes.Member{Name: "NoticeSeconds", Shape: &seconds}, shapes.Member{Name: "Reason", Shape: &text}),
		},
	}
)

// operation describes an operation; the members are those of In, in its order.
func operation[In, Out any](name string, members ...shapes.Member) shapes.Operation {
	return shapes.Operation{
		Name:  name,
		Input: &shapes.Shape{Name: name + "Request", Kind: shapes.KindStructure, Members: members}, NewInput: func() any { return new(In) },
		Output: &shapes.Shape{Name: name + "Response", Kind: shapes.KindStructure}, NewOutput: func() any { return new(Out) },
	}
}

// New makes the service.
func New(config Config) *api.Service {
	s := &service{config}
	return &api.Service{
		Model: &model,
		Operations: map[string]api.Operation{
			"GetCost": {
				Action:    "stint:GetCost",
				Resources: api.On(func(_ *api.Call, in *GetCostRequest) platform.ARN { return platform.ARN(*in.ResourceArn) }),
				Handle: api.Handle(func(ctx context.Context, call *api.Call, in *GetCostRequest) (*GetCostResponse, error) {
					return statement(ctx, s.Store, call, platform.ARN(*in.ResourceArn))
				}),
			},
			"GetEndpointActivity": {
				Action: "stint:GetEndpointActivity",
				Resources: api.On(func(c *api.Call, in *GetEndpointActivityRequest) platform.ARN {
					return c.Site.ARN("sagemaker", "endpoint/"+*in.EndpointName)
				}),
				Handle: api.Handle(s.activity),
			},
			"GetEndpointAdvice": {
				Action: "stint:GetEndpointAdvice",
				Resources: api.On(func(c *api.Call, in *GetEndpointAdviceRequest) platform.ARN {
					return c.Site.ARN("sagemaker", "endpoint/"+*in.EndpointName)
				}),
				Handle: api.Handle(s.advice),
			},
			"GetSpotOffers": {Action: "stint:GetSpotOffers", Handle: api.Handle(s.offers)},
			"GetTrainingJobAttempts": {
				Action: "stint:GetTrainingJobAttempts",
				Resources: api.On(func(c *api.Call, in *GetTrainingJobAttemptsRequest) platform.ARN {
					return c.Site.ARN("sagemaker", "training-job/"+*in.TrainingJobName)
				}),
				Handle: api.Handle(s.attempts),
			},
			"InterruptTrainingJob": {
				Action: "stint:InterruptTrainingJob",
				Resources: api.On(func(c *api.Call, in *InterruptTrainingJobRequest) platform.ARN {
					return c.Site.ARN("sagemaker", "training-job/"+*in.TrainingJobName)
				}),
				Handle: api.Handle(s.interrupt),
			},
		},
	}
}
