package http1

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// writeBuffer is how much of an answer is kept back until it is known to be all; such an answer leaves in one write.
const writeBuffer = 16 << 10

// response is the answer to one request after the other of a connection.
type response struct {
	connection *connection
	header     http.Header
	status     int     // 0 until the handler has said it
	text       *[]byte // the body, until it is sent
	length     int64   // that the head says; unknown until then
	written    int64   // of the body
	sent       bool    // the head
	close      bool    // the connection, after this
	failure    error   // of writing
}

const (
	unknown int64 = -1
	chunked int64 = -2
)

var texts = sync.Pool{New: func() any { b := make([]byte, 0, writeBuffer); return &b }}

func (w *response) begin() {
	clear(w.header)
	*w = response{connection: w.connection, header: w.header, length: unknown}
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Nothing is announced before the answer: 1xx are dropped. Until the head is sent,
// the header may still be changed.
func (w *response) WriteHeader(status int) {
	if w.status != 0 || status < 200 {
		return
	}
	w.status = status
	if said := w.header["Content-Length"]; len(said) > 0 {
		n, err := strconv.ParseInt(said[0], 10, 64)
		if err != nil || n < 0 {
			delete(w.header, "Content-Length")
			return
		}
		w.length = n
	}
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.failure != nil:
		return 0, w.failure
	case len(p) == 0:
		return 0, nil
	case w.bodyless():
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if !w.sent {
		if w.text == nil {
			w.text = texts.Get().(*[]byte)
			*w.text = (*w.text)[:0]
			w.guess(p)
		}
		if len(*w.text)+len(p) <= writeBuffer {
			*w.text = append(*w.text, p...)
			return len(p), nil
		}
		w.sendHead(false)
	}
	w.piece(p)
	if w.failure != nil {
		return 0, w.failure
	}
	return len(p), nil
}

// guess says what a body is, as net/http does, when the handler has not.
func (w *response) guess(p []byte) {
	if _, said := w.header["Content-Type"]; !said && len(w.header["Content-Encoding"]) == 0 {
		w.header["Content-Type"] = []string{http.DetectContentType(p)}
	}
}

// FlushError sends what there is, for http.ResponseController.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent {
		w.sendHead(false)
	}
	return w.failure
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() } // the next Write says it

// sendHead sends the head and what there is of the body; whole: that is all.
func (w *response) sendHead(whole bool) {
	var body []byte
	if w.text != nil {
		body = *w.text
	}
	if w.length < 0 && !w.bodyless() {
		if w.length = chunked; whole {
			w.length = int64(len(body))
		}
	}
	head := texts.Get().(*[]byte)
	b := w.appendHead((*head)[:0])
	w.sent = true
	if w.length == chunked && len(body) > 0 {
		b = appendChunk(b, body)
	} else {
		b = append(b, body...)
	}
	w.send(b)
	if *head = b; cap(b) <= 4*writeBuffer {
		texts.Put(head)
	}
	w.release()
}

func (w *response) release() {
	if w.text != nil {
		texts.Put(w.text)
		w.text = nil
	}
}

func (w *response) bodyless() bool {
	return w.status == http.StatusNoContent || w.status == http.StatusNotModified
}

var newlines = strings.NewReplacer("\r", " ", "\n", " ")

func (w *response) appendHead(b []byte) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(w.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(w.status)...)
	for name, values := range w.header {
		switch name {
		case "Content-Length", "Transfer-Encoding", "Date":
			continue
		case "Connection":
			w.close = w.close || len(values) > 0 && strings.EqualFold(values[0], "close")
			continue
		}
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n") {
				v = newlines.Replace(v)
			}
			b = append(b, "\r\n"...)
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
		}
	}
	b = append(b, "\r\nDate: "...)
	b = append(b, date()...)
	if w.length == chunked {
		b = append(b, "\r\nTransfer-Encoding: chunked"...)
	} else if !w.bodyless() {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, w.length, 10)
	}
	if w.close = w.close || w.connection.server.stopping.Load(); w.close {
		b = append(b, "\r\nConnection: close"...)
	}
	return append(b, "\r\n\r\n"...)
}

func appendChunk(b, p []byte) []byte {
	b = strconv.AppendInt(b, int64(len(p)), 16)
	b = append(b, "\r\n"...)
	b = append(b, p...)
	return append(b, "\r\n"...)
}

// piece sends some of the body, after the head.
func (w *response) piece(p []byte) {
	if w.length != chunked {
		w.send(p)
		return
	}
	text := texts.Get().(*[]byte)
	b := appendChunk((*text)[:0], p)
	w.send(b)
	if *text = b; cap(b) <= 4*writeBuffer {
		texts.Put(text)
	}
}

func (w *response) send(b []byte) {
	if w.failure == nil {
		_, w.failure = w.connection.tcp.Write(b)
	}
}

// end completes the answer, and says whether the connection may have another.
func (w *response) end() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent {
		w.sendHead(true)
	} else if w.length == chunked {
		w.send([]byte("0\r\n\r\n"))
	}
	// Less than was said must not look like all.
	return w.failure == nil && !w.close && (w.length < 0 || w.length == w.written)
}

// date is the time for the header Date, made once a second.
func date() string {
	now := time.Now()
	if d := lastDate.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dated{now.Unix(), now.UTC().Format(http.TimeFormat)}
	lastDate.Store(d)
	return d.text
}

var lastDate atomic.Pointer[dated]

type dated struct {
	second int64
	text   string
}
