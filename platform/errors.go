package platform

import (
	"errors"
	"fmt"
	"strings"
)

// ErrorKind says what went wrong in terms a caller can act on. The API maps each kind to one AWS code and HTTP status.
type ErrorKind int

// The kinds. Internal is the zero value so that an unclassified error is never mistaken for a client's fault.
const (
	Internal      ErrorKind = iota // our fault; the cause goes to the log, not to the client
	Invalid                        // the request can never succeed as it stands
	NotFound                       // no such resource
	AlreadyExists                  // the name is taken
	InUse                          // the resource's state forbids the operation now
	Conflict                       // somebody else changed the record first; read again and retry
	Denied                         // the principal may not do this
	LimitExceeded                  // a quota or budget says no
	NotSupported                   // AWS has it, this server has not
	Unavailable                    // something we depend on is away; retrying may help
)

var kindNames = [...]string{"internal", "invalid", "not found", "already exists", "in use", "conflict", "denied", "limit exceeded", "not supported", "unavailable"}

// String names the kind for logs.
func (k ErrorKind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("ErrorKind(%d)", int(k))
	}
	return kindNames[k]
}

// Error is the one error type that crosses package borders.
// Message is written for the client: what was wrong, with the value, and what to do. Cause is for the log.
type Error struct {
	Kind     ErrorKind
	Op       string // the operation that failed, in the field's words: "CreateTrainingJob", "store.Commit"
	Resource string // an ARN, URI or name; may be empty
	Message  string
	Cause    error
}

// Errorf makes an Error of the given kind; the format follows fmt.Errorf and %w sets the cause.
func Errorf(kind ErrorKind, resource, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Resource: resource, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// Error joins operation, message and, when the message does not already tell it, the cause.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	switch {
	case e.Message != "":
		b.WriteString(e.Message)
	case e.Cause != nil:
		b.WriteString(e.Cause.Error())
	default:
		b.WriteString(e.Kind.String() + " " + e.Resource)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// KindOf classifies any error: the kind of the first Error in its chain, else Internal.
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is of the given kind; a nil error is of no kind.
func Is(err error, kind ErrorKind) bool { return err != nil && KindOf(err) == kind }
