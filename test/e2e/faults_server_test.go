package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// What must hold when the server is killed: every job that it has acknowledged runs to its end, once, and is told of once.
// A server that comes back has other ports each time. Jumps of the clock are the simulation's to test: no test may change
// the machine's clock.

// once checks that a job that has completed was attempted once, billed once, and went the usual way.
func (j *job) once(t *testing.T) *sagemaker.DescribeTrainingJobOutput {
	t.Helper()
	d := j.end(t, completed)
	if got := phases(d); got != "Starting Downloading Training Uploading Completed" {
		t.Errorf("%s went %s", j.name, got)
	}
	bill := j.bill(t)
	if len(bill.Lines) != 1 || bill.Lines[0].Attempt != 1 || bill.Running {
		t.Fatalf("%s has the bill %+v", j.name, bill)
	}
	line := bill.Lines[0]
	if billable := int64(*d.BillableTimeInSeconds); line.Seconds != billable || bill.Seconds != billable {
		t.Errorf("%s is billed %d s and says %d s", j.name, line.Seconds, billable)
	}
	if start, end := seconds(d.TrainingStartTime), seconds(d.TrainingEndTime); line.Start != start || line.End != end {
		t.Errorf("%s is billed from %f to %f and ran from %f to %f", j.name, line.Start, line.End, start, end)
	}
	return d
}

func seconds(t *time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// agentSays waits until an agent of this server has said something in its own log. The log goes with the agent.
func (s *server) agentSays(t *testing.T, words string) {
	t.Helper()
	s.fileHolds(t, "agents/*/agent.log", words)
}

// fileHolds waits until one of the files in the server's folder holds something.
func (s *server) fileHolds(t *testing.T, pattern, words string) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("%q in %s", words, pattern), func() bool { return s.holds(t, pattern, words) })
}

// holds tells whether one of the files in the server's folder holds something now.
func (s *server) holds(t *testing.T, pattern, words string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.home, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(words)) {
			return true
		}
	}
	return false
}

// noise is bytes that cannot be compressed, and their SHA-256.
func noise(size int) ([]byte, string) {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	sum := sha256.Sum256(content)
	return content, hex.EncodeToString(sum[:])
}

func TestServerKilledJustAfterItAnswered(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	var jobs []*job
	for round := range 4 {
		for i := range 6 {
			name := fmt.Sprintf("killed-%d-%d", round, i)
			jobs = append(jobs, s.job(t, name, "echo ran "+name+" >> /opt/ml/output/ran; cat /opt/ml/output/ran"))
		}
		s.kill(t)
		s.up(t)
	}
	for _, j := range jobs {
		j.once(t)
		if log := j.log(t); len(log) != 1 || log[0] != "ran "+j.name {
			t.Errorf("%s said %q", j.name, log)
		}
	}
}

func TestServerKilledWhileAJobWaits(t *testing.T) {
	t.Parallel()
	s := start(t, "--cpus", "2", "--memory", "8GiB") // room for one
	s.makeBucket(t)
	closed, open := s.gate("first")
	first := s.job(t, "first", "while "+closed+"; do sleep 0.02; done")
	second := s.job(t, "second", "echo second")
	first.reach(t, types.SecondaryStatusTraining)
	s.kill(t)
	s.up(t)
	if d := second.describe(t); d.SecondaryStatus != types.SecondaryStatusStarting || d.TrainingStartTime != nil {
		t.Errorf("the second job is %s since %v", d.SecondaryStatus, d.TrainingStartTime)
	}
	open(t)
	one, two := first.once(t), second.once(t)
	if two.TrainingStartTime.Before(*one.TrainingEndTime) {
		t.Errorf("the second began at %v, before the first ended at %v", two.TrainingStartTime, one.TrainingEndTime)
	}
}

func TestServerKilledWhileDownloading(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	content, _ := noise(96 << 20)
	all := sha256.New()
	for i := range 3 {
		s.put(t, fmt.Sprintf("big/part-%d", i), content)
		all.Write(content)
	}
	j := s.job(t, "downloading", "cat /opt/ml/input/data/train/part-* | sha256sum", input("train", "s3://"+bucket+"/big/"))
	j.reach(t, types.SecondaryStatusDownloading)
	s.kill(t)
	s.agentSays(t, "the control plane is away")
	s.up(t)
	j.once(t)
	if log := j.log(t); len(log) != 1 || log[0] != hex.EncodeToString(all.Sum(nil))+"  -" {
		t.Errorf("the job read something else: %q", log)
	}
}

func TestServerKilledWhileTraining(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	closed, open := s.gate("away")
	// It talks all the time, is cut off in the middle, and ends while the server is away.
	j := s.job(t, "training", "n=0; while "+closed+"; do echo line $n; n=$((n+1)); done; for i in 1 2 3; do echo loss=0.$i; done; echo total $n; echo m > /opt/ml/model/m",
		func(in *sagemaker.CreateTrainingJobInput) {
			in.AlgorithmSpecification.MetricDefinitions = []types.MetricDefinition{{Name: aws.String("loss"), Regex: aws.String("loss=([0-9.]+)")}}
		})
	j.reach(t, types.SecondaryStatusTraining)
	for range 3 {
		eventually(t, 20*time.Second, "more lines", func() bool { return len(j.tail(t)) > 0 })
		s.kill(t)
		s.up(t)
	}
	s.kill(t)
	open(t)
	s.fileHolds(t, "agents/*/spool/*", `"phase":"Uploading"`)
	s.up(t)
	d := j.once(t)
	wantLines(t, j.log(t), "total")
	if len(d.FinalMetricDataList) != 1 || *d.FinalMetricDataList[0].Value != float32(0.3) {
		t.Errorf("metrics: %+v", d.FinalMetricDataList)
	}
	if m := j.model(t); string(m["m"]) != "m\n" {
		t.Errorf("model: %q", m)
	}
}

// tail is the last lines of a job's log.
func (j *job) tail(t *testing.T) []string {
	t.Helper()
	lines := j.log(t)
	return lines[max(0, len(lines)-10):]
}

// wantLines checks that a log is "line 0", "line 1", …, some metrics, and the number of lines.
func wantLines(t *testing.T, log []string, last string) {
	t.Helper()
	n := 0
	for _, line := range log {
		if strings.HasPrefix(line, "line ") {
			if line != fmt.Sprint("line ", n) {
				t.Fatalf("%q stands where line %d should be", line, n)
			}
			n++
		}
	}
	if len(log) == 0 || log[len(log)-1] != fmt.Sprint(last, " ", n) {
		t.Errorf("%d lines, and the last one is %q", n, log[len(log)-1:])
	}
}

func TestServerKilledWhileUploading(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	j := s.job(t, "uploading", "head -c 120000000 /dev/urandom > /opt/ml/model/m && sha256sum < /opt/ml/model/m")
	j.reach(t, types.SecondaryStatusUploading)
	s.kill(t)
	s.agentSays(t, "the control plane is away")
	s.up(t)
	j.once(t)
	sum := sha256.Sum256(j.model(t)["m"])
	if log := j.log(t); len(log) != 1 || log[0] != hex.EncodeToString(sum[:])+"  -" {
		t.Errorf("the model is not what the job made: %x, %q", sum, log)
	}
}

func TestServerAwayWhileAJobTalks(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	closed, open := s.gate("talk")
	const lines = 100_000
	j := s.job(t, "talks", fmt.Sprintf("while %s; do sleep 0.02; done; seq -f 'line %%.0f' 0 %d; echo total %d", closed, lines-1, lines))
	j.reach(t, types.SecondaryStatusTraining)
	s.kill(t)
	open(t)
	s.fileHolds(t, "agents/*/spool/*", fmt.Sprint("total ", lines))
	s.up(t)
	j.once(t)
	log := j.log(t)
	if len(log) != lines+1 {
		t.Fatalf("%d lines arrived", len(log))
	}
	wantLines(t, log, "total")
}

// A server that ends in order leaves its jobs alone too.
func TestServerStoppedWhileTraining(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	closed, open := s.gate("end")
	j := s.job(t, "goes-on", "while "+closed+"; do sleep 0.02; done; echo done")
	j.reach(t, types.SecondaryStatusTraining)
	s.stop(t)
	open(t)
	s.up(t)
	j.once(t)
}

func TestJobStoppedWhileItsAgentWasAlone(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	j := s.job(t, "to-stop", "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.02; done")
	j.reach(t, types.SecondaryStatusTraining)
	eventually(t, 10*time.Second, "the trap to be set", func() bool { return len(j.log(t)) == 1 })
	j.stop(t)
	s.kill(t) // perhaps before the agent has heard of it
	s.up(t)
	d := j.end(t, stopped)
	if got := phases(d); got != "Starting Downloading Training Stopping Uploading Stopped" {
		t.Errorf("the job went %s", got)
	}
	if log := j.log(t); len(log) != 2 || log[1] != "saved" {
		t.Errorf("the job said %q", log)
	}
}

func TestTwoJobsWithOneBucket(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	s.put(t, "in/data", []byte("data"))
	closed, open := s.gate("both")
	var jobs []*job
	for _, name := range []string{"one", "two"} {
		jobs = append(jobs, s.job(t, name, "while "+closed+"; do sleep 0.02; done; cat /opt/ml/input/data/train/data > /opt/ml/model/m; echo "+name+" >> /opt/ml/model/m",
			input("train", "s3://"+bucket+"/in/")))
	}
	for _, j := range jobs {
		j.reach(t, types.SecondaryStatusTraining)
	}
	open(t)
	for _, j := range jobs {
		j.once(t)
		if m := string(j.model(t)["m"]); m != "data"+j.name+"\n" {
			t.Errorf("the model of %s holds %q", j.name, m)
		}
	}
}
