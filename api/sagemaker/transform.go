package sagemaker

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/records"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Batch transform. A job takes its model as it is when it is created; what becomes of the model later does not touch it.

// AWS's limits that the service model does not state.
const (
	maxPayloadMB          = 100
	maxTransformInstances = 100
)

func transformARN(c *api.Call, name *string) platform.ARN {
	return c.Site.ARN("sagemaker", "transform-job/"+*name)
}

// transforms are the operations on batch transform jobs.
func (s *service) transforms() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateTransformJob":   on("CreateTransformJob", transformARN, func(in *sagemaker.CreateTransformJobRequest) *string { return in.TransformJobName }, api.Handle(s.createTransformJob)),
		"DescribeTransformJob": on("DescribeTransformJob", transformARN, func(in *sagemaker.DescribeTransformJobRequest) *string { return in.TransformJobName }, api.Handle(s.describeTransformJob)),
		"StopTransformJob":     on("StopTransformJob", transformARN, func(in *sagemaker.StopTransformJobRequest) *string { return in.TransformJobName }, api.HandleVoid(s.stopTransformJob)),
		"ListTransformJobs":    {Action: "sagemaker:ListTransformJobs", Handle: api.Handle(s.listTransformJobs)},
	}
}

func (s *service) createTransformJob(ctx context.Context, call *api.Call, in *sagemaker.CreateTransformJobRequest) (*sagemaker.CreateTransformJobResponse, error) {
	// 1. What the constraints of the model do not say.
	if err := checkTransform(in); err != nil {
		return nil, err
	}
	instance, err := s.instance("transformResources.instanceType", string(*in.TransformResources.InstanceType))
	if err != nil {
		return nil, err
	}
	m, _, err := find[platform.Model](ctx, s, platform.KindModel, "model", *in.ModelName, modelARN(call, in.ModelName))
	if err != nil {
		return nil, err
	}
	containers := containersOf(&m.Spec)
	switch {
	case platform.OfMany(&containers.Container):
		return nil, invalid("Batch transform needs a model of one; the container of %q has Mode MultiModel", *in.ModelName)
	case containers.Direct:
		return nil, invalid("Batch transform cannot name the container that a request is for; the model %q has InferenceExecutionConfig Mode Direct", *in.ModelName)
	}
	// 2. Write down what is wanted.
	arn := transformARN(call, in.TransformJobName)
	job := &platform.TransformJob{Spec: *in, Status: platform.TransformStatus{
		Origin:          platform.Origin{ARN: arn, Creator: call.Principal.ARN, Created: call.Now},
		Warnings:        transformNotes(in),
		ModelContainers: containers, Role: platform.ARN(*m.Spec.ExecutionRoleArn), Need: instance.Capacity(), Rate: instance.OnDemand,
		Shares: make([]platform.TransformShare, *in.TransformResources.InstanceCount),
	}}
	job.Spec.Tags = nil // they live with the record
	if err := job.Status.Enter(platform.JobInProgress, call.Now); err != nil {
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
		return nil, platform.Errorf(platform.InUse, string(arn), "Job name must be unique within an AWS account and region, and a job with this name already exists (%s)", arn)
	}
	if err != nil {
		return nil, err
	}
	return &sagemaker.CreateTransformJobResponse{TransformJobArn: ptr(string(arn))}, nil
}

// checkTransform applies the rules that the service model's constraints do not state. The first one broken is the answer.
func checkTransform(in *sagemaker.CreateTransformJobRequest) error {
	for _, check := range []func(*sagemaker.CreateTransformJobRequest) error{
		checkTransformPlaces, checkTransformLimits, checkBatches, checkDataProcessing,
	} {
		if err := check(in); err != nil {
			return err
		}
	}
	_, err := mergeTags(nil, in.Tags)
	return err
}

func checkTransformPlaces(in *sagemaker.CreateTransformJobRequest) error {
	source := in.TransformInput.DataSource.S3DataSource
	if *source.S3DataType == sagemaker.S3DataTypeAugmentedManifestFile {
		return invalid("S3DataType AugmentedManifestFile is not supported by batch transform; use S3Prefix or ManifestFile")
	}
	if _, key, err := platform.URI(*source.S3Uri).Split(); err != nil {
		return invalid("TransformInput.DataSource.S3DataSource.S3Uri: %s", err.Error())
	} else if key == "" && *source.S3DataType == sagemaker.S3DataTypeManifestFile {
		return invalid("TransformInput.DataSource.S3DataSource.S3Uri: %q is a bucket, not a manifest", *source.S3Uri)
	}
	if _, _, err := platform.URI(*in.TransformOutput.S3OutputPath).Split(); err != nil {
		return invalid("TransformOutput.S3OutputPath: %s", err.Error())
	}
	if c := in.DataCaptureConfig; c != nil {
		return unsupported("DataCaptureConfig of a transform job", "use JoinSource to keep inputs beside outputs")
	}
	return nil
}

func checkTransformLimits(in *sagemaker.CreateTransformJobRequest) error {
	payload, concurrent := shapes.Value(in.MaxPayloadInMB), shapes.Value(in.MaxConcurrentTransforms)
	switch {
	case payload > maxPayloadMB:
		return invalid("MaxPayloadInMB must not be greater than %d; got %d", maxPayloadMB, payload)
	case int64(payload)*int64(concurrent) > maxPayloadMB:
		return invalid("MaxConcurrentTransforms * MaxPayloadInMB must not be greater than %d; got %d * %d", maxPayloadMB, concurrent, payload)
	case *in.TransformResources.InstanceCount > maxTransformInstances:
		return platform.Errorf(platform.LimitExceeded, "", "TransformResources.InstanceCount must not be greater than %d; got %d", maxTransformInstances, *in.TransformResources.InstanceCount)
	}
	return nil
}

func checkBatches(in *sagemaker.CreateTransformJobRequest) error {
	split := cmp.Or(shapes.Value(in.TransformInput.SplitType), sagemaker.SplitTypeNone)
	if in.BatchStrategy != nil && *in.BatchStrategy == sagemaker.BatchStrategyMultiRecord && split == sagemaker.SplitTypeNone && in.MaxPayloadInMB != nil && *in.MaxPayloadInMB == 0 {
		return invalid("BatchStrategy MultiRecord needs a SplitType other than None, or a MaxPayloadInMB")
	}
	return nil
}

// checkDataProcessing refuses filters and joins of what they cannot read.
func checkDataProcessing(in *sagemaker.CreateTransformJobRequest) error {
	if _, err := records.New(in); err != nil {
		return invalid("%s", err.Error())
	}
	return nil
}

// transformNotes tells the user what of the request has no effect on this platform.
func transformNotes(in *sagemaker.CreateTransformJobRequest) []string {
	var ignored []string
	for _, c := range []struct {
		asked bool
		what  string
	}{
		{set(in.TransformOutput.KmsKeyId) && *in.TransformOutput.KmsKeyId != "", "TransformOutput.KmsKeyId"},
		{set(in.TransformResources.VolumeKmsKeyId), "TransformResources.VolumeKmsKeyId"},
		{set(in.TransformResources.TransformAmiVersion), "TransformResources.TransformAmiVersion"},
		{set(in.ExperimentConfig), "ExperimentConfig"},
	} {
		if c.asked {
			ignored = append(ignored, c.what)
		}
	}
	if len(ignored) == 0 {
		return nil
	}
	return []string{"this server accepts and does not use " + strings.Join(ignored, ", ")}
}

// transform finds a job by its name.
func (s *service) transform(ctx context.Context, name *string) (*platform.TransformJob, platform.Record, error) {
	rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindTransformJob, Name: *name})
	if platform.Is(err, platform.NotFound) {
		return nil, rec, invalid("Could not find requested job with name: %s", *name)
	}
	if err != nil {
		return nil, rec, err
	}
	job, err := platform.ReadTransformJob(rec)
	return job, rec, err
}

func (s *service) describeTransformJob(ctx context.Context, _ *api.Call, in *sagemaker.DescribeTransformJobRequest) (*sagemaker.DescribeTransformJobResponse, error) {
	job, _, err := s.transform(ctx, in.TransformJobName)
	if err != nil {
		return nil, err
	}
	spec, st := &job.Spec, &job.Status
	out := &sagemaker.DescribeTransformJobResponse{
		TransformJobName: spec.TransformJobName, TransformJobArn: ptr(string(st.ARN)), TransformJobStatus: ptr(sagemaker.TransformJobStatus(st.State)),
		ModelName: spec.ModelName, MaxConcurrentTransforms: spec.MaxConcurrentTransforms, ModelClientConfig: spec.ModelClientConfig,
		MaxPayloadInMB: spec.MaxPayloadInMB, BatchStrategy: spec.BatchStrategy, Environment: spec.Environment,
		TransformInput: inputShown(*spec.TransformInput), TransformOutput: outputShown(*spec.TransformOutput), TransformResources: spec.TransformResources,
		CreationTime: shapes.NewTimestamp(st.Created), TransformStartTime: moment(st.Started), TransformEndTime: moment(endShown(st)),
		DataProcessing: processingShown(spec.DataProcessing), ExperimentConfig: spec.ExperimentConfig,
	}
	if st.FailureReason != "" {
		out.FailureReason = &st.FailureReason
	}
	return out, nil
}

// inputShown has the defaults that AWS's Describe shows; so have the next two.
func inputShown(in sagemaker.TransformInput) *sagemaker.TransformInput {
	in.CompressionType = ptr(cmp.Or(shapes.Value(in.CompressionType), sagemaker.CompressionTypeNone))
	in.SplitType = ptr(cmp.Or(shapes.Value(in.SplitType), sagemaker.SplitTypeNone))
	return &in
}

func outputShown(out sagemaker.TransformOutput) *sagemaker.TransformOutput {
	out.AssembleWith = ptr(cmp.Or(shapes.Value(out.AssembleWith), sagemaker.AssemblyTypeNone))
	if out.KmsKeyId == nil {
		out.KmsKeyId = ptr("")
	}
	return &out
}

func processingShown(p *sagemaker.DataProcessing) *sagemaker.DataProcessing {
	var shown sagemaker.DataProcessing
	if p != nil {
		shown = *p
	}
	shown.InputFilter, shown.OutputFilter = ptr(cmp.Or(shapes.Value(shown.InputFilter), "$")), ptr(cmp.Or(shapes.Value(shown.OutputFilter), "$"))
	shown.JoinSource = ptr(cmp.Or(shapes.Value(shown.JoinSource), sagemaker.JoinSourceNone))
	return &shown
}

// endShown is TransformEndTime, which comes with the final state.
func endShown(st *platform.TransformStatus) (end time.Time) {
	if st.State.Ended() {
		end = st.Ended
	}
	return end
}

// stopTransformJob writes the wish down; stopping a job that is stopping already is fine.
func (s *service) stopTransformJob(ctx context.Context, call *api.Call, in *sagemaker.StopTransformJobRequest) error {
	for {
		job, rec, err := s.transform(ctx, in.TransformJobName)
		if err != nil {
			return err
		}
		switch {
		case job.Status.State.Ended():
			return invalid("The request was rejected because the transform job is in status %s.", job.Status.State)
		case job.Status.State == platform.JobStopping:
			return nil
		}
		if err := job.Status.Enter(platform.JobStopping, call.Now); err != nil {
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

func (s *service) listTransformJobs(ctx context.Context, call *api.Call, in *sagemaker.ListTransformJobsRequest) (*sagemaker.ListTransformJobsResponse, error) {
	q := platform.Query{
		Kind: platform.KindTransformJob, NameContains: shapes.Value(in.NameContains), Token: shapes.Value(in.NextToken),
		CreatedAfter: at(in.CreationTimeAfter), CreatedBefore: at(in.CreationTimeBefore),
		ModifiedAfter: at(in.LastModifiedTimeAfter), ModifiedBefore: at(in.LastModifiedTimeBefore),
	}
	if in.StatusEquals != nil {
		q.States = []string{string(*in.StatusEquals)}
	}
	page, err := s.page(ctx, q, string(shapes.Value(in.SortBy)), string(shapes.Value(in.SortOrder)), in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sagemaker.ListTransformJobsResponse{TransformJobSummaries: []sagemaker.TransformJobSummary{}, NextToken: next(page)}
	for _, r := range page.Records {
		job, err := platform.ReadTransformJob(r)
		if err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
		st := &job.Status
		summary := sagemaker.TransformJobSummary{
			TransformJobName: ptr(r.Name), TransformJobArn: ptr(string(transformARN(call, &r.Name))), TransformJobStatus: ptr(sagemaker.TransformJobStatus(r.State)),
			CreationTime: shapes.NewTimestamp(r.Created), LastModifiedTime: shapes.NewTimestamp(r.Modified), TransformEndTime: moment(endShown(st)),
		}
		if st.FailureReason != "" {
			summary.FailureReason = &st.FailureReason
		}
		out.TransformJobSummaries = append(out.TransformJobSummaries, summary)
	}
	return out, nil
}
