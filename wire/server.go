package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stint-ml/stint/http1"
)

// Limits of every server. There is no bound on the time of a whole request:
// uploads and streamed answers may take hours; handlers bound what they read.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// maxHeaderBytes leaves room for a presigned URL with a session token and
	// for SageMaker's custom attributes, each a few KiB.
	maxHeaderBytes = 64 << 10
)

// ServerConfig says where and what a Server serves.
type ServerConfig struct {
	Addr    string // "host:port"; port 0 picks a free one
	Handler http.Handler
	// Short is the path below which POST requests are many and small: they go the short way (package http1). "" for none.
	Short string
	Log   *slog.Logger
}

// Server is an HTTP server with the limits of this package and a graceful end.
// It serves once: after Stop it cannot be started again. Its methods are safe
// for concurrent use.
type Server struct {
	http *http1.Server
	done chan struct{} // closed when serving has ended

	mu       sync.Mutex
	listener net.Listener // nil before Start
	stopped  bool
	err      error
}

// NewServer returns a server that is not listening yet.
func NewServer(config ServerConfig) *Server {
	return &Server{
		http: &http1.Server{
			Rest: &http.Server{
				Addr:              config.Addr,
				Handler:           config.Handler,
				ReadHeaderTimeout: readHeaderTimeout,
				IdleTimeout:       idleTimeout,
				MaxHeaderBytes:    maxHeaderBytes,
				ErrorLog:          slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn),
			},
			Prefix: config.Short,
			Log:    config.Log,
		},
		done: make(chan struct{}),
	}
}

// Start listens and serves in the background. When it returns nil, clients can
// connect. It fails when the address cannot be had, and when the server was
// started or stopped before.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return http.ErrServerClosed
	}
	if s.listener != nil {
		return fmt.Errorf("server on %s is already started", s.listener.Addr())
	}
	listener, err := net.Listen("tcp", s.http.Rest.Addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.http.Rest.Addr, err)
	}
	s.listener = listener
	go s.serve(listener)
	return nil
}

func (s *Server) serve(listener net.Listener) {
	err := s.http.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	close(s.done)
}

// Addr returns the address the server listens on, or "" before Start.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Done is closed when a started server no longer accepts connections, whether
// it was stopped or failed; Err then tells which.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns why serving ended; nil while it runs and after a Stop.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop refuses new connections at once and waits for the calls under way until
// ctx ends; then it cuts their connections, which cancels their contexts, and
// returns ctx's error. Stop without Start and a second Stop are fine.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	started := s.listener != nil
	s.mu.Unlock()
	if !started {
		return nil
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		// The listener is closed already; only connections are left to cut.
		_ = s.http.Close()
	}
	<-s.done
	return err
}
