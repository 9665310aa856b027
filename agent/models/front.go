package models

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

// Front is the HTTP side.
type Front struct {
	table  *table
	server *http.Server
}

// New makes a Front; agent.Config has a place for it.
func New(source agent.ModelSource) (agent.Front, error) {
	f := &Front{table: newTable(source)}
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

// Close implements agent.Front.
func (f *Front) Close() {
	_ = f.server.Close() // of a listener that is closed already
	f.table.close()
}

// refusal is what a caller is told in the place of the container.
type refusal struct{ kind, text string }

func (r *refusal) Error() string { return r.text }

func refuse(kind, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf(format, args...)}
}

// ServeHTTP passes one invocation on to its model.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get(platform.TargetModelHeader)
	if r.Method != http.MethodPost || r.URL.Path != "/invocations" || name == "" || len(name) > platform.LongestTargetModel {
		http.Error(w, "only POST /invocations with the header "+platform.TargetModelHeader+" is possible here", http.StatusBadRequest)
		return
	}
	m, err := f.table.acquire(r.Context(), name)
	if err != nil {
		fail(w, err)
		return
	}
	defer f.table.release(m)
	if r.ContentLength < 0 || r.ContentLength > agent.SmallBody {
		_ = http.NewResponseController(w).EnableFullDuplex() // the container may answer before it has read everything
	}
	f.pass(w, r, m)
}

// statuses are those of refusals. The kind is what counts.
var statuses = map[string]int{
	platform.RefusedMissing: http.StatusBadRequest, platform.RefusedUnready: http.StatusTooManyRequests, platform.RefusedAway: http.StatusServiceUnavailable,
}

// fail says why there is no model to pass a request on to. What the container said to that is passed on as its answer.
func fail(w http.ResponseWriter, err error) {
	var refused *refusal
	var said *answer
	switch {
	case errors.As(err, &refused):
		w.Header().Set(platform.RefusedHeader, refused.kind)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(statuses[refused.kind])
		_, _ = io.WriteString(w, refused.text)
	case errors.As(err, &said):
		if said.contentType != "" {
			w.Header().Set("Content-Type", said.contentType)
		}
		w.WriteHeader(said.status)
		_, _ = w.Write(said.text)
	default: // the caller has gone, or the container
		panic(http.ErrAbortHandler)
	}
}

// pass sends a request to the container and its answer back, both as they come. An answer that breaks off does so for the
// caller too.
func (f *Front) pass(w http.ResponseWriter, r *http.Request, m *model) {
	out, err := agent.ContainerRequest(r.Context(), f.table.container.url+"/models/"+m.id+"/invoke", r.Header, r.Body, r.ContentLength)
	if err != nil {
		panic(http.ErrAbortHandler) // the caller broke off
	}
	response, err := f.table.container.transport.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if response.StatusCode == http.StatusNotFound && f.lost(r.Context(), m) {
		response.Body.Close()
		fail(w, refuse(platform.RefusedUnready, "Model %s is not loaded any more. Wait and try your request again.", m.name))
		return
	}
	if err := agent.PassOn(w, response); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// lost asks, after a 404, whether it is the model that is not there, and forgets it then: the container may have given it up.
func (f *Front) lost(ctx context.Context, m *model) bool {
	var said *answer
	_, err := f.table.container.memory(ctx, m)
	if !errors.As(err, &said) || said.status != http.StatusNotFound {
		return false
	}
	f.table.forget(m)
	return true
}
