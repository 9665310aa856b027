package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	"github.com/aws/smithy-go"
)

// The topics of the asynchronous suites.
const (
	doneTopic   = "arn:aws:sns:us-east-1:000000000000:done"
	failedTopic = "arn:aws:sns:us-east-1:000000000000:failed"
)

// deployAsync makes an asynchronous endpoint whose containers have one invocation at a time.
func (s *server) deployAsync(t *testing.T, name string) *serving {
	t.Helper()
	s.makeModel(t, name, 1)
	return s.makeEndpoint(t, &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, ProductionVariants: []types.ProductionVariant{{
			VariantName: aws.String("AllTraffic"), ModelName: &name, InstanceType: types.ProductionVariantInstanceTypeMlT2Medium, InitialInstanceCount: aws.Int32(1),
		}},
		AsyncInferenceConfig: &types.AsyncInferenceConfig{
			ClientConfig: &types.AsyncInferenceClientConfig{MaxConcurrentInvocationsPerInstance: aws.Int32(1)},
			OutputConfig: &types.AsyncInferenceOutputConfig{
				S3OutputPath: aws.String("s3://" + bucket + "/" + name + "/out"), S3FailurePath: aws.String("s3://" + bucket + "/" + name + "/failed"),
				NotificationConfig: &types.AsyncInferenceNotificationConfig{
					SuccessTopic: aws.String(doneTopic), ErrorTopic: aws.String(failedTopic),
					IncludeInferenceResponseIn: []types.AsyncNotificationTopicTypes{types.AsyncNotificationTopicTypesSuccessNotificationTopic},
				},
			},
		},
	})
}

// enqueue asks the endpoint for later.
func (e *serving) enqueue(t *testing.T, in sagemakerruntime.InvokeEndpointAsyncInput) (*sagemakerruntime.InvokeEndpointAsyncOutput, error) {
	t.Helper()
	in.EndpointName, in.ContentType = &e.name, aws.String("application/json")
	return sagemakerruntime.NewFromConfig(e.s.config()).InvokeEndpointAsync(t.Context(), &in)
}

// enqueued asks with an input of its own in the object store, and must be let in.
func (e *serving) enqueued(t *testing.T, key, body string) *sagemakerruntime.InvokeEndpointAsyncOutput {
	t.Helper()
	e.s.put(t, key, []byte(body))
	out, err := e.enqueue(t, sagemakerruntime.InvokeEndpointAsyncInput{InputLocation: aws.String("s3://" + bucket + "/" + key)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// object reads an object by its location, with its type; there is none yet when it is nil.
func (s *server) object(t *testing.T, location *string) (content []byte, mediaType string) {
	t.Helper()
	name, key, _ := strings.Cut(strings.TrimPrefix(aws.ToString(location), "s3://"), "/")
	out, err := s.objects().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &name, Key: &key})
	if err != nil {
		return nil, ""
	}
	defer out.Body.Close()
	if content, err = io.ReadAll(out.Body); err != nil {
		t.Fatal(err)
	}
	return content, aws.ToString(out.ContentType)
}

// becomes waits for an object.
func (s *server) becomes(t *testing.T, location *string) (content []byte, mediaType string) {
	t.Helper()
	eventually(t, servingLimit, aws.ToString(location), func() bool {
		content, mediaType = s.object(t, location)
		return content != nil
	})
	return content, mediaType
}

// posted is what a subscriber of the topics is told, as Amazon SNS tells it.
type posted struct{ Type, MessageID, TopicArn, Message, Timestamp string }

// told is a notification's message.
type told struct {
	InvocationStatus, FailureReason, InferenceID, AWSRegion, EventName string
	RequestParameters                                                  struct{ EndpointName, InputLocation, ContentType string }
	ResponseParameters                                                 struct{ OutputLocation, ContentType string }
	ResponseBody                                                       struct{ Content, Encoding string }
}

// subscribe listens to the topics.
func (s *server) subscribe(t *testing.T) <-chan posted {
	t.Helper()
	all := make(chan posted, 1000)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var p posted
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil || r.Header.Get("X-Amz-Sns-Message-Type") != "Notification" {
			t.Errorf("%v: %v", r.Header, err)
		}
		all <- p
	}))
	t.Cleanup(web.Close)
	table, err := json.Marshal(map[string]string{doneTopic: web.URL, "failed": web.URL}) // by ARN, and by name
	if err == nil {
		err = os.WriteFile(filepath.Join(s.home, "topics.json"), table, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// next is what a subscriber hears next.
func next(t *testing.T, all <-chan posted) (p posted, m told) {
	t.Helper()
	select {
	case p = <-all:
	case <-time.After(servingLimit):
		t.Fatal("no notification")
	}
	if err := json.Unmarshal([]byte(p.Message), &m); err != nil {
		t.Fatal(err)
	}
	return p, m
}

// TestAsyncGoSDK invokes an asynchronous endpoint with the AWS SDK for Go, and hears of it.
func TestAsyncGoSDK(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deployAsync(t, "later")
	heard := s.subscribe(t)
	e.inService(t)
	e.answersLater(t, heard)
	e.failsLater(t, heard)
	// What comes with the call needs no object.
	out, err := e.enqueue(t, sagemakerruntime.InvokeEndpointAsyncInput{Body: []byte("[[5]]"), S3OutputPathExtension: aws.String("below")})
	if err != nil || !strings.HasPrefix(*out.OutputLocation, "s3://"+bucket+"/later/out/below/") {
		t.Fatalf("%+v: %v", out, err)
	}
	if answer, _ := s.becomes(t, out.OutputLocation); !bytes.Contains(answer, []byte("6")) {
		t.Errorf("the answer is %q", answer)
	}
	refusals(t, e)
	e.delete(t)
}

// answersLater: what is right has an answer, with the model's own type; the topic hears it too.
func (e *serving) answersLater(t *testing.T, heard <-chan posted) {
	t.Helper()
	s := e.s
	out := e.enqueued(t, "in/1", "[[1, 2]]")
	answer, mediaType := s.becomes(t, out.OutputLocation)
	if !bytes.Equal(bytes.Join(bytes.Fields(answer), nil), []byte("[[2,3]]")) || mediaType != "application/json" {
		t.Errorf("the answer is %q, of type %s", answer, mediaType)
	}
	p, m := next(t, heard)
	content, err := base64.StdEncoding.DecodeString(m.ResponseBody.Content)
	if err != nil || p.Type != "Notification" || p.TopicArn != doneTopic || m.InvocationStatus != "Completed" || m.InferenceID != *out.InferenceId ||
		m.RequestParameters.InputLocation != "s3://"+bucket+"/in/1" || m.ResponseParameters.OutputLocation != *out.OutputLocation || !bytes.Equal(content, answer) {
		t.Errorf("the topic hears %+v: %v", p, err)
	}
}

// failsLater: what the model fails at has its words, and so has what is not there.
func (e *serving) failsLater(t *testing.T, heard <-chan posted) {
	t.Helper()
	s := e.s
	out := e.enqueued(t, "in/2", `{"fault": "as told"}`)
	if failure, _ := s.becomes(t, out.FailureLocation); !bytes.Contains(failure, []byte("as told")) {
		t.Errorf("the failure is %q", failure)
	}
	p, m := next(t, heard)
	if p.TopicArn != failedTopic || m.InvocationStatus != "Failed" || !strings.Contains(m.FailureReason, "server error (500)") {
		t.Errorf("the topic hears %+v", p)
	}
	out, err := e.enqueue(t, sagemakerruntime.InvokeEndpointAsyncInput{InputLocation: aws.String("s3://" + bucket + "/nothing"), InferenceId: aws.String("mine")})
	if err != nil || *out.InferenceId != "mine" {
		t.Fatalf("%+v: %v", out, err)
	}
	if failure, _ := s.becomes(t, out.FailureLocation); !bytes.Contains(failure, []byte("could not be downloaded")) {
		t.Errorf("the failure is %q", failure)
	}
	if _, m = next(t, heard); m.InferenceID != "mine" {
		t.Errorf("the topic hears %+v", m)
	}
	if got, _ := s.object(t, out.OutputLocation); got != nil {
		t.Errorf("a failure has the answer %q", got)
	}
}

// refusals are requests that an asynchronous endpoint does not take, and one that takes no asynchronous ones.
func refusals(t *testing.T, e *serving) {
	t.Helper()
	want := func(err error, words string) {
		t.Helper()
		var refused smithy.APIError
		if !errors.As(err, &refused) || refused.ErrorCode() != "ValidationError" || !strings.Contains(refused.ErrorMessage(), words) {
			t.Errorf("%v instead of %q", err, words)
		}
	}
	_, err := e.invoke(t, "[[1]]")
	want(err, "Use InvokeEndpointAsync")
	_, err = e.enqueue(t, sagemakerruntime.InvokeEndpointAsyncInput{Body: make([]byte, 128_001)})
	want(err, "at most 128000 bytes")
	_, err = e.enqueue(t, sagemakerruntime.InvokeEndpointAsyncInput{})
	want(err, "must be provided")
	_, err = e.enqueue(t, sagemakerruntime.InvokeEndpointAsyncInput{InputLocation: aws.String("s3://b/k"), RequestTTLSeconds: aws.Int32(59)})
	want(err, "greater than or equal to 60")
	_, err = e.enqueue(t, sagemakerruntime.InvokeEndpointAsyncInput{InputLocation: aws.String("s3://b/k"), InvocationTimeoutSeconds: aws.Int32(3601)})
	want(err, "less than or equal to 3600")
	nobody := &serving{e.s, "nobody"}
	_, err = nobody.enqueue(t, sagemakerruntime.InvokeEndpointAsyncInput{Body: []byte("x")})
	want(err, "not found")
}

// A server may be killed again and again while it works off a queue: every invocation has its answer in the end, and one that an
// instance has brought to its end is told of once, or twice with one id.
func TestServerKilledWithABacklog(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deployAsync(t, "backlog")
	heard := s.subscribe(t)
	e.inService(t)
	const invocations = 60
	answers := map[string]string{}
	for i := range invocations {
		out, err := e.enqueue(t, sagemakerruntime.InvokeEndpointAsyncInput{Body: fmt.Appendf(nil, "[[%d]]", i*1000)})
		if err != nil {
			t.Fatal(err)
		}
		answers[*out.OutputLocation] = fmt.Sprint(i*1000 + 1)
		if i%20 == 10 {
			s.kill(t)
			s.up(t)
		}
	}
	for location, want := range answers {
		if got, _ := s.becomes(t, &location); !bytes.Contains(got, []byte(want)) {
			t.Errorf("%s is %q and not %s", location, got, want)
		}
	}
	ids := map[string]bool{}
	for len(ids) < invocations {
		p, _ := next(t, heard)
		ids[p.MessageID] = true
	}
	e.delete(t)
}

// An asynchronous endpoint may have no instances: what comes waits, and is counted, until there is one.
func TestAsyncFromNothing(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deployAsync(t, "from-nothing")
	e.inService(t)
	e.scale(t, 0)
	eventually(t, servingLimit, "no instance", func() bool { return len(s.agents(t)) == 0 })
	began := time.Now().Truncate(time.Minute)
	out := e.enqueued(t, "in", "[[1]]")
	eventually(t, 20*time.Second, "HasBacklogWithoutCapacity", func() bool { return e.metric(t, "HasBacklogWithoutCapacity", began) == 1 })
	if n := e.metric(t, "ApproximateBacklogSize", began); n != 1 {
		t.Errorf("the backlog is %v", n)
	}
	e.scale(t, 1)
	if answer, _ := s.becomes(t, out.OutputLocation); !bytes.Contains(answer, []byte("2")) {
		t.Errorf("the answer is %q", answer)
	}
	// An endpoint that is deleted drops what waits.
	e.scale(t, 0)
	eventually(t, servingLimit, "no instance", func() bool { return len(s.agents(t)) == 0 })
	out = e.enqueued(t, "in", "[[1]]")
	e.delete(t)
	e = s.makeEndpoint(t, e.config(t))
	e.inService(t)
	s.becomes(t, e.enqueued(t, "in", "[[1]]").OutputLocation)
	if got, _ := s.object(t, out.OutputLocation); got != nil {
		t.Errorf("an endpoint of the same name has answered for another: %q", got)
	}
}

// config is the endpoint's configuration once more, under another name.
func (e *serving) config(t *testing.T) *sagemaker.CreateEndpointConfigInput {
	t.Helper()
	sm := e.s.sagemaker()
	c, err := sm.DescribeEndpointConfig(t.Context(), &sagemaker.DescribeEndpointConfigInput{EndpointConfigName: &e.name})
	if err == nil {
		_, err = sm.DeleteEndpointConfig(t.Context(), &sagemaker.DeleteEndpointConfigInput{EndpointConfigName: &e.name})
	}
	if err != nil {
		t.Fatal(err)
	}
	return &sagemaker.CreateEndpointConfigInput{EndpointConfigName: c.EndpointConfigName, ProductionVariants: c.ProductionVariants, AsyncInferenceConfig: c.AsyncInferenceConfig}
}

// scale sets how many instances the endpoint is to have.
func (e *serving) scale(t *testing.T, instances int32) {
	t.Helper()
	_, err := e.s.sagemaker().UpdateEndpointWeightsAndCapacities(t.Context(), &sagemaker.UpdateEndpointWeightsAndCapacitiesInput{
		EndpointName: &e.name, DesiredWeightsAndCapacities: []types.DesiredWeightAndCapacity{{VariantName: aws.String("AllTraffic"), DesiredInstanceCount: &instances}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.inService(t)
}

// metric is the greatest value of a metric of the endpoint since then, -1 when it has none.
func (e *serving) metric(t *testing.T, name string, since time.Time) float64 {
	t.Helper()
	out, err := cloudwatch.NewFromConfig(e.s.config()).GetMetricStatistics(t.Context(), &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/SageMaker"), MetricName: &name, Dimensions: []cwtypes.Dimension{{Name: aws.String("EndpointName"), Value: &e.name}},
		StartTime: &since, EndTime: aws.Time(time.Now().Add(time.Minute)), Period: aws.Int32(3600), Statistics: []cwtypes.Statistic{cwtypes.StatisticMaximum},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Datapoints) == 0 {
		return -1
	}
	return aws.ToFloat64(out.Datapoints[0].Maximum)
}

// TestAsyncWithoutAnySDK is a user who has the command line only.
func TestAsyncWithoutAnySDK(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	folder := t.TempDir()
	model, rows := filepath.Join(folder, "model.tar.gz"), filepath.Join(folder, "rows.json")
	for file, content := range map[string][]byte{model: tarball(t, map[string]string{"model.json": `{"add": 7}`}), rows: []byte("[[3]]")} {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := s.stint(t, args...).Output()
		if err != nil {
			t.Fatalf("stint %v: %v", args, stderr(err))
		}
		return string(out)
	}
	out := run("deploy", model, "--script", filepath.Join("serving", "inference.py"), "--name", "seven", "--async", "s3://"+bucket+"/out")
	if !strings.Contains(out, "stint invoke seven --async") {
		t.Errorf("how to ask is told as %q", out)
	}
	if got := run("invoke", "seven", "--async", "--data", "[[1, 2]]"); got != "[[8, 9]]" {
		t.Errorf("the endpoint says %q", got)
	}
	if got := run("invoke", "seven", "--async", rows, "--json"); !strings.Contains(got, "OutputLocation") || !strings.Contains(got, "10") {
		t.Errorf("the endpoint says %q", got)
	}
	if out, err := s.stint(t, "invoke", "seven", "--async", "--data", `{"fault": "as told"}`).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("as told")) {
		t.Errorf("a fault of the model is told as %s: %v", out, err)
	}
	if out, err := s.stint(t, "invoke", "seven", "--data", "[[1]]").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("InvokeEndpointAsync")) {
		t.Errorf("asking at once is told as %s: %v", out, err)
	}
}
