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
	"sync"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/wire"
)

// Path is what invocations are below.
const Path = "/endpoints/"

const (
	maxPayload  = 25 << 20 // AWS's, for a real-time invocation
	maxOriginal = 10 << 10 // bytes of a container's error that its caller is told
	retryAfter  = "1"      // seconds, for a caller who comes while every container has enough to do
)

// The headers of an invocation, as the service model names them.
const (
	headerVariant    = "X-Amzn-Sagemaker-Target-Variant"
	headerInvoked    = "X-Amzn-Invoked-Production-Variant"
	headerAttributes = "X-Amzn-Sagemaker-Custom-Attributes"

	// Where an answer is a stream of events, these tell of what is in the events.
	headerAccept      = "X-Amzn-Sagemaker-Accept"
	headerContentType = "X-Amzn-Sagemaker-Content-Type"
)

// operations are the paths below an endpoint, with the permission that each needs and how it writes a container's answer.
var operations = map[string]struct {
	action string
	accept string // the header that says what the caller takes
	write  func(http.ResponseWriter, *platform.Answer) error
}{
	"invocations":                 {"sagemaker:InvokeEndpoint", "Accept", write},
	"invocations-response-stream": {"sagemaker:InvokeEndpointWithResponseStream", headerAccept, stream},
}

// passed are the headers that a container sees, beside Accept.
var passed = []string{"Content-Type", headerAttributes, "X-Amzn-Sagemaker-Inference-Id", "X-Amzn-Sagemaker-Session-Id"}

// returned are the headers of a container's answer that its caller sees.
var returned = []string{"Content-Type", headerAttributes, "X-Amzn-Sagemaker-New-Session-Id", "X-Amzn-Sagemaker-Closed-Session-Id"}

// Config is what the service works with.
type Config struct {
	Invoker  platform.Invoker
	Store    platform.Store
	LogGroup func(endpoint string) string
}

// New makes the service.
func New(config Config) *api.Service {
	s := &service{config}
	return &api.Service{
		Model:   &shapes.Service{Name: "sagemaker-runtime", Protocols: []string{"rest-json"}, SigningName: "sagemaker"},
		MaxBody: maxPayload, Path: Path, Serve: s.serve,
	}
}

type service struct{ Config }

// serve finds the operation by its path.
func (s *service) serve(ctx context.Context, call *api.Call, w http.ResponseWriter, r *http.Request, body []byte) error {
	name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Path), "/")
	if r.Method == http.MethodPost && path == asyncPath {
		return s.enqueue(ctx, call, w, r, name, body)
	}
	operation, known := operations[path]
	if r.Method != http.MethodPost || !known {
		return platform.Errorf(platform.NotSupported, name, "Operation %s %s is not supported by this server", r.Method, r.URL.Path)
	}
	arn := call.Site.ARN("sagemaker", "endpoint/"+name)
	if err := call.Authorize(ctx, operation.action, arn, conditions(r.Header)); err != nil {
		return err
	}
	in, err := invocation(name, operation.accept, r.Header)
	if err != nil {
		return err
	}
	in.Body, in.Arrived = body, call.Now
	answer, err := s.Invoker.Invoke(ctx, in)
	if err != nil {
		return s.refusal(ctx, call, w, name, err)
	}
	defer answer.Body.Close()
	if answer.Status < 200 || answer.Status > 299 {
		if kind := refusedFor(in, answer); kind != "" {
			return s.refused(call, w, name, kind, answer)
		}
		return s.modelError(call, name, answer)
	}
	err = operation.write(w, answer)
	var off *brokenOff
	if errors.As(err, &off) {
		return s.refusal(ctx, call, w, name, off.error)
	}
	return err
}

// invocation is what the headers say of one.
func invocation(name, accept string, h http.Header) (platform.Invocation, error) {
	in := platform.Invocation{Endpoint: name, Variant: h.Get(headerVariant), Header: make(map[string][]string, len(passed)+1)}
	for _, p := range passed {
		if v := h[p]; len(v) > 0 {
			in.Header[p] = v
		}
	}
	if v := h[accept]; len(v) > 0 {
		in.Header["Accept"] = v
	}
	return in, target(&in, h)
}

// copying are the buffers through which answers pass.
var copying = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// brokenOff is an answer that ended before any of it was passed on.
type brokenOff struct{ error }

// write streams a container's answer. Of one that does not say how long it is, each piece is passed on at once; of others as much
// as there is room for, so that a short one that breaks off is told of and not torn.
func write(w http.ResponseWriter, a *platform.Answer) error {
	buffer := copying.Get().(*[32 << 10]byte)
	defer copying.Put(buffer)
	length, said := a.Header["Content-Length"]
	var flush func() error
	if !said {
		flush = http.NewResponseController(w).Flush
	}
	n, failed := begin(a, buffer[:], said)
	if failed != nil && !errors.Is(failed, io.EOF) {
		return &brokenOff{failed}
	}
	h := w.Header()
	give(h, a)
	if said {
		h["Content-Length"] = length[:1:1]
	}
	w.WriteHeader(http.StatusOK)
	if !pass(w, a, buffer[:], n, failed, flush) {
		panic(http.ErrAbortHandler) // half of an answer must not look like a whole one
	}
	return nil
}

// pass passes on what has been read, n bytes of buffer, and the rest. It says whether that is all of the answer.
func pass(w io.Writer, a *platform.Answer, buffer []byte, n int, failed error, flush func() error) (whole bool) {
	for {
		var err error
		if n > 0 {
			_, err = w.Write(buffer[:n])
		}
		if n > 0 && err == nil && flush != nil {
			err = flush()
		}
		if failed != nil || err != nil {
			return err == nil && errors.Is(failed, io.EOF)
		}
		n, failed = a.Body.Read(buffer)
	}
}

// begin reads what is passed on first: of an answer that says how long it is until there is no more, or no room; of others a piece.
func begin(a *platform.Answer, room []byte, fill bool) (n int, err error) {
	for err == nil && n < len(room) && (fill || n == 0) {
		var more int
		more, err = a.Body.Read(room[n:])
		n += more
	}
	return n, err
}

// give adds the headers of an answer.
func give(h http.Header, a *platform.Answer) {
	for _, name := range returned {
		if v := a.Header[name]; len(v) > 0 {
			h[name] = v
		}
	}
	h[headerInvoked] = []string{a.Variant}
}

// refusal is the answer when no container gave one.
func (s *service) refusal(ctx context.Context, call *api.Call, w http.ResponseWriter, name string, err error) error {
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, platform.ErrThrottled):
		w.Header().Set("Retry-After", retryAfter)
		return &wire.Error{Status: http.StatusTooManyRequests, Code: "ThrottlingException", Message: "Rate exceeded: " + err.Error()}
	case errors.Is(err, platform.ErrBusy):
		w.Header().Set("Retry-After", retryAfter)
		return &wire.Error{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: err.Error()}
	case errors.Is(err, platform.ErrNoTargetModel):
		return validation(fmt.Sprintf("Request %s is missing a target model header.", call.RequestID))
	case errors.Is(err, platform.ErrNoTargetContainer):
		return validation(fmt.Sprintf("Request %s is missing a target container hostname header.", call.RequestID))
	case platform.Is(err, platform.NotFound):
		return s.unknown(ctx, call, w, name)
	case platform.Is(err, platform.Invalid):
		return validation(err.Error())
	case platform.Is(err, platform.Unavailable):
		w.Header().Set("Retry-After", retryAfter)
		return err
	case errors.Is(err, platform.ErrTooLate):
		return s.failed(call, name, primary, 0, "Your invocation timed out while waiting for a response from container primary. Review the latency metrics for each container, resolve the issue, and try again.")
	}
	return s.failed(call, name, primary, 0, "The container ended the connection before it had answered: "+err.Error())
}

// validation is a caller's mistake, which this API of AWS's calls by another name than the others do.
func validation(message string) error {
	return &wire.Error{Status: http.StatusBadRequest, Code: "ValidationError", Message: message}
}

// unknown is the answer for an endpoint that requests have no way to. One that is in service has it in a moment: the server
// has only just begun, and whoever comes again is served. To AWS all others, those that have failed among them, are not there.
func (s *service) unknown(ctx context.Context, call *api.Call, w http.ResponseWriter, name string) error {
	rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: name})
	switch state := platform.EndpointState(rec.State); {
	case err != nil && !platform.Is(err, platform.NotFound):
		return err
	case err == nil && state.Serves():
		w.Header().Set("Retry-After", retryAfter)
		return platform.Errorf(platform.Unavailable, name, "the containers of endpoint %s are not known yet; try again", name)
	}
	return validation(fmt.Sprintf("Endpoint %s of account %s not found.", name, call.Site.Account))
}

// modelError is AWS's answer for a container that answered with an error.
func (s *service) modelError(call *api.Call, name string, a *platform.Answer) error {
	text, err := io.ReadAll(io.LimitReader(a.Body, maxOriginal))
	if err != nil {
		text = append(text, []byte(" (the rest could not be read)")...)
	}
	return s.failed(call, name, containerOf(a), a.Status, strings.ToValidUTF8(string(text), "\uFFFD"))
}

func (s *service) failed(call *api.Call, name, container string, status int, text string) error {
	side := "server"
	if status >= 400 && status < 500 {
		side = "client"
	}
	group := s.LogGroup(name)
	return &wire.Error{
		Status: http.StatusFailedDependency, Code: "ModelError",
		Message: fmt.Sprintf("Received %s error (%d) from %s with message %q. See the log group %s in account %s for more information.", side, status, container, text, group, call.Site.Account),
		Fields: map[string]any{
			"OriginalStatusCode": status, "OriginalMessage": text, "LogStreamArn": string(call.Site.ARN("logs", "log-group:"+group)),
		},
	}
}
