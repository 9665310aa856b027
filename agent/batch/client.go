package batch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

const (
	dialTime = 10 * time.Second
	// smallBody is up to what size a body travels in one write with the head before it.
	smallBody = 16 << 10
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

// connection is one keep-alive connection to the container. It speaks just the HTTP that is needed, in the caller's goroutine:
// net/http's client costs more than some models do.
type connection struct {
	address string
	head    []byte // of every request, up to the length of its body
	timeout time.Duration

	mu     sync.Mutex // of conn, which close may take away
	conn   net.Conn
	closed bool

	reader *bufio.Reader
	used   bool // it has answered before
	buffer []byte
	length []byte
}

var postRequest = &http.Request{Method: http.MethodPost} // what ReadResponse must know

// open connects, unless there is a connection.
func (c *connection) open(ctx context.Context) (net.Conn, error) {
	c.mu.Lock()
	conn, closed := c.conn, c.closed
	c.mu.Unlock()
	if closed {
		return nil, context.Cause(ctx)
	}
	if conn != nil {
		return conn, nil
	}
	dialer := &net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, fmt.Errorf("connect to the model's container: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return nil, context.Cause(ctx)
	}
	c.conn, c.used = conn, false
	if c.reader == nil {
		c.reader = bufio.NewReaderSize(conn, 64<<10)
	} else {
		c.reader.Reset(conn)
	}
	return conn, nil
}

// drop ends the connection; the next request makes another one.
func (c *connection) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// close ends the connection, and whatever is under way on it, for good.
func (c *connection) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.drop()
}

// post sends a payload and appends the answer to dst. Each try has its time.
func (c *connection) post(ctx context.Context, payload, dst []byte) ([]byte, error) {
	for {
		conn, err := c.open(ctx)
		if err != nil {
			return dst, err
		}
		again := c.used
		answer, err := c.exchange(conn, payload, dst)
		if err == nil {
			return answer, nil
		}
		var stale *staleError
		if errors.As(err, &stale) && again { // the container had closed it while it was not used
			continue
		}
		return dst, err
	}
}

// staleError is the end of a connection before any of an answer came.
type staleError struct{ error }

func (e *staleError) Unwrap() error { return e.error }

// exchange does one request on an open connection.
func (c *connection) exchange(conn net.Conn, payload, dst []byte) ([]byte, error) {
	if err := conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		c.drop()
		return dst, &staleError{err}
	}
	c.length = strconv.AppendInt(c.length[:0], int64(len(payload)), 10)
	c.buffer = append(append(append(c.buffer[:0], c.head...), "Content-Length: "...), c.length...)
	c.buffer = append(c.buffer, "\r\n\r\n"...)
	var err error
	if len(payload) <= smallBody {
		c.buffer = append(c.buffer, payload...)
		_, err = conn.Write(c.buffer)
	} else {
		pieces := net.Buffers{c.buffer, payload}
		_, err = pieces.WriteTo(conn)
	}
	if err != nil { // it may have answered what it did not want to read
		_ = conn.SetReadDeadline(time.Now().Add(lastWords))
	}
	answer, readErr := c.receive(dst, func(response *http.Response) ([]byte, error) { return readBody(response, dst) })
	if err != nil {
		c.drop()
		var refused *agent.Refused
		if !errors.As(readErr, &refused) {
			return dst, &staleError{fmt.Errorf("send a request to the model's container: %w", err)}
		}
	}
	return answer, readErr
}

// receive reads an answer; take is given one that is a success.
func (c *connection) receive(dst []byte, take func(*http.Response) ([]byte, error)) ([]byte, error) {
	if _, err := c.reader.Peek(1); err != nil {
		c.drop()
		return dst, &staleError{readError(err)}
	}
	response, err := http.ReadResponse(c.reader, postRequest)
	if err != nil {
		c.drop()
		return dst, fmt.Errorf("the model's container did not answer in HTTP: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		beginning, err := io.ReadAll(io.LimitReader(response.Body, 4096))
		if rest, _ := io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)); err != nil || rest == 1<<20 || response.Close {
			c.drop()
		}
		c.used = true
		return dst, &agent.Refused{Status: response.StatusCode, Body: string(beginning)}
	}
	answer, err := take(response)
	if err != nil || response.Close {
		c.drop()
	}
	c.used = true
	return answer, err
}

func readError(err error) error {
	var late net.Error
	switch {
	case errors.As(err, &late) && late.Timeout():
		return errors.New("the model did not answer within InvocationsTimeoutInSeconds")
	case errors.Is(err, io.EOF):
		return errors.New("the model's container closed the connection without an answer")
	default:
		return fmt.Errorf("read the model's answer: %w", err)
	}
}

// readBody appends a body.
func readBody(response *http.Response, dst []byte) ([]byte, error) {
	start := len(dst)
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, make([]byte, max(512, len(dst)-start))...)[:len(dst)]
		}
		n, err := response.Body.Read(dst[len(dst):cap(dst)])
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
	conn, err := c.open(ctx)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		err := c.sendChunks(conn, in)
		if err != nil { // no answer will come but one that has come already
			_ = conn.SetReadDeadline(time.Now().Add(lastWords))
		}
		sent <- err
	}()
	_, err = c.receive(nil, func(response *http.Response) ([]byte, error) {
		_, err := io.Copy(out, deadlined{response.Body, conn, c.timeout})
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
	conn    net.Conn
	timeout time.Duration
}

func (d deadlined) Read(p []byte) (int, error) {
	_ = d.conn.SetDeadline(time.Now().Add(d.timeout)) // a connection that has ended says so by itself
	return d.Reader.Read(p)
}

// sendChunks sends a request in chunks.
func (c *connection) sendChunks(conn net.Conn, in io.Reader) error {
	head := append(bytes.Clone(c.head), "Transfer-Encoding: chunked\r\n\r\n"...)
	if _, err := conn.Write(head); err != nil {
		return err
	}
	chunk := make([]byte, readAhead)
	for {
		n, err := io.ReadFull(in, chunk)
		if n > 0 {
			_ = conn.SetDeadline(time.Now().Add(c.timeout)) // as above
			pieces := net.Buffers{fmt.Appendf(nil, "%x\r\n", n), chunk[:n], []byte("\r\n")}
			if _, err := pieces.WriteTo(conn); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			_, err := conn.Write([]byte("0\r\n\r\n"))
			return err
		}
		if err != nil {
			return err
		}
	}
}
