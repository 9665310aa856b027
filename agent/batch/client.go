package batch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/http1"
	"github.com/stint-ml/stint/platform"
)

const (
	dialTime   = 10 * time.Second
	readBuffer = 16 << 10
	// maxAnswer bounds one answer of the model, which waits in memory for those before it.
	maxAnswer = 512 << 20
	// lastWords is how long an answer is waited for that came before its request could be sent whole.
	lastWords = time.Second
)

// transient tells whether the same request may do better later.
func transient(err error) bool {
	var refused *agent.Refused
	if errors.As(err, &refused) {
		return refused.Status >= 500 || refused.Status == http.StatusTooManyRequests || refused.Status == http.StatusRequestTimeout
	}
	return true
}

// connection is one to the container, kept alive and opened anew when it has ended.
type connection struct {
	address string
	head    []byte // of every request, up to the length of its body
	timeout time.Duration

	mu     sync.Mutex // of client, which close may end
	client *http1.Client
	closed bool

	buffer   []byte
	received http1.Answer
}

// open connects, unless there is a connection.
func (c *connection) open(ctx context.Context) (*http1.Client, error) {
	c.mu.Lock()
	client, closed := c.client, c.closed
	c.mu.Unlock()
	if closed {
		return nil, context.Cause(ctx)
	}
	if client != nil {
		return client, nil
	}
	dialer := &net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err == nil {
		client, err = http1.NewClient(conn.(*net.TCPConn), readBuffer)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the model's container: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		client.Close()
		return nil, context.Cause(ctx)
	}
	c.client = client
	return client, nil
}

// drop ends the connection; the next request makes another one.
func (c *connection) drop() {
	c.mu.Lock()
	client := c.client
	c.client = nil
	c.mu.Unlock()
	if client != nil {
		client.Close()
	}
}

// close ends whatever is under way on the connection, for good.
func (c *connection) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.client != nil {
		c.client.Conn.Close() // not to wait for what it is about
	}
}

// post sends a payload and appends the answer to dst. Each try has its time.
func (c *connection) post(ctx context.Context, payload, dst []byte) ([]byte, error) {
	for {
		client, err := c.open(ctx)
		if err != nil {
			return dst, err
		}
		again := client.Answered()
		answer, err := c.exchange(client, payload, dst)
		if again && stale(err) { // the container had closed it while it was not used
			continue
		}
		return answer, err
	}
}

// stale says that a connection has ended before any of an answer came; that one is late is another error.
func stale(err error) bool {
	return errors.Is(err, http1.ErrUnsent) || errors.Is(err, http1.ErrNoAnswer)
}

// exchange does one request.
func (c *connection) exchange(client *http1.Client, payload, dst []byte) ([]byte, error) {
	err := client.SetDeadline(time.Now().Add(c.timeout))
	if err != nil {
		err = fmt.Errorf("%w: %w", http1.ErrUnsent, err)
	}
	c.buffer = strconv.AppendInt(append(append(c.buffer[:0], c.head...), "Content-Length: "...), int64(len(payload)), 10)
	c.buffer = append(c.buffer, "\r\n\r\n"...)
	switch {
	case err != nil:
	case len(c.buffer)+len(payload) > http1.AtOnce:
		client.SendBeside(nil, c.buffer, payload)
	default:
		c.buffer = append(c.buffer, payload...)
		err = client.Send(c.buffer)
	}
	if err != nil {
		c.drop()
		return dst, fmt.Errorf("send a request to the model's container: %w", err)
	}
	return c.receive(client, dst, readBody)
}

// receive reads an answer; take is given one that is a success.
func (c *connection) receive(client *http1.Client, dst []byte, take func(*http1.Answer, []byte) ([]byte, error)) ([]byte, error) {
	a := &c.received
	if err := client.Receive(a); err != nil {
		c.drop()
		return dst, readError(err)
	}
	var err error
	if a.Status/100 == 2 {
		dst, err = take(a, dst)
	} else {
		beginning, _ := io.ReadAll(io.LimitReader(a, 4096)) // what there is of it will do
		_, _ = io.CopyN(io.Discard, a, 1<<20)               // as above
		err = &agent.Refused{Container: a.Header.Get(platform.ContainerHeader), Status: a.Status, Body: string(beginning)}
	}
	if !a.Reusable() {
		c.drop()
	}
	return dst, err
}

func readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the model did not answer within InvocationsTimeoutInSeconds")
	case errors.Is(err, http1.ErrNoAnswer) && errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the model's container closed the connection: %w", http1.ErrNoAnswer)
	default:
		return fmt.Errorf("read the model's answer: %w", err)
	}
}

// readBody appends a body.
func readBody(a *http1.Answer, dst []byte) ([]byte, error) {
	start := len(dst)
	for {
		if got := len(dst) - start; len(dst) == cap(dst) {
			dst = slices.Grow(dst, max(512, got, min(int(a.Length)-got, 1<<20))) // a length that lies does not take memory
		}
		n, err := a.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > maxAnswer:
			return dst[:start], platform.Errorf(platform.Invalid, "", "an answer of the model is larger than %d bytes; send it fewer records at once", maxAnswer)
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return dst[:start], readError(err)
		}
	}
}

// stream sends all of in as one request of unknown length, and copies the answer to out.
func (c *connection) stream(ctx context.Context, in io.Reader, out io.Writer) error {
	c.drop() // an object is rarely sent twice: none of it must be lost on a stale connection
	client, err := c.open(ctx)
	if err != nil {
		return err
	}
	if err := client.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		err := c.sendChunks(client, in)
		if err != nil { // no answer will come but one that has come already
			_ = client.SetReadDeadline(time.Now().Add(lastWords))
		}
		sent <- err
	}()
	_, err = c.receive(client, nil, func(a *http1.Answer, _ []byte) ([]byte, error) {
		_, err := io.Copy(out, deadlined{a, client, c.timeout})
		return nil, err
	})
	if err != nil {
		c.drop() // which ends the sending
	}
	if sendErr := <-sent; err == nil {
		err = sendErr
	} else if platform.KindOf(sendErr) != platform.Internal { // the input could not be read
		err = sendErr
	}
	return err
}

// deadlined is a body whose every read puts the deadline off: what flows is not late.
type deadlined struct {
	io.Reader
	client  *http1.Client
	timeout time.Duration
}

func (d deadlined) Read(p []byte) (int, error) {
	_ = d.client.SetDeadline(time.Now().Add(d.timeout)) // a connection that has ended says so by itself
	return d.Reader.Read(p)
}

// sendChunks sends a request in chunks.
func (c *connection) sendChunks(client *http1.Client, in io.Reader) error {
	head := append(bytes.Clone(c.head), "Transfer-Encoding: chunked\r\n\r\n"...)
	if _, err := client.Write(head); err != nil {
		return err
	}
	chunk := make([]byte, readAhead)
	for {
		n, err := io.ReadFull(in, chunk)
		if n > 0 {
			_ = client.SetDeadline(time.Now().Add(c.timeout)) // as above
			pieces := net.Buffers{fmt.Appendf(nil, "%x\r\n", n), chunk[:n], []byte("\r\n")}
			if _, err := pieces.WriteTo(client.Conn); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			_, err := client.Write([]byte("0\r\n\r\n"))
			return err
		}
		if err != nil {
			return err
		}
	}
}
