package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// What the Go suites share: jobs that are shell commands, driven by the AWS SDK for Go.

// roomy lets a server of any machine run many jobs at once; they hardly work.
var roomy = []string{"--cpus", "64", "--memory", "512GiB"}

const (
	bucket    = "jobs"
	role      = "arn:aws:iam::000000000000:role/StintExecutionRole"
	jobLogs   = "/aws/sagemaker/TrainingJobs"
	completed = types.TrainingJobStatusCompleted
	failed    = types.TrainingJobStatusFailed
	stopped   = types.TrainingJobStatusStopped
)

// config is the SDK's configuration for the server as it is reached now; after a restart it is another one.
func (s *server) config() aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &s.endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(s.key.ID, s.key.Secret, ""),
	}
}

func (s *server) sagemaker() *sagemaker.Client { return sagemaker.NewFromConfig(s.config()) }

func (s *server) logs() *cloudwatchlogs.Client { return cloudwatchlogs.NewFromConfig(s.config()) }

func (s *server) objects() *s3.Client {
	return s3.NewFromConfig(s.config(), func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &s.s3, true })
}

// makeBucket makes the bucket that jobs of these suites write to.
func (s *server) makeBucket(t *testing.T) {
	t.Helper()
	if _, err := s.objects().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
}

func (s *server) put(t *testing.T, key string, content []byte) {
	t.Helper()
	_, err := s.objects().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
}

// gate is a file that jobs can wait for: a shell condition that holds once the gate is opened. Jobs see of the server's
// folder only what they need, which is the programs that run in them.
func (s *server) gate(name string) (closed string, open func(*testing.T)) {
	path := filepath.Join(s.home, "shim", "gate-"+name)
	return "[ ! -e " + path + " ]", func(t *testing.T) {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// job is a training job of a server.
type job struct {
	s    *server
	name string
}

// request makes a request for a job that is a shell command.
func request(name, command string, change ...func(*sagemaker.CreateTrainingJobInput)) *sagemaker.CreateTrainingJobInput {
	in := &sagemaker.CreateTrainingJobInput{
		TrainingJobName: &name, RoleArn: aws.String(role),
		AlgorithmSpecification: &types.AlgorithmSpecification{
			TrainingImage: aws.String("stint/exec:latest"), TrainingInputMode: types.TrainingInputModeFile,
			ContainerEntrypoint: []string{"/bin/sh", "-c", command},
		},
		OutputDataConfig:  &types.OutputDataConfig{S3OutputPath: aws.String("s3://" + bucket + "/out")},
		ResourceConfig:    &types.ResourceConfig{InstanceType: types.TrainingInstanceTypeMlM5Large, InstanceCount: aws.Int32(1), VolumeSizeInGB: aws.Int32(1)},
		StoppingCondition: &types.StoppingCondition{MaxRuntimeInSeconds: aws.Int32(300)},
	}
	for _, c := range change {
		c(in)
	}
	return in
}

// input adds a channel.
func input(channel, uri string) func(*sagemaker.CreateTrainingJobInput) {
	return func(in *sagemaker.CreateTrainingJobInput) {
		in.InputDataConfig = append(in.InputDataConfig, types.Channel{ChannelName: &channel, DataSource: &types.DataSource{
			S3DataSource: &types.S3DataSource{S3DataType: types.S3DataTypeS3Prefix, S3Uri: &uri},
		}})
	}
}

// retries allows a job to be tried again when the platform fails it.
func retries(n int32) func(*sagemaker.CreateTrainingJobInput) {
	return func(in *sagemaker.CreateTrainingJobInput) {
		in.RetryStrategy = &types.RetryStrategy{MaximumRetryAttempts: &n}
	}
}

func (s *server) job(t *testing.T, name, command string, change ...func(*sagemaker.CreateTrainingJobInput)) *job {
	t.Helper()
	if _, err := s.sagemaker().CreateTrainingJob(t.Context(), request(name, command, change...)); err != nil {
		t.Fatal(err)
	}
	return &job{s, name}
}

func (j *job) describe(t *testing.T) *sagemaker.DescribeTrainingJobOutput {
	t.Helper()
	d, err := j.s.sagemaker().DescribeTrainingJob(t.Context(), &sagemaker.DescribeTrainingJobInput{TrainingJobName: &j.name})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// reach waits until a job that has not ended is in a phase.
func (j *job) reach(t *testing.T, phase types.SecondaryStatus) {
	t.Helper()
	eventually(t, 30*time.Second, j.name+" to be "+string(phase), func() bool {
		d := j.describe(t)
		if d.TrainingJobStatus != types.TrainingJobStatusInProgress {
			t.Fatalf("%s has ended before it was %s: %s %s", j.name, phase, d.SecondaryStatus, aws.ToString(d.FailureReason))
		}
		return d.SecondaryStatus == phase
	})
}

// end waits for the end of a job, which must be the one wanted.
func (j *job) end(t *testing.T, want types.TrainingJobStatus) *sagemaker.DescribeTrainingJobOutput {
	t.Helper()
	var d *sagemaker.DescribeTrainingJobOutput
	eventually(t, time.Minute, "the end of "+j.name, func() bool {
		d = j.describe(t)
		return d.TrainingJobStatus == completed || d.TrainingJobStatus == failed || d.TrainingJobStatus == stopped
	})
	if d.TrainingJobStatus != want {
		t.Fatalf("%s is %s, not %s: %s", j.name, d.TrainingJobStatus, want, aws.ToString(d.FailureReason))
	}
	return d
}

// phases are the job's history.
func phases(d *sagemaker.DescribeTrainingJobOutput) string {
	var names []string
	for _, t := range d.SecondaryStatusTransitions {
		names = append(names, string(t.Status))
	}
	return strings.Join(names, " ")
}

// log is all that a job has said, in the order of its attempts, read page by page.
func (j *job) log(t *testing.T) []string {
	t.Helper()
	logs := j.s.logs()
	streams, err := logs.DescribeLogStreams(t.Context(), &cloudwatchlogs.DescribeLogStreamsInput{
		LogGroupName: aws.String(jobLogs), LogStreamNamePrefix: aws.String(j.name + "/"),
	})
	var none *logtypes.ResourceNotFoundException // no job of this server has said anything yet
	if errors.As(err, &none) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, stream := range streams.LogStreams {
		in := &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String(jobLogs), LogStreamName: stream.LogStreamName, StartFromHead: aws.Bool(true)}
		for {
			page, err := logs.GetLogEvents(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				lines = append(lines, *e.Message)
			}
			if in.NextToken != nil && *page.NextForwardToken == *in.NextToken {
				break
			}
			in.NextToken = page.NextForwardToken
		}
	}
	return lines
}

// bill is what `stint cost --json` says of a job or an endpoint.
type bill struct {
	Lines []struct {
		Attempt                            int
		Purchase                           string
		Start, End                         float64
		Seconds, Milliseconds, Invocations int64
		HourlyRate                         struct{ Amount string }
	}
	Seconds, BillableSeconds int64
	Running                  bool
	Total                    struct{ Amount string }
}

func (j *job) bill(t *testing.T) bill { return j.s.bill(t, j.name) }

func (s *server) bill(t *testing.T, name string) bill {
	t.Helper()
	out, err := s.stint(t, "cost", name, "--json").Output()
	if err != nil {
		t.Fatalf("stint cost: %v", stderr(err))
	}
	var costs struct{ Costs []bill }
	if err := json.Unmarshal(out, &costs); err != nil || len(costs.Costs) != 1 {
		t.Fatalf("stint cost said %s: %v", out, err)
	}
	return costs.Costs[0]
}

// model unpacks the model of a job that has ended: what its files hold.
func (j *job) model(t *testing.T) map[string][]byte {
	t.Helper()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(*j.describe(t).ModelArtifacts.S3ModelArtifacts, "s3://"), "/")
	object, err := j.s.objects().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	unzipped, err := gzip.NewReader(object.Body)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	archive := tar.NewReader(unzipped)
	for {
		member, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[member.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// stop asks a job to stop.
func (j *job) stop(t *testing.T) {
	t.Helper()
	if _, err := j.s.sagemaker().StopTrainingJob(context.WithoutCancel(t.Context()), &sagemaker.StopTrainingJobInput{TrainingJobName: &j.name}); err != nil {
		t.Fatal(err)
	}
}
