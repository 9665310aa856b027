package router

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stint-ml/stint/http1"
	"github.com/stint-ml/stint/platform"
)

// Connections to containers are kept here and not by an http.Transport: what its goroutines do for each would cost more than all
// the rest of a request. docs/benchmarks.md has the figures.

const (
	readBuffer = 8 << 10
	sweepEvery = idleConnection / 3
)

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
	*http1.Client
	host      string
	interrupt func()    // is Interrupt
	since     time.Time // idle
}

// take gives a connection with a deadline for what comes: an idle one that the container has not closed, or a new one.
func (p *pool) take(ctx context.Context, deadline time.Time) (*connection, error) {
	for {
		c := p.pop()
		if c == nil {
			break
		}
		if c.SetDeadline(deadline) == nil && c.Quiet() {
			return c, nil
		}
		c.Close()
	}
	tcp, err := p.dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	client, err := http1.NewClient(tcp.(*net.TCPConn), readBuffer)
	if err == nil {
		err = client.SetDeadline(deadline)
	}
	if err != nil {
		tcp.Close()
		return nil, err
	}
	return &connection{Client: client, host: p.address, interrupt: client.Interrupt}, nil
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
	c.since = time.Now()
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

// ask sends an invocation and receives the head of its answer. http1.ErrUnsent: it may be sent again.
func (c *connection) ask(in *platform.Invocation, path string, out *http1.Answer) error {
	text := buffers.Get().(*[]byte)
	head, err := appendHead((*text)[:0], c.host, path, in)
	switch {
	case err != nil:
		return err
	case in.Spool != nil:
		c.SendBeside(io.NewSectionReader(in.Spool, 0, in.Spool.Size()), head)
	case len(head)+len(in.Body) > http1.AtOnce:
		c.SendBeside(nil, head, in.Body)
	default:
		head = append(head, in.Body...)
		err = c.Send(head)
		*text = head
		buffers.Put(text)
	}
	if err != nil {
		return err
	}
	return c.Receive(out)
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
