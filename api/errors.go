package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/sigv4"
)

// Words selects the codes of a family of services: they word the same error differently, and clients compare the words.
type Words uint8

// The families.
const (
	JSONWords Words = iota // sagemaker and most JSON services
	LogsWords              // logs
	IAMWords               // iam and sts
)

// answer is a code and its HTTP status.
type answer struct {
	code   string
	status int
}

// answers is the one table from a kind of error to what a client reads.
var answers = map[platform.ErrorKind][3]answer{
	//                       JSONWords                         LogsWords                                  IAMWords
	platform.Internal:      {{"InternalFailure", 500}, {"InternalFailure", 500}, {"InternalFailure", 500}},
	platform.Invalid:       {{"ValidationException", 400}, {"InvalidParameterException", 400}, {"ValidationError", 400}},
	platform.NotFound:      {{"ResourceNotFound", 400}, {"ResourceNotFoundException", 400}, {"NoSuchEntity", 404}},
	platform.AlreadyExists: {{"ResourceInUse", 400}, {"ResourceAlreadyExistsException", 400}, {"EntityAlreadyExists", 409}},
	platform.InUse:         {{"ResourceInUse", 400}, {"OperationAbortedException", 400}, {"DeleteConflict", 409}},
	platform.Conflict:      {{"ConflictException", 400}, {"OperationAbortedException", 400}, {"ConcurrentModification", 409}},
	platform.Denied:        {{"AccessDeniedException", 400}, {"AccessDeniedException", 400}, {"AccessDenied", 403}},
	platform.LimitExceeded: {{"ResourceLimitExceeded", 400}, {"LimitExceededException", 400}, {"LimitExceeded", 409}},
	platform.NotSupported:  {{"UnsupportedOperation", 400}, {"UnsupportedOperation", 400}, {"UnsupportedOperation", 400}},
	platform.Unavailable:   {{"ServiceUnavailable", 503}, {"ServiceUnavailableException", 503}, {"ServiceUnavailable", 503}},
}

// coded is an error that insists on its AWS code.
type coded struct {
	code string
	err  error
}

func (c *coded) Error() string { return c.code + ": " + c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

// WithCode gives an error an AWS code of its own where its kind would choose another: MalformedPolicyDocument. The HTTP
// status is the model's for that code, else the kind's. A nil error stays nil.
func WithCode(code string, err error) error {
	if err == nil {
		return nil
	}
	return &coded{code, err}
}

// render turns an error into what the client reads; operation is nil when the call did not get so far. A client reads
// nothing of a fault of ours but that there was one.
func render(s *Service, operation *operation, err error) *wire.Error {
	var signature *sigv4.Failure
	var ready *wire.Error
	var serialization *shapes.SerializationError
	var validation *shapes.ValidationError
	switch {
	case errors.As(err, &signature):
		return signature.Render(s.dialect())
	case errors.As(err, &ready): // by a codec
		return ready
	case errors.As(err, &serialization):
		return &wire.Error{Status: http.StatusBadRequest, Code: "SerializationException", Message: serialization.Message}
	case errors.As(err, &validation):
		err = platform.Errorf(platform.Invalid, "", "%s", validation.Error())
	}
	kind, message := platform.Internal, ""
	var ours *platform.Error
	if errors.As(err, &ours) {
		kind, message = ours.Kind, ours.Message
	}
	a, known := answers[kind]
	if !known || kind == platform.Internal {
		return wire.InternalFailure()
	}
	chosen := a[s.Words]
	if operation != nil && operation.Codes[kind] != "" {
		chosen = operation.answer(operation.Codes[kind], chosen.status)
	}
	var own *coded
	if errors.As(err, &own) {
		chosen = operation.answer(own.code, chosen.status)
	}
	if message == "" {
		message = ours.Error()
	}
	return &wire.Error{Status: chosen.status, Code: chosen.code, Message: message}
}

// answer gives a code the status that the model has for it, else the one given.
func (o *operation) answer(code string, status int) answer {
	if o == nil {
		return answer{code, status}
	}
	for _, f := range o.model.Errors {
		if f.Code == code && f.Status != 0 {
			return answer{code, f.Status}
		}
	}
	return answer{code, status}
}

// gone reports whether an error only says that the client left.
func gone(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// unsupported is the answer for what AWS has and this server has not.
func unsupported(what string) error {
	return platform.Errorf(platform.NotSupported, what, "%s is not supported by this server", what)
}
