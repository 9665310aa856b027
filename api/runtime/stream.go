package runtime

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"

	"github.com/stint-ml/stint/platform"
)

// maxPart bounds how much of what a container streams is in one event; it is passed on as it comes, however little it is.
const maxPart = 32 << 10

// The ways in which a stream may break off, in the words of ModelStreamError.
const (
	streamLate   = "ModelInvocationTimeExceeded"
	streamBroken = "StreamBroken"
)

// stream answers with each piece that the container streams as an event of its own. The status is out by then, so that a container
// that does not come to its end is told of in an event too.
func stream(w http.ResponseWriter, a *platform.Answer) error {
	h := w.Header()
	give(h, a)
	h[headerContentType] = h["Content-Type"]
	h["Content-Type"] = []string{"application/vnd.amazon.eventstream"}
	w.WriteHeader(http.StatusOK)
	events := &events{w, http.NewResponseController(w), eventstream.NewEncoder()}
	part := make([]byte, maxPart)
	for {
		n, failed := a.Body.Read(part)
		if n > 0 {
			events.send(payloadPart, part[:n])
		}
		if errors.Is(failed, io.EOF) {
			return nil
		}
		if failed != nil {
			events.fail(failed)
			return nil
		}
	}
}

// The headers of the two kinds of events that are sent.
var (
	payloadPart = eventstream.Headers{
		{Name: eventstreamapi.MessageTypeHeader, Value: eventstream.StringValue(eventstreamapi.EventMessageType)},
		{Name: eventstreamapi.EventTypeHeader, Value: eventstream.StringValue("PayloadPart")},
		{Name: eventstreamapi.ContentTypeHeader, Value: eventstream.StringValue("application/octet-stream")},
	}
	modelStreamError = eventstream.Headers{
		{Name: eventstreamapi.MessageTypeHeader, Value: eventstream.StringValue(eventstreamapi.ExceptionMessageType)},
		{Name: eventstreamapi.ExceptionTypeHeader, Value: eventstream.StringValue("ModelStreamError")},
		{Name: eventstreamapi.ContentTypeHeader, Value: eventstream.StringValue("application/json")},
	}
)

// events are written as they come.
type events struct {
	w       io.Writer
	control *http.ResponseController
	encoder *eventstream.Encoder
}

// send ends the answer when nobody takes it any more, which ends the container's work too.
func (e *events) send(headers eventstream.Headers, payload []byte) {
	err := e.encoder.Encode(e.w, eventstream.Message{Headers: headers, Payload: payload})
	if err == nil {
		err = e.control.Flush()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// fail says that the container did not come to its end.
func (e *events) fail(err error) {
	code, message := streamBroken, "The connection to the model container was closed before its response was complete."
	if errors.Is(err, platform.ErrTooLate) {
		code, message = streamLate, "The model container did not finish its response in time."
	}
	payload, _ := json.Marshal(map[string]string{"Message": message, "ErrorCode": code}) // strings cannot fail
	e.send(modelStreamError, payload)
}
