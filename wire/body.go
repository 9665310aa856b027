package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/stint-ml/stint/http1"
)

// firstRead is how much memory a declared Content-Length may claim before any
// byte has arrived, so that idle connections cannot reserve the whole limit.
const firstRead = 64 << 10

// ReadBody reads the whole request body of at most limit bytes. A longer one
// is refused with 413 RequestEntityTooLarge, before reading when its length is
// declared; a body that ends early is a 400 IncompleteBody. Every error is an
// *Error.
func ReadBody(r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, tooLarge(fmt.Sprintf("The request body of %d bytes exceeds the maximum of %d bytes.", r.ContentLength, limit))
	}
	if short, ok := r.Body.(*http1.Body); ok {
		body, err := short.Whole()
		if err != nil {
			return nil, incomplete(r, len(body), err)
		}
		return body, nil
	}
	if r.ContentLength > 0 && r.ContentLength <= firstRead { // most: read in one go
		body := make([]byte, r.ContentLength)
		n, err := io.ReadFull(r.Body, body)
		if err != nil {
			return nil, incomplete(r, n, err)
		}
		return body, nil
	}
	var body bytes.Buffer
	// One spare byte past the declared length lets ReadFrom see the end of the
	// body without growing the buffer.
	body.Grow(int(min(max(r.ContentLength, 512), firstRead)) + bytes.MinRead)
	if _, err := body.ReadFrom(io.LimitReader(r.Body, limit+1)); err != nil {
		return nil, incomplete(r, body.Len(), err)
	}
	if int64(body.Len()) > limit {
		return nil, tooLarge(fmt.Sprintf("The request body exceeds the maximum of %d bytes.", limit))
	}
	return body.Bytes(), nil
}

// incomplete is the error of a body of which only so many bytes could be read.
func incomplete(r *http.Request, arrived int, err error) *Error {
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return tooLarge(fmt.Sprintf("The request body exceeds the maximum of %d bytes.", over.Limit))
	}
	return &Error{
		Status:  http.StatusBadRequest,
		Code:    "IncompleteBody",
		Message: fmt.Sprintf("The request body could not be read to its end: %d bytes arrived of %d declared.", arrived, r.ContentLength),
		Fault:   Sender,
	}
}

func tooLarge(message string) *Error {
	return &Error{
		Status:  http.StatusRequestEntityTooLarge,
		Code:    "RequestEntityTooLarge",
		Message: message,
		Fault:   Sender,
	}
}
