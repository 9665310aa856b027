package e2e

import (
	_ "embed" // the training script
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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

// Managed spot training where the room, the server or the agent goes away. The suites of the Python SDKs try what users ask for; storms at random
// instants are in faults_spot_test.go.

//go:embed spot/lives.py
var livesScript []byte

const (
	ranOnce        = "Starting Downloading Training Uploading Completed"
	wasInterrupted = "Starting Downloading Training Interrupted " + ranOnce
)

// spotWait makes a job a managed spot job that may take so many seconds in all, checkpoints in a prefix of its own.
func spotWait(seconds int32) func(*sagemaker.CreateTrainingJobInput) {
	return func(in *sagemaker.CreateTrainingJobInput) {
		in.EnableManagedSpotTraining = aws.Bool(true)
		in.StoppingCondition = &types.StoppingCondition{MaxRuntimeInSeconds: aws.Int32(min(300, seconds)), MaxWaitTimeInSeconds: &seconds}
		in.CheckpointConfig = &types.CheckpointConfig{S3Uri: aws.String("s3://" + bucket + "/checkpoints/" + *in.TrainingJobName)}
	}
}

// lives starts a spot job that must be interrupted all but once of its lives.
func (s *server) lives(t *testing.T, name string, lives int, wait int32, change ...func(*sagemaker.CreateTrainingJobInput)) *job {
	t.Helper()
	s.put(t, "code/lives.py", livesScript)
	python := func(in *sagemaker.CreateTrainingJobInput) {
		in.AlgorithmSpecification.TrainingImage = aws.String("stint/python:latest")
		in.AlgorithmSpecification.ContainerEntrypoint = []string{"python", "/opt/ml/input/data/code/lives.py", "--lives", fmt.Sprint(lives)}
	}
	return s.job(t, name, "", append([]func(*sagemaker.CreateTrainingJobInput){python, input("code", "s3://"+bucket+"/code/"), spotWait(wait)}, change...)...)
}

// says waits until a job that goes on has said a line, or one that begins with it.
func (j *job) says(t *testing.T, line string) {
	t.Helper()
	eventually(t, 30*time.Second, j.name+" to say "+line, func() bool {
		if d := j.describe(t); d.TrainingJobStatus != types.TrainingJobStatusInProgress {
			t.Fatalf("%s has ended before: %s %s", j.name, phases(d), aws.ToString(d.FailureReason))
		}
		return slices.ContainsFunc(j.log(t), func(l string) bool { return strings.HasPrefix(l, line) })
	})
}

// interrupt takes the job's capacity away.
func (j *job) interrupt(t *testing.T, notice string) {
	t.Helper()
	if out, err := j.s.stint(t, "spot", "interrupt", j.name, "--notice", notice).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// life is one life of the script, as its model tells.
type life struct {
	From  int
	Heard *string
}

// result is what the last life of a job wrote into its model.
func (j *job) result(t *testing.T) []life {
	t.Helper()
	var said struct{ Lives []life }
	if err := json.Unmarshal(j.model(t)["result.json"], &said); err != nil {
		t.Fatal(err)
	}
	return said.Lives
}

// checkSpot holds a job that has ended against its history and its bill.
func (j *job) checkSpot(t *testing.T, d *sagemaker.DescribeTrainingJobOutput, want string) {
	t.Helper()
	if got := phases(d); got != want {
		t.Errorf("%s: %s, not %s", j.name, got, want)
	}
	b := j.bill(t)
	if b.Running || b.Seconds != int64(aws.ToInt32(d.TrainingTimeInSeconds)) || b.BillableSeconds != int64(aws.ToInt32(d.BillableTimeInSeconds)) {
		t.Errorf("%s trained %d s and is billed %d s; its bill has %+v", j.name, aws.ToInt32(d.TrainingTimeInSeconds), aws.ToInt32(d.BillableTimeInSeconds), b)
	}
}

// message is what a job's history says of the last time it was in a phase.
func message(d *sagemaker.DescribeTrainingJobOutput, phase types.SecondaryStatus) (said string) {
	for _, t := range d.SecondaryStatusTransitions {
		if t.Status == phase {
			said = aws.ToString(t.StatusMessage)
		}
	}
	return said
}

// TestSpotGivesWayToWorkOnDemand: on a machine with room for one job, spot is what nobody else needs.
func TestSpotGivesWayToWorkOnDemand(t *testing.T) {
	t.Parallel()
	s := start(t, "--cpus", "2", "--memory", "8GiB", "--spot-notice", "6s", "--spot-require-checkpoints")
	s.makeBucket(t)

	// 0. This server takes no job that may lose hours of work.
	reckless := request("reckless", "true", spotWait(3601), func(in *sagemaker.CreateTrainingJobInput) { in.CheckpointConfig = nil })
	if _, err := s.sagemaker().CreateTrainingJob(t.Context(), reckless); err == nil || !strings.Contains(err.Error(), "without CheckpointConfig") {
		t.Errorf("a job that may wait over an hour without checkpoints: %v", err)
	}

	// 1. Work on demand takes the room; the spot job saves, waits, and goes on when the room is free.
	spot := s.lives(t, "gives-way", 2, 300)
	spot.says(t, "life 1 works")
	closed, open := s.gate("reclaim")
	urgent := s.job(t, "urgent", "while "+closed+"; do sleep 0.02; done")
	urgent.reach(t, types.SecondaryStatusTraining)
	d := spot.describe(t)
	if d.SecondaryStatus != types.SecondaryStatusInterrupted {
		t.Errorf("while the room is taken the spot job is %s", d.SecondaryStatus)
	}
	if told := message(d, types.SecondaryStatusInterrupted); !strings.Contains(told, "on-demand work needs the room (training job urgent)") {
		t.Errorf("the spot job is told: %s", told)
	}
	// 2. While it waits, a spot job that may hardly wait is never launched.
	hasty := s.lives(t, "hasty", 1, 1)
	d = hasty.end(t, stopped)
	hasty.checkSpot(t, d, "Starting Stopping MaxWaitTimeExceeded")
	if d.TrainingTimeInSeconds != nil || len(hasty.bill(t).Lines) != 0 || d.TrainingStartTime != nil {
		t.Errorf("a job that never ran trained %v s from %v", aws.ToInt32(d.TrainingTimeInSeconds), d.TrainingStartTime)
	}
	open(t)
	urgent.end(t, completed)
	spot.checkSpot(t, spot.end(t, completed), wasInterrupted)
	if lives := spot.result(t); len(lives) != 2 || lives[1].From == 0 {
		t.Errorf("lives: %+v", lives)
	}

	// 3. One that is interrupted and cannot come back in time keeps what it has saved.
	late := s.lives(t, "late", 2, 11)
	late.says(t, "life 1 works")
	closed, open = s.gate("late")
	s.job(t, "long", "while "+closed+"; do sleep 0.02; done")
	d = late.end(t, stopped)
	late.checkSpot(t, d, "Starting Downloading Training Interrupted Stopping MaxWaitTimeExceeded")
	if keys := s.keys(t, "checkpoints/late/"); !slices.Contains(keys, "checkpoints/late/state.json") {
		t.Errorf("of its checkpoints there are %q", keys)
	}
	open(t)
}

// keys are the objects below a prefix.
func (s *server) keys(t *testing.T, prefix string) (keys []string) {
	t.Helper()
	page, err := s.objects().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Contents {
		keys = append(keys, *o.Key)
	}
	return keys
}

// TestSpotWithoutAServer: a notice that was acknowledged is obeyed, whatever becomes of the server.
func TestSpotWithoutAServer(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	j := s.lives(t, "headless", 3, 300)
	// 1. The server dies as soon as it has answered.
	j.says(t, "life 1 works")
	j.interrupt(t, "15s")
	s.kill(t)
	s.up(t)
	j.says(t, "life 2 works")
	// 2. It dies while the job saves, and stays away until after the capacity is gone.
	j.interrupt(t, "6s")
	j.says(t, "life 2 saved")
	s.kill(t)
	eventually(t, 20*time.Second, "the agent to end without a server", func() bool { return len(s.agents(t)) == 0 })
	s.up(t)
	d := j.end(t, completed)
	j.checkSpot(t, d, "Starting Downloading Training Interrupted Starting Downloading Training Interrupted "+ranOnce)
	lives := j.result(t)
	if len(lives) != 3 || lives[1].From == 0 || lives[2].From <= lives[1].From {
		t.Errorf("lives: %+v", lives)
	}
}

// recorded is a market that opens after 5 s, closes for a while, and opens again at another price.
const recorded = `seconds,available,price
0,0,0.03
5,1,0.03
14,0,0.05
16,1,0.02
`

// TestSpotOnARecordedMarket: jobs run when capacity is offered, at the price of the time; one that has a deadline to hold and may do so
// runs on demand meanwhile.
func TestSpotOnARecordedMarket(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "market.csv")
	if err := os.WriteFile(file, []byte(recorded), 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, append(roomy, "--spot-market", file, "--spot-notice", "6s")...)
	s.makeBucket(t)
	patient := s.lives(t, "patient", 2, 300)
	hasty := s.lives(t, "hasty", 1, 2)
	hurried := s.lives(t, "hurried", 1, 60, tagged("stint:fallback", "on-demand"), tagged("stint:deadline", "60s"))

	hasty.checkSpot(t, hasty.end(t, stopped), "Starting Stopping MaxWaitTimeExceeded")
	hurried.checkSpot(t, hurried.end(t, completed), ranOnce)
	if b := hurried.bill(t); b.Seconds != b.BillableSeconds {
		t.Errorf("a job on demand is billed %d of %d s", b.BillableSeconds, b.Seconds)
	}
	d := patient.end(t, completed)
	patient.checkSpot(t, d, wasInterrupted)
	if told := message(d, types.SecondaryStatusInterrupted); !strings.Contains(told, "no longer available") {
		t.Errorf("the job is told: %s", told)
	}
	var prices []string
	for _, l := range patient.bill(t).Lines {
		prices = append(prices, l.HourlyRate.Amount)
	}
	if !slices.Equal(prices, []string{"0.03", "0.02"}) {
		t.Errorf("it paid %q", prices)
	}
}

// tagged gives a job a tag.
func tagged(key, value string) func(*sagemaker.CreateTrainingJobInput) {
	return func(in *sagemaker.CreateTrainingJobInput) {
		in.Tags = append(in.Tags, types.Tag{Key: &key, Value: &value})
	}
}

// TestSpotAgentKilled: capacity that goes without notice costs at most what was done since the last checkpoint, and is no failure.
func TestSpotAgentKilled(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	j := s.lives(t, "unwarned", 2, 300)
	j.says(t, "life 1 works") // and has saved at least once
	s.signalAgents(t, syscall.SIGKILL)
	d := j.end(t, completed)
	j.checkSpot(t, d, wasInterrupted)
	if lives := j.result(t); len(lives) != 2 || lives[1].From == 0 {
		t.Errorf("lives: %+v", lives)
	}
}

// TestSpotByAWSCLI is a user who has only a shell.
func TestSpotByAWSCLI(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	aws := newCLI(t, s)
	aws.run(t, "s3", "mb", "s3://"+bucket)
	aws.write(t, "lives.py", string(livesScript))
	aws.run(t, "s3", "cp", "lives.py", "s3://"+bucket+"/code/lives.py", "--only-show-errors")
	create := func(name string, more ...string) []string {
		return append([]string{
			"sagemaker", "create-training-job", "--training-job-name", name, "--role-arn", role,
			"--algorithm-specification", `{"TrainingImage": "stint/python:latest", "TrainingInputMode": "File", "ContainerEntrypoint": ["python", "/opt/ml/input/data/code/lives.py", "--lives", "2"]}`,
			"--input-data-config", `[{"ChannelName": "code", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://` + bucket + `/code/"}}}]`,
			"--output-data-config", "S3OutputPath=s3://" + bucket + "/out", "--resource-config", "InstanceType=ml.m5.large,InstanceCount=1,VolumeSizeInGB=1",
			"--enable-managed-spot-training", "--checkpoint-config", "S3Uri=s3://" + bucket + "/checkpoints,LocalPath=/opt/ml/checkpoints",
		}, more...)
	}
	if out := aws.fails(t, create("none", "--stopping-condition", "MaxRuntimeInSeconds=60")...); !strings.Contains(out, "Invalid MaxWaitTimeInSeconds. It must be present") {
		t.Error(out)
	}
	aws.run(t, create("by-cli", "--stopping-condition", "MaxRuntimeInSeconds=60,MaxWaitTimeInSeconds=120", "--tags", "Key=stint:fallback,Value=none")...)
	j := &job{s, "by-cli"}
	j.says(t, "life 1 works")
	j.interrupt(t, "6s")
	j.end(t, completed)
	transitions := aws.run(t, "sagemaker", "describe-training-job", "--training-job-name", "by-cli", "--query", "SecondaryStatusTransitions[].Status", "--output", "text")
	if got := strings.Join(strings.Fields(transitions), " "); got != wasInterrupted {
		t.Errorf("its history is %s", got)
	}
	aws.run(t, "s3", "cp", "s3://"+bucket+"/checkpoints", "checkpoints", "--recursive", "--exclude", ".stint/*", "--only-show-errors")
	saved, err := os.ReadFile(filepath.Join(aws.dir, "checkpoints", "state.json"))
	if last := j.result(t)[1]; err != nil || !strings.Contains(string(saved), fmt.Sprintf(`"step": %d,`, last.From+10)) {
		t.Errorf("the last life began at step %d and made 10; its checkpoint says %s: %v", last.From, saved, err)
	}
}
