// Package client calls a Stint server as the command line does: a typed method for each call that the commands need, signed
// and sent as AWS JSON 1.1 over plain HTTP. It is thin on purpose: no retries, no waiting, no printing; what the commands do
// with the answers lives with them. Objects are read and written by drivers/blobs/s3.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire/sigv4"
)

// answerWithin bounds one call. No call of the API waits for work to be done.
const answerWithin = 30 * time.Second

// maxAnswer bounds what is read of an answer: a page of logs is 1 MiB of text, six times that when every byte is escaped.
const maxAnswer = 16 << 20

// Config says where the server is and who calls.
type Config struct {
	Endpoint    string // of all services: http://127.0.0.1:9400
	S3          string // of the object store's own port
	Site        platform.Site
	Credentials sigv4.Credentials
	Now         func() time.Time // signatures carry it
}

// Client calls one server. It is safe for concurrent use.
type Client struct {
	Config
	http *http.Client
}

// New makes a client; it does no I/O.
func New(config Config) *Client {
	return &Client{Config: config, http: &http.Client{
		Timeout: answerWithin,
		Transport: &http.Transport{
			// The server is named by its own data folder: a proxy for the outside world is not on the way to it.
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     30 * time.Second,
		},
	}}
}

// APIError is a refusal in the server's words.
type APIError struct {
	Operation string
	Status    int    // HTTP
	Code      string // AWS's: ResourceNotFound
	Message   string
}

// Error gives the message; whoever shows it adds the code.
func (e *APIError) Error() string { return e.Message }

// UnreachableError says that no answer came: nobody listens, or the server went away in the middle. Whether it has done what was
// asked is not known.
type UnreachableError struct {
	Endpoint string
	Cause    error
}

// Error names the endpoint.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no server answers at %s: %v", e.Endpoint, e.Cause)
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Cause }

// target is where an operation lives: its service's signing name and target prefix.
type target struct{ signing, prefix string }

// call sends one operation and decodes its answer into out, which may be nil.
func (c *Client) call(ctx context.Context, to target, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode %s: %w", operation, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", to.prefix+"."+operation)
	answer, err := c.send(r, to.signing, c.Endpoint)
	if err != nil {
		return err
	}
	if answer.status != http.StatusOK {
		return answer.refusal(operation)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer.body, out); err != nil {
		return fmt.Errorf("%s: the answer of %s is not understood: %w", operation, c.Endpoint, err)
	}
	return nil
}

type answer struct {
	status int
	body   []byte
}

// send signs a request and reads the answer whole.
func (c *Client) send(r *http.Request, service, endpoint string) (answer, error) {
	if err := sigv4.Sign(r, c.Credentials, c.Site.Region, service, c.Now()); err != nil {
		return answer{}, err
	}
	return c.do(r, endpoint)
}

func (c *Client) do(r *http.Request, endpoint string) (answer, error) {
	response, err := c.http.Do(r)
	if err != nil {
		return answer{}, c.unreachable(r.Context(), endpoint, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, c.unreachable(r.Context(), endpoint, err)
	}
	return answer{response.StatusCode, body}, nil
}

// unreachable tells a caller that gave up from a server that is away.
func (c *Client) unreachable(ctx context.Context, endpoint string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &UnreachableError{Endpoint: endpoint, Cause: innermost(err)}
}

// innermost drops what net/http and net say about the address, which the message has already.
func innermost(err error) error {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

// refusal reads an error of AWS JSON. A body of another kind is shown as it is, in part.
func (a answer) refusal(operation string) *APIError {
	e := &APIError{Operation: operation, Status: a.status}
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if json.Unmarshal(a.body, &said) == nil && said.Type != "" {
		e.Code, e.Message = said.Type, said.Message
		return e
	}
	e.Message = fmt.Sprintf("the server answered %s with HTTP status %d: %.200s", operation, a.status, a.body)
	return e
}

// Healthy asks whether the server can work; it needs no credentials.
func (c *Client) Healthy(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Endpoint+"/_stint/health", nil)
	if err != nil {
		return err
	}
	a, err := c.do(r, c.Endpoint)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return &UnreachableError{Endpoint: c.Endpoint, Cause: fmt.Errorf("it answers HTTP status %d when asked for its health", a.status)}
	}
	return nil
}
