package router

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stint-ml/stint/platform"
)

// The headers that a line tells of.
const (
	headerContentType = "Content-Type"
	headerInferenceID = "X-Amzn-Sagemaker-Inference-Id"
	headerAttributes  = "X-Amzn-Sagemaker-Custom-Attributes"
)

// exchange is a captured invocation.
type exchange struct {
	at               time.Time // the answer's end
	header, returned map[string][]string
	input, output    []byte
	how              *platform.Capture
}

// size is about how much memory it keeps.
func (x *exchange) size() int { return len(x.input) + len(x.output) + 1024 }

// lines are captured invocations as a file holds them: each a line of JSON with the members of the developer guide, in its order.
// They are put together here, as a general encoder takes longer for a line than the rest of capture.
func lines(batch []exchange) []byte {
	size := 0
	for i := range batch {
		size += batch[i].size()
	}
	out := make([]byte, 0, size+size/4)
	for i := range batch {
		out = batch[i].appendLine(out)
	}
	return out
}

func (x *exchange) appendLine(b []byte) []byte {
	b = append(b, `{"captureData":{`...)
	if x.how.Input {
		b = x.appendPayload(append(b, `"endpointInput":`...), "INPUT", x.header, x.input)
	}
	if x.how.Input && x.how.Output {
		b = append(b, ',')
	}
	if x.how.Output {
		b = x.appendPayload(append(b, `"endpointOutput":`...), "OUTPUT", x.returned, x.output)
	}
	b = append(b, `},"eventMetadata":{"eventId":"`...)
	b = append(b, newUUID()...)
	attributes := x.returned[headerAttributes]
	if len(attributes) == 0 {
		attributes = x.header[headerAttributes]
	}
	if len(attributes) > 0 {
		b = append(b, `","customAttributes":[`...)
		for i, a := range attributes {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, strings.ToValidUTF8(a, "\uFFFD"))
		}
		b = append(b, ']')
	} else {
		b = append(b, '"')
	}
	if id := firstOf(x.header[headerInferenceID]); id != "" {
		b = appendText(append(b, `,"inferenceId":`...), id)
	}
	b = x.at.UTC().AppendFormat(append(b, `,"inferenceTime":"`...), time.RFC3339)
	return append(b, `"},"eventVersion":"0"}`+"\n"...)
}

// firstOf is a header's first value. Headers may hold other bytes than UTF-8; they are replaced.
func firstOf(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return strings.ToValidUTF8(values[0], "\uFFFD")
}

// appendPayload adds one side. What is not the text that its content type promises is encoded too, so that nothing is damaged.
func (x *exchange) appendPayload(b []byte, mode string, header map[string][]string, data []byte) []byte {
	kind := firstOf(header[headerContentType])
	encoding := x.encoding(kind, data)
	b = appendText(append(b, `{"observedContentType":`...), kind)
	b = append(append(b, `,"mode":"`...), mode...)
	b = append(b, `","data":`...)
	if encoding == "BASE64" {
		b = append(base64.StdEncoding.AppendEncode(append(b, '"'), data), '"')
	} else {
		b = appendText(b, data)
	}
	b = append(append(b, `,"encoding":"`...), encoding...)
	return append(b, `"}`...)
}

func (x *exchange) encoding(kind string, data []byte) string {
	bare, _, _ := strings.Cut(kind, ";")
	bare = strings.TrimSpace(bare)
	is := func(listed string) bool { return strings.EqualFold(listed, bare) }
	switch {
	case !utf8.Valid(data):
	case slices.ContainsFunc(x.how.CSV, is):
		return "CSV"
	case slices.ContainsFunc(x.how.JSON, is):
		return "JSON"
	}
	return "BASE64"
}

// appendText adds a text, which is valid UTF-8, as a JSON string.
func appendText[T string | []byte](b []byte, text T) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(b, text[from:]...), '"')
}

// newUUID is a random name, of version 4. It needs to be unlike others, not unforeseeable.
func newUUID() string {
	high, low := rand.Uint64(), rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", high>>32, high>>16&0xffff, high&0xfff, low>>48&0x3fff|0x8000, low&0xffffffffffff)
}
