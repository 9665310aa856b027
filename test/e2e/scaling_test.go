package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// cliScaling scales an endpoint by the clock, and looks at alarms.
func cliScaling(t *testing.T, s *server, aws *cli) {
	aws.run(t, "s3", "mb", "s3://"+bucket)
	e := s.deploy(t, "by-cli-scaled", 1, 1)
	e.inService(t)
	of := []string{"--service-namespace", "sagemaker", "--resource-id", "endpoint/by-cli-scaled/variant/AllTraffic", "--scalable-dimension", "sagemaker:variant:DesiredInstanceCount"}
	call := func(operation string, more ...string) string {
		return aws.run(t, append(append([]string{"application-autoscaling", operation}, of...), more...)...)
	}
	if arn := call("register-scalable-target", "--min-capacity", "1", "--max-capacity", "3", "--query", "ScalableTargetARN", "--output", "text"); !strings.HasPrefix(arn, "arn:aws:application-autoscaling:") {
		t.Errorf("the target is %q", arn)
	}
	call("put-scaling-policy", "--policy-name", "p", "--policy-type", "TargetTrackingScaling", "--target-tracking-scaling-policy-configuration",
		`{"TargetValue": 1000, "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}}`)
	states := aws.run(t, "cloudwatch", "describe-alarms", "--alarm-name-prefix", "TargetTracking-endpoint/by-cli-scaled/", "--query", "MetricAlarms[].[MetricName,Threshold,EvaluationPeriods]", "--output", "text")
	if states != "InvocationsPerInstance\t1000\t3\nInvocationsPerInstance\t900\t5\n" {
		t.Errorf("the alarms are %q", states)
	}
	soon := time.Now().UTC().Add(20 * time.Second).Format("at(2006-01-02T15:04:05)")
	call("put-scheduled-action", "--scheduled-action-name", "soon", "--schedule", soon, "--scalable-target-action", "MinCapacity=2,MaxCapacity=2")
	eventually(t, servingLimit, "the second instance", func() bool {
		return aws.run(t, "sagemaker", "describe-endpoint", "--endpoint-name", "by-cli-scaled", "--query", "ProductionVariants[0].CurrentInstanceCount") == "2\n"
	})
	e.inService(t)
	got := aws.run(t, "application-autoscaling", "describe-scalable-targets", "--service-namespace", "sagemaker", "--resource-ids", of[3],
		"--query", "ScalableTargets[].[MinCapacity,MaxCapacity]", "--output", "text")
	if got != "2\t2\n" {
		t.Errorf("the bounds are %q", got)
	}
	var past struct {
		ScalingActivities []struct{ Description, Cause, StatusCode string }
	}
	eventually(t, 20*time.Second, "the activity to end", func() bool {
		out := call("describe-scaling-activities")
		if err := json.Unmarshal([]byte(out), &past); err != nil || len(past.ScalingActivities) != 2 {
			t.Fatalf("%s: %v", out, err)
		}
		return past.ScalingActivities[0].StatusCode == "Successful"
	})
	if past.ScalingActivities[1].Cause != "scheduled action name soon was triggered" || past.ScalingActivities[0].Description != "Setting desired instance count to 2." {
		t.Errorf("%+v", past)
	}
	if out, err := s.stint(t, "endpoint", "describe", "by-cli-scaled").Output(); err != nil || !strings.Contains(string(out), "range  2 to 2 instances") {
		t.Errorf("%s: %v", out, stderr(err))
	}
	call("deregister-scalable-target")
	if out := aws.fails(t, append([]string{"application-autoscaling", "deregister-scalable-target"}, of...)...); !strings.Contains(out, "ObjectNotFoundException") {
		t.Error(out)
	}
}

// scaled is the only variant of an endpoint as application autoscaling sees it.
type scaled struct {
	*serving
	id string
}

// call does an operation on the target with the AWS CLI, and gives what it says.
func (e *scaled) call(t *testing.T, operation string, more ...string) string {
	t.Helper()
	of := []string{"application-autoscaling", operation, "--service-namespace", "sagemaker", "--resource-id", e.id, "--scalable-dimension", "sagemaker:variant:DesiredInstanceCount"}
	return newCLI(t, e.s).run(t, append(of, more...)...) // which a server that came back has to tell its port
}

// past waits until no change is under way, and gives what was done, the oldest first.
func (e *scaled) past(t *testing.T) (done []string) {
	t.Helper()
	eventually(t, servingLimit, "the change to be over", func() bool {
		var said struct {
			ScalingActivities []struct{ Description, StatusCode string }
		}
		if out := e.call(t, "describe-scaling-activities"); json.Unmarshal([]byte(out), &said) != nil {
			t.Fatal(out)
		}
		done = nil
		for _, a := range slices.Backward(said.ScalingActivities) {
			done = append(done, a.StatusCode+": "+a.Description)
		}
		return !strings.Contains(strings.Join(done, " "), "InProgress")
	})
	return done
}

// killedWhileUpdating kills the server at the beginning of an update, and again when the update has as many instances.
func (e *scaled) killedWhileUpdating(t *testing.T, instances int) {
	t.Helper()
	e.at(t, "the change to begin", func(d *sagemaker.DescribeEndpointOutput) bool {
		return d.EndpointStatus == types.EndpointStatusUpdating || aws.ToInt32(d.ProductionVariants[0].DesiredInstanceCount) == int32(instances)
	})
	e.s.kill(t)
	e.s.up(t)
	eventually(t, servingLimit, "an instance to come or go", func() bool { return len(e.s.agents(t)) == instances })
	e.s.kill(t)
	e.s.up(t)
	e.inService(t)
}

// The server may be killed before a change of capacity is due, when it has just been decided, and while instances come and go: it is
// made once, told of once, and each instance is billed once.
func TestServerKilledWhileScaling(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := &scaled{s.deploy(t, "scaled", 1, 1), "endpoint/scaled/variant/AllTraffic"}
	e.inService(t)
	// 1. The time of a scheduled action passes while nobody is there.
	e.call(t, "register-scalable-target", "--min-capacity", "1", "--max-capacity", "3")
	due := time.Now().UTC().Add(8 * time.Second).Truncate(time.Second)
	e.call(t, "put-scheduled-action", "--scheduled-action-name", "out", "--schedule", due.Format("at(2006-01-02T15:04:05)"), "--scalable-target-action", "MinCapacity=3,MaxCapacity=3")
	s.kill(t)
	eventually(t, 20*time.Second, "the action to be due", func() bool { return time.Now().After(due) })
	s.up(t)
	// 2. Out, and in again at the caller's word.
	e.killedWhileUpdating(t, 3)
	out := []string{"Successful: Setting min capacity to 3 and max capacity to 3", "Successful: Setting desired instance count to 3."}
	if done := e.past(t); !slices.Equal(done, out) {
		t.Errorf("done was %q", done)
	}
	e.call(t, "register-scalable-target", "--min-capacity", "1", "--max-capacity", "1")
	e.killedWhileUpdating(t, 1)
	if done := e.past(t); !slices.Equal(done, append(out, "Successful: Setting desired instance count to 1.")) {
		t.Errorf("done was %q", done)
	}
	if b := e.bill(t); len(b.Lines) != 3 || !b.Running {
		t.Errorf("while one of three instances is left the bill is %+v", b)
	}
	e.delete(t)
	// 3. Each instance has one line, which its end has closed, and nothing else was billed.
	b, sum := e.bill(t), int64(0)
	for _, l := range b.Lines {
		sum += l.Seconds
	}
	if len(b.Lines) != 3 || b.Running || sum != b.Seconds {
		t.Errorf("the bill is %+v", b)
	}
}
