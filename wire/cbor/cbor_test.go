package cbor_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	smithy "github.com/aws/smithy-go/encoding/cbor"
	"pgregory.net/rapid"

	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/cbor"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, path, protocol, service, operation string }{
		{"POST", "/service/GraniteServiceVersion20100801/operation/PutMetricData", "rpc-v2-cbor", "GraniteServiceVersion20100801", "PutMetricData"},
		{"POST", "/prefix/service/S/operation/O", "rpc-v2-cbor", "S", "O"},
		{"POST", "/service/S/operation/O/", "rpc-v2-cbor", "", ""},
		{"POST", "/", "rpc-v2-cbor", "", ""},
		{"GET", "/service/S/operation/O", "rpc-v2-cbor", "none", ""},
		{"POST", "/service/S/operation/O", "rpc-v2-json", "none", ""},
		{"POST", "/service/S/operation/O", "", "none", ""},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if c.protocol != "" {
			r.Header.Set("smithy-protocol", c.protocol)
		}
		service, operation, ok := cbor.Target(r)
		if !ok {
			service = "none"
		}
		if service != c.service || operation != c.operation {
			t.Errorf("%+v: %q %q %v", c, service, operation, ok)
		}
	}
}

func TestToJSON(t *testing.T) {
	t.Parallel()
	const bad = "SerializationException: "
	for body, want := range map[string]string{
		"":                     ``,
		"a0":                   `{}`,
		"bfff":                 `{}`,
		"a2 61 62 f6 61 61 f7": `{"a":null,"b":null}`,
		"a1 61 61 83 f4 f5 20": `{"a":[false,true,-1]}`,
		"bf 61 61 9f 01 1bffffffffffffffff ff ff": `{"a":[1,18446744073709551615]}`,
		"a1 61 61 f9 3e00":                        `{"a":1.5}`, // half
		"a1 61 61 fa 3fc00000":                    `{"a":1.5}`, // single
		"a1 61 61 fb 3ff8000000000000":            `{"a":1.5}`, // double
		"a1 61 61 fb 7fefffffffffffff":            `{"a":1.7976931348623157e+308}`,
		"a1 61 61 f9 7e00":                        `{"a":"NaN"}`,
		"a1 61 61 f9 7c00":                        `{"a":"Infinity"}`,
		"a1 61 61 f9 fc00":                        `{"a":"-Infinity"}`,
		"a1 61 61 43 010203":                      `{"a":"AQID"}`,
		"a1 61 61 5f 41 01 42 0203 ff":            `{"a":"AQID"}`, // in chunks
		"a1 61 61 7f 61 62 61 63 ff":              `{"a":"bc"}`,   // in chunks
		"a1 61 61 63 22 3c 0a":                    `{"a":"\"\u003c\n"}`,
		"a1 61 61 c1 00":                          `{"a":0}`,
		"a1 61 61 c1 1a 6553f100":                 `{"a":1700000000}`,
		"a1 61 61 c1 fb 41d954fc4007df3b":         `{"a":1700000000.123}`,
		"a1 61 61 c1 fb bfe0000000000000":         `{"a":-0.5}`,
		"a1 61 61 c1 fb bff4000000000000":         `{"a":-1.25}`,
		"a1 61 61 c1 20":                          `{"a":-1}`,
		"a1 61 61 c1 f9 7e00":                     `{"a":"NaN"}`,
		"00":                                      bad + "Expected a CBOR map",
		"80":                                      bad + "Expected a CBOR map",
		"f6":                                      bad + "Expected a CBOR map",
		"a1 01 02":                                bad + "The request body is not valid CBOR: ",
		"a2 61 61 01 61 61 02":                    bad + "The request body is not valid CBOR: ",
		"a1 61 61":                                bad + "The request body is not valid CBOR: unexpected EOF",
		"a0 00":                                   bad + "The request body is not valid CBOR: ",
		"a1 61 61 61 ff":                          bad + "The request body is not valid CBOR: ",
		"a1 61 61 c1 61 62":                       bad + "The request body is not valid CBOR: ",
		"a1 61 61 9b 7fffffffffffffff":            bad + "The request body is not valid CBOR: ",
		"a1 61 61 9a 00020001":                    bad + "The request body is not valid CBOR: ",
		"a1 61 61 d8 80 00":                       bad + "A CBOR value of the kind cbor.Tag was not expected",
		"a1 61 61 e0":                             bad + "A CBOR value of the kind cbor.SimpleValue was not expected",
		"a1 61 61 c2 49 010000000000000000":       bad + "A CBOR value of the kind big.Int was not expected",
		strings.Repeat("a1 61 61 ", 100) + "00":   bad + "The request body is not valid CBOR: ",
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(body, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := cbor.ToJSON(raw)
		var refused *wire.Error
		switch {
		case strings.HasPrefix(want, bad):
			if !errors.As(err, &refused) || refused.Status != 400 || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%.60s: %s, %v, want %s", body, got, err, want)
			}
		case err != nil || string(got) != want:
			t.Errorf("%.60s: %s, %v, want %s", body, got, err, want)
		}
	}
}

// value draws a value for the AWS SDK's encoder, and what encoding/json would say of it.
func value(depth int) *rapid.Generator[[2]any] {
	pair := func(v smithy.Value, plain any) [2]any { return [2]any{v, plain} }
	leaves := []*rapid.Generator[[2]any]{
		rapid.Map(rapid.Bool(), func(v bool) [2]any { return pair(smithy.Bool(v), v) }),
		rapid.Map(rapid.String(), func(v string) [2]any { return pair(smithy.String(v), v) }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(v []byte) [2]any { return pair(smithy.Slice(v), base64.StdEncoding.EncodeToString(v)) }),
		rapid.Map(rapid.Uint32(), func(v uint32) [2]any { return pair(smithy.Uint(v), float64(v)) }),
		rapid.Map(rapid.Uint32(), func(v uint32) [2]any { return pair(smithy.NegInt(uint64(v)+1), -float64(v)-1) }),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), func(v float64) [2]any { return pair(smithy.Float64(v), v) }),
		rapid.Map(rapid.Int64Range(-62135596799, 253402300799), func(v int64) [2]any {
			return pair(&smithy.Tag{ID: 1, Value: smithy.Float64(v)}, float64(v))
		}),
	}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	lists := rapid.Map(rapid.SliceOfN(value(depth-1), 0, 4), func(all [][2]any) [2]any {
		list, plain := smithy.List{}, []any{}
		for _, v := range all {
			list, plain = append(list, v[0].(smithy.Value)), append(plain, v[1])
		}
		return pair(list, plain)
	})
	return rapid.OneOf(append(leaves, lists, members(depth-1))...)
}

func members(depth int) *rapid.Generator[[2]any] {
	return rapid.Map(rapid.MapOfN(rapid.String(), value(depth), 0, 4), func(all map[string][2]any) [2]any {
		members, plain := smithy.Map{}, map[string]any{}
		for name, v := range all {
			members[name], plain[name] = v[0].(smithy.Value), v[1]
		}
		return [2]any{members, plain}
	})
}

// Whatever the AWS SDK's own encoder writes is read as what it means.
func TestTheSDKsCBORIsUnderstood(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		drawn := members(3).Draw(t, "request")
		text, err := cbor.ToJSON(smithy.Encode(drawn[0].(smithy.Value)))
		var got map[string]any
		if err == nil {
			err = json.Unmarshal(text, &got)
		}
		if err != nil || !reflect.DeepEqual(got, drawn[1]) {
			t.Fatalf("%v comes out as %s, %v", drawn[1], text, err)
		}
	})
}

type moment struct{ time.Time }

func (m moment) MarshalCBOR() ([]byte, error) { return []byte{0xc1, 0x01}, nil }

type output struct {
	Name   *string            `json:"Name,omitzero" query:"x"`
	Empty  *string            `json:"Empty,omitzero"`
	At     *moment            `json:"At,omitzero"`
	Count  *int32             `json:"Count,omitzero"`
	Rate   *float64           `json:"Rate,omitzero"`
	Data   []byte             `json:"Data,omitzero"`
	List   []output           `json:"List,omitzero"`
	None   []output           `json:"None,omitzero"`
	Values map[string]float64 `json:"Values,omitzero"`
}

func TestWrite(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	out := &output{Name: new("n"), At: &moment{time.Unix(1, 0)}, Count: new(int32(-3)), Rate: new(0.5), Data: []byte{1}, List: []output{}, Values: map[string]float64{"a": 2}}
	if err := cbor.Write(answer, out); err != nil {
		t.Fatal(err)
	}
	got, err := smithy.Decode(answer.Body.Bytes())
	want := smithy.Map{
		"Name": smithy.String("n"), "At": &smithy.Tag{ID: 1, Value: smithy.Uint(1)}, "Count": smithy.NegInt(3), "Rate": smithy.Float64(0.5),
		"Data": smithy.Slice{1}, "List": smithy.List{}, "Values": smithy.Map{"a": smithy.Float64(2)},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v, %v\nwant %#v", got, err, want)
	}
	headers := http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}, "Content-Type": {"application/cbor"}, "Content-Length": {strconv.Itoa(answer.Body.Len())}}
	if answer.Code != 200 || !reflect.DeepEqual(answer.Header(), headers) {
		t.Errorf("%d %v", answer.Code, answer.Header())
	}
}

func TestWriteWithoutABody(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	headers := http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}, "Content-Length": {"0"}}
	if err := cbor.Write(answer, nil); err != nil || answer.Code != 200 || answer.Body.Len() != 0 || !reflect.DeepEqual(answer.Header(), headers) {
		t.Errorf("no output: %d %q %v, %v", answer.Code, answer.Body, answer.Header(), err)
	}
	answer = httptest.NewRecorder()
	if err := cbor.Write(answer, make(chan int)); err == nil || answer.Body.Len() != 0 || len(answer.Header()) != 0 {
		t.Errorf("what cannot be encoded left %q, %v, %v", answer.Body, answer.Header(), err)
	}
}

func TestWriteError(t *testing.T) {
	t.Parallel()
	plain := smithy.Map{"__type": smithy.String("ResourceInUse"), "message": smithy.String("<x> & y")}
	for name, c := range map[string]struct {
		fields map[string]any
		more   smithy.Map
	}{
		"plain":      {nil, nil},
		"fields":     {map[string]any{"ResourceName": "x", "__type": "never"}, smithy.Map{"ResourceName": smithy.String("x")}},
		"unwritable": {map[string]any{"Bad": make(chan int)}, nil},
	} {
		answer := httptest.NewRecorder()
		cbor.WriteError(answer, &wire.Error{Status: 409, Code: "ResourceInUse", Message: "<x> & y", Fields: c.fields})
		want := maps.Clone(plain)
		maps.Copy(want, c.more)
		if got, err := smithy.Decode(answer.Body.Bytes()); err != nil || answer.Code != 409 || !reflect.DeepEqual(got, want) || answer.Header().Get("Smithy-Protocol") == "" {
			t.Errorf("%s: %d %v %v, %v", name, answer.Code, got, answer.Header(), err)
		}
	}
}

// Whatever a body is, it becomes JSON or is refused.
func FuzzToJSON(f *testing.F) {
	for _, seed := range []string{"", "a0", "bfff", "a161618301c1fb41d954fc401f7ceda0", "a16161d8801a00", "a161617f6162ff", "9f9f9fff"} {
		raw, _ := hex.DecodeString(seed)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		text, err := cbor.ToJSON(body)
		var refused *wire.Error
		switch {
		case err != nil && (!errors.As(err, &refused) || refused.Code != "SerializationException"):
			t.Error(err)
		case err == nil && len(body) > 0 && (!json.Valid(text) || text[0] != '{'):
			t.Errorf("%x becomes %s", body, text)
		}
	})
}
