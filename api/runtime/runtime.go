// Package runtime is the SageMaker runtime API: invocations of endpoints. It lets a caller in, hands the request to the data
// plane, and gives the container's answer back as it comes; it looks into neither.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/wire"
)

const (
	pathPrefix  = "/endpoints/"
	maxPayload  = 25 << 20 // AWS's, for a real-time invocation
	maxOriginal = 10 << 10 // bytes of a container's error that its caller is told
	retryAfter  = "1"      // seconds, for a caller who comes while every container has enough to do
)

// The headers of an invocation, as the service model names them.
const (
	headerVariant    = "X-Amzn-Sagemaker-Target-Variant"
	headerModel      = "X-Amzn-Sagemaker-Target-Model"
	headerInvoked    = "X-Amzn-Invoked-Production-Variant"
	headerAttributes = "X-Amzn-Sagemaker-Custom-Attributes"
)

// passed are the headers that a container sees.
var passed = []string{"Content-Type", "Accept", headerAttributes, "X-Amzn-Sagemaker-Inference-Id", "X-Amzn-Sagemaker-Session-Id"}

// returned are the headers of a container's answer that its caller sees.
var returned = []string{"Content-Type", headerAttributes, "X-Amzn-Sagemaker-New-Session-Id", "X-Amzn-Sagemaker-Closed-Session-Id"}

// New makes the service. logGroup names the log group of an endpoint.
func New(invoker platform.Invoker, logGroup func(endpoint string) string) *api.Service {
	s := &service{invoker, logGroup}
	return &api.Service{
		Model:   &shapes.Service{Name: "sagemaker-runtime", Protocols: []string{"rest-json"}, SigningName: "sagemaker"},
		MaxBody: maxPayload, Path: pathPrefix, Serve: s.serve,
	}
}

type service struct {
	invoker  platform.Invoker
	logGroup func(string) string
}

// serve finds the operation by its path.
func (s *service) serve(ctx context.Context, call *api.Call, w http.ResponseWriter, r *http.Request, body []byte) error {
	name, operation, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, pathPrefix), "/")
	if r.Method != http.MethodPost || operation != "invocations" {
		return platform.Errorf(platform.NotSupported, name, "Operation %s %s is not supported by this server", r.Method, r.URL.Path)
	}
	if r.Header.Get(headerModel) != "" {
		return platform.Errorf(platform.NotSupported, name, "TargetModel (multi-model endpoints) is not supported by this server")
	}
	arn := call.Site.ARN("sagemaker", "endpoint/"+name)
	if err := call.Authorize(ctx, "sagemaker:InvokeEndpoint", arn, nil); err != nil {
		return err
	}
	in := platform.Invocation{Endpoint: name, Variant: r.Header.Get(headerVariant), Header: map[string][]string{}, Body: body}
	for _, h := range passed {
		if v := r.Header.Values(h); len(v) > 0 {
			in.Header[h] = v
		}
	}
	answer, err := s.invoker.Invoke(ctx, in)
	if err != nil {
		return s.refusal(ctx, call, w, name, err)
	}
	defer answer.Body.Close()
	if answer.Status < 200 || answer.Status > 299 {
		return s.modelError(call, name, answer)
	}
	return write(w, answer)
}

// write streams a container's answer.
func write(w http.ResponseWriter, a *platform.Answer) error {
	h := w.Header()
	for _, name := range returned {
		if v := http.Header(a.Header).Values(name); len(v) > 0 {
			h[name] = v
		}
	}
	h[headerInvoked] = []string{a.Variant}
	if v := http.Header(a.Header).Get("Content-Length"); v != "" {
		h["Content-Length"] = []string{v}
	}
	w.WriteHeader(http.StatusOK)
	if _, err := io.Copy(flushing{w, http.NewResponseController(w), http.Header(a.Header).Get("Content-Length") == ""}, a.Body); err != nil {
		panic(http.ErrAbortHandler) // half of an answer must not look like a whole one
	}
	return nil
}

// flushing passes on at once what a container streams.
type flushing struct {
	io.Writer
	control *http.ResponseController
	each    bool
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil && f.each {
		err = f.control.Flush()
	}
	return n, err
}

// refusal is the answer when no container gave one.
func (s *service) refusal(ctx context.Context, call *api.Call, w http.ResponseWriter, name string, err error) error {
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, platform.ErrBusy):
		w.Header().Set("Retry-After", retryAfter)
		return &wire.Error{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: err.Error()}
	case platform.Is(err, platform.NotFound):
		return platform.Errorf(platform.Invalid, name, "Endpoint %s of account %s not found.", name, call.Site.Account)
	case platform.Is(err, platform.Invalid):
		return err
	case platform.Is(err, platform.Unavailable):
		w.Header().Set("Retry-After", retryAfter)
		return err
	case errors.Is(err, platform.ErrTooLate):
		return s.failed(call, name, 0, "Your invocation timed out while waiting for a response from container primary. Review the latency metrics for each container, resolve the issue, and try again.")
	}
	return s.failed(call, name, 0, "The container ended the connection before it had answered: "+err.Error())
}

// modelError is AWS's answer for a container that answered with an error.
func (s *service) modelError(call *api.Call, name string, a *platform.Answer) error {
	text, err := io.ReadAll(io.LimitReader(a.Body, maxOriginal))
	if err != nil {
		text = append(text, []byte(" (the rest could not be read)")...)
	}
	return s.failed(call, name, a.Status, strings.ToValidUTF8(string(text), "\uFFFD"))
}

func (s *service) failed(call *api.Call, name string, status int, text string) error {
	side := "server"
	if status >= 400 && status < 500 {
		side = "client"
	}
	group := s.logGroup(name)
	return &wire.Error{
		Status: http.StatusFailedDependency, Code: "ModelError",
		Message: fmt.Sprintf("Received %s error (%d) from primary with message %q. See the log group %s in account %s for more information.", side, status, text, group, call.Site.Account),
		Fields: map[string]any{
			"OriginalStatusCode": status, "OriginalMessage": text, "LogStreamArn": string(call.Site.ARN("logs", "log-group:"+group)),
		},
	}
}
