package runtime_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const later = "/endpoints/e/async-invocations"

// endpoint writes one down.
func endpoint(t *testing.T, d *apitest.Door, name string, state platform.EndpointState, async *sagemaker.AsyncInferenceConfig) {
	t.Helper()
	e := &platform.Endpoint{Spec: sagemaker.CreateEndpointInput{EndpointName: &name}, Status: platform.EndpointStatus{
		Origin: platform.Origin{Created: d.Clock.Now()}, State: state, Serving: &platform.Deployment{Async: async},
	}}
	rec, err := e.Record(platform.Record{}, d.Clock.Now())
	if err == nil {
		err = d.Store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func openLater(t *testing.T) *apitest.Door {
	t.Helper()
	d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) { return nil, errors.New("is not to be asked") })
	out, failed := "s3://b/out/", "s3://b/failed"
	endpoint(t, d, "e", platform.EndpointInService, &sagemaker.AsyncInferenceConfig{
		OutputConfig: &sagemaker.AsyncInferenceOutputConfig{S3OutputPath: &out, S3FailurePath: &failed},
	})
	endpoint(t, d, "now", platform.EndpointInService, nil)
	endpoint(t, d, "goes", platform.EndpointDeleting, nil)
	return d
}

// What is let in is written down, whole, before it is let in.
func TestAnAsynchronousInvocationIsOwed(t *testing.T) {
	t.Parallel()
	d := openLater(t)
	for inference, headers := range map[string][]string{
		"":     {"X-Amzn-SageMaker-InputLocation", "s3://b/in"},
		"mine": {"X-Amzn-SageMaker-Inference-Id", "mine", "X-Amzn-SageMaker-InputLocation", "s3://b/in", "X-Amzn-SageMaker-RequestTTLSeconds", "60", "X-Amzn-SageMaker-InvocationTimeoutSeconds", "3600", "X-Amzn-SageMaker-Content-Type", "text/csv", "X-Amzn-SageMaker-Accept", "text/plain", "X-Amzn-SageMaker-Custom-Attributes", "so"},
	} {
		said, output := accepted(t, post(t, d, apitest.Of(d.Root), later, nil, headers...))
		if inference != "" && said != inference {
			t.Errorf("%q is called %q", inference, said)
		}
		in := owed(t, d, strings.TrimSuffix(strings.TrimPrefix(output, "s3://b/out/"), ".out"))
		if in.Input != "s3://b/in" || string(in.Output) != output || in.Endpoint != "e" || !in.Of.Equal(d.Clock.Now()) || in.InferenceID != said {
			t.Errorf("%+v", in)
		}
		checkDefaults(t, in, inference == "")
	}
}

// The answer has the name that the caller gives it; a failure keeps the invocation's own.
func TestAnAnswerMayBeNamed(t *testing.T) {
	t.Parallel()
	d := openLater(t)
	r := post(t, d, apitest.Of(d.Root), later, strings.NewReader("x"), "X-Amzn-SageMaker-Filename", "monday.json", "X-Amzn-SageMaker-S3OutputPathExtension", "week/7")
	if at := r.Header.Get("X-Amzn-SageMaker-OutputLocation"); r.StatusCode != http.StatusAccepted || at != "s3://b/out/week/7/monday.json" {
		t.Errorf("%d, the answer will be at %q", r.StatusCode, at)
	}
	failure := r.Header.Get("X-Amzn-SageMaker-FailureLocation")
	in := owed(t, d, strings.TrimSuffix(strings.TrimPrefix(failure, "s3://b/failed/week/7/"), "-error.out"))
	if !in.Named || in.Output != "s3://b/out/week/7/monday.json" {
		t.Errorf("%+v", in)
	}
}

// accepted reads the answer to an invocation that is let in: what it is called, and where its result will be.
func accepted(t *testing.T, r reply) (inference, output string) {
	t.Helper()
	var said struct{ InferenceID string }
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &said)
	}
	output = r.Header.Get("X-Amzn-SageMaker-OutputLocation")
	id := strings.TrimSuffix(strings.TrimPrefix(output, "s3://b/out/"), ".out")
	if err != nil || r.StatusCode != http.StatusAccepted || said.InferenceID == "" || r.Header.Get("X-Amzn-SageMaker-FailureLocation") != "s3://b/failed/"+id+"-error.out" {
		t.Fatalf("%d %v %s: %v", r.StatusCode, r.Header, body, err)
	}
	return said.InferenceID, output
}

// owed reads an invocation that was let in.
func owed(t *testing.T, d *apitest.Door, id string) *platform.AsyncInvocation {
	t.Helper()
	rec, err := d.Store.Get(t.Context(), platform.Key{Kind: platform.KindAsyncInvocation, Name: id})
	if err != nil {
		t.Fatal(err)
	}
	in, err := platform.ReadAsyncInvocation(rec)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// checkDefaults sees what an invocation has that says nothing more, and one that says all.
func checkDefaults(t *testing.T, in *platform.AsyncInvocation, bare bool) {
	t.Helper()
	switch {
	case bare && (in.TTL != 21600 || in.Timeout != 900 || len(in.Header) != 1):
		t.Errorf("without more it is %+v", in)
	case !bare && (in.TTL != 60 || in.Timeout != 3600 || in.Header["Content-Type"][0] != "text/csv" || in.Header["Accept"][0] != "text/plain" || len(in.Header) != 4):
		t.Errorf("with all it is %+v", in)
	}
}

func TestAsynchronousInvocationsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	d := openLater(t)
	const input = "X-Amzn-SageMaker-InputLocation"
	for _, c := range []struct {
		path, body string
		headers    []string
		says       string
	}{
		{later, "", nil, "Either InputLocation or Body"},
		{later, "x", []string{input, "s3://b/k"}, "not both"},
		{later, strings.Repeat("x", 128_001), nil, "at most 128000 bytes; it has 128001"},
		{later, "", []string{input, "b/k"}, "'inputLocation' failed to satisfy constraint: Member must satisfy regular expression pattern"},
		{later, "", []string{input, "https://b.s3.amazonaws.com/k"}, "must name an object, as s3://bucket/key"},
		{later, "", []string{input, "s3://bucket"}, "must name an object"},
		{later, "", []string{input, "s3://b/" + strings.Repeat("k", 1024)}, "length less than or equal to 1024"},
		{later, "x", []string{"X-Amzn-SageMaker-RequestTTLSeconds", "59"}, "Value '59' at 'requestTTLSeconds' failed to satisfy constraint: Member must have value greater than or equal to 60"},
		{later, "x", []string{"X-Amzn-SageMaker-RequestTTLSeconds", "21601"}, "less than or equal to 21600"},
		{later, "x", []string{"X-Amzn-SageMaker-InvocationTimeoutSeconds", "3601"}, "less than or equal to 3600"},
		{later, "x", []string{"X-Amzn-SageMaker-Inference-Id", strings.Repeat("i", 65)}, "length less than or equal to 64"},
		{later, "x", []string{"X-Amzn-SageMaker-S3OutputPathExtension", "a b"}, "regular expression"},
		{later, "x", []string{"X-Amzn-SageMaker-Filename", "two.dots.json"}, "Value 'two.dots.json' at 'filename' failed to satisfy constraint: Member must satisfy regular expression pattern"},
		{later, "x", []string{"X-Amzn-SageMaker-Filename", "a/b"}, "regular expression"},
		{later, "x", []string{"X-Amzn-SageMaker-Filename", strings.Repeat("f", 33)}, "length less than or equal to 32"},
		{"/endpoints/now/async-invocations", "x", nil, "Endpoint now is not an asynchronous endpoint"},
		{"/endpoints/goes/async-invocations", "x", nil, "Endpoint goes of account 123456789012 not found."},
		{"/endpoints/nobody/async-invocations", "x", nil, "Endpoint nobody of account 123456789012 not found."},
	} {
		said := refused(t, post(t, d, apitest.Of(d.Root), c.path, strings.NewReader(c.body), c.headers...), 400)
		if said.Code != "ValidationError" || !strings.Contains(said.Message, c.says) {
			t.Errorf("%v is told as %+v", c, said)
		}
	}
	if p, err := d.Store.List(t.Context(), platform.Query{Kind: platform.KindAsyncInvocation}); err != nil || len(p.Records) != 0 {
		t.Errorf("%d are owed: %v", len(p.Records), err)
	}
}
