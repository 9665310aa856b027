package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
)

// crowd is many clients that ask an endpoint without a pause over connections that they keep, and count every answer.
type crowd struct {
	stop   chan struct{}
	wait   sync.WaitGroup
	heard  [4]atomic.Int64 // answers by what the model added
	mu     sync.Mutex
	failed []string
}

func (e *serving) crowd(t *testing.T, clients int) *crowd {
	t.Helper()
	c := &crowd{stop: make(chan struct{})}
	runtime := sagemakerruntime.NewFromConfig(e.s.config(), func(o *sagemakerruntime.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: time.Minute}
	})
	for range clients {
		c.wait.Go(func() {
			for {
				select {
				case <-c.stop:
					return
				default:
					c.ask(t, runtime, e.name)
				}
			}
		})
	}
	t.Cleanup(c.leave)
	return c
}

// ask asks once and counts what comes of it.
func (c *crowd) ask(t *testing.T, runtime *sagemakerruntime.Client, endpoint string) {
	var said [][]int
	out, err := runtime.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
		EndpointName: &endpoint, ContentType: aws.String("application/json"), Body: []byte("[[0]]"),
	})
	if err == nil {
		err = json.Unmarshal(out.Body, &said)
	}
	if err == nil && (len(said) != 1 || len(said[0]) != 1 || said[0][0] < 1 || said[0][0] >= len(c.heard)) {
		err = fmt.Errorf("it says %s", out.Body)
	}
	if err == nil {
		c.heard[said[0][0]].Add(1)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, err.Error())
}

func (c *crowd) leave() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.wait.Wait()
}

// since tells which models have answered in a little while from now.
func (c *crowd) since(t *testing.T) (who []int) {
	t.Helper()
	var before, after [4]int64
	total := func(into *[4]int64) (n int64) {
		for i := range c.heard {
			into[i] = c.heard[i].Load()
			n += into[i]
		}
		return n
	}
	enough := total(&before) + 200
	eventually(t, servingLimit, "200 more answers", func() bool { return total(&after) >= enough })
	for i := range after {
		if after[i] > before[i] {
			who = append(who, i)
		}
	}
	return who
}

// hears waits until these models answer and no other: what is under way when an update ends may still be answered by the old one.
func (c *crowd) hears(t *testing.T, want ...int) {
	t.Helper()
	eventually(t, servingLimit, fmt.Sprintf("answers of %v", want), func() bool { return slices.Equal(c.since(t), want) })
}

// blueGreen is a policy that bakes for two seconds after each step.
func blueGreen(how types.TrafficRoutingConfig, linger int32) *types.DeploymentConfig {
	how.WaitIntervalInSeconds = aws.Int32(2)
	return &types.DeploymentConfig{BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{TrafficRoutingConfiguration: &how, TerminationWaitInSeconds: &linger}}
}

// another makes a configuration of instances whose model adds 2.
func (s *server) another(t *testing.T, name string, instances int32) {
	t.Helper()
	s.makeModel(t, name, 2)
	_, err := s.sagemaker().CreateEndpointConfig(t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, ProductionVariants: []types.ProductionVariant{{
			VariantName: aws.String("AllTraffic"), ModelName: &name, InstanceType: types.ProductionVariantInstanceTypeMlT2Medium, InitialInstanceCount: &instances,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// update asks for an update to a configuration.
func (e *serving) update(t *testing.T, config string, policy *types.DeploymentConfig) {
	t.Helper()
	_, err := e.s.sagemaker().UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{EndpointName: &e.name, EndpointConfigName: &config, DeploymentConfig: policy})
	if err != nil {
		t.Fatal(err)
	}
}

// at waits until a condition holds of what is described.
func (e *serving) at(t *testing.T, what string, holds func(*sagemaker.DescribeEndpointOutput) bool) (d *sagemaker.DescribeEndpointOutput) {
	t.Helper()
	eventually(t, servingLimit, what, func() bool {
		var err error
		if d, err = e.s.sagemaker().DescribeEndpoint(t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &e.name}); err != nil {
			t.Fatal(err)
		}
		return holds(d)
	})
	return d
}

// baking waits for a step's bake.
func (e *serving) baking(t *testing.T, step string) {
	t.Helper()
	e.at(t, "the bake of "+step, func(d *sagemaker.DescribeEndpointOutput) bool {
		if d.PendingDeploymentSummary == nil {
			t.Fatalf("it is %s: %s", d.EndpointStatus, aws.ToString(d.FailureReason))
		}
		status := d.PendingDeploymentSummary.ProductionVariants[0].VariantStatus
		return len(status) == 1 && status[0].Status == types.VariantStatusBaking && strings.HasPrefix(aws.ToString(status[0].StatusMessage), step)
	})
}

// settled waits until an update is over in either way.
func (e *serving) settled(t *testing.T) *sagemaker.DescribeEndpointOutput {
	t.Helper()
	return e.at(t, "the update to be over", func(d *sagemaker.DescribeEndpointOutput) bool {
		return d.EndpointStatus == types.EndpointStatusInService
	})
}

// TestUpdatesLoseNoRequest updates an endpoint in every way there is, and lets alarms take updates back, while many clients ask it
// all the time.
func TestUpdatesLoseNoRequest(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deploy(t, "one", 1, 2)
	s.another(t, "two", 2)
	e.inService(t)
	c := e.crowd(t, 16)
	half := &types.CapacitySize{Type: types.CapacitySizeTypeCapacityPercent, Value: aws.Int32(50)}
	rolling := &types.DeploymentConfig{RollingUpdatePolicy: &types.RollingUpdatePolicy{MaximumBatchSize: half, WaitIntervalInSeconds: aws.Int32(2)}}
	for _, step := range []struct {
		how, config string
		policy      *types.DeploymentConfig
	}{
		{"by default", "two", nil},
		{"all at once", "one", blueGreen(types.TrafficRoutingConfig{Type: types.TrafficRoutingConfigTypeAllAtOnce}, 1)},
		{"canary", "two", blueGreen(types.TrafficRoutingConfig{Type: types.TrafficRoutingConfigTypeCanary, CanarySize: half}, 1)},
		{"linear", "one", blueGreen(types.TrafficRoutingConfig{Type: types.TrafficRoutingConfigTypeLinear, LinearStepSize: half}, 0)},
		{"rolling", "two", rolling},
	} {
		e.update(t, step.config, step.policy)
		if d := e.settled(t); *d.EndpointConfigName != step.config {
			t.Fatalf("%s: %s serves: %s", step.how, *d.EndpointConfigName, aws.ToString(d.FailureReason))
		}
		c.hears(t, map[string]int{"one": 1, "two": 2}[step.config])
	}
	canary := blueGreen(types.TrafficRoutingConfig{Type: types.TrafficRoutingConfigTypeCanary, CanarySize: half}, 0)
	canary.BlueGreenUpdatePolicy.TrafficRoutingConfiguration.WaitIntervalInSeconds = aws.Int32(600)
	rolling.RollingUpdatePolicy.WaitIntervalInSeconds = aws.Int32(600)
	e.rollsBack(t, c, canary)
	e.rollsBack(t, c, rolling)
	c.leave()
	t.Logf("%d and %d answers", c.heard[1].Load(), c.heard[2].Load())
	if len(c.failed) > 0 {
		t.Errorf("%d requests failed, the first by %s", len(c.failed), c.failed[0])
	}
	e.delete(t)
}

// rollsBack lets an alarm go off half way from two to one: the requests go back.
func (e *serving) rollsBack(t *testing.T, c *crowd, policy *types.DeploymentConfig) {
	t.Helper()
	alarm := e.s.alarm(t)
	alarm(cwtypes.StateValueOk)
	policy.AutoRollbackConfiguration = &types.AutoRollbackConfig{Alarms: []types.Alarm{{AlarmName: aws.String("errors")}}}
	e.update(t, "one", policy)
	e.baking(t, "step 1 of 2, 50% of the requests")
	c.hears(t, 1, 2)
	out, err := e.s.stint(t, "endpoint", "describe", e.name).Output()
	if err != nil || !bytes.Contains(out, []byte("step 1 of 2, 50% of the requests")) || !bytes.Contains(out, []byte("Baking")) {
		t.Errorf("the update is shown as %s: %v", out, err)
	}
	alarm(cwtypes.StateValueAlarm)
	if d := e.settled(t); *d.EndpointConfigName != "two" || !strings.Contains(aws.ToString(d.FailureReason), `"errors"`) {
		t.Fatalf("%s serves: %s", *d.EndpointConfigName, aws.ToString(d.FailureReason))
	}
	c.hears(t, 2)
}

// alarm makes an alarm called errors, and what sets its state for the next minute.
func (s *server) alarm(t *testing.T) func(cwtypes.StateValue) {
	t.Helper()
	alarms := cloudwatch.NewFromConfig(s.config())
	_, err := alarms.PutMetricAlarm(t.Context(), &cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("errors"), Namespace: aws.String("Tests"), MetricName: aws.String("errors"), Statistic: cwtypes.StatisticSum,
		Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(0), ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold,
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(state cwtypes.StateValue) {
		t.Helper()
		_, err := alarms.SetAlarmState(t.Context(), &cloudwatch.SetAlarmStateInput{AlarmName: aws.String("errors"), StateValue: state, StateReason: aws.String("a drill")})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A server that is killed in the middle of an update takes it up where it was: the step goes on, and the old version is there
// to go back to.
func TestServerKilledInAnUpdate(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deploy(t, "old", 1, 1)
	s.another(t, "new", 1)
	e.inService(t)
	policy := blueGreen(types.TrafficRoutingConfig{
		Type: types.TrafficRoutingConfigTypeCanary, CanarySize: &types.CapacitySize{Type: types.CapacitySizeTypeCapacityPercent, Value: aws.Int32(50)},
	}, 5)
	policy.BlueGreenUpdatePolicy.TrafficRoutingConfiguration.WaitIntervalInSeconds = aws.Int32(5)
	e.update(t, "new", policy)
	for _, step := range []string{"step 1 of 2, 50% of the requests until", "step 2 of 2, 100% of the requests until", "step 2 of 2, 100% of the requests; the old instances stay"} {
		e.baking(t, step)
		agents := s.agents(t)
		s.kill(t)
		s.up(t)
		eventually(t, 20*time.Second, "the endpoint to answer again", func() bool {
			_, err := e.who(t)
			return err == nil
		})
		if now := s.agents(t); len(agents) != 2 || !slices.Equal(now, agents) && len(now) != 1 {
			t.Errorf("at %q agents %v were %v", step, now, agents)
		}
	}
	if d := e.settled(t); *d.EndpointConfigName != "new" {
		t.Errorf("%s serves: %s", *d.EndpointConfigName, aws.ToString(d.FailureReason))
	}
	if a, err := e.who(t); err != nil || a.Add != 2 {
		t.Errorf("%+v answers: %v", a, err)
	}
	e.delete(t)
}
