package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// What must hold when a job's agent is killed: nothing of the job runs on, it is noticed in seconds, the bill ends with the
// agent, and the job fails as the platform's fault or, if it asks for that, is tried again.

// noticed is how long the end of an agent may go unnoticed.
const noticed = 3 * time.Second

// signalAgents sends a signal to the agents of this server, of which there must be some.
func (s *server) signalAgents(t *testing.T, signal syscall.Signal) time.Time {
	t.Helper()
	pids := s.agents(t)
	if len(pids) == 0 {
		t.Fatal("there is no agent")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil {
			t.Fatal(err)
		}
	}
	return time.Now()
}

// runs tells whether any process of this machine has a word in its command line.
func runs(t *testing.T, word string) bool {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range commands {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}

// moment brings the first job of a server to where its agent is to be killed.
type moment struct {
	name   string
	phases string // that its history begins with
	billed bool   // the agent has reported before
	bring  func(t *testing.T, s *server, change ...func(*sagemaker.CreateTrainingJobInput)) *job
}

var moments = []moment{
	{"starting", "Starting", false, bringStarting},
	{"downloading", "Starting Downloading", true, func(t *testing.T, s *server, change ...func(*sagemaker.CreateTrainingJobInput)) *job {
		content, _ := noise(64 << 20)
		for i := range 4 {
			s.put(t, fmt.Sprintf("big/part-%d", i), content)
		}
		j := s.job(t, "downloading", "true", append(change, input("train", "s3://"+bucket+"/big/"))...)
		j.reach(t, types.SecondaryStatusDownloading)
		return j
	}},
	{"training", "Starting Downloading Training", true, func(t *testing.T, s *server, change ...func(*sagemaker.CreateTrainingJobInput)) *job {
		// The second attempt finds the gate open, which the test opens after the kill.
		closed, _ := s.gate("training")
		marker := "86399." + strings.TrimPrefix(filepath.Base(s.home), "stint-e2e-") // a sleep that no other test sleeps
		j := s.job(t, "training", "if "+closed+"; then setsid sleep "+marker+" & sleep "+marker+"; fi; echo again", change...)
		j.reach(t, types.SecondaryStatusTraining)
		eventually(t, 10*time.Second, "the job's process", func() bool { return runs(t, marker) })
		return j
	}},
	{"uploading", "Starting Downloading Training Uploading", true, func(t *testing.T, s *server, change ...func(*sagemaker.CreateTrainingJobInput)) *job {
		j := s.job(t, "uploading", "head -c 80000000 /dev/urandom > /opt/ml/model/m", change...)
		j.reach(t, types.SecondaryStatusUploading)
		return j
	}},
}

// bringStarting holds an agent before it has reported anything, or written a report down. That takes luck; a job that was too quick is let go, and
// another one tried.
func bringStarting(t *testing.T, s *server, change ...func(*sagemaker.CreateTrainingJobInput)) *job {
	t.Helper()
	for try := range 50 {
		j := s.job(t, fmt.Sprintf("starting-%d", try), "true", change...)
		for deadline := time.Now().Add(5 * time.Second); len(s.agents(t)) == 0 && time.Now().Before(deadline); {
			if j.describe(t).TrainingJobStatus != types.TrainingJobStatusInProgress {
				break
			}
		}
		for _, pid := range s.agents(t) {
			_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
		}
		if len(s.agents(t)) > 0 && settled(t, j).SecondaryStatus == types.SecondaryStatusStarting && !s.holds(t, "agents/*/spool/*", "phase") {
			return j
		}
		for _, pid := range s.agents(t) {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		j.end(t, completed)
	}
	t.Fatal("no agent could be caught while it started")
	return nil
}

// settled describes a job whose agent was just stopped: a report that was on its way may still arrive.
func settled(t *testing.T, j *job) *sagemaker.DescribeTrainingJobOutput {
	t.Helper()
	d := j.describe(t)
	for until := time.Now().Add(200 * time.Millisecond); time.Now().Before(until); {
		d = j.describe(t)
	}
	return d
}

func TestAgentKilled(t *testing.T) {
	t.Parallel()
	for _, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, roomy...)
			s.makeBucket(t)
			j := m.bring(t, s)
			at := s.signalAgents(t, syscall.SIGKILL)
			d := j.end(t, failed)
			if late := time.Since(at); late > noticed {
				t.Errorf("it took %v to notice", late)
			}
			if reason := aws.ToString(d.FailureReason); !strings.HasPrefix(reason, "InternalServerError: ") || !strings.Contains(reason, "agent") || !strings.Contains(reason, "signal 9") {
				t.Errorf("the reason is %q", reason)
			}
			if got := phases(d); got != m.phases+" Failed" {
				t.Errorf("the job went %s", got)
			}
			bill := j.bill(t)
			if bill.Running || len(bill.Lines) != map[bool]int{true: 1, false: 0}[m.billed] {
				t.Fatalf("the bill is %+v", bill)
			}
			if m.billed {
				wantEnd(t, bill.Lines[0].End, at)
			}
			if word := "86399." + strings.TrimPrefix(filepath.Base(s.home), "stint-e2e-"); runs(t, word) {
				t.Error("a process of the job outlived its agent")
			}
		})
	}
}

// wantEnd checks that a line of the bill ends at about a kill.
func wantEnd(t *testing.T, end float64, kill time.Time) {
	t.Helper()
	if off := end - seconds(&kill); off < -1 || off > noticed.Seconds() {
		t.Errorf("the bill ends %.3f s after the kill", off)
	}
}

func TestAgentKilledAndTriedAgain(t *testing.T) {
	t.Parallel()
	for _, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, roomy...)
			s.makeBucket(t)
			j := m.bring(t, s, retries(1))
			_, open := s.gate("training")
			open(t)
			at := s.signalAgents(t, syscall.SIGKILL)
			d := j.end(t, completed)
			if got := phases(d); got != m.phases+" Restarting Starting Downloading Training Uploading Completed" {
				t.Errorf("the job went %s", got)
			}
			bill := j.bill(t)
			if m.billed {
				if len(bill.Lines) != 2 || bill.Lines[0].Attempt != 1 {
					t.Fatalf("the bill is %+v", bill)
				}
				wantEnd(t, bill.Lines[0].End, at)
				bill.Lines = bill.Lines[1:]
			}
			if len(bill.Lines) != 1 || bill.Lines[0].Attempt != 2 || bill.Running {
				t.Errorf("the bill is %+v", bill)
			}
			if int64(*d.BillableTimeInSeconds) != bill.BillableSeconds {
				t.Errorf("billed %d s, described %d s", bill.BillableSeconds, *d.BillableTimeInSeconds)
			}
			if m.name == "uploading" {
				if got := len(j.model(t)["m"]); got != 80_000_000 {
					t.Errorf("the model has %d bytes", got)
				}
			}
		})
	}
}

func TestAgentAndServerKilled(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	closed, open := s.gate("talk")
	j := s.job(t, "both", "echo line 0; while "+closed+"; do sleep 0.02; done; for i in 1 2 3 4; do echo line $i; done; echo total 5; sleep 3600")
	again := s.job(t, "both-again", "if "+closed+"; then sleep 3600; fi; echo second", retries(2))
	j.reach(t, types.SecondaryStatusTraining)
	again.reach(t, types.SecondaryStatusTraining)
	s.kill(t)
	open(t)
	s.fileHolds(t, "agents/*/spool/*", "total 5")
	at := s.signalAgents(t, syscall.SIGKILL)
	eventually(t, 10*time.Second, "the agents to end", func() bool { return len(s.agents(t)) == 0 })
	s.up(t)
	d := j.end(t, failed)
	if reason := aws.ToString(d.FailureReason); !strings.HasPrefix(reason, "InternalServerError: ") {
		t.Errorf("the reason is %q", reason)
	}
	wantLines(t, j.log(t), "total") // what the agent had written down still counts
	bill := j.bill(t)
	if len(bill.Lines) != 1 || bill.Running {
		t.Fatalf("the bill is %+v", bill)
	}
	if end := bill.Lines[0].End; end < seconds(&at)-5 || end > seconds(&at)+20 { // the server sees it when it is back
		t.Errorf("the bill ends %.3f s after the kill", end-seconds(&at))
	}
	again.end(t, completed)
	if lines := again.bill(t).Lines; len(lines) != 2 || lines[1].Attempt != 2 {
		t.Errorf("the bill of the second job is %+v", lines)
	}
}

// An agent that has written its outcome down has done its work, whatever becomes of it before anybody heard.
func TestAgentKilledAfterItsWorkWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	closed, open := s.gate("end")
	j := s.job(t, "done", "while "+closed+"; do sleep 0.02; done; echo done")
	j.reach(t, types.SecondaryStatusTraining)
	s.kill(t)
	open(t)
	s.fileHolds(t, "agents/*/spool/*", `"kind":"Succeeded"`)
	s.signalAgents(t, syscall.SIGKILL)
	s.up(t)
	j.once(t)
	if log := j.log(t); len(log) != 1 || log[0] != "done" {
		t.Errorf("the job said %q", log)
	}
}

// A model that cannot be brought to where it belongs is kept on the machine, and the job says where, until it is deleted.
func TestModelThatCannotBeUploadedIsKept(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	closed, open := s.gate("bucket")
	j := s.job(t, "homeless", "while "+closed+"; do sleep 0.02; done; echo precious > /opt/ml/model/m")
	j.reach(t, types.SecondaryStatusTraining)
	if _, err := s.objects().DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	open(t)
	reason := aws.ToString(j.end(t, failed).FailureReason)
	_, where, _ := strings.Cut(reason, "is kept in ")
	where, _, _ = strings.Cut(where, ":")
	if !strings.HasPrefix(reason, "ClientError: ") || !strings.Contains(reason, "s3://"+bucket+"/out/homeless/output") {
		t.Errorf("the reason is %q", reason)
	}
	model := filepath.Join(where, "m")
	if content, err := os.ReadFile(model); err != nil || string(content) != "precious\n" {
		t.Fatalf("%q holds %q: %v", model, content, err)
	}
	s.kill(t)
	s.up(t) // which sweeps up
	if _, err := os.ReadFile(model); err != nil {
		t.Fatalf("the model is gone before the job was deleted: %v", err)
	}
	if _, err := s.sagemaker().DeleteTrainingJob(t.Context(), &sagemaker.DeleteTrainingJobInput{TrainingJobName: &j.name}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the model to go with its job", func() bool {
		_, err := os.Stat(model)
		return os.IsNotExist(err)
	})
}
