// Package s3 is the object store: an S3 server on a port of its own and, by a proxy, on the shared one.
//
// The protocol, the object semantics and the files on disk are versitygw's, used as a library. What is ours: who may call
// and what they may do (accounts.go), URLs presigned the old way (presigned.go), that an acknowledged write survives a crash
// (durable.go, attributes.go), the proxy for the shared port (proxy.go) and small corrections towards AWS's behaviour
// (corrections.go). Nothing here knows jobs.
//
// The store keeps objects as plain files below Config.Dir and therefore reaches them relative to the process's working
// directory: Start changes it, for good. A process can run one Server at a time, must not change its working directory
// meanwhile, and has to use absolute paths everywhere else.
package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"

	"github.com/stint-ml/stint/platform"
)

// Limits. Past maxRequests the store answers 503 SlowDown, which every SDK retries.
const (
	maxConnections = 8192
	maxRequests    = 2048
	// ioBuffer is held by each upload and each ranged download in flight.
	ioBuffer = 256 << 10
	// maxCopy is AWS's limit for CopyObject; larger objects are copied in parts.
	maxCopy = 5 << 30
	// answerWithin bounds the wait for the first answer after a start.
	answerWithin = 10 * time.Second
)

// Config says where the store is, whose it is and who may use it.
type Config struct {
	Addr     string // host:port of the store's own port; port 0 picks a free one
	Dir      string // absolute; objects are kept below it, readable by this process's user only
	Site     platform.Site
	Accounts Accounts
	Log      *slog.Logger
}

// Server is the S3 server. It serves once: after Stop it cannot be started again, but another one can be.
type Server struct {
	config Config
	proxy  *proxy

	mu      sync.Mutex
	gateway *s3api.S3ApiServer
	store   *durable
	addr    string
	stopped bool
	err     error
	done    chan struct{} // closed when serving has ended
}

// running guards the working directory: see the package comment.
var running atomic.Bool

// New checks the configuration; it touches nothing.
func New(config Config) (*Server, error) {
	if !filepath.IsAbs(config.Dir) {
		return nil, fmt.Errorf("object store: folder %q must be an absolute path", config.Dir)
	}
	if _, _, err := net.SplitHostPort(config.Addr); err != nil {
		return nil, fmt.Errorf("object store: address %q: %w", config.Addr, err)
	}
	if config.Accounts == nil || config.Log == nil || config.Site.Account == "" || config.Site.Region == "" {
		return nil, errors.New("object store: site, accounts and log are required")
	}
	s := &Server{config: config, done: make(chan struct{})}
	s.proxy = newProxy(s.Addr)
	return s, nil
}

// Start opens the folder and listens. When it returns nil, clients can connect. It fails when another Server runs in
// this process, when the folder or the address cannot be had, and when s was started or stopped before.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.gateway != nil {
		return errors.New("object store: started before")
	}
	if !running.CompareAndSwap(false, true) {
		return errors.New("object store: another one runs in this process")
	}
	if err := s.start(); err != nil {
		running.Store(false)
		return fmt.Errorf("object store: %w", err)
	}
	return nil
}

func (s *Server) start() error {
	opened, err := open(s.config.Dir, s.config.Site.Region)
	if err != nil {
		return err
	}
	// Port 0 is tried a few times: the port that was free a moment ago may be taken.
	for attempt := 0; ; attempt++ {
		gateway, addr, err := s.listen(opened)
		if err == nil {
			s.gateway, s.store, s.addr = gateway, opened, addr
			return nil
		}
		if _, port, _ := net.SplitHostPort(s.config.Addr); port != "0" || attempt == 10 {
			opened.Shutdown()
			return err
		}
	}
}

// listen builds the gateway and waits until it accepts connections.
func (s *Server) listen(store *durable) (*s3api.S3ApiServer, string, error) {
	addr, err := concreteAddr(s.config.Addr)
	if err != nil {
		return nil, "", err
	}
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, "", fmt.Errorf("read randomness: %w", err)
	}
	// versitygw's root is the account itself: it owns every bucket, so that x-amz-expected-bucket-owner compares with
	// the account id. Nobody can sign as it, since nobody knows its secret; our root user is an admin by another key.
	root := middlewares.RootUserConfig{Access: s.config.Site.Account, Secret: hex.EncodeToString(secret[:])}
	callers := &identities{s.config.Accounts, s.config.Site}
	listening := make(chan struct{})
	options := []s3api.Option{
		s3api.WithQuiet(),
		s3api.WithKeepAlive(),
		s3api.WithDisableACL(),
		s3api.WithConcurrencyLimiter(maxConnections, maxRequests),
		s3api.WithMiddleware("/", s.proxy.restoreClient),
		s3api.WithMiddleware("/", correct),
		s3api.WithMiddleware("/", callers.acceptVersion2),
		s3api.WithOnListen(func() { close(listening) }),
	}
	gateway, err := s3api.New(store, root, s.config.Site.Region, callers, nil, nil, nil, nil, options...)
	if err != nil {
		return nil, "", err
	}
	failed := make(chan error, 1)
	go func() { failed <- gateway.ServeMultiPort([]string{addr}) }()
	select {
	case err := <-failed:
		return nil, "", err
	case <-listening:
	}
	// The gateway says so just before it accepts, and a stop in between would be lost: see it answer.
	if err := answers(addr); err != nil {
		return nil, "", err
	}
	go s.watch(failed)
	return gateway, addr, nil
}

// answers waits for any answer.
func answers(addr string) error {
	client := &http.Client{Timeout: answerWithin, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + dialable(addr))
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	return res.Body.Close()
}

func (s *Server) watch(failed <-chan error) {
	err := <-failed
	s.mu.Lock()
	if !s.stopped { // else the error is that the listener was closed
		s.err = err
	}
	s.mu.Unlock()
	close(s.done)
}

// concreteAddr replaces port 0 by a port that is free now; the gateway does not tell which one it got.
func concreteAddr(addr string) (string, error) {
	if _, port, _ := net.SplitHostPort(addr); port != "0" {
		return addr, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen on %s: %w", addr, err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Addr is the host:port the store listens on, or "" before Start.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Endpoint is the URL of the store's own port for clients on this machine, or "" before Start.
func (s *Server) Endpoint() string {
	addr := s.Addr()
	if addr == "" {
		return ""
	}
	return "http://" + dialable(addr)
}

// dialable turns a listening address into one to connect to.
func dialable(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Handler serves the store on another port, by proxy. It keeps the Host header and streams both ways.
func (s *Server) Handler() http.Handler { return s.proxy }

// Done is closed when a started server no longer serves, whether stopped or failed; Err then tells which.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why serving ended; nil while it runs and after a Stop.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop refuses new connections and waits for the calls under way, ten seconds at most and not beyond ctx; calls that
// take longer are cut off. Stop without Start and a second Stop are fine.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	gateway, store := s.gateway, s.store
	first := !s.stopped
	s.stopped = true
	s.mu.Unlock()
	if gateway == nil {
		return nil
	}
	if !first {
		select {
		case <-s.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.proxy.close()
	ended := make(chan error, 1)
	go func() {
		err := gateway.ShutDown()
		<-s.done
		store.Shutdown()
		running.Store(false)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prepare makes the folders of the store.
func prepare(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	return nil
}
