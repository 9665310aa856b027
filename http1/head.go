package http1

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strings"
)

var (
	headEnd = []byte("\r\n\r\n")
	lineEnd = "\r\n"
)

// HeadLength gives how many bytes of b the head of a message takes, up to and with its empty line; 0 when b has not all of it.
func HeadLength(b []byte) int {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return 0
	}
	return end + len(headEnd)
}

// ParseHead reads a head as HeadLength bounds it, and adds its fields to header by their canonical names. It does not take a head
// that is not plain (a field over several lines, a name or value with bytes that do not belong there, a line that ends
// otherwise); what it has added to header until then is of no use.
//
// Strings share one copy of the head: none refers to b.
func ParseHead(b []byte, header http.Header) (start string, plain bool) {
	text := string(b)
	start, text, _ = strings.Cut(text, lineEnd)
	if !isText(start) {
		return "", false
	}
	values := make([]string, 0, strings.Count(text, "\n"))
	for text != lineEnd {
		line, rest, found := strings.Cut(text, lineEnd)
		colon := strings.IndexByte(line, ':')
		if !found || colon <= 0 {
			return "", false
		}
		name, plain := fieldName(line[:colon])
		value := strings.Trim(line[colon+1:], " ")
		if !plain || !isText(value) {
			return "", false
		}
		if before, twice := header[name]; twice {
			header[name] = append(before, value)
		} else {
			values = append(values, value)
			header[name] = values[len(values)-1 : len(values) : len(values)]
		}
		text = rest
	}
	return start, true
}

// isText says that s is one line of readable characters; bytes beyond ASCII count as such, as they do for net/http.
func isText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// fieldName gives a field's canonical name.
func fieldName(s string) (name string, plain bool) {
	canonical := true
	upper := true // what comes is to be an upper-case letter, if it is a letter
	for i := range len(s) {
		c := s[i]
		if !inName[c] {
			return "", false
		}
		canonical = canonical && !(upper && 'a' <= c && c <= 'z' || !upper && 'A' <= c && c <= 'Z')
		upper = c == '-'
	}
	if canonical {
		return s, true
	}
	if known := usual[s]; known != "" {
		return known, true
	}
	return textproto.CanonicalMIMEHeaderKey(s), true
}

// inName are the bytes of which names of fields consist: RFC 9110, section 5.6.2.
var inName = bytesOf("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

func bytesOf(s string) (in [256]bool) {
	for i := range len(s) {
		in[s[i]] = true
	}
	return in
}

// usual are the names that AWS's clients and common model servers write otherwise.
var usual = func() map[string]string {
	names := map[string]string{}
	for _, name := range []string{
		"amz-sdk-invocation-id", "amz-sdk-request", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "X-Amz-Content-SHA256",
		"content-type", "content-length", "user-agent", "authorization", "accept", "accept-encoding", "host", "date", "server", "connection",
		"X-Amzn-SageMaker-Target-Model", "X-Amzn-SageMaker-Target-Variant", "X-Amzn-SageMaker-Custom-Attributes", "X-Amzn-SageMaker-Inference-Id",
		"X-Amzn-SageMaker-Session-Id",
	} {
		names[name] = textproto.CanonicalMIMEHeaderKey(name)
	}
	return names
}()
