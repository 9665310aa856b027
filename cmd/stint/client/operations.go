package client

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/shapes/logs"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

var (
	toSageMaker = target{sagemaker.Service.SigningName, sagemaker.Service.TargetPrefix}
	toLogs      = target{logs.Service.SigningName, logs.Service.TargetPrefix}
	toStint     = target{"stint", "Stint"}
)

// CreateTrainingJob asks for a job.
func (c *Client) CreateTrainingJob(ctx context.Context, in *sagemaker.CreateTrainingJobRequest) error {
	return c.call(ctx, toSageMaker, "CreateTrainingJob", in, nil)
}

// DescribeTrainingJob shows one job.
func (c *Client) DescribeTrainingJob(ctx context.Context, name string) (*sagemaker.DescribeTrainingJobResponse, error) {
	out := new(sagemaker.DescribeTrainingJobResponse)
	return out, c.call(ctx, toSageMaker, "DescribeTrainingJob", &sagemaker.DescribeTrainingJobRequest{TrainingJobName: &name}, out)
}

// ListTrainingJobs gives one page of jobs.
func (c *Client) ListTrainingJobs(ctx context.Context, in *sagemaker.ListTrainingJobsRequest) (*sagemaker.ListTrainingJobsResponse, error) {
	out := new(sagemaker.ListTrainingJobsResponse)
	return out, c.call(ctx, toSageMaker, "ListTrainingJobs", in, out)
}

// StopTrainingJob asks a job to stop.
func (c *Client) StopTrainingJob(ctx context.Context, name string) error {
	return c.call(ctx, toSageMaker, "StopTrainingJob", &sagemaker.StopTrainingJobRequest{TrainingJobName: &name}, nil)
}

// DeleteTrainingJob forgets a job that has ended.
func (c *Client) DeleteTrainingJob(ctx context.Context, name string) error {
	return c.call(ctx, toSageMaker, "DeleteTrainingJob", &sagemaker.DeleteTrainingJobRequest{TrainingJobName: &name}, nil)
}

// DescribeLogStreams gives one page of the streams of a group.
func (c *Client) DescribeLogStreams(ctx context.Context, in *logs.DescribeLogStreamsRequest) (*logs.DescribeLogStreamsResponse, error) {
	out := new(logs.DescribeLogStreamsResponse)
	return out, c.call(ctx, toLogs, "DescribeLogStreams", in, out)
}

// GetLogEvents gives one page of a stream.
func (c *Client) GetLogEvents(ctx context.Context, in *logs.GetLogEventsRequest) (*logs.GetLogEventsResponse, error) {
	out := new(logs.GetLogEventsResponse)
	return out, c.call(ctx, toLogs, "GetLogEvents", in, out)
}

// Cost gives the bill of a training job.
func (c *Client) Cost(ctx context.Context, job string) (*stint.GetCostResponse, error) {
	return c.CostOf(ctx, c.Site.ARN("sagemaker", "training-job/"+job))
}

// Attempts tells of each launch of a training job.
func (c *Client) Attempts(ctx context.Context, job string) (*stint.GetTrainingJobAttemptsResponse, error) {
	out := new(stint.GetTrainingJobAttemptsResponse)
	return out, c.call(ctx, toStint, "GetTrainingJobAttempts", &stint.GetTrainingJobAttemptsRequest{TrainingJobName: &job}, out)
}

// InterruptTrainingJob gives notice to a managed spot job that runs on spot; nil leaves notice and reason to the server.
func (c *Client) InterruptTrainingJob(ctx context.Context, in *stint.InterruptTrainingJobRequest) (*stint.InterruptTrainingJobResponse, error) {
	out := new(stint.InterruptTrainingJobResponse)
	return out, c.call(ctx, toStint, "InterruptTrainingJob", in, out)
}

// SpotOffers tells what spot capacity is offered of the types named, or of all.
func (c *Client) SpotOffers(ctx context.Context, types ...string) (*stint.GetSpotOffersResponse, error) {
	out := new(stint.GetSpotOffersResponse)
	return out, c.call(ctx, toStint, "GetSpotOffers", &stint.GetSpotOffersRequest{InstanceTypes: types}, out)
}

// EnsureBucket makes a bucket unless the caller has it.
func (c *Client) EnsureBucket(ctx context.Context, bucket string) error {
	body := ""
	if c.Site.Region != "us-east-1" { // which S3 wants not to be named
		body = `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>` +
			c.Site.Region + `</LocationConstraint></CreateBucketConfiguration>`
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, c.S3+"/"+bucket, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("make the bucket %s: %w", bucket, err)
	}
	a, err := c.send(r, "s3", c.S3)
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		return nil
	}
	said := struct{ Code, Message string }{}
	if err := xml.Unmarshal(a.body, &said); err != nil {
		said.Message = fmt.Sprintf("the server answered with HTTP status %d: %.200s", a.status, a.body)
	}
	if said.Code == "BucketAlreadyOwnedByYou" {
		return nil
	}
	return &APIError{Operation: "CreateBucket", Status: a.status, Code: said.Code, Message: fmt.Sprintf("the bucket %s cannot be made: %s", bucket, said.Message)}
}
