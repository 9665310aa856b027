package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire/sigv4"
)

// Caller sends calls of the SageMaker API to one address, with little work of its own: on a small machine, what the client
// uses the server lacks. It keeps connections alive if the server does.
type Caller struct {
	host *fasthttp.HostClient
	url  string
	site platform.Site
	keys sigv4.Credentials
}

// NewCaller makes a Caller; it does no I/O.
func NewCaller(endpoint string, site platform.Site, keys sigv4.Credentials) (*Caller, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	return &Caller{
		host: &fasthttp.HostClient{Addr: u.Host, MaxConns: 64, ReadTimeout: time.Minute, MaxIdemponentCallAttempts: 1},
		url:  endpoint + "/", site: site, keys: keys,
	}, nil
}

// Call is a signed request that can be sent, and sent again while its signature is fresh.
type Call struct{ request *fasthttp.Request }

// Sign makes a Call.
func (c *Caller) Sign(operation string, in any) (*Call, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "SageMaker."+operation)
	if err := sigv4.Sign(r, c.keys, c.site.Region, "sagemaker", time.Now()); err != nil {
		return nil, err
	}
	f := &fasthttp.Request{}
	f.SetRequestURI(c.url)
	f.Header.SetMethod(http.MethodPost)
	for name, values := range r.Header {
		f.Header.Set(name, values[0])
	}
	f.SetBodyRaw(body)
	return &Call{f}, nil
}

// Send sends a call, and decodes the answer into out unless that is nil.
func (c *Caller) Send(call *Call, out any) error {
	answer := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(answer)
	if err := c.host.Do(call.request, answer); err != nil {
		return err
	}
	if answer.StatusCode() != http.StatusOK {
		return fmt.Errorf("HTTP status %d: %.300s", answer.StatusCode(), answer.Body())
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer.Body(), out)
}

// Work is what a number of clients did together.
type Work struct {
	Took Durations // by each piece of work, in no order
	Wall time.Duration
}

// Rate is pieces of work a second.
func (w Work) Rate() float64 { return float64(len(w.Took)) / w.Wall.Seconds() }

// Clients lets n clients take the numbers from 0 to below limit, one each time, until all are taken, the time is up, one fails, or
// the run is broken off.
func Clients(ctx context.Context, n, limit int, within time.Duration, do func(client, number int) error) (Work, error) {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	took := make([]Durations, n)
	began := time.Now()
	var all sync.WaitGroup
	for client := range n {
		all.Go(func() {
			for failed.Load() == nil && ctx.Err() == nil && time.Since(began) < within {
				number := int(next.Add(1) - 1)
				if number >= limit {
					return
				}
				start := time.Now()
				if err := do(client, number); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				took[client] = append(took[client], time.Since(start))
			}
		})
	}
	all.Wait()
	w := Work{Wall: time.Since(began)}
	for _, d := range took {
		w.Took = append(w.Took, d...)
	}
	if err := failed.Load(); err != nil {
		return w, *err
	}
	return w, context.Cause(ctx)
}
