package s3

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v3"
)

// clientHeader tells the store whom the proxy speaks for: a secret of this process and the client's address. The store
// believes it from nobody else, so that aws:SourceIp cannot be forged.
const clientHeader = "X-Stint-Proxied-For"

// proxy forwards whole calls to the store's own port. The Host header, which signatures cover, stays what the client
// sent; bodies stream both ways.
type proxy struct {
	reverse   *httputil.ReverseProxy
	transport *http.Transport
	secret    string
}

func newProxy(addr func() string) *proxy {
	p := &proxy{secret: rand.Text()}
	p.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", dialable(addr()))
		},
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Hour, // the store always answers: the body waits for it
		DisableCompression:    true,      // bytes go through as they are
	}
	p.reverse = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "store" // r.Out.Host, which is sent, stays the client's
			r.Out.URL.RawQuery = r.In.URL.RawQuery             // it is signed as it is
			r.Out.Header.Set(clientHeader, p.secret+" "+r.In.RemoteAddr)
		},
		Transport:     p.transport,
		FlushInterval: -1,
		BufferPool:    &buffers{pool: sync.Pool{New: func() any { return make([]byte, 128<<10) }}},
		ErrorHandler:  unavailable,
	}
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.reverse.ServeHTTP(plainNames{w}, r)
}

// plainNames sends the names of an object's metadata in lower case, as S3 does: clients give them to users as they come,
// and net/http would capitalise them.
type plainNames struct{ http.ResponseWriter }

const metadataPrefix = "X-Amz-Meta-"

func (w plainNames) WriteHeader(status int) {
	headers := w.Header()
	for name, values := range headers {
		if strings.HasPrefix(name, metadataPrefix) {
			delete(headers, name)
			headers[strings.ToLower(name)] = values
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the proxy flush.
func (w plainNames) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (p *proxy) close() { p.transport.CloseIdleConnections() }

// unavailable answers for a store that is starting or stopping. SDKs try again.
func unavailable(w http.ResponseWriter, _ *http.Request, _ error) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<Error><Code>ServiceUnavailable</Code><Message>The object store is not running. Please try again.</Message></Error>`))
}

// restoreClient gives a forwarded call its client's address back, within the store.
func (p *proxy) restoreClient(c fiber.Ctx) error {
	value := c.Get(clientHeader)
	if n := len(p.secret); len(value) > n && subtle.ConstantTimeCompare([]byte(value[:n]), []byte(p.secret)) == 1 {
		if client, err := netip.ParseAddrPort(value[n+1:]); err == nil {
			c.RequestCtx().SetRemoteAddr(net.TCPAddrFromAddrPort(client))
		}
	}
	return c.Next()
}

// buffers lends the proxy its copying buffers.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return b.pool.Get().([]byte) }
func (b *buffers) Put(p []byte) { b.pool.Put(p) } //nolint:staticcheck // the slice header is cheaper than a pointer's life
