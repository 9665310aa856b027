// Package cbor speaks Smithy's RPC v2 CBOR protocol, in which the newer SDKs call CloudWatch: every call is a POST to
// /service/NAME/operation/NAME, marked by the header Smithy-Protocol, with one CBOR map as its body. It is described in
// "Smithy RPC v2 CBOR protocol" of the Smithy documentation; CBOR itself is RFC 8949.
//
// Requests come out as JSON, in which the one reader of requests takes them; the package knows no operation and no shape.
package cbor

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/stint-ml/stint/wire"
)

const (
	protocolHeader = "Smithy-Protocol"
	protocolName   = "rpc-v2-cbor"
	contentType    = "application/cbor"
)

// Limits on a request, beyond which it is refused. AWS's requests nest less and have no longer lists.
const (
	maxNesting = 32
	maxItems   = 128 << 10 // of one list or map
)

// Target tells which service and operation a request's path names. ok is false when the request does not speak this protocol;
// both names are empty when it says that it does and its path is of another form.
func Target(r *http.Request) (service, operation string, ok bool) {
	if said := r.Header[protocolHeader]; len(said) != 1 || said[0] != protocolName || r.Method != http.MethodPost {
		return "", "", false
	}
	// Something may stand before, as in an endpoint with a path.
	parts := strings.Split(r.URL.Path, "/")
	if n := len(parts); n >= 5 && parts[n-4] == "service" && parts[n-2] == "operation" {
		return parts[n-3], parts[n-1], true
	}
	return "", "", true
}

var decoder = must(cbor.DecOptions{
	DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	MaxNestedLevels:  maxNesting,
	MaxArrayElements: maxItems,
	MaxMapPairs:      maxItems,
	DefaultMapType:   reflect.TypeFor[map[string]any](),
}.DecMode())

var encoder = must(cbor.EncOptions{}.EncMode())

// must is for settings that are constants.
func must[T any](mode T, err error) T {
	if err != nil {
		panic(err)
	}
	return mode
}

// ToJSON reads a request's body and gives the JSON that says the same, in the forms that AWS's JSON protocols have: a moment is
// a number of seconds since 1970, bytes are base64, and floats that are not numbers are text. An empty body stays empty. Every
// error is a *wire.Error with the code SerializationException.
func ToJSON(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	var value any
	if err := decoder.Unmarshal(body, &value); err != nil {
		return nil, serialization("The request body is not valid CBOR: " + err.Error())
	}
	if _, ok := value.(map[string]any); !ok {
		return nil, serialization("Expected a CBOR map")
	}
	return appendJSON(make([]byte, 0, 2*len(body)), value)
}

func appendJSON(dst []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		return appendFloat(dst, v), nil
	case string:
		return appendText(dst, v), nil
	case []byte:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), v), '"'), nil
	case time.Time:
		return appendMoment(dst, v), nil
	case []any:
		return appendList(dst, v)
	case map[string]any:
		return appendMap(dst, v)
	default: // a tag, a simple value, a number beyond 64 bits
		return nil, serialization(fmt.Sprintf("A CBOR value of the kind %T was not expected", v))
	}
}

func appendFloat(dst []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(dst, `"-Infinity"`...)
	default:
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	}
}

func appendText(dst []byte, v string) []byte {
	text, _ := json.Marshal(v) // a string always can
	return append(dst, text...)
}

// appendMoment writes the seconds as a decimal number. Clients send them as a double, which has microseconds and no more in our
// age. The decoder gives the zero time for what is no moment.
func appendMoment(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, `"NaN"`...)
	}
	t = t.Round(time.Microsecond)
	seconds, nanoseconds := t.Unix(), t.Nanosecond()
	if seconds < 0 && nanoseconds > 0 { // -1.5 s is second -2 and half a second
		seconds, nanoseconds = seconds+1, 1e9-nanoseconds
		if seconds == 0 {
			dst = append(dst, '-')
		}
	}
	dst = strconv.AppendInt(dst, seconds, 10)
	if nanoseconds > 0 {
		dst = append(dst, strings.TrimRight(fmt.Sprintf(".%09d", nanoseconds), "0")...)
	}
	return dst
}

func appendList(dst []byte, list []any) (_ []byte, err error) {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, v); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendMap(dst []byte, members map[string]any) (_ []byte, err error) {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendText(dst, name), ':')
		if dst, err = appendJSON(dst, members[name]); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func serialization(message string) *wire.Error {
	return &wire.Error{Status: http.StatusBadRequest, Code: "SerializationException", Message: message, Fault: wire.Sender}
}

// Write answers 200 with out as the body, its members by the names that they have in JSON; a nil out is an operation without
// output. When out cannot be encoded, nothing has been written and the error is returned.
func Write(w http.ResponseWriter, out any) error {
	if out == nil {
		send(w, http.StatusOK, nil)
		return nil
	}
	body, err := encoder.Marshal(out)
	if err != nil {
		return err
	}
	send(w, http.StatusOK, body)
	return nil
}

// WriteError answers an error: its code in the body's __type, its message, and its further fields.
func WriteError(w http.ResponseWriter, e *wire.Error) {
	members := make(map[string]any, len(e.Fields)+2)
	maps.Copy(members, e.Fields)
	members["__type"], members["message"] = e.Code, e.Message
	body, err := encoder.Marshal(members)
	if err != nil {
		// Only a field can fail, and the error matters more than its fields.
		body, _ = encoder.Marshal(map[string]string{"__type": e.Code, "message": e.Message})
	}
	send(w, e.Status, body)
}

func send(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header[protocolHeader] = []string{protocolName}
	if len(body) > 0 {
		header["Content-Type"] = []string{contentType}
	}
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	// A client that has gone away is not our concern.
	_, _ = w.Write(body)
}
