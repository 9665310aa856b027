package api

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

// Service is one AWS service as data. It is not changed once the front door has it.
type Service struct {
	Model *shapes.Service // names, protocols and shapes
	Words Words           // how this service words errors
	// Global services are signed for the partition's first region wherever the client is, as IAM is; that region is
	// accepted beside the site's own.
	Global  bool
	MaxBody int64 // bytes of a request; 0 means 1 MiB
	// Operations by name. What the model has and this has not answers "not supported".
	Operations map[string]Operation
	// Path and Serve are of a service that reads and writes HTTP itself, for speed or for streams: requests that are signed for
	// its signing name and whose path begins with Path. Serve is called with the caller known and the body read and verified; it
	// asks for permission by Call.Authorize, and an error that it returns must come before it has written anything.
	Path  string
	Serve func(ctx context.Context, call *Call, w http.ResponseWriter, r *http.Request, body []byte) error
}

// Operation is one thing that a service can do.
type Operation struct {
	// Action is the permission that the caller needs, "sagemaker:CreateTrainingJob". Empty: none, for operations that
	// AWS gives to everyone or that ask by Call.Authorize themselves.
	Action string
	// Resources names what the action is done to; every one must be allowed. Nil means "*".
	Resources func(call *Call, in any) []platform.ARN
	// Handle does it. in is what the model's NewInput makes, decoded and valid. A nil answer is an operation without
	// output.
	Handle func(ctx context.Context, call *Call, in any) (any, error)
	// Codes replaces the service's code for a kind of error, where AWS's operation differs from its neighbours.
	Codes map[platform.ErrorKind]string
}

// Call is what a handler may know of the request beside its input.
type Call struct {
	Principal platform.Principal
	Temporary bool // the credentials are of a session
	Site      platform.Site
	RequestID string
	Operation string
	Now       time.Time // when the call arrived, in UTC
	SourceIP  string    // without port
	Secure    bool      // by TLS

	identities *Identities
}

// Handle makes a typed handler fit Operation.Handle. It panics when In is not the operation's input type, which its first
// call shows.
func Handle[In, Out any](handle func(ctx context.Context, call *Call, in *In) (*Out, error)) func(context.Context, *Call, any) (any, error) {
	return func(ctx context.Context, call *Call, in any) (any, error) {
		out, err := handle(ctx, call, in.(*In))
		if err != nil || out == nil { // a nil *Out must not become an any that is not nil
			return nil, err
		}
		return out, nil
	}
}

// HandleVoid makes a typed handler without output fit Operation.Handle.
func HandleVoid[In any](handle func(ctx context.Context, call *Call, in *In) error) func(context.Context, *Call, any) (any, error) {
	return func(ctx context.Context, call *Call, in any) (any, error) {
		return nil, handle(ctx, call, in.(*In))
	}
}

// On makes a function that names one resource fit Operation.Resources.
func On[In any](resource func(call *Call, in *In) platform.ARN) func(*Call, any) []platform.ARN {
	return func(call *Call, in any) []platform.ARN {
		return []platform.ARN{resource(call, in.(*In))}
	}
}

// Authorize asks whether the caller may do an action beyond the one that its operation declares. conditions adds context
// keys, in lower case, to those that every call has; it may be nil. The refusal is Denied, in AWS's words.
func (c *Call) Authorize(ctx context.Context, action string, resource platform.ARN, conditions map[string][]string) error {
	d, err := c.identities.decide(&c.Principal, action, resource, func() (map[string][]string, error) { return c.conditions(ctx, conditions) })
	if err != nil {
		return err
	}
	return refusal(&c.Principal, action, resource, d)
}

// conditions gathers the global context keys of a call. See "AWS global condition context keys" in the IAM user guide.
func (c *Call) conditions(ctx context.Context, more map[string][]string) (map[string][]string, error) {
	keys, err := c.identities.principalKeys(ctx, &c.Principal)
	if err != nil {
		return nil, err
	}
	keys["aws:currenttime"] = []string{c.Now.Format(time.RFC3339)}
	keys["aws:epochtime"] = []string{strconv.FormatInt(c.Now.Unix(), 10)}
	keys["aws:sourceip"] = []string{c.SourceIP}
	keys["aws:securetransport"] = []string{strconv.FormatBool(c.Secure)}
	keys["aws:requestedregion"] = []string{c.Site.Region}
	maps.Copy(keys, more)
	return keys, nil
}
