package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// transformLimit bounds what a batch transform takes on a busy machine.
const transformLimit = 2 * time.Minute

// counting is a model that answers each line with its length, takes its time, and says what it is asked.
const counting = `
import time
def model_fn(model_dir):
    return None
def input_fn(body, content_type):
    return body if isinstance(body, str) else bytes(body).decode()
def predict_fn(body, model):
    print("asked", body.split()[0], flush=True)
    time.sleep(0.3)
    return "".join(str(len(line)) + chr(10) for line in body.splitlines())
def output_fn(answer, accept):
    return answer
`

// batch is a transform job of a server, over so many objects of one line each.
type batch struct {
	s       *server
	name    string
	objects int
}

// transform begins a job that transforms one object after the other.
func (s *server) transform(t *testing.T, name string, objects int) *batch {
	t.Helper()
	s.makeBucket(t)
	s.put(t, name+"/model.tar.gz", tarball(t, map[string]string{"code/inference.py": counting}))
	for n := range objects {
		s.put(t, fmt.Sprintf("%s/in/%03d.txt", name, n), fmt.Appendf(nil, "object-%03d %s\n", n, strings.Repeat("x", n)))
	}
	sm := s.sagemaker()
	_, err := sm.CreateModel(t.Context(), &sagemaker.CreateModelInput{
		ModelName: &name, ExecutionRoleArn: aws.String(role), PrimaryContainer: &types.ContainerDefinition{
			Image: aws.String("stint/python:latest"), ModelDataUrl: aws.String("s3://" + bucket + "/" + name + "/model.tar.gz"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = sm.CreateTransformJob(t.Context(), &sagemaker.CreateTransformJobInput{
		TransformJobName: &name, ModelName: &name, MaxConcurrentTransforms: aws.Int32(1),
		TransformInput: &types.TransformInput{
			ContentType: aws.String("text/plain"), SplitType: types.SplitTypeLine,
			DataSource: &types.TransformDataSource{S3DataSource: &types.TransformS3DataSource{
				S3DataType: types.S3DataTypeS3Prefix, S3Uri: aws.String("s3://" + bucket + "/" + name + "/in/"),
			}},
		},
		TransformOutput:    &types.TransformOutput{S3OutputPath: aws.String("s3://" + bucket + "/" + name + "/out"), AssembleWith: types.AssemblyTypeLine},
		TransformResources: &types.TransformResources{InstanceType: types.TransformInstanceTypeMlM5Large, InstanceCount: aws.Int32(1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &batch{s, name, objects}
}

// outputs are the outputs that there are.
func (b *batch) outputs(t *testing.T) map[string]bool {
	t.Helper()
	found, err := b.s.objects().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(b.name + "/out/")})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, o := range found.Contents {
		names[strings.TrimSuffix(strings.TrimPrefix(*o.Key, b.name+"/out/"), ".txt.out")] = true
	}
	return names
}

// output is the content of one output.
func (b *batch) output(t *testing.T, n int) string {
	t.Helper()
	o, err := b.s.objects().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(fmt.Sprintf("%s/out/%03d.txt.out", b.name, n))})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	content, err := io.ReadAll(o.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// made waits until there are so many outputs.
func (b *batch) made(t *testing.T, n int) {
	t.Helper()
	eventually(t, transformLimit, fmt.Sprintf("%d outputs", n), func() bool { return len(b.outputs(t)) >= n })
}

// done waits until the job has completed and checks every output.
func (b *batch) done(t *testing.T) *sagemaker.DescribeTransformJobOutput {
	t.Helper()
	sm := b.s.sagemaker()
	var d *sagemaker.DescribeTransformJobOutput
	eventually(t, transformLimit, "the job to end", func() bool {
		var err error
		if d, err = sm.DescribeTransformJob(t.Context(), &sagemaker.DescribeTransformJobInput{TransformJobName: &b.name}); err != nil {
			t.Fatal(err)
		}
		return d.TransformJobStatus != types.TransformJobStatusInProgress
	})
	if d.TransformJobStatus != types.TransformJobStatusCompleted {
		t.Fatalf("the job is %s: %s", d.TransformJobStatus, aws.ToString(d.FailureReason))
	}
	for n := range b.objects {
		if got, want := b.output(t, n), fmt.Sprintf("%d\n", 11+n); got != want {
			t.Errorf("output %d is %q, want %q", n, got, want)
		}
	}
	return d
}

// asked counts how often the model was asked for each object.
func (b *batch) asked(t *testing.T) map[string]int {
	t.Helper()
	out, err := b.s.stint(t, "logs", b.name).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(out)) {
		if _, object, ok := strings.Cut(line, "asked object-"); ok {
			times[strings.TrimSpace(object)]++
		}
	}
	return times
}

// bill is what `stint cost` says.
func (b *batch) bill(t *testing.T) (lines int, seconds int64, running bool) {
	t.Helper()
	out, err := b.s.stint(t, "cost", b.name, "--json").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var bills struct {
		Costs []struct {
			Lines   []struct{ Seconds int64 }
			Seconds int64
			Running bool
		}
	}
	if err := json.Unmarshal(out, &bills); err != nil {
		t.Fatal(err)
	}
	bill := bills.Costs[0]
	return len(bill.Lines), bill.Seconds, bill.Running
}

// A server that is killed harms nothing: the agent goes on, no object is done again, and the bill is one line.
func TestTransformOutlivesTheServer(t *testing.T) {
	t.Parallel()
	s := start(t, "--cpus", "64", "--memory", "512GiB")
	b := s.transform(t, "server-killed", 12)
	b.made(t, 3)
	s.kill(t)
	s.up(t)
	b.made(t, 5)
	s.kill(t)
	s.up(t)
	d := b.done(t)
	for object, n := range b.asked(t) {
		if n != 1 {
			t.Errorf("the model was asked %d times for %s", n, object)
		}
	}
	took := int64(d.TransformEndTime.Sub(*d.TransformStartTime).Seconds())
	if lines, seconds, running := b.bill(t); lines != 1 || running || seconds < took || seconds > took+2 {
		t.Errorf("%d lines of %d s (running %t); the job took %d s", lines, seconds, running, took)
	}
}

var progress = regexp.MustCompile(`"progress":(\{[^}]*\})`)

// noted waits until an agent has written down so many objects as done with, and gives those that it has.
func (b *batch) noted(t *testing.T, n int) (objects []string) {
	t.Helper()
	eventually(t, transformLimit, fmt.Sprintf("%d objects to be written down", n), func() bool {
		objects = nil
		files, err := filepath.Glob(filepath.Join(b.s.home, "agents/*/spool/*"))
		if err != nil || len(files) == 0 {
			return false
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		told := progress.FindAllSubmatch(text, -1)
		if len(told) == 0 {
			return false
		}
		var last struct {
			Through string
			Beyond  []string
		}
		if err := json.Unmarshal(told[len(told)-1][1], &last); err != nil {
			t.Fatal(err)
		}
		for i := range b.objects {
			uri := fmt.Sprintf("s3://%s/%s/in/%03d.txt", bucket, b.name, i)
			if uri <= last.Through || slices.Contains(last.Beyond, uri) {
				objects = append(objects, fmt.Sprintf("%03d", i))
			}
		}
		return len(objects) >= n
	})
	return objects
}

// An agent that is killed is followed by another, which does again none of the objects that were finished and written down.
func TestTransformOutlivesItsAgent(t *testing.T) {
	t.Parallel()
	s := start(t, "--cpus", "64", "--memory", "512GiB")
	b := s.transform(t, "agent-killed", 12)
	finished := b.noted(t, 4)
	s.signalAgents(t, syscall.SIGKILL)
	b.done(t)
	asked := b.asked(t)
	for _, object := range finished {
		if asked[object] != 1 {
			t.Errorf("the model was asked %d times for %s, which was finished", asked[object], object)
		}
	}
	if len(finished) == b.objects {
		t.Error("nothing was left for another agent")
	}
	if lines, _, running := b.bill(t); lines != 2 || running {
		t.Errorf("%d lines (running %t) for two agents", lines, running)
	}
}

// The AWS CLI creates, waits for, lists and stops transform jobs.
func TestTransformByTheCLI(t *testing.T) {
	t.Parallel()
	s := start(t, "--cpus", "64", "--memory", "512GiB")
	b := s.transform(t, "first", 1)
	b.done(t)
	c := newCLI(t, s)
	places := "s3://" + bucket + "/first/"
	c.run(t, "sagemaker", "create-transform-job", "--transform-job-name", "second", "--model-name", "first",
		"--transform-input", "DataSource={S3DataSource={S3DataType=S3Prefix,S3Uri="+places+"in/}},ContentType=text/plain,SplitType=Line",
		"--transform-output", "S3OutputPath="+places+"again,AssembleWith=Line",
		"--transform-resources", "InstanceType=ml.m5.large,InstanceCount=1", "--tags", "Key=team,Value=batch")
	c.run(t, "sagemaker", "wait", "transform-job-completed-or-stopped", "--transform-job-name", "second")
	var list struct {
		TransformJobSummaries []struct{ TransformJobName, TransformJobStatus string }
	}
	c.json(t, &list, "sagemaker", "list-transform-jobs", "--sort-by", "Name", "--sort-order", "Ascending")
	if got := fmt.Sprint(list.TransformJobSummaries); got != "[{first Completed} {second Completed}]" {
		t.Errorf("the list says %s", got)
	}
	if got := c.run(t, "s3", "cp", places+"again/000.txt.out", "-"); got != "11\n" {
		t.Errorf("the output is %q", got)
	}
	if out, err := c.command("sagemaker", "stop-transform-job", "--transform-job-name", "second").CombinedOutput(); err == nil || !strings.Contains(string(out), "is in status Completed") {
		t.Errorf("a job that has ended was stopped: %s", out)
	}
	for _, command := range []string{"describe", "cost", "logs"} {
		if out, err := s.stint(t, command, "second").CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("stint %s: %v: %s", command, err, out)
		}
	}
}
