package http1

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Answer is a server's answer: its head, and a reader of its body, which gives io.ErrUnexpectedEOF when that ends early.
type Answer struct {
	Status int
	Header http.Header
	Length int64 // of the body; -1: it does not say

	client *Client
	closes bool      // the connection is of no use after it
	left   int64     // of a plain body
	body   io.Reader // of another, in which net/http finds the end
	whole  bool      // it has been read to its end
}

// Whole says that the body has come to its end.
func (a *Answer) Whole() bool { return a.whole }

// Reusable says that the exchange is over, and the connection good for another one.
func (a *Answer) Reusable() bool { return a.whole && !a.closes && a.client.sent() }

// Read implements io.Reader.
func (a *Answer) Read(p []byte) (n int, err error) {
	switch {
	case a.whole:
		return 0, io.EOF
	case a.body != nil:
		n, err = a.body.Read(p)
		a.whole = errors.Is(err, io.EOF)
		return n, err
	}
	n, err = a.client.reader.Read(p[:min(int64(len(p)), a.left)])
	if a.left -= int64(n); a.left == 0 {
		a.whole = true
		return n, io.EOF
	}
	return n, early(err)
}

// plain takes a head that has come as a whole and is in its plain form, with a length and without anything that has a meaning for the
// connection but whether it is kept. It leaves any other where it is.
func (c *Client) plain(a *Answer) bool {
	held, _ := c.reader.Peek(c.reader.Buffered()) // never fails
	n := HeadLength(held)
	if n == 0 {
		return false
	}
	header := a.Header
	if header == nil {
		header = make(http.Header)
	}
	clear(header)
	start, plain := ParseHead(held[:n], header)
	status := statusOf(start)
	length := lengthOf(header)
	closes, known := closesOf(header)
	if !plain || status == 0 || length < 0 || !known {
		return false
	}
	if closes {
		delete(header, "Connection") // as net/http does
	}
	_, _ = c.reader.Discard(n) // it holds them
	*a = Answer{Status: status, Header: header, Length: length, client: c, closes: closes, left: length, whole: length == 0}
	return true
}

// statusOf reads the status line of an answer that may have a body; 0: it is another one.
func statusOf(start string) int {
	const version = "HTTP/1.1 "
	rest, known := strings.CutPrefix(start, version)
	if !known || len(rest) < 3 || len(rest) > 3 && rest[3] != ' ' {
		return 0
	}
	status, err := strconv.ParseUint(rest[:3], 10, 16)
	if err != nil || status < 200 || status == http.StatusNoContent || status == http.StatusNotModified {
		return 0
	}
	return int(status)
}

// lengthOf is the length that a head tells in its plain form; -1: it does not.
func lengthOf(h http.Header) int64 {
	values := h["Content-Length"]
	if len(values) != 1 {
		return -1
	}
	length, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil {
		return -1
	}
	return int64(length)
}

// closesOf says whether a connection ends with an answer. It does not know of heads in which more than that is said.
func closesOf(h http.Header) (closes, known bool) {
	for _, name := range [...]string{"Transfer-Encoding", "Trailer", "Pragma"} {
		if h[name] != nil {
			return false, false
		}
	}
	values := h["Connection"]
	switch {
	case len(values) == 0:
		return false, true
	case len(values) > 1:
		return false, false
	case strings.EqualFold(values[0], "keep-alive"):
		return false, true
	}
	return true, strings.EqualFold(values[0], "close")
}

// asked is all that http.ReadResponse must know of a request: a body may follow.
var asked = &http.Request{Method: http.MethodPost}

// other lets net/http read a head.
func (c *Client) other(a *Answer) error {
	r, err := http.ReadResponse(c.reader, asked) //nolint:bodyclose // there is nothing to close but the connection
	if err != nil {
		return err
	}
	*a = Answer{
		Status: r.StatusCode, Header: r.Header, Length: r.ContentLength, client: c, body: r.Body, whole: r.ContentLength == 0,
		closes: r.Close || r.StatusCode == http.StatusSwitchingProtocols, // after which it is no longer HTTP
	}
	return nil
}
