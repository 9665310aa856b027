package sagemaker

import (
	"context"
	"encoding/json"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// What inference is made of: models and endpoint configurations, which are only written down. AWS words their errors alike,
// and calls all of them validation errors, those of names that do not exist among them.

// missing is AWS's answer for a resource of inference that does not exist.
func missing(what string, arn platform.ARN) error {
	return invalid("Could not find %s %q.", what, arn)
}

// taken is AWS's answer for a name that is in use.
func taken(what string, arn platform.ARN) error {
	return invalid("Cannot create already existing %s %q.", what, arn)
}

func modelARN(c *api.Call, name *string) platform.ARN {
	return c.Site.ARN("sagemaker", "model/"+*name)
}

func configARN(c *api.Call, name *string) platform.ARN {
	return c.Site.ARN("sagemaker", "endpoint-config/"+*name)
}

func endpointARN(c *api.Call, name *string) platform.ARN {
	return c.Site.ARN("sagemaker", "endpoint/"+*name)
}

func (s *service) createModel(ctx context.Context, call *api.Call, in *sagemaker.CreateModelInput) (*sagemaker.CreateModelOutput, error) {
	if err := checkModel(in); err != nil {
		return nil, err
	}
	if err := call.PassRole(ctx, platform.ARN(*in.ExecutionRoleArn), principal); err != nil {
		return nil, err
	}
	model := platform.Model{Spec: *in, Origin: platform.Origin{ARN: modelARN(call, in.ModelName), Creator: call.Principal.ARN, Created: call.Now}}
	model.Spec.Tags = nil // they live with the record
	if err := s.keep(ctx, call, platform.Key{Kind: platform.KindModel, Name: *in.ModelName}, model, in.Tags); err != nil {
		return nil, orTaken(err, "model", model.ARN)
	}
	return &sagemaker.CreateModelOutput{ModelArn: ptr(string(model.ARN))}, nil
}

// keep writes a new resource down.
func (s *service) keep(ctx context.Context, call *api.Call, key platform.Key, resource any, tags []sagemaker.Tag) error {
	doc, err := json.Marshal(resource)
	if err != nil {
		return platform.Errorf(platform.Internal, key.Name, "encode: %w", err)
	}
	rec := platform.Record{Key: key, Created: call.Now, Modified: call.Now, Doc: doc}
	if rec.Tags, err = mergeTags(nil, tags); err != nil {
		return err
	}
	return s.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
}

func orTaken(err error, what string, arn platform.ARN) error {
	if platform.Is(err, platform.AlreadyExists) {
		return taken(what, arn)
	}
	return err
}

// find reads a resource that is only written down.
func find[T any](ctx context.Context, s *service, kind platform.Kind, what, name string, arn platform.ARN) (*T, platform.Record, error) {
	rec, err := s.Store.Get(ctx, platform.Key{Kind: kind, Name: name})
	if platform.Is(err, platform.NotFound) {
		return nil, rec, missing(what, arn)
	}
	if err != nil {
		return nil, rec, err
	}
	out := new(T)
	if err := json.Unmarshal(rec.Doc, out); err != nil {
		return nil, rec, platform.Errorf(platform.Internal, name, "%s record: %w", what, err)
	}
	return out, rec, nil
}

// checkModel refuses what this server cannot serve.
func checkModel(in *sagemaker.CreateModelInput) error {
	if isTrue(in.EnableNetworkIsolation) {
		return unsupported("EnableNetworkIsolation", "")
	}
	if in.ExecutionRoleArn == nil {
		return invalid("You must specify ExecutionRoleArn")
	}
	return checkContainers(in)
}

func checkContainer(c *sagemaker.ContainerDefinition) error {
	switch {
	case c.ModelPackageName != nil:
		return unsupported("ModelPackageName", "name an Image and its ModelDataUrl instead")
	case c.Image == nil || *c.Image == "":
		return invalid("You must specify an Image in the container definition")
	case len(c.AdditionalModelDataSources) > 0:
		return unsupported("AdditionalModelDataSources", "")
	}
	return checkModelData(c)
}

func (s *service) describeModel(ctx context.Context, call *api.Call, in *sagemaker.DescribeModelInput) (*sagemaker.DescribeModelOutput, error) {
	m, _, err := find[platform.Model](ctx, s, platform.KindModel, "model", *in.ModelName, modelARN(call, in.ModelName))
	if err != nil {
		return nil, err
	}
	return &sagemaker.DescribeModelOutput{
		ModelName: m.Spec.ModelName, PrimaryContainer: m.Spec.PrimaryContainer, Containers: m.Spec.Containers, ExecutionRoleArn: m.Spec.ExecutionRoleArn,
		VpcConfig: m.Spec.VpcConfig, CreationTime: shapes.NewTimestamp(m.Created), ModelArn: ptr(string(m.ARN)),
		EnableNetworkIsolation: orFalse(m.Spec.EnableNetworkIsolation), InferenceExecutionConfig: m.Spec.InferenceExecutionConfig,
	}, nil
}

func (s *service) deleteModel(ctx context.Context, call *api.Call, in *sagemaker.DeleteModelInput) error {
	_, rec, err := find[platform.Model](ctx, s, platform.KindModel, "model", *in.ModelName, modelARN(call, in.ModelName))
	if err != nil {
		return err
	}
	return s.Store.Commit(ctx, platform.Tx{Deletes: []platform.Delete{{Key: rec.Key, Revision: rec.Revision}}})
}

func (s *service) listModels(ctx context.Context, call *api.Call, in *sagemaker.ListModelsInput) (*sagemaker.ListModelsOutput, error) {
	q := platform.Query{
		Kind: platform.KindModel, NameContains: shapes.Value(in.NameContains), CreatedAfter: at(in.CreationTimeAfter),
		CreatedBefore: at(in.CreationTimeBefore), Token: shapes.Value(in.NextToken),
	}
	page, err := s.page(ctx, q, string(shapes.Value(in.SortBy)), string(shapes.Value(in.SortOrder)), in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sagemaker.ListModelsOutput{Models: []sagemaker.ModelSummary{}, NextToken: next(page)}
	for _, r := range page.Records {
		out.Models = append(out.Models, sagemaker.ModelSummary{
			ModelName: ptr(r.Name), ModelArn: ptr(string(modelARN(call, &r.Name))), CreationTime: shapes.NewTimestamp(r.Created),
		})
	}
	return out, nil
}

// page reads a page of a list in the API's words: newest first unless the caller says otherwise.
func (s *service) page(ctx context.Context, q platform.Query, by, order string, limit *int32) (platform.Page, error) {
	q.Sort, q.Descending, q.Limit = platform.ByCreated, order != string(sagemaker.OrderKeyAscending), defaultPage
	if sort, ok := sorts[sagemaker.SortBy(by)]; ok {
		q.Sort = sort
	}
	if limit != nil {
		q.Limit = int(*limit)
	}
	return s.Store.List(ctx, q)
}

func next(p platform.Page) *string {
	if p.Next == "" {
		return nil
	}
	return &p.Next
}
