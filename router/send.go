package router

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/stint-ml/stint/platform"
)

// invocationPath is where a container takes invocations.
const invocationPath = "/invocations"

// errDeadline is what a connection says whose time is over, or whose caller has gone.
var errDeadline = os.ErrDeadlineExceeded

// send hands an invocation to one target.
func (r *Router) send(ctx context.Context, in platform.Invocation, v *variant, t *target) (*platform.Answer, error) {
	a := &answer{router: r, ctx: ctx, in: in, variant: v, target: t}
	deadline := time.Now().Add(cmp.Or(in.Limit, invokeTime))
	for {
		c, err := t.pool.take(ctx, deadline)
		if err != nil {
			return nil, a.reason(err)
		}
		sent := r.clock.Now()
		a.connection, a.watching = c, context.AfterFunc(ctx, c.interrupt)
		a.response, a.written, err = c.ask(&in, invocationPath) //nolint:bodyclose // that would read all the rest; Close deals with the connection
		if err == nil {
			a.model = r.clock.Now().Sub(sent)
			a.whole = a.response.ContentLength == 0
			if v.capturing.sampled() && a.response.StatusCode < 300 {
				a.taken = v.capturing.take(a.response.ContentLength)
			}
			return &platform.Answer{Variant: v.name, Target: t.Target, Status: a.response.StatusCode, Header: a.response.Header, Body: a}, nil
		}
		a.watching()
		c.Close()
		if c.used && errors.Is(err, errUnsent) && ctx.Err() == nil {
			continue // the container had closed it just now; another one, or in the end a new one, will do
		}
		return nil, a.reason(err)
	}
}

// answer is a container's answer under way: its body, which ends its invocation when it is closed. It adds up how long the
// container lets its reader wait.
type answer struct {
	router     *Router
	ctx        context.Context // the invocation's
	in         platform.Invocation
	variant    *variant
	target     *target
	connection *connection
	watching   func() bool // ends the watch on ctx; false: the connection has been interrupted
	response   *http.Response
	written    chan error
	taken      *taken // nil: it is not captured
	model      time.Duration
	whole      bool // the container came to its end
	broken     bool // it did not, and not because the caller left
	closed     bool
}

// reason words an error of the connection: ErrTooLate when the invocation's time is over, the context's when the caller has gone.
func (a *answer) reason(err error) error {
	switch {
	case a.ctx.Err() != nil:
		return context.Cause(a.ctx)
	case errors.Is(err, errDeadline):
		return platform.ErrTooLate
	}
	return err
}

// Read says ErrTooLate of an answer that is not whole when its time is over.
func (a *answer) Read(p []byte) (int, error) {
	from := a.router.clock.Now()
	n, err := a.response.Body.Read(p)
	a.model += a.router.clock.Now().Sub(from)
	if a.taken != nil {
		a.taken.note(p[:n])
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		a.whole = true
	default:
		a.broken = a.ctx.Err() == nil
		err = a.reason(err)
	}
	return n, err
}

// Close ends the invocation. The connection is used again if the answer has been read to its end.
func (a *answer) Close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	if a.taken != nil && a.whole {
		a.taken.end(&a.in, a.response.Header, a.router.clock.Now())
	}
	if a.watching() && a.whole && !a.response.Close && a.hasBeenSent() {
		a.target.pool.give(a.connection)
	} else {
		a.connection.Close()
	}
	a.target.busy.Add(-1)
	a.router.meter.count(ended{
		endpoint: a.in.Endpoint, variant: a.variant.name, config: a.variant.config, instances: len(a.variant.targets), status: a.response.StatusCode, failed: a.broken,
		model: a.model, overhead: max(0, a.router.clock.Now().Sub(a.in.Arrived)-a.model), // the clock may have been set meanwhile
	})
	return nil
}

// hasBeenSent says that all of the request was written.
func (a *answer) hasBeenSent() bool {
	if a.written == nil {
		return true
	}
	select {
	case err := <-a.written:
		return err == nil
	default:
		return false
	}
}
