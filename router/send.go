package router

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/stint-ml/stint/http1"
	"github.com/stint-ml/stint/platform"
)

// invocationPath is where a container takes invocations.
const invocationPath = "/invocations"

// errDeadline is what a connection says whose time is over, or whose caller has gone.
var errDeadline = os.ErrDeadlineExceeded

// send hands an invocation to one target.
func (r *Router) send(ctx context.Context, in platform.Invocation, v *variant, t *target) (*platform.Answer, error) {
	a := &answer{router: r, ctx: ctx, in: in, variant: v, target: t}
	a.body = &a.head
	deadline := time.Now().Add(cmp.Or(in.Limit, invokeTime))
	for {
		c, err := t.pool.take(ctx, deadline)
		if err != nil {
			return nil, a.reason(err)
		}
		sent := r.clock.Now()
		a.connection, a.watching = c, context.AfterFunc(ctx, c.interrupt)
		if err = c.ask(&in, invocationPath, &a.head); err == nil {
			a.model = r.clock.Now().Sub(sent)
			if v.capturing.sampled() && a.head.Status < 300 {
				a.taken = v.capturing.take()
			}
			a.told = platform.Answer{Variant: v.name, Target: t.Target, Status: a.head.Status, Header: a.head.Header, Body: a}
			return &a.told, nil
		}
		a.watching()
		c.Close()
		if c.Answered() && errors.Is(err, http1.ErrUnsent) && ctx.Err() == nil {
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
	head       http1.Answer
	body       io.Reader // of it
	told       platform.Answer
	taken      *taken // nil: it is not captured
	model      time.Duration
	broken     bool // the container did not come to its end, and not because the caller left
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
	n, err := a.body.Read(p)
	a.model += a.router.clock.Now().Sub(from)
	if a.taken != nil {
		a.taken.note(p[:n])
	}
	if err != nil && !errors.Is(err, io.EOF) {
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
	a.capture()
	if a.watching() && a.head.Reusable() {
		a.target.pool.give(a.connection)
	} else {
		a.connection.Close()
	}
	a.target.busy.Add(-1)
	a.router.meter.count(ended{
		endpoint: a.in.Endpoint, variant: a.variant.name, config: a.variant.config, instances: len(a.variant.targets), status: a.head.Status, failed: a.broken,
		model: a.model, overhead: max(0, a.router.clock.Now().Sub(a.in.Arrived)-a.model), // the clock may have been set meanwhile
	})
	return nil
}

// capture keeps the invocation, if it is one of those and has come to its end.
func (a *answer) capture() {
	if a.taken == nil {
		return
	}
	if a.head.Whole() {
		a.taken.end(&a.in, a.head.Header, a.router.clock.Now())
	} else {
		a.taken.drop()
	}
	a.taken = nil // it serves others
}
