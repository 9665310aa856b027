package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/iam"
	"github.com/stint-ml/stint/api/runtime"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire/sigv4"
)

// containers stand for the data plane: they answer as a test says and keep what they were asked.
type containers struct {
	answer func(in platform.Invocation) (*platform.Answer, error)
	mu     sync.Mutex
	asked  []platform.Invocation
}

func (c *containers) Invoke(_ context.Context, in platform.Invocation) (*platform.Answer, error) {
	c.mu.Lock()
	c.asked = append(c.asked, in)
	c.mu.Unlock()
	return c.answer(in)
}

// answers is an answer of status with this body; headers come in pairs.
func answers(status int, body io.Reader, headers ...string) *platform.Answer {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &platform.Answer{Variant: "blue", Status: status, Header: h, Body: io.NopCloser(body)}
}

// open opens a door to containers that answer so.
func open(t *testing.T, answer func(platform.Invocation) (*platform.Answer, error)) (*apitest.Door, *containers) {
	t.Helper()
	c := &containers{answer: answer}
	return apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
		logGroup := func(endpoint string) string { return "/logs/" + endpoint }
		return []*api.Service{
			iam.New(d.Store, d.Identities, d.Random), runtime.New(runtime.Config{Invoker: c, Store: d.Store, LogGroup: logGroup}),
		}
	}), c
}

// reply is what a caller gets; the test's end closes it.
type reply struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
	Body          io.ReadCloser
}

// post signs and sends; headers come in pairs.
func post(t *testing.T, d *apitest.Door, as sigv4.Credentials, path string, body io.Reader, headers ...string) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // what should stream and does not would never end
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if err := sigv4.Sign(r, as, apitest.Site.Region, "sagemaker", d.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return reply{response.StatusCode, response.Header, response.ContentLength, response.Body}
}

// refusal is an error as a client reads it.
type refusal struct {
	Code    string `json:"__type"`
	Message string `json:"message"`

	OriginalStatusCode int
	OriginalMessage    string
	LogStreamArn       string
}

// refused reads an error of this status.
func refused(t *testing.T, r reply, status int) (said refusal) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &said)
	}
	if err != nil || r.StatusCode != status || r.Header.Get("X-Amzn-Errortype") != said.Code {
		t.Fatalf("%d %v %s: %v", r.StatusCode, r.Header, body, err)
	}
	return said
}

const invocations = "/endpoints/e/invocations"

func TestAnInvocationGoesToTheContainerAndItsAnswerBack(t *testing.T) {
	t.Parallel()
	d, c := open(t, func(platform.Invocation) (*platform.Answer, error) {
		return answers(201, strings.NewReader("answer"), "Content-Type", "text/csv", "Content-Length", "6",
			"X-Amzn-SageMaker-Custom-Attributes", "so", "X-Amzn-SageMaker-New-Session-Id", "n; Expires=x", "Set-Cookie", "secret", "Server", "gunicorn"), nil
	})
	r := post(t, d, apitest.Of(d.Root), invocations, strings.NewReader("1,2"), "Content-Type", "text/csv", "Accept", "text/plain",
		"X-Amzn-SageMaker-Custom-Attributes", "c=1", "X-Amzn-SageMaker-Inference-Id", "i", "X-Amzn-SageMaker-Session-Id", "s",
		"X-Amzn-SageMaker-Target-Variant", "blue", "Cookie", "private")
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 || string(body) != "answer" || r.ContentLength != 6 {
		t.Fatalf("%d %d %q %v", r.StatusCode, r.ContentLength, body, err)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/csv", "X-Amzn-Invoked-Production-Variant": "blue", "X-Amzn-SageMaker-Custom-Attributes": "so",
		"X-Amzn-SageMaker-New-Session-Id": "n; Expires=x", "Set-Cookie": "", "Server": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("the caller sees %s: %q, want %q", name, got, want)
		}
	}
	in := c.asked[0]
	if in.Endpoint != "e" || in.Variant != "blue" || string(in.Body) != "1,2" || !in.Arrived.Equal(d.Clock.Now()) {
		t.Errorf("the data plane is asked %+v", in)
	}
	want := map[string][]string{
		"Content-Type": {"text/csv"}, "Accept": {"text/plain"}, "X-Amzn-Sagemaker-Custom-Attributes": {"c=1"},
		"X-Amzn-Sagemaker-Inference-Id": {"i"}, "X-Amzn-Sagemaker-Session-Id": {"s"},
	}
	if !reflect.DeepEqual(in.Header, want) {
		t.Errorf("the container sees %v", in.Header)
	}
}

func TestAContainersErrorIsAModelError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		body   io.Reader
		side   string
		want   string
	}{
		{500, strings.NewReader(`{"error": "größer"}`), "server error (500)", `{"error": "größer"}`},
		{415, strings.NewReader("no\xffpng"), "client error (415)", "no\uFFFDpng"},
		{503, strings.NewReader(strings.Repeat("x", 1<<20)), "server error (503)", strings.Repeat("x", 10<<10)},
		{302, io.MultiReader(strings.NewReader("torn"), broken{}), "server error (302)", "torn (the rest could not be read)"},
	} {
		d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) { return answers(c.status, c.body), nil })
		said := refused(t, post(t, d, apitest.Of(d.Root), invocations, nil), http.StatusFailedDependency)
		if said.Code != "ModelError" || said.OriginalStatusCode != c.status || said.OriginalMessage != c.want ||
			said.LogStreamArn != "arn:aws:logs:eu-west-1:123456789012:log-group:/logs/e" {
			t.Errorf("%d is told as %+v", c.status, said)
		}
		if !strings.HasPrefix(said.Message, "Received "+c.side+" from primary with message") || !strings.Contains(said.Message, "/logs/e in account 123456789012") {
			t.Errorf("%d reads %s", c.status, said.Message)
		}
	}
}

func TestWhyNoContainerAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err        error
		status     int
		code, says string
		again      bool // the caller is told when to come again
	}{
		"busy":    {platform.Errorf(platform.Unavailable, "e", "variant v: %w", platform.ErrBusy), 503, "ServiceUnavailable", "as many invocations", true},
		"away":    {platform.Errorf(platform.Unavailable, "e", "no container can be reached"), 503, "ServiceUnavailable", "can be reached", true},
		"late":    {platform.ErrTooLate, 424, "ModelError", "timed out while waiting for a response from container primary", false},
		"broken":  {io.ErrUnexpectedEOF, 424, "ModelError", "ended the connection", false},
		"variant": {platform.Errorf(platform.Invalid, "v", "Variant v not found for endpoint e"), 400, "ValidationError", "Variant v not found", false},
		"none":    {platform.Errorf(platform.NotFound, "e", "no"), 400, "ValidationError", "Endpoint e of account 123456789012 not found.", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) { return nil, c.err })
			for _, path := range []string{invocations, invocations + "-response-stream"} {
				r := post(t, d, apitest.Of(d.Root), path, nil)
				if said := refused(t, r, c.status); said.Code != c.code || !strings.Contains(said.Message, c.says) || said.OriginalStatusCode != 0 {
					t.Errorf("is told as %+v", said)
				}
				if (r.Header.Get("Retry-After") == "1") != c.again {
					t.Errorf("the header is %v", r.Header)
				}
			}
		})
	}
}

// What is in service has a way in a moment; what comes, goes or has failed is not there, as at AWS.
func TestAnEndpointWithoutAWay(t *testing.T) {
	t.Parallel()
	d, _ := open(t, func(in platform.Invocation) (*platform.Answer, error) {
		return nil, platform.Errorf(platform.NotFound, in.Endpoint, "no way")
	})
	for state, there := range map[platform.EndpointState]bool{
		platform.EndpointInService: true, platform.EndpointUpdating: true, platform.EndpointCreating: false, platform.EndpointFailed: false,
	} {
		name := strings.ToLower(string(state))
		rec := platform.Record{Key: platform.Key{Kind: platform.KindEndpoint, Name: name}, State: string(state), Doc: []byte("{}"), Created: d.Clock.Now(), Modified: d.Clock.Now()}
		if err := d.Store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}}); err != nil {
			t.Fatal(err)
		}
		r := post(t, d, apitest.Of(d.Root), "/endpoints/"+name+"/invocations", nil)
		if again := r.Header.Get("Retry-After") != ""; again != there || (r.StatusCode == 503) != there {
			t.Errorf("%s: %d %v", state, r.StatusCode, r.Header)
		}
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	t.Parallel()
	d, c := open(t, func(platform.Invocation) (*platform.Answer, error) { return nil, errors.New("is not to be asked") })
	root := apitest.Of(d.Root)
	for _, path := range []string{"/endpoints/e", "/endpoints/e/invocations/more", "/endpoints/"} {
		if said := refused(t, post(t, d, root, path, nil), 400); said.Code != "UnsupportedOperation" || !strings.Contains(said.Message, "POST "+path+" is not supported") {
			t.Errorf("%s is told as %+v", path, said)
		}
	}
	for _, name := range []string{"../secret.tar.gz", "a/../../b", "a//b", ".", "..", "/", "a/./b", "a/", strings.Repeat("x", 1025)} {
		if said := refused(t, post(t, d, root, invocations, nil, "X-Amzn-SageMaker-Target-Model", name), 400); said.Code != "ValidationError" {
			t.Errorf("the target model %.20s is told as %+v", name, said)
		}
	}
	large := bytes.NewReader(make([]byte, 25<<20+1))
	if said := refused(t, post(t, d, root, invocations, large), http.StatusRequestEntityTooLarge); !strings.Contains(said.Message, "26214400 bytes") {
		t.Errorf("too much is told as %+v", said)
	}
	if len(c.asked) != 0 {
		t.Errorf("the data plane was asked %+v", c.asked)
	}
}

func TestWhoMayInvoke(t *testing.T) {
	t.Parallel()
	d, c := open(t, func(platform.Invocation) (*platform.Answer, error) {
		return answers(200, strings.NewReader("yes")), nil
	})
	root := apitest.Of(d.Root)
	call := func(action string, parameters ...string) string {
		form := url.Values{"Action": {action}, "UserName": {"alice"}}
		for i := 0; i < len(parameters); i += 2 {
			form.Set(parameters[i], parameters[i+1])
		}
		status, answer := d.Query(t, root, "iam", form)
		if status != 200 {
			t.Fatal(answer)
		}
		return answer
	}
	call("CreateUser")
	key := call("CreateAccessKey")
	part := func(name string) string { return regexp.MustCompile("<" + name + ">(.*?)<").FindStringSubmatch(key)[1] }
	alice := sigv4.Credentials{AccessKeyID: part("AccessKeyId"), SecretAccessKey: part("SecretAccessKey")}
	call("PutUserPolicy", "PolicyName", "p", "PolicyDocument",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sagemaker:InvokeEndpoint","Resource":"arn:aws:sagemaker:eu-west-1:123456789012:endpoint/e"}]}`)
	if r := post(t, d, alice, invocations, nil); r.StatusCode != 200 {
		t.Errorf("what is allowed: %d", r.StatusCode)
	}
	for path, action := range map[string]string{
		"/endpoints/other/invocations":             "sagemaker:InvokeEndpoint on resource: arn:aws:sagemaker:eu-west-1:123456789012:endpoint/other",
		"/endpoints/e/invocations-response-stream": "sagemaker:InvokeEndpointWithResponseStream",
	} {
		if said := refused(t, post(t, d, alice, path, nil), 400); said.Code != "AccessDeniedException" || !strings.Contains(said.Message, action) {
			t.Errorf("%s is told as %+v", path, said)
		}
	}
	if len(c.asked) != 1 {
		t.Errorf("the data plane was asked %+v", c.asked)
	}
}

// broken is the end of a body that breaks off.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestHalfAnAnswerDoesNotLookLikeAWholeOne(t *testing.T) {
	t.Parallel()
	for _, headers := range [][]string{nil, {"Content-Length", "1000000"}} {
		d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) {
			return answers(200, io.MultiReader(strings.NewReader(strings.Repeat("half", 50_000)), broken{}), headers...), nil
		})
		r := post(t, d, apitest.Of(d.Root), invocations, nil)
		if body, err := io.ReadAll(r.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v: %d, %d bytes, %v", headers, r.StatusCode, len(body), err)
		}
	}
}

// Of an answer that breaks off while all of it is still here, its caller is told, and does not see a connection that ends, after which
// clients ask again.
func TestAShortAnswerThatBreaksOff(t *testing.T) {
	t.Parallel()
	for text, headers := range map[string][]string{"half": {"Content-Length", "8"}, "": nil} {
		d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) {
			return answers(200, io.MultiReader(strings.NewReader(text), broken{}), headers...), nil
		})
		said := refused(t, post(t, d, apitest.Of(d.Root), invocations, nil), http.StatusFailedDependency)
		if said.Code != "ModelError" || !strings.Contains(said.Message, "ended the connection before it had answered") {
			t.Errorf("%q is told as %+v", text, said)
		}
	}
}

// A piece is passed on before the next one is there, with and without events.
func TestWhatAContainerStreamsIsPassedOnAtOnce(t *testing.T) {
	t.Parallel()
	for _, path := range []string{invocations, invocations + "-response-stream"} {
		pieces, more := io.Pipe()
		d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) { return answers(200, pieces), nil })
		go func() { _, _ = more.Write([]byte("first")) }()
		r := post(t, d, apitest.Of(d.Root), path, nil)
		seen := make([]byte, 0, 1024)
		for !bytes.Contains(seen, []byte("first")) {
			n, err := r.Body.Read(seen[len(seen):cap(seen)])
			if seen = seen[:len(seen)+n]; err != nil {
				t.Fatalf("%q %v", seen, err)
			}
		}
		_ = more.Close()
		if _, err := io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
	}
}
