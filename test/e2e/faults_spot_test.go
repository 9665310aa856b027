package e2e

import (
	_ "embed" // the training script
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// What must hold for managed spot training whatever is done to it: the model is the one that a job which nobody disturbed
// makes, no step that was checkpointed is done again, the bill is the history, and no job fails. Each seed is a server of its
// own with one job, disturbed at random instants. STINT_FAULT_SEEDS says how many seeds (`make faults` tries 200).

//go:embed spotjob/train.py
var spotScript []byte

const (
	spotSteps   = 120
	seedsInTest = 6 // of an ordinary run of the tests
	// unseen is what a checkpoint may be younger than its killed agent and be lost, while the other suites take the processors: it
	// may not have been looked at or shipped yet. Alone, the suite allows none.
	unseen = 10 * time.Second
)

func TestSpotFaults(t *testing.T) {
	t.Parallel()
	seeds, lag := seedsInTest, unseen
	if text := os.Getenv("STINT_FAULT_SEEDS"); text != "" {
		var err error
		if seeds, err = strconv.Atoi(text); err != nil || seeds < 1 {
			t.Fatalf("STINT_FAULT_SEEDS=%q is not a number of seeds", text)
		}
		lag = 0
	}
	calm := make(chan map[string][]byte, 1)
	t.Run("undisturbed", func(t *testing.T) {
		s := start(t, roomy...)
		s.makeBucket(t)
		j := s.spotJob(t, "calm", rand.New(rand.NewPCG(0, 0)))
		j.end(t, completed)
		model := j.model(t)
		if len(model["model.json"]) == 0 {
			t.Fatalf("the undisturbed job made %d files and no model.json", len(model))
		}
		calm <- model
	})
	if t.Failed() {
		return
	}
	want := string((<-calm)["model.json"])
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			spotStorm(t, uint64(seed), want, lag)
		})
	}
}

// spotStorm runs one job through what its seed brings.
func spotStorm(t *testing.T, seed uint64, want string, lag time.Duration) {
	chance := rand.New(rand.NewPCG(seed, 11))
	s := start(t, roomy...)
	s.makeBucket(t)
	j := s.spotJob(t, "stormy", chance)
	var story []string
	for range 1 + chance.IntN(4) {
		eventually(t, 30*time.Second, "a moment of its own", after(time.Duration(chance.IntN(1500))*time.Millisecond))
		if s.over(t, j) {
			break
		}
		story = append(story, s.disturb(t, j, chance))
	}
	d := j.end(t, completed)
	t.Logf("%s: %s", strings.Join(story, ", "), phases(d))
	if got := string(j.model(t)["model.json"]); got != want {
		t.Errorf("the model is %s, undisturbed it is %s", got, want)
	}
	if !strings.Contains(strings.Join(story, ","), "agent killed") && !strings.Contains(strings.Join(story, ","), "both killed") {
		lag = 0 // whatever ended the attempts let the last checkpoint come home
	}
	s.checkSteps(t, j, lag)
	checkSpotBill(t, j, d)
}

// after holds once a time has passed: the instants of a storm are random, and nothing signals them.
func after(d time.Duration) func() bool {
	until := time.Now().Add(d)
	return func() bool { return time.Now().After(until) }
}

func (s *server) over(t *testing.T, j *job) bool {
	t.Helper()
	status := j.describe(t).TrainingJobStatus
	return status == completed || status == failed
}

// spotJob starts the training script as a managed spot job with checkpoints.
func (s *server) spotJob(t *testing.T, name string, chance *rand.Rand) *job {
	t.Helper()
	s.put(t, "code/train.py", spotScript)
	polite := []string{"yes", "no"}[chance.IntN(2)]
	in := request(name, "", input("code", "s3://"+bucket+"/code/"), func(in *sagemaker.CreateTrainingJobInput) {
		in.AlgorithmSpecification.TrainingImage = aws.String("stint/python:latest")
		in.AlgorithmSpecification.ContainerEntrypoint = []string{"python", "/opt/ml/input/data/code/train.py"}
		in.Environment = map[string]string{
			"STEPS": strconv.Itoa(spotSteps), "EVERY": strconv.Itoa(3 + chance.IntN(10)), "STEP_SECONDS": "0.02", "POLITE": polite,
		}
		in.EnableManagedSpotTraining = aws.Bool(true)
		in.StoppingCondition.MaxWaitTimeInSeconds = aws.Int32(600)
		in.CheckpointConfig = &types.CheckpointConfig{S3Uri: aws.String("s3://" + bucket + "/checkpoints/" + name)}
	})
	if _, err := s.sagemaker().CreateTrainingJob(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return &job{s, name}
}

// disturb does one thing to a job or to what it lives on, and tells what.
func (s *server) disturb(t *testing.T, j *job, chance *rand.Rand) string {
	t.Helper()
	away := time.Duration(chance.IntN(3000)) * time.Millisecond
	restart := func() {
		eventually(t, 30*time.Second, "the server's absence to pass", after(away))
		s.up(t)
	}
	switch chance.IntN(6) {
	case 0, 1:
		notice := strconv.Itoa(2+chance.IntN(4)) + "s"
		out, err := s.stint(t, "spot", "interrupt", j.name, "--notice", notice).CombinedOutput()
		return fmt.Sprintf("interrupted with %s notice (%v %s)", notice, err, strings.TrimSpace(string(out)))
	case 2:
		s.signalAny(t, syscall.SIGKILL)
		return "agent killed"
	case 3:
		s.kill(t)
		restart()
		return fmt.Sprintf("server killed for %v", away)
	case 4:
		s.kill(t)
		s.signalAny(t, syscall.SIGKILL)
		restart()
		return fmt.Sprintf("both killed for %v", away)
	default: // server and object store hang: connections stand, nothing answers
		if err := s.process.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "the hang to pass", after(away))
		if err := s.process.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("store and server hung for %v", away)
	}
}

// signalAny signals the agents of this server, of which there may be none between two attempts.
func (s *server) signalAny(t *testing.T, signal syscall.Signal) {
	t.Helper()
	for _, pid := range s.agents(t) {
		_ = syscall.Kill(pid, signal) // it may have ended
	}
}

// checkSteps reads the logs of a job's attempts: each goes on where the last checkpoint of those before it was, or later, and
// all together did every step. What was checkpointed less than lag before an attempt's end need not have been kept.
func (s *server) checkSteps(t *testing.T, j *job, lag time.Duration) {
	t.Helper()
	streams, err := s.logs().DescribeLogStreams(t.Context(), &cloudwatchlogs.DescribeLogStreamsInput{
		LogGroupName: aws.String(jobLogs), LogStreamNamePrefix: aws.String(j.name + "/"),
	})
	if err != nil {
		t.Fatal(err)
	}
	saved, done := 0, map[int]bool{}
	for attempt, stream := range streams.LogStreams { // in the order of their names, which end with the time of launch
		var last string
		events := s.events(t, *stream.LogStreamName)
		for _, e := range events {
			var n int
			switch line := *e.Message; {
			case scan(line, "resume %d", &n):
				if n < saved {
					t.Errorf("attempt %d resumes at step %d, though step %d was checkpointed", attempt+1, n, saved)
				}
			case scan(line, "step %d", &n):
				done[n] = true
			case scan(line, "checkpoint %d", &n):
				if *events[len(events)-1].Timestamp-*e.Timestamp >= lag.Milliseconds() {
					saved = n
				}
			default:
				t.Errorf("attempt %d says %q after %q", attempt+1, line, last)
			}
			last = *e.Message
		}
	}
	for step := 1; step <= spotSteps; step++ {
		if !done[step] {
			t.Logf("step %d is in no log: its line was lost with a killed agent", step)
		}
	}
}

func scan(line, format string, into *int) bool {
	n, err := fmt.Sscanf(line, format, into)
	return err == nil && n == 1
}

// events reads one log stream.
func (s *server) events(t *testing.T, stream string) []logtypes.OutputLogEvent {
	t.Helper()
	page, err := s.logs().GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{
		LogGroupName: aws.String(jobLogs), LogStreamName: &stream, StartFromHead: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	return page.Events
}

// checkSpotBill sees that what was billed is what Describe tells, to the second, and that no two lines overlap.
func checkSpotBill(t *testing.T, j *job, d *sagemaker.DescribeTrainingJobOutput) {
	t.Helper()
	b := j.bill(t)
	if b.Running || b.Seconds != int64(*d.TrainingTimeInSeconds) || b.BillableSeconds != int64(*d.BillableTimeInSeconds) {
		t.Errorf("billed %d s (billable %d, running %t), described %d s (billable %d)",
			b.Seconds, b.BillableSeconds, b.Running, *d.TrainingTimeInSeconds, *d.BillableTimeInSeconds)
	}
	attempts := strings.Count(phases(d), string(types.SecondaryStatusStarting))
	var sum int64
	for i, l := range b.Lines {
		sum += l.Seconds
		if l.Attempt > attempts {
			t.Errorf("line %d is of attempt %d; the history has %d", i+1, l.Attempt, attempts)
		}
		if i > 0 && l.Start < b.Lines[i-1].End {
			t.Errorf("line %d begins at %f, before line %d ends at %f", i+1, l.Start, i, b.Lines[i-1].End)
		}
	}
	if sum != b.Seconds {
		t.Errorf("the lines add up to %d s, the bill says %d s", sum, b.Seconds)
	}
}
