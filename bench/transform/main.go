// Command transform measures batch transform: the records a second that a job brings from an object in the store through a
// model into another object, beside a bare client that posts the same payloads, which it has in memory, to the same model
// server with as many connections. Both run on the same machine, one after the other.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/control/transform"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/logs"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// target is the part of the bare client's rate that a job must reach.
const target = 0.9

// program is a model that answers each line with the sum of its fields.
const program = `
def model_fn(model_dir):
    return None
def input_fn(body, content_type):
    return body
def predict_fn(body, model):
    return "".join("%d\n" % sum(map(int, line.split(","))) for line in body.splitlines())
def output_fn(answer, accept):
    return answer
`

const connections = 2

func main() {
	many := flag.Int("records", 1_000_000, "`RECORDS` sent in payloads of up to 6 MB")
	single := flag.Int("single", 1_000_000, "`RECORDS` sent one by one")
	rounds := flag.Int("rounds", 3, "`ROUNDS`, job and bare client in turn")
	flag.Parse()
	rig.Measure("transform", func(ctx context.Context, work string, report *rig.Report) error {
		return run(ctx, work, report, *many, *single, *rounds)
	})
}

// bench is a run.
type bench struct {
	runtimes, work string
	stint          *rig.Server
	blobs          platform.Blobs
	report         *rig.Report
}

func run(ctx context.Context, work string, report *rig.Report, many, single, rounds int) error {
	home := filepath.Join(work, "stint")
	runtimes, err := rig.UseRuntimes(home)
	if err != nil {
		return err
	}
	stint, err := rig.StartServer(ctx, home, "--cpus", "8", "--memory", "64GiB")
	if err != nil {
		return err
	}
	defer stint.Discard()
	blobs, err := stint.Blobs()
	if err != nil {
		return err
	}
	b := &bench{runtimes, work, stint, blobs, report}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, m := range []mode{{"MultiRecord", many, false}, {"SingleRecord", single, true}} {
		if err := b.measure(ctx, m, rounds); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	report.Note("a record is a line of 8 numbers, about 20 bytes; the model adds them up, in Python, in as many workers as connections: %d", connections)
	report.Note("the job's time is from its first request to its last output's being stored, by its own log; the bare client has its payloads in memory and forgets the answers")
	return nil
}

// mode is how records are sent.
type mode struct {
	name    string
	records int
	single  bool
}

// prepare stores the model.
func (b *bench) prepare(ctx context.Context) error {
	if err := b.stint.Client.EnsureBucket(ctx, "bench"); err != nil {
		return err
	}
	archive, err := rig.Pack(map[string][]byte{"code/inference.py": []byte(program)})
	if err != nil {
		return err
	}
	if err := b.blobs.Upload(ctx, "s3://bench/model.tar.gz", bytes.NewReader(archive)); err != nil {
		return err
	}
	return b.stint.CreateModel(ctx, "sums", sagemaker.ContainerDefinition{
		Image: new("stint/python:latest"), ModelDataUrl: new("s3://bench/model.tar.gz"),
		Environment: map[string]string{"SAGEMAKER_MODEL_SERVER_WORKERS": fmt.Sprint(connections)},
	})
}

// measure lets the job and the bare client take turns.
func (b *bench) measure(ctx context.Context, m mode, rounds int) error {
	var lines strings.Builder
	for n := range m.records {
		fmt.Fprintf(&lines, "%d,1,2,3,4,5,6,7\n", n%1000)
	}
	object := lines.String()
	if err := b.blobs.Upload(ctx, platform.URI("s3://bench/in/"+m.name), strings.NewReader(object)); err != nil {
		return err
	}
	var ours, theirs rig.Durations
	for round := range rounds {
		fmt.Printf("==> %s: round %d of %d\n", m.name, round+1, rounds)
		took, err := b.job(ctx, m, round)
		if err != nil {
			return err
		}
		ours = append(ours, took)
		if took, err = b.bare(ctx, payloads(object, m.single)); err != nil {
			return err
		}
		theirs = append(theirs, took)
	}
	rate := func(d rig.Durations) float64 { return float64(m.records) / d.Percentile(50).Seconds() }
	part := rate(ours) / rate(theirs)
	held := part >= target
	b.report.Row(fmt.Sprintf("%d records, %s", m.records, m.name), "≥ 90 % of the bare client",
		fmt.Sprintf("%.0f/s, %.0f %%", rate(ours), 100*part), fmt.Sprintf("%.0f/s", rate(theirs)), &held)
	b.report.Details[m.name] = map[string]any{"job": ours.Summary(), "bare": theirs.Summary()}
	return nil
}

// job runs a transform job and gives the time from its first request to its last output.
func (b *bench) job(ctx context.Context, m mode, round int) (time.Duration, error) {
	name, strategy := fmt.Sprintf("%s-%d", strings.ToLower(m.name), round), sagemaker.BatchStrategy(m.name)
	err := b.stint.Client.CreateTransformJob(ctx, &sagemaker.CreateTransformJobRequest{
		TransformJobName: &name, ModelName: new("sums"), BatchStrategy: &strategy, MaxConcurrentTransforms: new(int32(connections)), MaxPayloadInMB: new(int32(6)),
		TransformInput: &sagemaker.TransformInput{
			ContentType: new("text/csv"), SplitType: new(sagemaker.SplitTypeLine), DataSource: &sagemaker.TransformDataSource{
				S3DataSource: &sagemaker.TransformS3DataSource{S3DataType: new(sagemaker.S3DataTypeS3Prefix), S3Uri: new("s3://bench/in/" + m.name)},
			},
		},
		TransformOutput:    &sagemaker.TransformOutput{S3OutputPath: new("s3://bench/out/" + name), AssembleWith: new(sagemaker.AssemblyTypeLine)},
		TransformResources: &sagemaker.TransformResources{InstanceType: new(sagemaker.TransformInstanceTypeMlM5Large), InstanceCount: new(int32(1))},
	})
	if err != nil {
		return 0, err
	}
	err = rig.EventuallySlowly(ctx, time.Hour, name+" to complete", func() (bool, error) {
		d, err := b.stint.Client.DescribeTransformJob(ctx, name)
		if err == nil && *d.TransformJobStatus == sagemaker.TransformJobStatusFailed {
			err = errors.New(*d.FailureReason)
		}
		return err == nil && *d.TransformJobStatus == sagemaker.TransformJobStatusCompleted, err
	})
	if err != nil {
		return 0, err
	}
	return b.logged(ctx, name)
}

// logged is the time between the first and the last line of a job's data log.
func (b *bench) logged(ctx context.Context, name string) (time.Duration, error) {
	streams, err := b.stint.Client.DescribeLogStreams(ctx, &logs.DescribeLogStreamsRequest{LogGroupName: new(transform.LogGroup), LogStreamNamePrefix: new(name + "/")})
	if err != nil {
		return 0, err
	}
	for _, s := range streams.LogStreams {
		if !strings.HasSuffix(*s.LogStreamName, "/data-log") {
			continue
		}
		page, err := b.stint.Client.GetLogEvents(ctx, &logs.GetLogEventsRequest{LogGroupName: new(transform.LogGroup), LogStreamName: s.LogStreamName, StartFromHead: new(true)})
		if err != nil || len(page.Events) < 2 {
			return 0, errors.Join(err, fmt.Errorf("the data log of %s has %d lines", name, len(page.Events)))
		}
		return time.Duration(*page.Events[len(page.Events)-1].Timestamp-*page.Events[0].Timestamp) * time.Millisecond, nil
	}
	return 0, fmt.Errorf("%s has no data log", name)
}
