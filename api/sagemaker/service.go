// Package sagemaker is the SageMaker API over the store: it checks a request, writes down what is wanted, and shows what
// became of it. It does none of the work itself and never waits for any.
package sagemaker

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// principal is the service that execution roles must trust.
const principal = "sagemaker.amazonaws.com"

// Config is what the service works with.
type Config struct {
	Store   platform.Store
	Catalog platform.Catalog
	// RequireCheckpoints refuses managed spot jobs that may wait for more than an hour and keep no checkpoints; else they are
	// warned.
	RequireCheckpoints bool
}

type service struct{ Config }

// New makes the service.
func New(config Config) *api.Service {
	s := &service{config}
	made := &api.Service{
		Model: &sagemaker.Service,
		Words: api.JSONWords,
		Operations: map[string]api.Operation{
			"CreateTrainingJob": {
				Action: "sagemaker:CreateTrainingJob",
				Resources: api.On(func(c *api.Call, in *sagemaker.CreateTrainingJobRequest) platform.ARN {
					return jobARN(c, in.TrainingJobName)
				}),
				Handle: api.Handle(s.createTrainingJob),
			},
			"DescribeTrainingJob": {
				Action: "sagemaker:DescribeTrainingJob",
				Resources: api.On(func(c *api.Call, in *sagemaker.DescribeTrainingJobRequest) platform.ARN {
					return jobARN(c, in.TrainingJobName)
				}),
				Handle: api.Handle(s.describeTrainingJob),
			},
			"ListTrainingJobs": {Action: "sagemaker:ListTrainingJobs", Handle: api.Handle(s.listTrainingJobs)},
			"StopTrainingJob": {
				Action: "sagemaker:StopTrainingJob",
				Resources: api.On(func(c *api.Call, in *sagemaker.StopTrainingJobRequest) platform.ARN {
					return jobARN(c, in.TrainingJobName)
				}),
				Handle: api.HandleVoid(s.stopTrainingJob),
			},
			"DeleteTrainingJob": {
				Action: "sagemaker:DeleteTrainingJob",
				Resources: api.On(func(c *api.Call, in *sagemaker.DeleteTrainingJobRequest) platform.ARN {
					return jobARN(c, in.TrainingJobName)
				}),
				Handle: api.HandleVoid(s.deleteTrainingJob),
			},
			"AddTags": {
				Action:    "sagemaker:AddTags",
				Resources: api.On(func(_ *api.Call, in *sagemaker.AddTagsInput) platform.ARN { return platform.ARN(*in.ResourceArn) }),
				Handle:    api.Handle(s.addTags),
			},
			"ListTags": {
				Action:    "sagemaker:ListTags",
				Resources: api.On(func(_ *api.Call, in *sagemaker.ListTagsInput) platform.ARN { return platform.ARN(*in.ResourceArn) }),
				Handle:    api.Handle(s.listTags),
			},
			"DeleteTags": {
				Action:    "sagemaker:DeleteTags",
				Resources: api.On(func(_ *api.Call, in *sagemaker.DeleteTagsInput) platform.ARN { return platform.ARN(*in.ResourceArn) }),
				Handle:    api.Handle(s.deleteTags),
			},
		},
	}
	maps.Copy(made.Operations, s.inference())
	maps.Copy(made.Operations, s.transforms())
	return made
}

// jobARN names a training job of this site.
func jobARN(c *api.Call, name *string) platform.ARN {
	return c.Site.ARN("sagemaker", "training-job/"+*name)
}

// taggable are the kinds of resources that carry tags. An ARN names its resource's type by the same word.
var taggable = []platform.Kind{
	platform.KindTrainingJob, platform.KindModel, platform.KindEndpointConfig, platform.KindEndpoint, platform.KindTransformJob,
}

// tagged finds the record behind the ARN of a resource that carries tags.
func (s *service) tagged(ctx context.Context, call *api.Call, arn string) (platform.Record, error) {
	_, service, region, account, resource, ok := platform.ARN(arn).Split()
	if !ok || service != "sagemaker" || region != call.Site.Region || account != call.Site.Account {
		return platform.Record{}, invalid("The ARN %s does not name a resource of this account and region", arn)
	}
	kind, name, _ := strings.Cut(resource, "/")
	if !slices.Contains(taggable, platform.Kind(kind)) {
		return platform.Record{}, unsupported("Tagging a resource of type "+kind, "")
	}
	rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.Kind(kind), Name: name})
	if platform.Is(err, platform.NotFound) {
		return rec, notFound(arn)
	}
	return rec, err
}

// notFound is AWS's answer for a resource that does not exist.
func notFound(resource string) error {
	return platform.Errorf(platform.NotFound, resource, "Requested resource not found.")
}

// retag changes the tags of a resource; f is called again when somebody else changed the record in between.
func (s *service) retag(ctx context.Context, call *api.Call, arn string, f func(map[string]string) (map[string]string, error)) (map[string]string, error) {
	for {
		rec, err := s.tagged(ctx, call, arn)
		if err != nil {
			return nil, err
		}
		if rec.Tags, err = f(rec.Tags); err != nil {
			return nil, err
		}
		rec.Modified = call.Now
		err = s.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
		if !platform.Is(err, platform.Conflict) {
			return rec.Tags, err
		}
	}
}

func (s *service) addTags(ctx context.Context, call *api.Call, in *sagemaker.AddTagsInput) (*sagemaker.AddTagsOutput, error) {
	tags, err := s.retag(ctx, call, *in.ResourceArn, func(have map[string]string) (map[string]string, error) {
		for _, t := range in.Tags {
			if value, has := have[*t.Key]; steers(*t.Key) && (!has || value != *t.Value) {
				return nil, settled(*t.Key)
			}
		}
		return mergeTags(have, in.Tags)
	})
	if err != nil {
		return nil, err
	}
	return &sagemaker.AddTagsOutput{Tags: tagList(tags)}, nil
}

func (s *service) deleteTags(ctx context.Context, call *api.Call, in *sagemaker.DeleteTagsInput) (*sagemaker.DeleteTagsOutput, error) {
	_, err := s.retag(ctx, call, *in.ResourceArn, func(have map[string]string) (map[string]string, error) {
		left, err := mergeTags(have, nil)
		for _, k := range in.TagKeys {
			if _, has := left[k]; has && steers(k) {
				return nil, settled(k)
			}
			delete(left, k)
		}
		return left, err
	})
	return &sagemaker.DeleteTagsOutput{}, err
}

func (s *service) listTags(ctx context.Context, call *api.Call, in *sagemaker.ListTagsInput) (*sagemaker.ListTagsOutput, error) {
	rec, err := s.tagged(ctx, call, *in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return &sagemaker.ListTagsOutput{Tags: tagList(rec.Tags)}, nil // 50 at most: always one page
}
