package wire

import "net/http"

// Fault says whose mistake an error is, in the Query protocol's words. Clients
// retry a Receiver fault and give up on a Sender fault.
type Fault string

// The two faults AWS knows.
const (
	Sender   Fault = "Sender"
	Receiver Fault = "Receiver"
)

// Error is an error as a client will read it. Every codec can write one. It
// holds no cause: what must stay inside is logged before an Error is made.
type Error struct {
	Status  int    // HTTP status, 400 to 599
	Code    string // AWS error code, for example "ResourceInUse"
	Message string // what was wrong, with the value, and what to do
	Fault   Fault  // empty means: derived from Status
	// Fields are further members that the service model gives this error.
	// Codecs write them beside the code and the message, never instead.
	Fields map[string]any
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Blame returns the fault: the one set, else Receiver for 5xx and Sender for
// anything lower.
func (e *Error) Blame() Fault {
	switch {
	case e.Fault != "":
		return e.Fault
	case e.Status >= http.StatusInternalServerError:
		return Receiver
	default:
		return Sender
	}
}

// InternalFailure is what a client sees of a fault of ours; the details are in
// the log under the request id.
func InternalFailure() *Error {
	return &Error{
		Status:  http.StatusInternalServerError,
		Code:    "InternalFailure",
		Message: "The request processing has failed because of an unknown error, exception or failure.",
		Fault:   Receiver,
	}
}
