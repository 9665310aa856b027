package api_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/iam"
	"github.com/stint-ml/stint/api/sts"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/logs"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

func jobARN(call *api.Call, name string) platform.ARN {
	return call.Site.ARN("sagemaker", "training-job/"+name)
}

// training is a service with handlers that answer by the job's name, so that tests reach every path of the front door.
func training() *api.Service {
	return &api.Service{Model: &sagemaker.Service, Operations: map[string]api.Operation{
		"DescribeTrainingJob": {
			Action: "sagemaker:DescribeTrainingJob",
			Resources: api.On(func(c *api.Call, in *sagemaker.DescribeTrainingJobRequest) platform.ARN {
				return jobARN(c, *in.TrainingJobName)
			}),
			Handle: api.Handle(describe),
		},
		"StopTrainingJob": {
			Action: "sagemaker:StopTrainingJob",
			Resources: api.On(func(c *api.Call, in *sagemaker.StopTrainingJobRequest) platform.ARN {
				return jobARN(c, *in.TrainingJobName)
			}),
			Handle: api.HandleVoid(func(context.Context, *api.Call, *sagemaker.StopTrainingJobRequest) error { return nil }),
		},
		"ListTrainingJobs": {
			Action: "sagemaker:ListTrainingJobs",
			Handle: api.Handle(func(context.Context, *api.Call, *sagemaker.ListTrainingJobsRequest) (*sagemaker.ListTrainingJobsResponse, error) {
				return &sagemaker.ListTrainingJobsResponse{TrainingJobSummaries: []sagemaker.TrainingJobSummary{}}, nil
			}),
			Codes: map[platform.ErrorKind]string{platform.NotFound: "ValidationException"},
		},
	}}
}

func describe(_ context.Context, call *api.Call, in *sagemaker.DescribeTrainingJobRequest) (*sagemaker.DescribeTrainingJobResponse, error) {
	arn := string(jobARN(call, *in.TrainingJobName))
	switch *in.TrainingJobName {
	case "missing":
		return nil, platform.Errorf(platform.NotFound, arn, "Requested resource not found.")
	case "broken":
		return nil, errors.New("the disk at /secret/place is on fire")
	case "panics":
		panic("secret of a panic")
	}
	return &sagemaker.DescribeTrainingJobResponse{
		TrainingJobName: in.TrainingJobName, TrainingJobArn: &arn,
		CreationTime: shapes.NewTimestamp(call.Now), LastModifiedTime: shapes.NewTimestamp(call.Now),
		TrainingJobStatus: new(sagemaker.TrainingJobStatusInProgress), SecondaryStatus: new(sagemaker.SecondaryStatusTraining),
	}, nil
}

func logging() *api.Service {
	return &api.Service{Model: &logs.Service, Words: api.LogsWords, MaxBody: 10 << 20, Operations: map[string]api.Operation{
		"PutLogEvents": {Handle: api.Handle(func(_ context.Context, _ *api.Call, in *logs.PutLogEventsRequest) (*logs.PutLogEventsResponse, error) {
			return &logs.PutLogEventsResponse{NextSequenceToken: in.SequenceToken}, nil
		})},
	}}
}

func open(t testing.TB) *apitest.Door {
	t.Helper()
	return apitest.Open(t, memory.New(), services)
}

func services(d *apitest.Door) []*api.Service {
	return []*api.Service{training(), logging(), iam.New(d.Store, d.Identities, d.Random), sts.New(d.Store, d.Random)}
}

// describeBody asks for a job.
func describeBody(name string) string { return `{"TrainingJobName":"` + name + `"}` }

const describeTarget = "SageMaker.DescribeTrainingJob"
