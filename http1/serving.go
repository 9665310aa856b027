package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readBuffer = 8 << 10  // a request's head must fit, to be plain
	maxBody    = 64 << 10 // of a request that goes the short way
	// watchAfter is how long a handler may work before its caller is watched. Nearly all have answered by then.
	watchAfter = 50 * time.Millisecond
	// A deadline is not set anew for every request: the old one holds as long as it is no more than slack too early.
	slack = 10 * time.Second
)

// The states of a connection: who may close it.
const (
	idle    int32 = iota // whoever stops the server
	working              // its own goroutine
	gone                 // it is closed
)

// connection is one on the short way. All but tcp and state is its goroutine's.
type connection struct {
	server *Server
	tcp    *net.TCPConn
	raw    syscall.RawConn
	cancel context.CancelFunc
	state  atomic.Int32
	away   bool // it is net/http's

	// What has been read and not been used. There is a buffer only while something is in it: most connections idle.
	buffer   *[readBuffer]byte
	have     int
	filling  func(fd uintptr) bool // fill and peek, made once
	failure  error
	deadline time.Time // for reading, as it was set last

	request  *http.Request
	target   string // that request.URL was made of
	url      *url.URL
	response response

	watch   *time.Timer // nil until it is needed
	peeking func(fd uintptr) bool
	ended   atomic.Bool // the handler has ended: nobody is to be watched any more
	watched chan struct{}
}

var buffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// serve is the life of a connection on the short way.
func (c *connection) serve() {
	defer c.server.leave(c)
	for c.next() {
		if !c.state.CompareAndSwap(idle, working) {
			break // the server stops
		}
		// Whoever stops the server closes what idles. One that becomes idle just then looks after it has: it was seen idle, or sees.
		if !c.exchange() || !c.state.CompareAndSwap(working, idle) || c.server.stopping.Load() {
			break
		}
	}
	c.release(c.have)
	if !c.away {
		c.cancel()
		c.close()
	}
}

// close ends the connection: there is nothing to be done about it if it has ended before.
func (c *connection) close() { _ = c.tcp.Close() }

// next reads the head of a request and prepares it. false: the connection has ended, or is somebody else's.
func (c *connection) next() bool {
	limit, begun := c.server.Rest.IdleTimeout, false
	for {
		if c.have > 0 {
			seen := c.buffer[:c.have]
			short := c.server.isShort(seen)
			switch n := HeadLength(seen); {
			case short && n > 0 && c.read(seen[:n]):
				return true
			case !short || n > 0 || c.have == len(c.buffer):
				c.handOver()
				return false
			case !begun: // the rest of the head must come in its own time, however often some of it does
				begun, limit, c.deadline = true, c.server.Rest.ReadHeaderTimeout, time.Time{}
			default:
				limit = 0
			}
		}
		if !c.more(limit) {
			return false
		}
	}
}

// more reads what comes, and waits for it no longer than limit.
func (c *connection) more(limit time.Duration) bool {
	if limit > 0 {
		if by := time.Now().Add(limit); by.Sub(c.deadline) > slack {
			c.deadline = by
			if c.tcp.SetReadDeadline(by) != nil {
				return false
			}
		}
	}
	before := c.have
	return c.raw.Read(c.filling) == nil && c.failure == nil && c.have > before
}

// fill reads once; false: there is nothing yet.
func (c *connection) fill(fd uintptr) bool {
	if c.buffer == nil {
		c.buffer = buffers.Get().(*[readBuffer]byte)
	}
	for {
		n, err := unix.Read(int(fd), c.buffer[c.have:]) //nolint:gosec // a descriptor
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			c.release(0)
			return false
		}
		c.failure = err
		c.have += max(n, 0)
		return true
	}
}

// release drops the first n bytes of what has been read.
func (c *connection) release(n int) {
	if c.buffer == nil {
		return
	}
	c.have = copy(c.buffer[:], c.buffer[n:c.have])
	if c.have == 0 {
		buffers.Put(c.buffer)
		c.buffer = nil
	}
}

// handOver gives the connection to net/http.
func (c *connection) handOver() {
	if c.tcp.SetReadDeadline(time.Time{}) != nil || !c.state.CompareAndSwap(idle, gone) {
		return
	}
	c.away = true
	c.server.rest.take(&begun{TCPConn: c.tcp, read: append([]byte(nil), c.buffer[:c.have]...)})
}

// read makes the request of its head; false: it is not one for the short way.
func (c *connection) read(head []byte) bool {
	h := c.request.Header
	clear(h)
	start, plain := ParseHead(head, h)
	if !plain {
		return false
	}
	target, version, _ := strings.Cut(strings.TrimPrefix(start, "POST "), " ")
	length, plain := framing(h)
	host := h["Host"]
	if !plain || version != "HTTP/1.1" || length > maxBody || len(host) != 1 || !isHost(host[0]) {
		return false
	}
	delete(h, "Host")
	if target != c.target {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return false
		}
		c.target, c.url = target, u
	}
	r := c.request
	address := *c.url // a handler may change its own
	r.URL, r.RequestURI, r.Host, r.ContentLength = &address, target, host[0], length
	r.Form, r.PostForm, r.MultipartForm, r.Pattern = nil, nil, nil, ""
	body := &Body{}
	if length > 0 {
		body.whole = make([]byte, length)
		n := copy(body.whole, c.buffer[len(head):c.have])
		c.release(len(head) + n)
		if int64(n) < length {
			body.whole, body.failure = c.readRest(body.whole, n)
		}
	} else {
		c.release(len(head))
	}
	body.rest = body.whole
	r.Body = body
	return true
}

// isHost says that a Host is plainly one; net/http says what else may be.
func isHost(s string) bool {
	for i := range len(s) {
		if !inHost[s[i]] {
			return false
		}
	}
	return s != ""
}

var inHost = bytesOf("0123456789.-_:[]abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

// readRest reads a body from its nth byte on. How long that takes is the caller's matter, as it is for net/http.
func (c *connection) readRest(body []byte, n int) ([]byte, error) {
	c.deadline = time.Time{}
	err := c.tcp.SetReadDeadline(c.deadline)
	if err == nil {
		var more int
		more, err = io.ReadFull(c.tcp, body[n:])
		n += more
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return body[:n], err
}

// exchange lets the handler answer the request. It says whether the connection may have another.
func (c *connection) exchange() (again bool) {
	c.response.begin()
	c.ended.Store(false)
	if c.watch == nil {
		c.watch = time.AfterFunc(watchAfter, c.watchCaller)
	} else {
		c.watch.Reset(watchAfter)
	}
	whole := c.handle()
	c.endWatch()
	if !whole {
		c.response.release()
		return false
	}
	return c.response.end() && c.request.Body.(*Body).failure == nil
}

// handle calls the handler; false: it has panicked.
func (c *connection) handle() (whole bool) {
	defer func() {
		if cause := recover(); cause != nil {
			whole = false
			if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				c.server.Log.Error("handler panicked", "peer", c.request.RemoteAddr, "panic", cause, "stack", string(debug.Stack()))
			}
		}
	}()
	body := c.request.Body
	c.server.Rest.Handler.ServeHTTP(&c.response, c.request)
	c.request.Body = body // whatever a handler has put over it
	return true
}

// watchCaller waits, beside a handler that takes long, for the caller to leave, and cancels the request's context then.
func (c *connection) watchCaller() {
	defer func() { c.watched <- struct{}{} }()
	for !c.ended.Load() {
		switch err := c.raw.Read(c.peeking); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The handler has ended; or it takes so long that the deadline of reading has come: another one, and look again.
			if c.tcp.SetReadDeadline(time.Now().Add(time.Hour)) != nil {
				return
			}
		case err != nil || c.failure != nil:
			c.cancel()
			return
		default:
			return // the caller has sent more; it is there, then
		}
	}
}

var errLeft = errors.New("the caller has left")

// peek looks whether the caller has left; false: it is there and has nothing to say.
func (c *connection) peek(fd uintptr) bool {
	var one [1]byte
	n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT) //nolint:gosec // a descriptor
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return false
	}
	if n <= 0 || err != nil {
		c.failure = errLeft
	}
	return true
}

// endWatch ends the watch over the caller.
func (c *connection) endWatch() {
	if c.watch.Stop() {
		return
	}
	// It has begun. A deadline in the past wakes it; it sees ended before it waits again.
	c.ended.Store(true)
	c.deadline = time.Time{}
	_ = c.tcp.SetReadDeadline(time.Unix(1, 0)) // of a connection that is closed there is nothing to wait for
	<-c.watched
	// The next to read sets its own deadline.
	if c.server.Rest.IdleTimeout <= 0 {
		_ = c.tcp.SetReadDeadline(c.deadline)
	}
}

// Body is the body of a request that went the short way: all of it is there before the handler is called.
type Body struct {
	whole   []byte
	rest    []byte
	failure error // what comes after whole, instead of its end
}

// Whole gives all of the body at once, without a copy; an error when not all of it has come.
func (b *Body) Whole() ([]byte, error) {
	b.rest = nil
	return b.whole, b.failure
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if len(b.rest) > 0 {
		n := copy(p, b.rest)
		b.rest = b.rest[n:]
		return n, nil
	}
	if b.failure != nil {
		return 0, b.failure
	}
	return 0, io.EOF
}

// Close implements io.Closer.
func (b *Body) Close() error { return nil }
