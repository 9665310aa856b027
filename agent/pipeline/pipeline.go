// Package pipeline stands before the several containers of a model that share an instance. In a serial pipeline the first gets
// the request, each other one what the one before it has answered, and the caller gets the last one's answer; where containers
// are asked directly, each request names its own.
//
// It speaks the contract of a single container, so that nobody else need know how many there are. That they run and are healthy
// is the agent's matter.
package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

// mostHeld bounds what is held of an answer that does not say how long it is, for the next container to be told: many servers
// take no request of unknown length. A longer one is passed on as it comes.
const mostHeld = 32 << 20

// lastWords is what answers get that are under way at the end. Those of containers that have ended come at once.
const lastWords = time.Second

// Front is the HTTP side.
type Front struct {
	agent.Pipeline
	server    *http.Server
	transport *http.Transport
}

// New makes a Front; agent.Config has a place for it.
func New(p agent.Pipeline) (agent.Front, error) {
	f := &Front{Pipeline: p, transport: agent.ContainerTransport()}
	f.server = agent.FrontServer(f)
	return f, nil
}

// Serve implements agent.Front.
func (f *Front) Serve(l net.Listener) error {
	if err := f.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close implements agent.Front. Callers of containers that have ended are still told so.
func (f *Front) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if f.server.Shutdown(ctx) != nil {
		_ = f.server.Close() // of a listener that is closed already
	}
	f.transport.CloseIdleConnections()
}

// errLate ends what takes too long.
var errLate = errors.New("the time for an answer is over")

// ServeHTTP answers one invocation.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/invocations" {
		http.NotFound(w, r) // the questions that a container may leave unanswered
		return
	}
	way := f.Containers
	if f.Direct {
		name := r.Header.Get(platform.TargetContainerHeader)
		if way = f.named(name); way == nil {
			refuse(w, platform.RefusedMissing, name, fmt.Sprintf("TargetContainerHostname %s is not a container of the endpoint's model; those are %s.", name, f.names()))
			return
		}
	}
	r.Header.Del(platform.TargetContainerHeader)
	if r.ContentLength < 0 || r.ContentLength > agent.SmallBody {
		_ = http.NewResponseController(w).EnableFullDuplex() // a container may answer before it has read everything
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	answering := func() {}
	if f.Limit > 0 {
		late := time.AfterFunc(f.Limit, func() { cancel(errLate) })
		defer late.Stop()
		answering = func() { late.Stop() }
	}
	response, at, err := f.walk(ctx, way, r) //nolint:bodyclose // PassOn closes it
	if err != nil {
		fail(ctx, w, r, err)
		return
	}
	answering()
	response.Header.Del(platform.ContainerHeader) // a container's word for it might be false
	if response.StatusCode/100 != 2 {
		response.Header.Set(platform.ContainerHeader, at)
	}
	if err := agent.PassOn(w, response); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// named gives the container of a name; nil: there is none.
func (f *Front) named(name string) []agent.NamedContainer {
	for i, c := range f.Containers {
		if c.Name == name {
			return f.Containers[i : i+1]
		}
	}
	return nil
}

func (f *Front) names() string {
	var all []string
	for _, c := range f.Containers {
		all = append(all, c.Name)
	}
	return strings.Join(all, ", ")
}

// broken is the end of a connection to a container before it had answered.
type broken struct {
	at  string
	err error
}

func (b *broken) Error() string { return b.err.Error() }

// walk takes a request through the containers, and gives the answer of the last, or of the first that has no success. What the
// caller accepts is only told to the last: the others' answers are not for them, so they are asked for none and give what they
// give by default.
func (f *Front) walk(ctx context.Context, way []agent.NamedContainer, r *http.Request) (response *http.Response, at string, err error) {
	accept := r.Header["Accept"]
	r.Header.Del("Accept")
	body, length := &source{Reader: r.Body}, r.ContentLength
	for i, c := range way {
		h := r.Header.Clone()
		if i == len(way)-1 && accept != nil {
			h["Accept"] = accept
		}
		if response != nil {
			h.Del("Content-Type")
			if t := response.Header["Content-Type"]; t != nil {
				h["Content-Type"] = t
			}
		}
		response, err = f.ask(ctx, c, h, body, length)
		if err != nil && body.err != nil { // it is the one before that has not answered all
			return nil, "", &broken{body.at, body.err}
		}
		if err != nil {
			return nil, "", &broken{c.Name, err}
		}
		if response.StatusCode/100 != 2 || i == len(way)-1 {
			return response, c.Name, nil
		}
		if body, length, err = gather(c.Name, response); err != nil {
			return nil, "", &broken{c.Name, err}
		}
	}
	return response, at, err
}

// ask sends a request to a container.
func (f *Front) ask(ctx context.Context, c agent.NamedContainer, h http.Header, body io.Reader, length int64) (*http.Response, error) {
	request, err := agent.ContainerRequest(ctx, "http://"+c.Address+"/invocations", h, body, length)
	if err != nil {
		return nil, err
	}
	return f.transport.RoundTrip(request)
}

// source is the body of a request, and whose it is.
type source struct {
	io.Reader
	close io.Closer // nil: whoever has it ends it
	at    string    // the container whose answer it is; empty: it is the caller's
	err   error     // it broke off
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// Close lets go of the connection that it comes from.
func (s *source) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close.Close()
}

// gather makes a request's body of a container's answer, of a length that is known if possible.
func gather(at string, response *http.Response) (body *source, length int64, err error) {
	length = response.ContentLength
	body = &source{Reader: response.Body, close: response.Body, at: at}
	if length >= 0 && length <= agent.SmallBody || length < 0 {
		held, err := io.ReadAll(io.LimitReader(response.Body, mostHeld))
		if err != nil {
			response.Body.Close()
			return nil, 0, err
		}
		if len(held) == mostHeld {
			body.Reader = io.MultiReader(bytes.NewReader(held), response.Body)
			return body, -1, nil
		}
		response.Body.Close()
		return &source{Reader: bytes.NewReader(held), at: at}, int64(len(held)), nil
	}
	return body, length, nil
}

// fail says which container has not answered.
func fail(ctx context.Context, w http.ResponseWriter, r *http.Request, err error) {
	var b *broken
	switch {
	case !errors.As(err, &b) || b.at == "" || r.Context().Err() != nil: // it is the caller who has gone
		panic(http.ErrAbortHandler)
	case errors.Is(context.Cause(ctx), errLate):
		refuse(w, platform.RefusedLate, b.at, "Your invocation timed out while waiting for a response from container "+b.at+
			". Review the latency metrics for each container, resolve the issue, and try again.")
	default:
		refuse(w, platform.RefusedBroken, b.at, "The container ended the connection before it had answered: "+b.err.Error())
	}
}

// statuses are those of refusals. The kind is what counts.
var statuses = map[string]int{
	platform.RefusedMissing: http.StatusBadRequest, platform.RefusedBroken: http.StatusBadGateway, platform.RefusedLate: http.StatusGatewayTimeout,
}

// refuse answers in the place of a container.
func refuse(w http.ResponseWriter, kind, container, text string) {
	h := w.Header()
	h.Set(platform.RefusedHeader, kind)
	h.Set(platform.ContainerHeader, container)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(statuses[kind])
	_, _ = io.WriteString(w, text)
}
