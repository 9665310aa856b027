package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/sigv4"
)

// exchange is one call on its way through the front door.
type exchange struct {
	door      *FrontDoor
	w         http.ResponseWriter
	r         *http.Request
	service   *service
	operation *operation // nil until found
	protocol  protocol
	call      Call
}

// serve answers one request to a service.
func (f *FrontDoor) serve(w http.ResponseWriter, r *http.Request, s *service) {
	x := &exchange{door: f, w: w, r: r, service: s, protocol: s.speaks(r)}
	var err error
	if s.Serve != nil {
		err = x.pass()
	} else if out, failure := x.answer(); failure != nil {
		err = failure
	} else {
		err = x.write(out)
	}
	if err != nil {
		x.refuse(err)
	}
	if f.Log.Enabled(r.Context(), slog.LevelDebug) {
		f.Log.DebugContext(r.Context(), "call", "request_id", wire.RequestID(r.Context()), "service", s.Model.Name, "operation", x.call.Operation,
			"principal", x.call.Principal.ARN, "peer", r.RemoteAddr, "duration", f.Clock.Now().Sub(x.call.Now), "error", err)
	}
}

// receive reads a request's body within its bounds and finds out who calls.
func (x *exchange) receive() ([]byte, error) {
	x.call = Call{
		Site: x.door.Site, RequestID: wire.RequestID(x.r.Context()), Now: x.door.Clock.Now().UTC().Truncate(time.Microsecond),
		SourceIP: peerIP(x.r), Secure: x.r.TLS != nil, identities: x.door.Identities,
	}
	body, err := wire.ReadBody(x.r, x.service.maxBody)
	if err != nil {
		return nil, err
	}
	return body, x.authenticate(body)
}

// pass hands a request to a service that speaks HTTP itself.
func (x *exchange) pass() error {
	body, err := x.receive()
	if err != nil {
		return err
	}
	x.call.Operation = x.r.Method + " " + x.service.Path
	return x.service.Serve(x.r.Context(), &x.call, x.w, x.r, body)
}

// answer takes a request from its bytes to the handler's answer.
func (x *exchange) answer() (any, error) {
	ctx := x.r.Context()
	// 1. and 2. Read the body and find out who calls.
	body, err := x.receive()
	if err != nil {
		return nil, err
	}
	// 3. Find the operation, decode its input and check it.
	if body, err = x.inflate(body); err != nil {
		return nil, err
	}
	in, err := x.decode(body)
	if err != nil {
		return nil, err
	}
	// 4. Ask whether the caller may.
	if err := x.authorize(ctx, in); err != nil {
		return nil, err
	}
	// 5. Do it.
	return x.operation.Handle(ctx, &x.call, in)
}

func (x *exchange) authenticate(body []byte) error {
	caller, err := x.door.verifier.Verify(x.r, body, sigv4.Expect{Service: x.service.Model.SigningName, Regions: x.service.regions})
	if err != nil {
		var refused *sigv4.Failure
		if errors.As(err, &refused) && refused.StringToSign != "" {
			x.door.Log.DebugContext(x.r.Context(), "signature mismatch", "request_id", x.call.RequestID, "canonical", refused.Canonical, "string_to_sign", refused.StringToSign)
		}
		return err
	}
	owner := caller.Owner.(*owner)
	x.call.Principal, x.call.Temporary = owner.principal, owner.temporary
	return nil
}

// owner is whose an access key is.
type owner struct {
	principal platform.Principal
	temporary bool
}

// secret finds what the verifier needs of an access key.
func (f *FrontDoor) secret(ctx context.Context, accessKeyID string) (sigv4.Secret, error) {
	c, principal, err := f.Identities.identify(ctx, accessKeyID)
	if platform.Is(err, platform.NotFound) {
		return sigv4.Secret{}, sigv4.ErrUnknownKey
	}
	if err != nil {
		return sigv4.Secret{}, err
	}
	return sigv4.Secret{Key: c.secret, SessionToken: c.token, Expires: c.expires, Owner: &owner{principal, c.token != ""}}, nil
}

// inflate unpacks a compressed body, as SDKs send large metric batches; what comes out is bounded as what came in.
func (x *exchange) inflate(body []byte) ([]byte, error) {
	encoding := x.r.Header.Get("Content-Encoding")
	if encoding == "" || encoding == "identity" || encoding == "aws-chunked" {
		return body, nil
	}
	bad := func(message string) error {
		return &shapes.SerializationError{Message: message}
	}
	if encoding != "gzip" {
		return nil, bad("The content encoding " + encoding + " is not supported.")
	}
	unpacker, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, bad("The request body is not gzip data.")
	}
	inflated, err := io.ReadAll(io.LimitReader(unpacker, x.service.maxBody+1))
	if err != nil {
		return nil, bad("The request body is not gzip data.")
	}
	if int64(len(inflated)) > x.service.maxBody {
		return nil, &wire.Error{Status: http.StatusRequestEntityTooLarge, Code: "RequestEntityTooLarge", Message: "The request body is too large when unpacked."}
	}
	return inflated, nil
}

// everything stands for the resources of an operation that names none.
var everything = []platform.ARN{"*"}

func (x *exchange) authorize(ctx context.Context, in any) error {
	o, p := x.operation, &x.call.Principal
	if o.Action == "" || p.Kind == platform.RootPrincipal && p.Boundary == "" {
		return nil
	}
	g, err := x.door.Identities.grounds(p)
	if err != nil {
		return err
	}
	resources := everything
	if o.Resources != nil {
		resources = o.Resources(&x.call, in)
	}
	request := authorize.Request{Principal: p.ARN, Action: o.Action}
	if g.contextual {
		if request.Context, err = x.call.conditions(ctx, nil); err != nil {
			return err
		}
	}
	for _, resource := range resources {
		request.Resource = resource
		if err := refusal(p, o.Action, resource, authorize.Evaluate(&request, g.identity, nil, g.session)); err != nil {
			return err
		}
	}
	return nil
}

// refuse answers an error, and logs it when it is ours: only the log tells the cause.
func (x *exchange) refuse(err error) {
	e := render(x.service.Service, x.operation, err)
	if ctx := x.r.Context(); e.Status >= http.StatusInternalServerError && !gone(ctx, err) {
		x.door.Log.ErrorContext(ctx, "call failed", "request_id", x.call.RequestID, "service", x.service.Model.Name, "operation", x.call.Operation, "error", err)
	}
	x.writeError(e)
}

// dialect is the family of signature errors that a service speaks.
func (s *Service) dialect() sigv4.Dialect {
	if s.Words == IAMWords {
		return sigv4.Query
	}
	return sigv4.JSON
}
