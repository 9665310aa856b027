package sigv4

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// message is what a signature covers, before it is put into canonical form.
type message struct {
	method        string
	path          string // as on the wire, or decoded when singleEncoded
	singleEncoded bool   // s3: the path is encoded once and never cleaned
	rawQuery      string
	header        http.Header
	host          string
	contentLength int64
	signedHeaders []string // lower case, strictly ascending
	payloadHash   string
}

// scratch is memory that one canonicalisation uses and the next reuses.
type scratch struct {
	text  []byte
	arena []byte // encoded query names and values
	pairs []queryPair
	names []string
	hash  [64]byte
}

// queryPair is a name and a value as offsets into an arena that may move while
// it grows; the value starts where the name ends.
type queryPair struct{ start, nameEnd, valueEnd int }

var scratchPool = sync.Pool{New: func() any { return &scratch{text: make([]byte, 0, 2048)} }}

// keptScratch bounds the memory an outsized request leaves in the pool.
const keptScratch = 64 << 10

func (s *scratch) release() {
	if cap(s.text)+cap(s.arena) > keptScratch {
		return
	}
	clear(s.names) // so that no request's memory is held
	scratchPool.Put(s)
}

// canonicalise writes the canonical request into s.text. It fails on a query
// with a broken escape and on a signed header that the request lacks: both are
// refused rather than guessed at.
func (s *scratch) canonicalise(m *message) error {
	text := append(s.text[:0], m.method...)
	text = append(text, '\n')
	if m.singleEncoded {
		text = appendEncodedPath(text, m.path)
	} else {
		text = appendCleanPath(text, m.path)
	}
	text = append(text, '\n')
	text, err := s.appendQuery(text, m.rawQuery)
	if err != nil {
		s.text = text
		return err
	}
	text = append(text, '\n')
	for _, name := range m.signedHeaders {
		var found bool
		if text, found = appendHeader(text, m, name); !found {
			s.text = text
			return &Failure{Reason: SignatureMismatch, Message: "The signed header '" + name + "' is not in the request."}
		}
	}
	text = append(text, '\n')
	for i, name := range m.signedHeaders {
		if i > 0 {
			text = append(text, ';')
		}
		text = append(text, name...)
	}
	text = append(text, '\n')
	s.text = append(text, m.payloadHash...)
	return nil
}

// wirePath returns the path as the client sent it; on the client's side, as it
// will be sent.
func wirePath(r *http.Request) string {
	path := r.URL.EscapedPath()
	// The parser re-escapes bytes that a client left bare; the signature is
	// about what it sent. An absolute-form target is left to the parser.
	if strings.HasPrefix(r.RequestURI, "/") {
		path, _, _ = strings.Cut(r.RequestURI, "?")
	}
	return path
}

// appendCleanPath removes empty, "." and ".." segments and encodes what is
// left: an already encoded path is encoded a second time, as every service but
// s3 expects. Two paths that differ only in what is removed share a signature;
// AWS answers them alike.
func appendCleanPath(dst []byte, path string) []byte {
	base := len(dst)
	for rest := path; rest != ""; {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		switch segment {
		case "", ".":
		case "..":
			// Drop back to before the last segment; the root stays.
			if cut := bytes.LastIndexByte(dst[base:], '/'); cut >= 0 {
				dst = dst[:base+cut]
			}
		default:
			dst = append(dst, '/')
			dst = appendEncodedPath(dst, segment)
		}
	}
	// A final slash counts; one that "." or ".." would leave behind does not,
	// although RFC 3986 keeps it: botocore and the JavaScript SDK drop it.
	if len(dst) == base || strings.HasSuffix(path, "/") {
		dst = append(dst, '/')
	}
	return dst
}

// appendEncodedPath percent-encodes all but unreserved characters and slashes.
func appendEncodedPath(dst []byte, path string) []byte {
	for i := range len(path) {
		if path[i] == '/' {
			dst = append(dst, '/')
		} else {
			dst = appendEncoded(dst, path[i])
		}
	}
	return dst
}

func appendEncoded(dst []byte, c byte) []byte {
	if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~' {
		return append(dst, c)
	}
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&15])
}

// appendQuery writes the query decoded, encoded again and sorted by name, then
// value, without X-Amz-Signature. A plus is a space, as the handlers behind
// read it; otherwise a tampered query could keep its signature.
func (s *scratch) appendQuery(dst []byte, raw string) ([]byte, error) {
	if raw == "" {
		return dst, nil
	}
	s.arena, s.pairs = s.arena[:0], s.pairs[:0]
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		if pair == "" || name == "X-Amz-Signature" {
			continue
		}
		p := queryPair{start: len(s.arena)}
		var okName, okValue bool
		s.arena, okName = appendReencoded(s.arena, name)
		p.nameEnd = len(s.arena)
		s.arena, okValue = appendReencoded(s.arena, value)
		p.valueEnd = len(s.arena)
		if !okName || !okValue {
			return dst, malformed("The query-string parameter '%s' is not validly percent-encoded.", pair)
		}
		s.pairs = append(s.pairs, p)
	}
	slices.SortFunc(s.pairs, func(a, b queryPair) int {
		if order := bytes.Compare(s.arena[a.start:a.nameEnd], s.arena[b.start:b.nameEnd]); order != 0 {
			return order
		}
		return bytes.Compare(s.arena[a.nameEnd:a.valueEnd], s.arena[b.nameEnd:b.valueEnd])
	})
	for i, p := range s.pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, s.arena[p.start:p.nameEnd]...)
		dst = append(dst, '=')
		dst = append(dst, s.arena[p.nameEnd:p.valueEnd]...)
	}
	return dst, nil
}

// appendReencoded decodes a query component and encodes it strictly.
func appendReencoded(dst []byte, component string) ([]byte, bool) {
	for i := 0; i < len(component); i++ {
		c := component[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 >= len(component) {
				return dst, false
			}
			high, low := unhex(component[i+1]), unhex(component[i+2])
			if high < 0 || low < 0 {
				return dst, false
			}
			c = byte(high<<4 | low)
			i += 2
		}
		dst = appendEncoded(dst, c)
	}
	return dst, true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendHeader writes "name:value\n": values trimmed, runs of spaces made one,
// several values joined by commas.
func appendHeader(dst []byte, m *message, name string) ([]byte, bool) {
	dst = append(dst, name...)
	dst = append(dst, ':')
	if name == "host" { // net/http keeps it apart from the other headers
		dst = appendTrimmed(dst, m.host)
		return append(dst, '\n'), m.host != ""
	}
	values := headerValues(m.header, name)
	if len(values) == 0 {
		if name != "content-length" || m.contentLength < 0 { // kept apart on the client's side
			return dst, false
		}
		dst = strconv.AppendInt(dst, m.contentLength, 10)
	}
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTrimmed(dst, value)
	}
	return append(dst, '\n'), true
}

// headerValues looks up a lower-case name without allocating its canonical
// form, unless it is uncommonly long.
func headerValues(header http.Header, name string) []string {
	var key [64]byte
	if len(name) > len(key) {
		return header[http.CanonicalHeaderKey(name)]
	}
	upper := true
	for i := range len(name) {
		c := name[i]
		if upper && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		key[i] = c
		upper = c == '-'
	}
	return header[string(key[:len(name)])]
}

func appendTrimmed(dst []byte, value string) []byte {
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if value[i] == ' ' && value[i-1] == ' ' { // i > 0: the value is trimmed
			continue
		}
		dst = append(dst, value[i])
	}
	return dst
}
