package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/wire/sigv4"
)

// do sends a request made by hand; sign is nil for none.
func do(t *testing.T, method, address string, body []byte, header map[string]string, sign func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if sign != nil {
		sign(r)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header.Get("X-Amzn-Requestid"), string(text)}
}

// answer is what came back.
type answer struct {
	status    int
	requestID string
	body      string
}

func signer(t *testing.T, d *apitest.Door, service string) func(*http.Request) {
	return func(r *http.Request) {
		if err := sigv4.Sign(r, apitest.Of(d.Root), apitest.Site.Region, service, d.Clock.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRouting(t *testing.T) {
	t.Parallel()
	d := open(t)
	target := func(name string) map[string]string {
		return map[string]string{"X-Amz-Target": name, "Content-Type": "application/x-amz-json-1.1"}
	}
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	tests := []struct {
		name, method, path string
		body               string
		header             map[string]string
		scope              string // "" sends it unsigned
		status             int
		want               string // the answer holds it
	}{
		{"json", "POST", "/", describeBody("j"), target(describeTarget), "sagemaker", 200, `"TrainingJobArn":"arn:aws:sagemaker:eu-west-1:123456789012:training-job/j"`},
		{"json without output", "POST", "/", describeBody("j"), target("SageMaker.StopTrainingJob"), "sagemaker", 200, ""},
		{"json without input", "POST", "/", "", target("SageMaker.ListTrainingJobs"), "sagemaker", 200, `{"TrainingJobSummaries":[]}`},
		{"query", "POST", "/", "Action=GetCallerIdentity&Version=2011-06-15", form, "sts", 200, "<Account>123456789012</Account>"},
		{"query by GET", "GET", "/?Action=GetCallerIdentity&Version=2011-06-15", "", nil, "sts", 200, "<Account>123456789012</Account>"},
		{"s3 by scope", "GET", "/bucket/key", "", nil, "s3", 200, "s3"},
		{"s3 scope, a path of ours", "GET", "/metrics", "", nil, "s3", 200, "s3"},
		{"s3 scope and a target", "POST", "/", "{}", target(describeTarget), "s3", 200, "s3"},
		{"a legal key under a service's scope", "POST", "/endpoints/e/invocations", "{}", nil, "sagemaker", 400, "Operation POST /endpoints/e/invocations is not supported by this server"},
		{"unsigned, looks like s3", "GET", "/bucket/key", "", nil, "", 200, "s3"},
		{"unsigned, root", "GET", "/", "", nil, "", 200, "s3"},
		{"unsigned json", "POST", "/", describeBody("j"), target(describeTarget), "", 403, "MissingAuthenticationTokenException"},
		{"unsigned json of another service", "POST", "/", "{}", target("DynamoDB_20120810.GetItem"), "", 403, "MissingAuthenticationTokenException"},
		{"unsigned query", "POST", "/", "Action=GetCallerIdentity&Version=2011-06-15", form, "", 403, "<Code>MissingAuthenticationToken</Code>"},
		{"operation of AWS that is not here", "POST", "/", "{}", target("SageMaker.CreateEndpoint"), "sagemaker", 400, `{"__type":"UnsupportedOperation","message":"Operation CreateEndpoint is not supported by this server"}`},
		{"operation that has a shape but no handler", "POST", "/", "{}", target("SageMaker.AddTags"), "sagemaker", 400, "Operation AddTags is not supported by this server"},
		{"target of another service", "POST", "/", "{}", target("Logs_20140328.PutLogEvents"), "sagemaker", 400, "Operation Logs_20140328.PutLogEvents is not supported by this server"},
		{"service that is not here", "POST", "/", "{}", target("DynamoDB_20120810.GetItem"), "dynamodb", 400, `"message":"The service dynamodb is not supported by this server"`},
		{"REST service that is not here", "POST", "/2015-03-31/functions", "{}", map[string]string{"Content-Type": "application/json"}, "lambda", 400, `"message":"The service lambda is not supported by this server"`},
		{"form service that is not here", "POST", "/", "Action=DescribeInstances", form, "ec2", 400, `<Message>The service ec2 is not supported by this server</Message>`},
		{"scope of another service", "POST", "/", "{}", target(describeTarget), "logs", 400, "Operation SageMaker.DescribeTrainingJob is not supported by this server"},
		{"query without action", "POST", "/", "Version=2011-06-15", form, "sts", 400, "<Code>MissingAction</Code>"},
		{"bad json", "POST", "/", `{"TrainingJobName":`, target(describeTarget), "sagemaker", 400, `"__type":"SerializationException"`},
		{"constraint", "POST", "/", `{"TrainingJobName":"a_b"}`, target(describeTarget), "sagemaker", 400, `1 validation error detected: Value 'a_b' at 'trainingJobName' failed to satisfy constraint`},
		{"not found", "POST", "/", describeBody("missing"), target(describeTarget), "sagemaker", 400, `{"__type":"ResourceNotFound","message":"Requested resource not found."}`},
		{"health", "GET", "/_stint/health", "", nil, "", 200, `{"status":"ok"}`},
		{"health takes no other method", "POST", "/_stint/health", "", nil, "", 404, ""},
		{"agent", "POST", "/_stint/agent/reports", "", nil, "", 200, "agent"},
		{"nothing else of ours", "GET", "/_stint/secrets", "", nil, "", 404, ""},
		{"metrics", "GET", "/metrics", "", nil, "", 200, "metrics"},
		{"profile", "GET", "/_stint/profile", "", nil, "", 200, "profile"},
		{"profile for a proxy's client", "GET", "/_stint/profile", "", map[string]string{"Forwarded": "for=192.0.2.1"}, "", 403, ""},
		{"metrics for a proxy's client", "GET", "/metrics", "", map[string]string{"X-Forwarded-For": "192.0.2.1"}, "", 403, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var sign func(*http.Request)
			if test.scope != "" {
				sign = signer(t, d, test.scope)
			}
			got := do(t, test.method, d.URL+test.path, []byte(test.body), test.header, sign)
			if got.status != test.status || !strings.Contains(got.body, test.want) {
				t.Errorf("got %d %s\nwant %d with %q", got.status, got.body, test.status, test.want)
			}
			if len(got.requestID) != 36 {
				t.Errorf("request id %q", got.requestID)
			}
		})
	}
}

func TestMetricsAreForThisMachine(t *testing.T) {
	t.Parallel()
	handler := handlerOf(t, open(t), training())
	for peer, want := range map[string]int{"127.0.0.1:9": 200, "[::1]:9": 200, "[::ffff:127.0.0.1]:9": 200, "192.0.2.1:9": 403, "": 403} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.RemoteAddr = peer
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		if recorder.Code != want {
			t.Errorf("from %q: %d, want %d", peer, recorder.Code, want)
		}
	}
}

// handlerOf makes a front door without a port.
func handlerOf(t testing.TB, d *apitest.Door, services ...*api.Service) http.Handler {
	t.Helper()
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	handler, err := api.NewFrontDoor(api.Config{
		Site: apitest.Site, Clock: d.Clock, Identities: d.Identities, Services: services, Log: d.Logger(),
		S3: nothing, Agent: nothing, Metrics: nothing, Profile: nothing, Health: func(context.Context) error { return io.ErrUnexpectedEOF },
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func TestUnhealthy(t *testing.T) {
	t.Parallel()
	recorder := httptest.NewRecorder()
	handlerOf(t, open(t)).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/_stint/health", nil))
	if recorder.Code != http.StatusServiceUnavailable || strings.Contains(recorder.Body.String(), "EOF") {
		t.Errorf("got %d %s", recorder.Code, recorder.Body)
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	d := open(t)
	key := apitest.Of(d.Root)
	tests := []struct {
		name   string
		sign   func(r *http.Request) error
		change func(r *http.Request)
		want   string
	}{
		{"wrong secret", func(r *http.Request) error {
			return sigv4.Sign(r, sigv4.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: "x"}, "eu-west-1", "sagemaker", d.Clock.Now())
		}, nil, "InvalidSignatureException"},
		{"unknown key", func(r *http.Request) error {
			return sigv4.Sign(r, sigv4.Credentials{AccessKeyID: "AKIAAAAAAAAAAAAAAAAA", SecretAccessKey: "x"}, "eu-west-1", "sagemaker", d.Clock.Now())
		}, nil, "UnrecognizedClientException"},
		{"another region", func(r *http.Request) error { return sigv4.Sign(r, key, "us-west-2", "sagemaker", d.Clock.Now()) }, nil, "Credential should be scoped to a valid region, not 'us-west-2'"},
		{"old", func(r *http.Request) error {
			return sigv4.Sign(r, key, "eu-west-1", "sagemaker", d.Clock.Now().Add(-16*time.Minute))
		}, nil, "Signature expired"},
		{"early", func(r *http.Request) error {
			return sigv4.Sign(r, key, "eu-west-1", "sagemaker", d.Clock.Now().Add(16*time.Minute))
		}, nil, "Signature not yet current"},
		{"changed target", func(r *http.Request) error { return sigv4.Sign(r, key, "eu-west-1", "sagemaker", d.Clock.Now()) }, func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "SageMaker.StopTrainingJob")
		}, "InvalidSignatureException"},
		{"a token that is none", func(r *http.Request) error {
			return sigv4.Sign(r, sigv4.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: "x"}, "eu-west-1", "sagemaker", d.Clock.Now())
		}, nil, "UnrecognizedClientException"},
		{"another service", func(r *http.Request) error { return sigv4.Sign(r, key, "eu-west-1", "iam", d.Clock.Now()) }, nil, "is not supported by this server"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := do(t, http.MethodPost, d.URL+"/", []byte(describeBody("j")), map[string]string{"X-Amz-Target": describeTarget}, func(r *http.Request) {
				if err := test.sign(r); err != nil {
					t.Fatal(err)
				}
				if test.change != nil {
					test.change(r)
				}
			})
			if got.status < 400 || got.status > 403 || !strings.Contains(got.body, test.want) {
				t.Errorf("got %d %s, want %q", got.status, got.body, test.want)
			}
			if strings.Contains(got.body, key.SecretAccessKey) {
				t.Error("the answer holds the secret")
			}
		})
	}
}

func TestGlobalServicesTakeTheFirstRegionToo(t *testing.T) {
	t.Parallel()
	d := open(t)
	for region, want := range map[string]int{"us-east-1": 200, "eu-west-1": 200, "us-west-2": 403} {
		got := do(t, http.MethodPost, d.URL+"/", []byte("Action=GetCallerIdentity"), map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, func(r *http.Request) {
			if err := sigv4.Sign(r, apitest.Of(d.Root), region, "sts", d.Clock.Now()); err != nil {
				t.Fatal(err)
			}
		})
		if got.status != want {
			t.Errorf("%s: %d %s", region, got.status, got.body)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	d := open(t)
	big := `{"TrainingJobName":"` + strings.Repeat("a", 1<<20) + `"}`
	if status, body := d.JSON(t, apitest.Of(d.Root), "sagemaker", describeTarget, big); status != http.StatusRequestEntityTooLarge || !strings.Contains(body, "RequestEntityTooLarge") {
		t.Errorf("got %d %s", status, body)
	}
	events := `{"logGroupName":"g","logStreamName":"s","logEvents":[{"timestamp":1,"message":"` + strings.Repeat("a", 1<<20) + `"}]}`
	if status, body := d.JSON(t, apitest.Of(d.Root), "logs", "Logs_20140328.PutLogEvents", events); status != http.StatusOK {
		t.Errorf("logs take more: got %d %.200s", status, body)
	}
}

func TestCompressedBodies(t *testing.T) {
	t.Parallel()
	d := open(t)
	pack := func(text string) []byte {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return packed.Bytes()
	}
	for _, test := range []struct {
		name, encoding string
		body           []byte
		status         int
	}{
		{"gzip", "gzip", pack(describeBody("j")), 200},
		{"a bomb", "gzip", pack(strings.Repeat(" ", 2<<20)), 413},
		{"not gzip", "gzip", []byte(describeBody("j")), 400},
		{"cut short", "gzip", pack(describeBody("j"))[:30], 400},
		{"other", "br", []byte(describeBody("j")), 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := do(t, http.MethodPost, d.URL+"/", test.body, map[string]string{"X-Amz-Target": describeTarget, "Content-Encoding": test.encoding}, signer(t, d, "sagemaker"))
			if got.status != test.status {
				t.Errorf("got %d %s, want %d", got.status, got.body, test.status)
			}
		})
	}
}

func TestFaultsOfOursStayInside(t *testing.T) {
	t.Parallel()
	for _, job := range []string{"broken", "panics"} {
		t.Run(job, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			got := do(t, http.MethodPost, d.URL+"/", []byte(describeBody(job)), map[string]string{"X-Amz-Target": describeTarget}, signer(t, d, "sagemaker"))
			if got.status != 500 || !strings.Contains(got.body, "InternalFailure") || strings.Contains(got.body, "secret") {
				t.Errorf("got %d %s", got.status, got.body)
			}
			if log := d.Log.String(); !strings.Contains(log, "secret") || !strings.Contains(log, got.requestID) {
				t.Errorf("the log does not tell the cause and the request id: %s", log)
			}
			if status, _ := d.JSON(t, apitest.Of(d.Root), "sagemaker", describeTarget, describeBody("j")); status != 200 {
				t.Errorf("the next call got %d", status)
			}
		})
	}
}

func TestRefusedConfigurations(t *testing.T) {
	t.Parallel()
	d := open(t)
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	full := api.Config{
		Site: apitest.Site, Clock: d.Clock, Identities: d.Identities, Log: d.Logger(), S3: nothing, Agent: nothing, Metrics: nothing, Profile: nothing,
		Health: func(context.Context) error { return nil },
	}
	unknown := training()
	unknown.Operations["NoSuchOperation"] = unknown.Operations["StopTrainingJob"]
	unhandled := training()
	unhandled.Operations["StopTrainingJob"] = api.Operation{}
	for name, change := range map[string]func(*api.Config){
		"nothing":           func(c *api.Config) { *c = api.Config{} },
		"no store":          func(c *api.Config) { c.S3 = nil },
		"two of one target": func(c *api.Config) { c.Services = []*api.Service{training(), training()} },
		"no model":          func(c *api.Config) { c.Services = []*api.Service{unknown} },
		"no handler":        func(c *api.Config) { c.Services = []*api.Service{unhandled} },
	} {
		config := full
		change(&config)
		if _, err := api.NewFrontDoor(config); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := api.NewFrontDoor(full); err != nil {
		t.Error(err)
	}
}

// FuzzFrontDoor sends garbage: never a 5xx, never a panic.
func FuzzFrontDoor(f *testing.F) {
	f.Add("POST", "/", "X-Amz-Target", describeTarget, describeBody("j"), "sagemaker", true)
	f.Add("POST", "/", "Content-Type", "application/x-www-form-urlencoded", "Action=AssumeRole&RoleArn=x&Tags.member.1.Key=a", "sts", true)
	f.Add("GET", "/?Action=ListUsers&MaxItems=0", "Content-Encoding", "gzip", "", "iam", true)
	f.Add("PUT", "/a/../b?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/b/c/d/e", "Authorization", "AWS4-HMAC-SHA256 Credential=a/20260301/eu-west-1/sagemaker/aws4_request, SignedHeaders=host, Signature=0", "x", "logs", false)
	f.Add("POST", "/", "X-Amz-Target", "Logs_20140328.PutLogEvents", `{"logGroupName":"g","logStreamName":"s","logEvents":[{}]}`, "logs", true)
	f.Add("POST", "/", "Content-Type", "application/x-www-form-urlencoded", "Action=CreateRole&RoleName=r&AssumeRolePolicyDocument={}", "iam", true)
	f.Fuzz(func(t *testing.T, method, path, header, value, body, service string, signed bool) {
		d := apitest.Prepare(t, memory.New())
		handler := handlerOf(t, d, services(d)...)
		address, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "/_stint/health") {
			return
		}
		r := &http.Request{
			Method: method, URL: address, Host: "localhost", RequestURI: path, RemoteAddr: "127.0.0.1:9", Header: http.Header{},
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
		r = r.WithContext(t.Context())
		r.Header.Set(header, value)
		if signed {
			r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
			if sigv4.Sign(r, apitest.Of(d.Root), apitest.Site.Region, service, d.Clock.Now()) != nil {
				return
			}
		}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		if recorder.Code >= 500 {
			t.Errorf("%d %s\nlog: %s", recorder.Code, recorder.Body, d.Log)
		}
	})
}
