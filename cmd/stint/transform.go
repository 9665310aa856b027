package main

import (
	"context"
	"fmt"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/control/transform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// A name that is no training job's may be that of a batch transform job: the commands for jobs know these too.

func newTransformLog(c *client.Client, job string) *growingLog {
	return &growingLog{client: c, group: transform.LogGroup, prefix: new(job + "/"), positions: map[string]*string{}}
}

// jobOf tells the status of what a name means: a training job, or else a batch transform job, and gives its log.
func jobOf(ctx context.Context, c *client.Client, name string) (status func(context.Context) (string, error), log *growingLog, err error) {
	training := func(ctx context.Context) (string, error) {
		d, err := c.DescribeTrainingJob(ctx, name)
		return string(shapes.Value(d.TrainingJobStatus)), err
	}
	if _, err = training(ctx); !isNotFound(err) {
		return training, newJobLog(c, name), err
	}
	if _, err = c.DescribeTransformJob(ctx, name); err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) (string, error) {
		d, err := c.DescribeTransformJob(ctx, name)
		return string(shapes.Value(d.TransformJobStatus)), err
	}, newTransformLog(c, name), nil
}

// describedTransform is a batch transform job as `stint describe --json` prints it: AWS's answer, and the bill.
type describedTransform struct {
	*sagemaker.DescribeTransformJobResponse
	Cost *stint.GetCostResponse `json:"Cost,omitzero"`
}

func describeTransform(ctx context.Context, c *client.Client, name string) (*describedTransform, error) {
	job, err := c.DescribeTransformJob(ctx, name)
	if err != nil {
		return nil, err
	}
	bill, err := c.CostOf(ctx, c.TransformARN(name))
	if isNotFound(err) {
		bill, err = nil, nil
	}
	return &describedTransform{job, bill}, err
}

// stopTransform asks a batch transform job to stop.
func (a *app) stopTransform(ctx context.Context, c *client.Client, name string, wait bool) error {
	err := c.StopTransformJob(ctx, name)
	if err != nil {
		return err
	}
	job, err := describeTransform(ctx, c, name)
	for err == nil && wait && !ended(sagemaker.TrainingJobStatus(*job.TransformJobStatus)) {
		if err = sleep(ctx, pollEvery); err == nil {
			job, err = describeTransform(ctx, c, name)
		}
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(job)
	}
	status := string(*job.TransformJobStatus)
	a.print("%s  %s", name, a.onOut.status(status, status))
	return nil
}

func (a *app) printTransform(job *describedTransform) {
	p, status := a.onOut, string(*job.TransformJobStatus)
	a.print("%s", p.bold(*job.TransformJobName)+"  "+p.status(status, status))
	a.print("%s", p.dim(*job.TransformJobArn))
	if job.FailureReason != nil {
		a.print("\n%s\n%s", p.red("Why it failed"), indent(*job.FailureReason))
	}
	in, r := job.TransformInput, job.TransformResources
	a.section("Batch transform", [][2]string{
		{"model", *job.ModelName}, {"instances", fmt.Sprintf("%d × %s", *r.InstanceCount, *r.InstanceType)},
		{"input", *in.DataSource.S3DataSource.S3Uri}, {"output", *job.TransformOutput.S3OutputPath},
		{"created", moment(job.CreationTime)}, {"started", moment(job.TransformStartTime)}, {"ended", moment(job.TransformEndTime)},
	})
	a.section("Environment", sorted(job.Environment))
	if job.Cost != nil {
		a.print("")
		a.printBill("Cost", job.Cost)
	}
}
