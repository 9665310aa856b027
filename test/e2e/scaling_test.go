package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
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
