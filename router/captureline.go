package router

import (
	"encoding/base64"
	"encoding/binary"
	"math/bits"
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

// appendLine adds it as a file holds it: a line of JSON with the members of the developer guide, in its order. It is put together
// here, as a general encoder takes longer for a line than the rest of capture.
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
	b = appendUUID(b)
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
			b = appendText(b, []byte(strings.ToValidUTF8(a, "\uFFFD")))
		}
		b = append(b, ']')
	} else {
		b = append(b, '"')
	}
	if id := firstOf(x.header[headerInferenceID]); id != "" {
		b = appendText(append(b, `,"inferenceId":`...), []byte(id))
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
	b = appendText(append(b, `{"observedContentType":`...), []byte(kind))
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

// appendText adds a text, which is valid UTF-8, as a JSON string. It goes by eight bytes at once, as most need no escape: they are
// added, and taken back from the first one on that does.
func appendText(b, text []byte) []byte {
	b = append(b, '"')
	for len(text) >= 8 {
		word := binary.LittleEndian.Uint64(text)
		b = binary.LittleEndian.AppendUint64(b, word)
		marks := escaped(word)
		if marks == 0 {
			text = text[8:]
			continue
		}
		plain := bits.TrailingZeros64(marks) / 8
		b = appendEscape(b[:len(b)-8+plain], text[plain])
		text = text[plain+1:]
	}
	for _, c := range text {
		if c < ' ' || c == '"' || c == '\\' {
			b = appendEscape(b, c)
		} else {
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// escaped marks, of eight bytes, those by their top bit that a JSON string cannot hold as they are. Of the marks only the lowest
// is to be trusted: those above may come of a borrow.
func escaped(word uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, backslash := word^'"'*ones, word^'\\'*ones
	return ((word-' '*ones)&^word | (quote-ones)&^quote | (backslash-ones)&^backslash) & tops
}

// appendEscape adds a character that needs it.
func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}

const digits = "0123456789abcdef"

// appendUUID adds a random name, of version 4. It needs to be unlike others, not unforeseeable.
func appendUUID(b []byte) []byte {
	high, low := rand.Uint64()&^(0xf<<12)|4<<12, rand.Uint64()&^(3<<62)|2<<62
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			b = append(b, '-')
		}
		word := high
		if i >= 16 {
			word = low
		}
		b = append(b, digits[word>>(60-i%16*4)&15])
	}
	return b
}
