package http1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstPause = 5 * time.Millisecond // after an Accept that failed for now, doubled as it goes on
	lastPause  = time.Second
)

// Server answers POST requests below one path in the goroutine of their connection, without the goroutines, timers and copies that
// net/http has for whatever a request may come to be. A connection whose next request is anything else, or is not plain, or has a
// body beyond maxBody, goes over to net/http with all that has been read of it, and stays there.
//
// What a handler sees is the same both ways, but for this: a Request is used again for the next one of its connection, its
// context ends with the connection, and that a caller has left is noticed after watchAfter.
type Server struct {
	// Rest has the handler, the limits and the log, and answers everything else. Only ReadHeaderTimeout, IdleTimeout and Handler of it
	// hold for the short way too.
	Rest *http.Server
	// Prefix is of the paths whose POST requests go the short way; "" for none.
	Prefix string
	Log    *slog.Logger

	begins   string // how the plain requests begin
	rest     *handed
	mu       sync.Mutex
	open     map[*connection]bool
	stopping atomic.Bool
	serving  sync.WaitGroup // connections on the short way
	listener net.Listener
}

// Serve accepts connections until Shutdown or Close, and gives http.ErrServerClosed then, as net/http does.
func (s *Server) Serve(l net.Listener) error {
	if s.Prefix == "" {
		return s.Rest.Serve(l)
	}
	s.mu.Lock()
	if s.stopping.Load() {
		s.mu.Unlock()
		l.Close()
		return http.ErrServerClosed
	}
	s.listener, s.begins, s.open = l, "POST "+s.Prefix, map[*connection]bool{}
	s.rest = &handed{address: l.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})}
	s.mu.Unlock()
	failed := make(chan error, 1)
	go func() { failed <- s.Rest.Serve(s.rest) }()
	err := s.accept(l)
	s.rest.close()
	if rest := <-failed; !errors.Is(rest, http.ErrServerClosed) && !errors.Is(rest, net.ErrClosed) {
		err = rest
	}
	return err
}

// accept gives connections their goroutines.
func (s *Server) accept(l net.Listener) error {
	var pause time.Duration
	for {
		conn, err := l.Accept()
		switch {
		case s.stopping.Load():
			if err == nil {
				conn.Close()
			}
			return http.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // descriptors have run out, say: it may be better in a moment
			pause = min(max(2*pause, firstPause), lastPause)
			s.Log.Warn("cannot accept a connection; will try again", "in", pause, "error", err)
			<-time.After(pause)
			continue
		}
		pause = 0
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			s.rest.take(conn)
			continue
		}
		c, err := s.connect(tcp)
		if err != nil {
			conn.Close()
			continue
		}
		go c.serve()
	}
}

// connect takes a connection in.
func (s *Server) connect(tcp *net.TCPConn) (*connection, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &connection{server: s, tcp: tcp, raw: raw, cancel: cancel, watched: make(chan struct{}, 1)}
	c.request = (&http.Request{
		Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, RemoteAddr: tcp.RemoteAddr().String(),
	}).WithContext(ctx)
	c.response = response{connection: c, header: http.Header{}}
	c.filling, c.peeking = c.fill, c.peek
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		cancel()
		return nil, http.ErrServerClosed
	}
	s.open[c] = true
	s.serving.Add(1)
	return c, nil
}

// leave ends the short way of a connection.
func (s *Server) leave(c *connection) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	s.serving.Done()
}

// Shutdown refuses new connections, closes those that idle and waits for the others until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(func(c *connection) {
		if c.state.CompareAndSwap(idle, gone) {
			c.close()
		}
	})
	ended := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(ended)
	}()
	err := s.Rest.Shutdown(ctx)
	select {
	case <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts all connections, which cancels the contexts of what is under way.
func (s *Server) Close() error {
	s.stop(func(c *connection) {
		c.close()
		c.cancel()
	})
	return s.Rest.Close()
}

func (s *Server) stop(each func(*connection)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping.Store(true)
	if s.listener != nil {
		s.listener.Close()
	}
	for c := range s.open {
		each(c)
	}
}

// isShort says that b, the beginning of a request, may be one for the short way.
func (s *Server) isShort(b []byte) bool {
	n := min(len(b), len(s.begins))
	return string(b[:n]) == s.begins[:n]
}

// handed are the connections that go over to net/http: a listener of its.
type handed struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (h *handed) take(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		c.Close()
	}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.close()
	return nil
}

func (h *handed) close() { h.once.Do(func() { close(h.closed) }) }

func (h *handed) Addr() net.Addr { return h.address }

// begun is a connection of which some has been read already.
type begun struct {
	*net.TCPConn
	read []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.read) == 0 {
		return b.TCPConn.Read(p)
	}
	n := copy(p, b.read)
	if b.read = b.read[n:]; len(b.read) == 0 {
		b.read = nil
	}
	return n, nil
}

// framing is what a plain request says of its body and its connection.
func framing(h http.Header) (length int64, plain bool) {
	for _, name := range [...]string{"Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te"} {
		if _, there := h[name]; there {
			return 0, false
		}
	}
	if c, there := h["Connection"]; there && (len(c) != 1 || !strings.EqualFold(c[0], "keep-alive")) {
		return 0, false
	}
	length = lengthOf(h)
	return length, length >= 0
}
