package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/platform"
)

// Connections to containers are kept here and not by an http.Transport: that has two goroutines of its own for each, through
// which every request and every answer passes, and half of what a request cost was waking them. Here the caller's goroutine
// writes, and reads what net/http parses. docs/benchmarks.md has the figures.

const (
	readBuffer = 8 << 10
	// atOnce is how much of a request is written before its answer is looked for: what a socket takes without its other end.
	// What is longer is written beside, as a container may answer before it has read all, or not read all.
	atOnce     = 32 << 10
	maxHeader  = 1 << 20 // of a container's answer
	sweepEvery = idleConnection / 3
)

// errUnsent is a request of which a connection has taken nothing.
var errUnsent = errors.New("the connection has taken nothing of the request")

// pool is the connections to one container.
type pool struct {
	address  string
	dialer   *net.Dialer
	mu       sync.Mutex
	idle     []*connection // the one used last at the end
	sweeping bool
	closed   bool
}

// connection is one to a container, for one invocation at a time.
type connection struct {
	net.Conn
	reader *bufio.Reader
	left   int64 // how much may be read; bounds headers
	used   bool  // it has answered before
	since  time.Time

	control syscall.RawConn
	look    func(fd uintptr)
	poll    [1]unix.PollFd
	quiet   bool
}

// take gives a connection with a deadline for what comes: an idle one that the container has not closed, or a new one.
func (p *pool) take(ctx context.Context, deadline time.Time) (*connection, error) {
	for {
		c := p.pop()
		if c == nil {
			break
		}
		if c.SetDeadline(deadline) == nil && c.isQuiet() {
			return c, nil
		}
		c.Close()
	}
	tcp, err := p.dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: tcp}
	c.reader = bufio.NewReaderSize(c, readBuffer)
	if c.control, err = tcp.(*net.TCPConn).SyscallConn(); err == nil {
		err = c.SetDeadline(deadline)
	}
	if err != nil {
		tcp.Close()
		return nil, err
	}
	c.look = func(fd uintptr) {
		c.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} //nolint:gosec // a descriptor
		n, err := unix.Poll(c.poll[:], 0)
		c.quiet = n == 0 && err == nil
	}
	return c, nil
}

func (p *pool) pop() *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return c
}

// give takes a connection back whose answer has been read to its end.
func (p *pool) give(c *connection) {
	c.used, c.since = true, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= idlePerTarget {
		c.Close()
		return
	}
	p.idle = append(p.idle, c)
	if !p.sweeping {
		p.sweeping = true
		time.AfterFunc(sweepEvery, p.sweep)
	}
}

// sweep closes what has idled for long, and comes again while anything idles.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.idle[:0]
	for _, c := range p.idle {
		if time.Since(c.since) > idleConnection {
			c.Close()
			continue
		}
		kept = append(kept, c)
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	if p.sweeping = len(kept) > 0; p.sweeping {
		time.AfterFunc(sweepEvery, p.sweep)
	}
}

// close closes what is idle now and what becomes idle later.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.Close()
	}
	p.idle = nil
}

// isQuiet says that the container has neither closed the connection nor said anything unasked.
func (c *connection) isQuiet() bool {
	c.quiet = false
	return c.reader.Buffered() == 0 && c.control.Control(c.look) == nil && c.quiet
}

// Read is the reader's, within what may be read.
func (c *connection) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("the header of the container's answer has more than %d bytes", maxHeader)
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

// interrupt ends whatever is going on at the connection; it is not used any more.
func (c *connection) interrupt() { _ = c.SetDeadline(time.Unix(1, 0)) } // it may be closed

// question is all that http.ReadResponse must know of what was asked.
var question = &http.Request{Method: http.MethodPost}

// ask sends an invocation and gives the answer when its header is there. written delivers how the sending of a long one went,
// and is nil for others. errUnsent: it may be sent again.
func (c *connection) ask(in *platform.Invocation, path string) (response *http.Response, written chan error, err error) {
	// 1. Write the request.
	text := buffers.Get().(*[]byte)
	head, err := appendHead((*text)[:0], c.RemoteAddr().String(), path, in)
	if err != nil {
		return nil, nil, err
	}
	if len(head)+len(in.Body) > atOnce || in.Spool != nil {
		written = make(chan error, 1)
		go func() { written <- c.write(head, in) }()
	} else {
		head = append(head, in.Body...)
		n, err := c.Write(head)
		*text = head
		buffers.Put(text)
		if err != nil {
			if n == 0 && !errors.Is(err, errDeadline) {
				err = errors.Join(errUnsent, err)
			}
			return nil, nil, err
		}
	}
	// 2. Read the header of the answer. Those with 1xx only announce it.
	c.left = maxHeader
	for {
		if response, err = http.ReadResponse(c.reader, question); err != nil {
			return nil, written, noEnd(err)
		}
		if response.StatusCode < 100 || response.StatusCode > 199 || response.StatusCode == http.StatusSwitchingProtocols {
			c.left = 1<<63 - 1
			return response, written, nil
		}
	}
}

// write writes a long request.
func (c *connection) write(head []byte, in *platform.Invocation) error {
	parts := net.Buffers{head, in.Body}
	_, err := parts.WriteTo(c.Conn)
	if err == nil && in.Spool != nil {
		_, err = io.Copy(c.Conn, io.NewSectionReader(in.Spool, 0, in.Spool.Size()))
	}
	return err
}

// noEnd is an error of reading; that a header ends early is no end of anything.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// buffers are for requests to be written from.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// appendHead writes the head of a request.
func appendHead(b []byte, host, path string, in *platform.Invocation) ([]byte, error) {
	b = append(b, "POST "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nContent-Length: "...)
	length := int64(len(in.Body))
	if in.Spool != nil {
		length = in.Spool.Size()
	}
	b = strconv.AppendInt(b, length, 10)
	for name, values := range in.Header {
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") || strings.ContainsAny(name, "\r\n\x00: ") {
				return nil, platform.Errorf(platform.Invalid, in.Endpoint, "the header %q cannot be sent to a container", name)
			}
			b = append(b, "\r\n"...)
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
		}
	}
	return append(b, "\r\n\r\n"...), nil
}
