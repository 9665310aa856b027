package router

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// send hands an invocation to one target.
func (r *Router) send(ctx context.Context, in platform.Invocation, v *variant, t *target) (*platform.Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, invokeTime, platform.ErrTooLate)
	request, err := newRequest(ctx, t.Address, in)
	if err != nil {
		cancel()
		return nil, err
	}
	sent := r.clock.Now()
	response, err := r.transport.RoundTrip(request) // whoever has the answer closes its body
	if err != nil {
		if errors.Is(context.Cause(ctx), platform.ErrTooLate) {
			err = platform.ErrTooLate
		}
		cancel()
		return nil, err
	}
	answer := &body{ReadCloser: response.Body, ctx: ctx, clock: r.clock, model: r.clock.Now().Sub(sent)}
	answer.done = sync.OnceFunc(func() {
		cancel()
		t.busy.Add(-1)
		r.meter.count(ended{
			endpoint: in.Endpoint, variant: v.name, config: v.config, instances: len(v.targets), status: response.StatusCode, failed: answer.broken,
			model: answer.model, overhead: max(0, r.clock.Now().Sub(in.Arrived)-answer.model), // the clock may have been set meanwhile
		})
	})
	return &platform.Answer{Variant: v.name, Target: t.Target, Status: response.StatusCode, Header: response.Header, Body: answer}, nil
}

// newRequest is what the container gets.
func newRequest(ctx context.Context, address string, in platform.Invocation) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/invocations", bytes.NewReader(in.Body))
	if err != nil {
		return nil, platform.Errorf(platform.Internal, in.Endpoint, "address %q of a container: %w", address, err)
	}
	for name, values := range in.Header {
		request.Header[name] = values
	}
	return request, nil
}

// body is an answer's body that ends its invocation when it is closed. It adds up how long the container lets its reader wait.
type body struct {
	io.ReadCloser
	ctx    context.Context // the invocation's
	clock  platform.Clock
	model  time.Duration
	broken bool // the container did not come to its end
	done   func()
}

// Read says ErrTooLate of an answer that is not whole when its time is over.
func (b *body) Read(p []byte) (int, error) {
	from := b.clock.Now()
	n, err := b.ReadCloser.Read(p)
	b.model += b.clock.Now().Sub(from)
	if err != nil && !errors.Is(err, io.EOF) {
		cause := context.Cause(b.ctx) // another one than the time is that the caller has gone
		late := errors.Is(cause, platform.ErrTooLate)
		b.broken = cause == nil || late
		if late {
			err = platform.ErrTooLate
		}
	}
	return n, err
}

func (b *body) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
