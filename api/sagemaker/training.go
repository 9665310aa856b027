package sagemaker

import (
	"context"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// defaultPage is how many jobs a list gives when the caller does not say.
const defaultPage = 10

func (s *service) createTrainingJob(ctx context.Context, call *api.Call, in *sagemaker.CreateTrainingJobRequest) (*sagemaker.CreateTrainingJobResponse, error) {
	// 1. What the constraints of the model do not say.
	if err := checkRequest(in); err != nil {
		return nil, err
	}
	terms, err := readTerms(in, call.Now)
	if err != nil {
		return nil, err
	}
	warnings := append(notes(in), terms.warnings...)
	if risk := unsaved(in); risk != "" {
		if s.RequireCheckpoints {
			return nil, invalid("%s. This server requires it (--spot-require-checkpoints)", risk)
		}
		warnings = append(warnings, risk)
	}
	instance, err := s.instance("resourceConfig.instanceType", string(*in.ResourceConfig.InstanceType))
	if err != nil {
		return nil, err
	}
	if err := call.PassRole(ctx, platform.ARN(*in.RoleArn), principal); err != nil {
		return nil, err
	}
	// 2. Write down what is wanted.
	arn := jobARN(call, in.TrainingJobName)
	job := &platform.TrainingJob{Spec: *in, Status: platform.TrainingStatus{
		ARN: arn, Creator: call.Principal.ARN, Created: call.Now, Warnings: warnings,
		Need: instance.Capacity(), Rate: instance.OnDemand, Fallback: terms.fallback, Deadline: terms.deadline,
	}}
	job.Spec.Tags = nil // they live with the record, where they can be changed
	if err := job.Status.Enter(platform.JobStarting, call.Now, "Starting the training job"); err != nil {
		return nil, err
	}
	rec, err := job.Record(platform.Record{}, call.Now)
	if err != nil {
		return nil, err
	}
	if rec.Tags, err = mergeTags(nil, in.Tags); err != nil {
		return nil, err
	}
	err = s.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
	if platform.Is(err, platform.AlreadyExists) {
		return nil, platform.Errorf(platform.InUse, string(arn), "Training job names must be unique within an AWS account and region, and a training job with this name already exists (%s)", arn)
	}
	if err != nil {
		return nil, err
	}
	return &sagemaker.CreateTrainingJobResponse{TrainingJobArn: ptr(string(arn))}, nil
}

// instance finds a type in this installation's catalogue; the refusal is the service model's, with our list. path is
// where the request names it.
func (s *service) instance(path, name string) (platform.Instance, error) {
	i, err := s.Catalog.Lookup(platform.InstanceType(name))
	if err == nil {
		return i, nil
	}
	return i, &shapes.ValidationError{Violations: []shapes.Violation{{
		Path: path, Value: name,
		Constraint: "Member must satisfy enum value set: [" + strings.Join(s.Catalog.Types(), ", ") + "]",
	}}}
}

// read finds a job by its name.
func (s *service) read(ctx context.Context, name string) (platform.Record, *platform.TrainingJob, error) {
	rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindTrainingJob, Name: name})
	if platform.Is(err, platform.NotFound) {
		return rec, nil, notFound(name)
	}
	if err != nil {
		return rec, nil, err
	}
	job, err := platform.ReadTrainingJob(rec)
	return rec, job, err
}

func (s *service) describeTrainingJob(ctx context.Context, _ *api.Call, in *sagemaker.DescribeTrainingJobRequest) (*sagemaker.DescribeTrainingJobResponse, error) {
	rec, job, err := s.read(ctx, *in.TrainingJobName)
	if err != nil {
		return nil, err
	}
	return describe(job, rec.Modified), nil
}

// stopTrainingJob writes the wish down; stopping a job that is stopping already is fine.
func (s *service) stopTrainingJob(ctx context.Context, call *api.Call, in *sagemaker.StopTrainingJobRequest) error {
	for {
		rec, job, err := s.read(ctx, *in.TrainingJobName)
		if err != nil {
			return err
		}
		if job.Status.State.Ended() {
			return invalid("The request was rejected because the training job is in status %s.", job.Status.State)
		}
		if job.Status.StopRequested {
			return nil
		}
		job.Status.StopRequested = true
		if err := job.Status.Enter(platform.JobPhaseStopping, call.Now, "Stopping the training job"); err != nil {
			return err
		}
		if rec, err = job.Record(rec, call.Now); err != nil {
			return err
		}
		err = s.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
		if !platform.Is(err, platform.Conflict) {
			return err
		}
	}
}

// deleteTrainingJob forgets an ended job. Its ledger lines, logs and artifacts stay.
func (s *service) deleteTrainingJob(ctx context.Context, _ *api.Call, in *sagemaker.DeleteTrainingJobRequest) error {
	rec, job, err := s.read(ctx, *in.TrainingJobName)
	if err != nil {
		return err
	}
	if !job.Status.State.Ended() {
		return platform.Errorf(platform.InUse, rec.Name, "Training job %s is in status %s; stop it or wait until it has ended before you delete it", rec.Name, job.Status.State)
	}
	return s.Store.Commit(ctx, platform.Tx{Deletes: []platform.Delete{{Key: rec.Key, Revision: rec.Revision}}})
}

// sorts maps the API's words to the store's.
var sorts = map[sagemaker.SortBy]platform.Sort{
	sagemaker.SortByName: platform.ByName, sagemaker.SortByCreationTime: platform.ByCreated, sagemaker.SortByStatus: platform.ByState,
}

func (s *service) listTrainingJobs(ctx context.Context, _ *api.Call, in *sagemaker.ListTrainingJobsRequest) (*sagemaker.ListTrainingJobsResponse, error) {
	out := &sagemaker.ListTrainingJobsResponse{TrainingJobSummaries: []sagemaker.TrainingJobSummary{}}
	if in.WarmPoolStatusEquals != nil || in.TrainingPlanArnEquals != nil {
		return out, nil // no job of this server has a warm pool or a training plan
	}
	page, err := s.Store.List(ctx, listQuery(in))
	if err != nil {
		return nil, err
	}
	for _, rec := range page.Records {
		job, err := platform.ReadTrainingJob(rec)
		if err != nil {
			return nil, err
		}
		out.TrainingJobSummaries = append(out.TrainingJobSummaries, summarize(job, rec.Modified))
	}
	if page.Next != "" {
		out.NextToken = &page.Next
	}
	return out, nil
}

// listQuery translates the filters, the order and the page.
func listQuery(in *sagemaker.ListTrainingJobsRequest) platform.Query {
	q := platform.Query{
		Kind: platform.KindTrainingJob, Sort: platform.ByCreated, Limit: defaultPage,
		CreatedAfter: at(in.CreationTimeAfter), CreatedBefore: at(in.CreationTimeBefore),
		ModifiedAfter: at(in.LastModifiedTimeAfter), ModifiedBefore: at(in.LastModifiedTimeBefore),
	}
	if in.NameContains != nil {
		q.NameContains = *in.NameContains
	}
	if in.StatusEquals != nil {
		q.States = []string{string(*in.StatusEquals)}
	}
	if in.SortBy != nil {
		q.Sort = sorts[*in.SortBy]
	}
	q.Descending = in.SortOrder != nil && *in.SortOrder == sagemaker.SortOrderDescending
	if in.MaxResults != nil {
		q.Limit = int(*in.MaxResults)
	}
	if in.NextToken != nil {
		q.Token = *in.NextToken
	}
	return q
}
