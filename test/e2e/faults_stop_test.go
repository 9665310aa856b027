package e2e

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// A job that does not want to end is ended when the server's patience is over, and what it has made is kept.
func TestJobThatIgnoresSIGTERM(t *testing.T) {
	t.Parallel()
	const grace = 2 * time.Second
	s := start(t, append(roomy, "--stop-grace", grace.String())...)
	s.makeBucket(t)
	const deaf = "trap '' TERM; echo m > /opt/ml/model/m; setsid sh -c \"trap '' TERM; while :; do sleep 0.02; done\" & echo ready; while :; do sleep 0.02; done"

	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		j := s.job(t, "deaf", deaf)
		eventually(t, 10*time.Second, "the job to be deaf", func() bool { return len(j.log(t)) == 1 })
		asked := time.Now()
		j.stop(t)
		d := j.end(t, stopped)
		if took := time.Since(asked); took < grace || took > grace+5*time.Second {
			t.Errorf("it took %v with a grace of %v", took, grace)
		}
		if got := phases(d); got != "Starting Downloading Training Stopping Uploading Stopped" {
			t.Errorf("the job went %s", got)
		}
		if m := string(j.model(t)["m"]); m != "m\n" {
			t.Errorf("the model holds %q", m)
		}
	})
	t.Run("out of time", func(t *testing.T) {
		t.Parallel()
		j := s.job(t, "deaf-and-slow", deaf, func(in *sagemaker.CreateTrainingJobInput) { in.StoppingCondition.MaxRuntimeInSeconds = aws.Int32(1) })
		if d := j.end(t, stopped); d.SecondaryStatus != types.SecondaryStatusMaxRuntimeExceeded || *d.BillableTimeInSeconds < 3 {
			t.Errorf("the job is %s, billed %d s", d.SecondaryStatus, *d.BillableTimeInSeconds)
		}
	})
	t.Run("heeds", func(t *testing.T) {
		t.Parallel()
		j := s.job(t, "heeds", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done")
		eventually(t, 10*time.Second, "the job to be ready", func() bool { return len(j.log(t)) == 1 })
		asked := time.Now()
		j.stop(t)
		j.end(t, stopped)
		if took := time.Since(asked); took > grace {
			t.Errorf("a job that ends at once was given %v", took)
		}
	})
}
