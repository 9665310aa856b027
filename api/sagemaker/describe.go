package sagemaker

import (
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// describe lays a job's status over its request.
func describe(job *platform.TrainingJob, modified time.Time) *sagemaker.DescribeTrainingJobResponse {
	spec, st := &job.Spec, &job.Status
	out := &sagemaker.DescribeTrainingJobResponse{
		TrainingJobName:                       spec.TrainingJobName,
		TrainingJobArn:                        ptr(string(st.ARN)),
		TrainingJobStatus:                     ptr(sagemaker.TrainingJobStatus(st.State)),
		SecondaryStatus:                       ptr(sagemaker.SecondaryStatus(st.Phase)),
		ModelArtifacts:                        &sagemaker.ModelArtifacts{S3ModelArtifacts: ptr(string(modelArtifacts(job)))},
		HyperParameters:                       spec.HyperParameters,
		AlgorithmSpecification:                spec.AlgorithmSpecification,
		RoleArn:                               spec.RoleArn,
		InputDataConfig:                       spec.InputDataConfig,
		OutputDataConfig:                      outputConfig(*spec.OutputDataConfig),
		ResourceConfig:                        spec.ResourceConfig,
		VpcConfig:                             spec.VpcConfig,
		StoppingCondition:                     spec.StoppingCondition,
		CreationTime:                          shapes.NewTimestamp(st.Created),
		TrainingStartTime:                     moment(st.Started),
		LastModifiedTime:                      shapes.NewTimestamp(modified),
		SecondaryStatusTransitions:            transitions(st),
		FinalMetricDataList:                   finalMetrics(st.Metrics),
		EnableNetworkIsolation:                orFalse(spec.EnableNetworkIsolation),
		EnableInterContainerTrafficEncryption: orFalse(spec.EnableInterContainerTrafficEncryption),
		EnableManagedSpotTraining:             orFalse(spec.EnableManagedSpotTraining),
		CheckpointConfig:                      spec.CheckpointConfig,
		DebugHookConfig:                       spec.DebugHookConfig,
		ExperimentConfig:                      spec.ExperimentConfig,
		TensorBoardOutputConfig:               spec.TensorBoardOutputConfig,
		ProfilerConfig:                        spec.ProfilerConfig,
		Environment:                           spec.Environment,
		RetryStrategy:                         spec.RetryStrategy,
	}
	if spec.StoppingCondition == nil {
		out.StoppingCondition = &sagemaker.StoppingCondition{MaxRuntimeInSeconds: ptr(int32(job.MaxRuntime()))}
	}
	if st.FailureReason != "" {
		out.FailureReason = &st.FailureReason
	}
	if !st.Started.IsZero() && st.State.Ended() {
		out.TrainingEndTime = shapes.NewTimestamp(st.Ended)
		if worked := st.Seconds(); worked > 0 || !job.IsSpot() { // the SDK divides by them to tell what spot has saved
			out.TrainingTimeInSeconds = ptr(int32(worked))
			out.BillableTimeInSeconds = ptr(int32(st.Billable))
		}
	}
	return out
}

// outputConfig always has a KMS key, as AWS answers: the SageMaker SDK's attach() reads it unasked.
func outputConfig(c sagemaker.OutputDataConfig) *sagemaker.OutputDataConfig {
	if c.KmsKeyId == nil {
		c.KmsKeyId = ptr("")
	}
	return &c
}

// modelArtifacts is where the model is or, while the job goes on, will be.
func modelArtifacts(job *platform.TrainingJob) platform.URI {
	if job.Status.Model != "" || job.Status.State.Ended() {
		return job.Status.Model
	}
	return platform.URI(*job.Spec.OutputDataConfig.S3OutputPath).Join(*job.Spec.TrainingJobName, "output", "model.tar.gz")
}

// transitions shows the history; what the platform has to say about the request stands with its first line.
func transitions(st *platform.TrainingStatus) []sagemaker.SecondaryStatusTransition {
	out := make([]sagemaker.SecondaryStatusTransition, len(st.Transitions))
	for i, t := range st.Transitions {
		message := t.Message
		if i == 0 && len(st.Warnings) > 0 {
			message += ". Note: " + strings.Join(st.Warnings, "; ")
		}
		out[i] = sagemaker.SecondaryStatusTransition{
			Status: ptr(sagemaker.SecondaryStatus(t.Phase)), StartTime: shapes.NewTimestamp(t.Start),
			EndTime: moment(t.End), StatusMessage: &message,
		}
	}
	return out
}

func finalMetrics(values []platform.MetricValue) []sagemaker.MetricData {
	var out []sagemaker.MetricData
	for _, m := range values {
		out = append(out, sagemaker.MetricData{MetricName: &m.Name, Value: &m.Value, Timestamp: shapes.NewTimestamp(m.At)})
	}
	return out
}

func summarize(job *platform.TrainingJob, modified time.Time) sagemaker.TrainingJobSummary {
	st := &job.Status
	out := sagemaker.TrainingJobSummary{
		TrainingJobName:   job.Spec.TrainingJobName,
		TrainingJobArn:    ptr(string(st.ARN)),
		CreationTime:      shapes.NewTimestamp(st.Created),
		LastModifiedTime:  shapes.NewTimestamp(modified),
		TrainingJobStatus: ptr(sagemaker.TrainingJobStatus(st.State)),
		SecondaryStatus:   ptr(sagemaker.SecondaryStatus(st.Phase)),
	}
	if st.State.Ended() && !st.Started.IsZero() {
		out.TrainingEndTime = shapes.NewTimestamp(st.Ended)
	}
	return out
}

// at is the zero time for a bound that was not given.
func at(t *shapes.Timestamp) (out time.Time) {
	if t != nil {
		out = t.Time
	}
	return out
}

// moment is nil for a time that has not come.
func moment(t time.Time) *shapes.Timestamp {
	if t.IsZero() {
		return nil
	}
	return shapes.NewTimestamp(t)
}

func ptr[T any](v T) *T { return &v }

func orFalse(b *bool) *bool {
	if b == nil {
		return ptr(false)
	}
	return b
}
