package rig

import (
	"context"
	"fmt"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/logs"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// JobLogs is the log group of all training jobs.
const JobLogs = "/aws/sagemaker/TrainingJobs"

// ShellJob is a request for a job of the runtime "exec": one shell command, no Python, no input data. Its output goes to a bucket
// that the caller makes if the job writes anything.
func ShellJob(site platform.Site, name, command string) *sagemaker.CreateTrainingJobRequest {
	return &sagemaker.CreateTrainingJobRequest{
		TrainingJobName: &name,
		RoleArn:         new(string(site.GlobalARN("iam", "role/"+api.DefaultRole))),
		AlgorithmSpecification: &sagemaker.AlgorithmSpecification{
			TrainingImage:       new("stint/exec:latest"),
			TrainingInputMode:   new(sagemaker.TrainingInputModeFile),
			ContainerEntrypoint: []string{"/bin/sh", "-c", command},
		},
		OutputDataConfig:  &sagemaker.OutputDataConfig{S3OutputPath: new("s3://bench-output/")},
		ResourceConfig:    &sagemaker.ResourceConfig{InstanceType: new(sagemaker.TrainingInstanceTypeMlM5Large), InstanceCount: new(int32(1)), VolumeSizeInGB: new(int32(30))},
		StoppingCondition: &sagemaker.StoppingCondition{MaxRuntimeInSeconds: new(int32(86400))},
	}
}

// AwaitStatus waits until a job has a status, and gives what is known of the job then. A job that ends otherwise is an error.
func (s *Server) AwaitStatus(ctx context.Context, name string, want sagemaker.SecondaryStatus, limit time.Duration) (*sagemaker.DescribeTrainingJobResponse, error) {
	var job *sagemaker.DescribeTrainingJobResponse
	ask := Eventually
	if limit > time.Minute {
		ask = EventuallySlowly
	}
	err := ask(ctx, limit, fmt.Sprintf("%s to be %s", name, want), func() (bool, error) {
		var err error
		if job, err = s.Client.DescribeTrainingJob(ctx, name); err != nil {
			return false, err
		}
		if *job.SecondaryStatus == want {
			return true, nil
		}
		if *job.TrainingJobStatus == sagemaker.TrainingJobStatusFailed {
			return false, fmt.Errorf("job %s failed: %s", name, *job.FailureReason)
		}
		return false, nil
	})
	return job, err
}

// LogOf reads a job's log from the beginning, a page after the other, until there is no more.
func (s *Server) LogOf(ctx context.Context, job string, visit func(message string, at time.Time) error) error {
	streams, err := s.Client.DescribeLogStreams(ctx, &logs.DescribeLogStreamsRequest{LogGroupName: new(JobLogs), LogStreamNamePrefix: new(job + "/")})
	if err != nil {
		return err
	}
	if len(streams.LogStreams) != 1 {
		return fmt.Errorf("job %s has %d log streams", job, len(streams.LogStreams))
	}
	in := &logs.GetLogEventsRequest{LogGroupName: new(JobLogs), LogStreamName: streams.LogStreams[0].LogStreamName, StartFromHead: new(true)}
	for {
		page, err := s.Client.GetLogEvents(ctx, in)
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			if err := visit(*e.Message, time.UnixMilli(*e.Timestamp)); err != nil {
				return err
			}
		}
		if in.NextToken != nil && *page.NextForwardToken == *in.NextToken {
			return nil
		}
		in.NextToken = page.NextForwardToken
	}
}
