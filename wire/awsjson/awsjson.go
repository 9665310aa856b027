// Package awsjson speaks the AWS JSON 1.0 and 1.1 protocols: every call is a
// POST to "/" that names its operation in X-Amz-Target and carries one JSON
// object. It knows no operation and no shape: which object may follow is the
// reader's business (shapes.DecodeJSON), and answers come in as values.
//
// The two versions differ in their content type only; an answer repeats the
// version of the request. Both are described in the Smithy documentation,
// "AWS JSON 1.0 protocol" and "AWS JSON 1.1 protocol".
package awsjson

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/stint-ml/stint/wire"
)

const (
	contentType10 = "application/x-amz-json-1.0"
	contentType11 = "application/x-amz-json-1.1"
)

// Target splits X-Amz-Target, "SageMaker.CreateTrainingJob", into the service's
// prefix and the operation. ok is false when the header is missing or is not
// of that form: the request does not speak this protocol.
func Target(r *http.Request) (prefix, operation string, ok bool) {
	target := r.Header["X-Amz-Target"]
	if len(target) != 1 {
		return "", "", false
	}
	// The prefix may hold dots, the operation never does.
	dot := strings.LastIndexByte(target[0], '.')
	if dot <= 0 || dot == len(target[0])-1 {
		return "", "", false
	}
	return target[0][:dot], target[0][dot+1:], true
}

// encoders keeps buffers between answers; maxKept bounds what one large answer
// leaves behind.
var encoders = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const maxKept = 256 << 10

// Write answers 200 with out as the body; a nil out is an operation without
// output, which AWS answers with an empty body. When out cannot be encoded,
// nothing has been written and the error is returned.
func Write(w http.ResponseWriter, r *http.Request, out any) error {
	if out == nil {
		send(w, r, http.StatusOK, nil)
		return nil
	}
	buffer := encoders.Get().(*bytes.Buffer)
	defer release(buffer)
	if err := encode(buffer, out); err != nil {
		return err
	}
	send(w, r, http.StatusOK, buffer.Bytes())
	return nil
}

// WriteError answers an error: its code in the body's __type and in the
// x-amzn-ErrorType header, its message, and its further fields.
func WriteError(w http.ResponseWriter, r *http.Request, e *wire.Error) {
	members := make(map[string]any, len(e.Fields)+2)
	maps.Copy(members, e.Fields)
	members["__type"], members["message"] = e.Code, e.Message
	buffer := encoders.Get().(*bytes.Buffer)
	defer release(buffer)
	if encode(buffer, members) != nil {
		// Only a field can fail, and the error matters more than its fields.
		buffer.Reset()
		_ = encode(buffer, map[string]string{"__type": e.Code, "message": e.Message})
	}
	w.Header()["X-Amzn-Errortype"] = []string{e.Code}
	send(w, r, e.Status, buffer.Bytes())
}

// encode leaves <, > and & alone: AWS does, and they abound in messages and
// presigned URLs.
func encode(buffer *bytes.Buffer, value any) error {
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	buffer.Truncate(buffer.Len() - 1) // the encoder's newline
	return nil
}

func release(buffer *bytes.Buffer) {
	if buffer.Cap() > maxKept {
		return
	}
	buffer.Reset()
	encoders.Put(buffer)
}

var (
	header10 = []string{contentType10}
	header11 = []string{contentType11}
)

func send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	header := w.Header()
	header["Content-Type"] = header11[:1:1]
	if asked := r.Header["Content-Type"]; len(asked) > 0 && strings.HasPrefix(asked[0], contentType10) {
		header["Content-Type"] = header10[:1:1]
	}
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	// A client that has gone away is not our concern.
	_, _ = w.Write(body)
}
