package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// onSmallDisk starts a server whose folder is a file system of its own of so many bytes.
func onSmallDisk(t *testing.T, size int) *server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may make a file system; the continuous integration runs as root")
	}
	s := prepare(t, roomy...)
	if err := os.RemoveAll(filepath.Join(s.home, "runtimes")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.home, "tmpfs", 0, fmt.Sprintf("size=%d,mode=711", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the folder is removed
		if err := syscall.Unmount(s.home, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s.up(t)
	return s
}

// fill takes all that is left of the server's disk, and gives a way to give it back.
func (s *server) fill(t *testing.T) (free func()) {
	t.Helper()
	path := filepath.Join(s.home, "somebody-elses-file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, block := range []int{1 << 20, 4096} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, block))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// wantFull checks that a call was refused as the server's fault, which a client may try again, and says why.
func wantFull(t *testing.T, err error, words string) {
	t.Helper()
	var refused *http.ResponseError
	if !errors.As(err, &refused) || refused.HTTPStatusCode() < 500 || !strings.Contains(err.Error(), words) {
		t.Errorf("on a full disk: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := onSmallDisk(t, 64<<20)
	s.makeBucket(t)
	s.put(t, "kept", []byte("kept"))
	before := s.job(t, "before", "echo before; echo m > /opt/ml/model/m")
	before.once(t)
	closed, open := s.gate("during")
	during := s.job(t, "during", "while "+closed+"; do sleep 0.02; done; for i in 1 2 3; do echo line $i; done")
	during.reach(t, types.SecondaryStatusTraining)

	free := s.fill(t)
	// 1. What needs room is refused, and what does not is answered.
	_, err := s.sagemaker().CreateTrainingJob(t.Context(), request("refused", "true"))
	wantFull(t, err, "disk")
	_, err = s.objects().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("refused"), Body: bytes.NewReader(make([]byte, 1<<20))})
	wantFull(t, err, "")
	if d := before.describe(t); d.TrainingJobStatus != completed {
		t.Errorf("a job of before is %s", d.TrainingJobStatus)
	}
	got, err := s.objects().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("kept")})
	if err != nil {
		t.Fatal(err)
	}
	got.Body.Close()
	// 2. A job ends meanwhile, and a server that is killed now comes back as soon as there is room.
	open(t)
	s.kill(t)
	free()
	s.up(t)
	// 3. Nothing is lost, nothing was half done, and everything works.
	during.once(t)
	if log := during.log(t); fmt.Sprint(log) != "[line 1 line 2 line 3]" {
		t.Errorf("the job said %q", log)
	}
	before.once(t)
	if m := string(before.model(t)["m"]); m != "m\n" {
		t.Errorf("the model of before is %q", m)
	}
	_, err = s.objects().HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("refused")})
	wantCode(t, err, "NotFound")
	s.job(t, "refused", "true").once(t) // the name was never taken
}

// A server that stays up through a full disk goes on by itself once there is room.
func TestFullDiskPasses(t *testing.T) {
	t.Parallel()
	s := onSmallDisk(t, 64<<20)
	s.makeBucket(t)
	closed, open := s.gate("during")
	during := s.job(t, "during", "while "+closed+"; do sleep 0.02; done; for i in 1 2 3; do echo line $i; done")
	during.reach(t, types.SecondaryStatusTraining)
	free := s.fill(t)
	_, err := s.sagemaker().CreateTrainingJob(t.Context(), request("refused", "true"))
	wantFull(t, err, "disk")
	open(t)
	// Whether or not there is room to write the job's end down, it must not be lost. Three seconds are many tries.
	deadline := time.Now().Add(3 * time.Second)
	eventually(t, 10*time.Second, "the time to pass", func() bool {
		if status := during.describe(t).TrainingJobStatus; status != types.TrainingJobStatusInProgress && status != completed {
			t.Fatalf("the job is %s", status)
		}
		return time.Now().After(deadline)
	})
	free()
	during.once(t)
	if log := during.log(t); fmt.Sprint(log) != "[line 1 line 2 line 3]" {
		t.Errorf("the job said %q", log)
	}
	s.job(t, "refused", "true").once(t)
}

// A job that takes all of the disk it shares with the server fails; the server and the other jobs go on.
func TestJobThatFillsTheDisk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command string
		ends    types.TrainingJobStatus
		words   string
	}{
		"gives up":        {"cat /dev/zero > /opt/ml/model/zeros || { echo full; exit 5; }", failed, "exit code: 5"},
		"in /tmp":         {"cat /dev/zero > /tmp/zeros || { echo full; exit 5; }", failed, "exit code: 5"},
		"never gives up":  {"while :; do cat /dev/zero >> /opt/ml/model/zeros; sleep 0.01; done 2> /dev/null", stopped, ""},
		"by what it says": {"cat /dev/zero > /tmp/zeros; while :; do echo still here; sleep 0.01; done", stopped, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := onSmallDisk(t, 64<<20)
			s.makeBucket(t)
			before := s.job(t, "before", "echo before")
			before.once(t)
			j := s.job(t, "greedy", c.command, func(in *sagemaker.CreateTrainingJobInput) { in.StoppingCondition.MaxRuntimeInSeconds = aws.Int32(3) })
			d := j.end(t, c.ends)
			if reason := aws.ToString(d.FailureReason); !strings.Contains(reason, c.words) {
				t.Errorf("the reason is %q", reason)
			}
			if bill := j.bill(t); len(bill.Lines) != 1 || bill.Running {
				t.Errorf("the bill is %+v", bill)
			}
			before.once(t)
			s.job(t, "after", "echo after").once(t)
		})
	}
}
