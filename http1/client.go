package http1

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// AtOnce is how much of a request may be sent before its answer is looked for: what a socket takes without its other end.
	AtOnce = 32 << 10
	// maxHead bounds the head of an answer, with those that only announce it.
	maxHead = 1 << 20
)

var (
	// ErrUnsent is a request of which the connection has taken nothing.
	ErrUnsent = errors.New("the connection has taken nothing of the request")
	// ErrNoAnswer is an answer of which nothing came.
	ErrNoAnswer = errors.New("the connection has ended without an answer")

	errLongHead = fmt.Errorf("the head of the answer has more than %d bytes", maxHead)
)

// Client is the client's end of a connection, for one exchange at a time: a request is sent, its answer received, and its body
// read to the end. All of it happens in the goroutine of who asks. An http.Transport has two of its own for each connection, and
// to wake them costs more than all the rest.
//
// Deadlines are the caller's to set. Only Interrupt, and the Close of Conn, may be called while something else is under way.
type Client struct {
	net.Conn // to be read only by way of Receive
	in       bounded
	reader   *bufio.Reader
	beside   chan error // how it went to send what is sent beside; nil: nothing is
	answered bool

	control syscall.RawConn
	look    func(fd uintptr)
	poll    [1]unix.PollFd
	quiet   bool
}

// Socket is a connection with a descriptor, such as net.TCPConn.
type Socket interface {
	net.Conn
	syscall.Conn
}

// NewClient makes a client of a new connection, which it closes if it cannot. It reads up to buffer bytes at once.
func NewClient(socket Socket, buffer int) (*Client, error) {
	control, err := socket.SyscallConn()
	if err != nil {
		socket.Close()
		return nil, err
	}
	c := newClient(socket, buffer)
	c.control = control
	c.look = func(fd uintptr) {
		c.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} //nolint:gosec // a descriptor
		n, err := unix.Poll(c.poll[:], 0)
		c.quiet = n == 0 && err == nil
	}
	return c, nil
}

func newClient(conn net.Conn, buffer int) *Client {
	c := &Client{Conn: conn, in: bounded{Reader: conn}}
	c.reader = bufio.NewReaderSize(&c.in, buffer)
	return c
}

// Answered says that an answer has come over this connection before.
func (c *Client) Answered() bool { return c.answered }

// Quiet says that the other end has neither closed the connection nor said anything unasked.
func (c *Client) Quiet() bool {
	c.quiet = false
	return c.reader.Buffered() == 0 && c.control.Control(c.look) == nil && c.quiet
}

// Interrupt ends whatever is under way; the connection is of no use after it.
func (c *Client) Interrupt() { _ = c.SetDeadline(time.Unix(1, 0)) } // it may be closed

// Send writes a request of up to AtOnce bytes, head and body. ErrUnsent: it may be sent again over another connection.
func (c *Client) Send(request []byte) error {
	c.beside = nil
	n, err := c.Write(request)
	if err != nil && n == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrUnsent, err)
	}
	return err
}

// SendBeside begins to write a longer request, of parts and then rest, which may be nil. It goes on while the answer is received, as a
// server may answer before it has read all, or not read all: what is sent must stay as it is until the exchange is over or Close has returned.
func (c *Client) SendBeside(rest io.Reader, parts ...[]byte) {
	beside := make(chan error, 1)
	c.beside = beside
	go func() {
		_, err := (*net.Buffers)(&parts).WriteTo(c.Conn)
		if err == nil && rest != nil {
			_, err = io.Copy(c.Conn, rest)
		}
		beside <- err
	}()
}

// Close ends the connection, and waits until nothing of a request is read any more.
func (c *Client) Close() {
	c.Conn.Close()
	if c.beside != nil {
		c.beside <- <-c.beside
	}
}

// sent says that all of the request has been written.
func (c *Client) sent() bool {
	if c.beside == nil {
		return true
	}
	select {
	case err := <-c.beside:
		c.beside <- err
		return err == nil
	default:
		return false
	}
}

// bounded reads while it may: heads have an end. It remembers why it could not, of which net/http tells only that a line is cut.
type bounded struct {
	io.Reader
	left int64
	err  error
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.err = errLongHead
		return 0, b.err
	}
	n, err := b.Reader.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.err = err
	return n, err
}

// Receive waits for the head of the answer; its body is read from a. Answers that only announce it are passed over. Of a it takes
// the Header, if it has one, and puts the fields there instead of those that were.
//
// ErrNoAnswer: nothing came before the connection ended, or its deadline. One that ends within a head is io.ErrUnexpectedEOF.
func (c *Client) Receive(a *Answer) error {
	c.in.left = maxHead
	if _, err := c.reader.Peek(1); err != nil {
		return fmt.Errorf("%w: %w", ErrNoAnswer, early(err))
	}
	for {
		if !c.plain(a) {
			if err := c.other(a); err != nil {
				return early(cmp.Or(c.in.err, err))
			}
		}
		if a.Status < 100 || a.Status > 199 || a.Status == http.StatusSwitchingProtocols {
			c.in.left = 1<<63 - 1
			c.answered = true
			return nil
		}
	}
}

// early is an error of reading where there must be more.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
