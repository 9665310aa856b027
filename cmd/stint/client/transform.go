package client

import (
	"context"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// CreateTransformJob asks for a batch transform job.
func (c *Client) CreateTransformJob(ctx context.Context, in *sagemaker.CreateTransformJobRequest) error {
	return c.call(ctx, toSageMaker, "CreateTransformJob", in, nil)
}

// DescribeTransformJob shows one batch transform job.
func (c *Client) DescribeTransformJob(ctx context.Context, name string) (*sagemaker.DescribeTransformJobResponse, error) {
	out := new(sagemaker.DescribeTransformJobResponse)
	return out, c.call(ctx, toSageMaker, "DescribeTransformJob", &sagemaker.DescribeTransformJobRequest{TransformJobName: &name}, out)
}

// ListTransformJobs gives one page of batch transform jobs.
func (c *Client) ListTransformJobs(ctx context.Context, in *sagemaker.ListTransformJobsRequest) (*sagemaker.ListTransformJobsResponse, error) {
	out := new(sagemaker.ListTransformJobsResponse)
	return out, c.call(ctx, toSageMaker, "ListTransformJobs", in, out)
}

// StopTransformJob asks a batch transform job to stop.
func (c *Client) StopTransformJob(ctx context.Context, name string) error {
	return c.call(ctx, toSageMaker, "StopTransformJob", &sagemaker.StopTransformJobRequest{TransformJobName: &name}, nil)
}

// TransformARN names a batch transform job of this server.
func (c *Client) TransformARN(name string) platform.ARN {
	return c.Site.ARN("sagemaker", "transform-job/"+name)
}
