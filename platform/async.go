package platform

import (
	"context"
	"encoding/json"
	"time"
)

// KindAsyncInvocation records are invocations that wait in an endpoint's queue or are under way. A record is named by an id of its
// own, never changes, and is gone once the invocation's answer is where it should be: what is recorded is what is owed.
const KindAsyncInvocation Kind = "async-invocation"

// KindNotification records are notifications that are still to be delivered, named by their message's id.
const KindNotification Kind = "notification"

// The bounds of an asynchronous invocation, as AWS has them.
const (
	DefaultRequestTTL        Seconds = 6 * 60 * 60
	DefaultInvocationTimeout Seconds = 15 * 60
	MaxInvocationTimeout     Seconds = 60 * 60
	MaxAsyncInput                    = 1 << 30 // bytes
)

// AsyncInvocation is an asynchronous invocation as stored.
type AsyncInvocation struct {
	ID          string              `json:"id"`
	Endpoint    string              `json:"endpoint"`
	Of          time.Time           `json:"of"`          // when the endpoint was created: another one of its name owes nothing
	InferenceID string              `json:"inferenceId"` // the caller's own name for it, or one like the id
	Header      map[string][]string `json:"header,omitempty"`
	Input       URI                 `json:"input,omitempty"` // where the body is; empty: Body is it
	Body        []byte              `json:"body,omitempty"`
	Output      URI                 `json:"output"`
	Named       bool                `json:"named,omitempty"`   // Output is the caller's choice: what is there may be another's
	Failure     URI                 `json:"failure,omitempty"` // empty: a failure leaves no object
	Arrived     time.Time           `json:"arrived"`
	TTL         Seconds             `json:"ttlSeconds"`     // in the queue
	Timeout     Seconds             `json:"timeoutSeconds"` // for the container's answer
}

// Record of the invocation, to be created.
func (a *AsyncInvocation) Record() (Record, error) {
	doc, err := json.Marshal(a)
	if err != nil {
		return Record{}, Errorf(Internal, a.Endpoint, "asynchronous invocation record: %w", err)
	}
	return Record{Key: Key{KindAsyncInvocation, a.ID}, State: a.Endpoint, Created: a.Arrived, Modified: a.Arrived, Doc: doc}, nil
}

// ReadAsyncInvocation decodes a record of KindAsyncInvocation.
func ReadAsyncInvocation(r Record) (*AsyncInvocation, error) {
	a := new(AsyncInvocation)
	if err := json.Unmarshal(r.Doc, a); err != nil {
		return nil, Errorf(Internal, r.Name, "asynchronous invocation record: %w", err)
	}
	return a, nil
}

// Notification is a message to a topic.
type Notification struct {
	ID      string    `json:"id"` // the same whenever it is delivered again
	Topic   ARN       `json:"topic"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
	About   ARN       `json:"about"` // the resource that it is about
}

// Record of the notification, to be created.
func (n *Notification) Record() (Record, error) {
	doc, err := json.Marshal(n)
	if err != nil {
		return Record{}, Errorf(Internal, string(n.Topic), "notification record: %w", err)
	}
	return Record{Key: Key{KindNotification, n.ID}, Created: n.At, Modified: n.At, Doc: doc}, nil
}

// ReadNotification decodes a record of KindNotification.
func ReadNotification(r Record) (*Notification, error) {
	n := new(Notification)
	if err := json.Unmarshal(r.Doc, n); err != nil {
		return nil, Errorf(Internal, r.Name, "notification record: %w", err)
	}
	return n, nil
}

// Topics deliver notifications to whoever has subscribed. Publish returns once the subscriber has taken the message; it tries
// once. NotFound: nobody has subscribed to the topic. Any other error: it may be tried again, and the subscriber may then see the
// message twice, with one id.
type Topics interface {
	Publish(ctx context.Context, n Notification) error
}
