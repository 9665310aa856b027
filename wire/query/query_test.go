package query_test

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/query"
)

// stamp is a timestamp as the shapes have it: it reads and writes its own text.
type stamp struct{ time.Time }

func (s stamp) MarshalText() ([]byte, error) {
	return []byte(s.UTC().Format(time.RFC3339)), nil
}

func (s *stamp) UnmarshalText(text []byte) (err error) {
	s.Time, err = time.Parse(time.RFC3339, string(text))
	return err
}

type color string

type leaf struct {
	Key   *string `query:"Key"`
	Value *string `query:"Value"`
}

// everything has a field of every kind the package maps.
type everything struct {
	Text     *string           `query:"Text"`
	Bare     string            `query:"Bare"`
	Flag     *bool             `query:"Flag"`
	Small    *int32            `query:"Small"`
	Large    *int64            `query:"Large"`
	Rate     *float64          `query:"Rate"`
	Color    color             `query:"Color"`
	ColorPtr *color            `query:"ColorPtr"`
	At       *stamp            `query:"At"`
	AtValue  stamp             `query:"AtValue"`
	Blob     []byte            `query:"Blob"`
	Names    []string          `query:"Names"`
	Colors   []color           `query:"Colors"`
	Flat     []string          `query:"Flat,flat"`
	Custom   []int32           `query:"Custom,member=item"`
	Leaves   []leaf            `query:"Leaves"`
	LeafPtrs []*leaf           `query:"LeafPtrs"`
	Nested   [][]string        `query:"Nested"`
	Stamps   []stamp           `query:"Stamps"`
	Map      map[string]string `query:"Map"`
	FlatMap  map[color]int32   `query:"FlatMap,flat"`
	MapOf    map[string]*leaf  `query:"MapOf"`
	Leaf     *leaf             `query:"Leaf"`
	Deep     *everything       `query:"Deep"`
	Untagged *string
	Hidden   *string `query:"-"`
	private  *string
}

func pointer[T any](v T) *T { return &v }

func decode(form string, in any) error {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	call, err := query.Parse(r, []byte("Action=Do&Version=2010-05-08&"+form))
	if err != nil {
		return err
	}
	return call.Decode(in)
}

func TestDecodeEveryKind(t *testing.T) {
	t.Parallel()
	at := stamp{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	for form, want := range map[string]everything{
		"":                             {},
		"Unknown.member.1=x&x..y=1&.=": {},
		"Text=a+b%26%C3%A9&Bare=":      {Text: pointer("a b&é")},
		"Flag=true&Small=-7&Large=9223372036854775807&Rate=-1.5e3": {Flag: pointer(true), Small: pointer(int32(-7)), Large: pointer(int64(math.MaxInt64)), Rate: pointer(-1500.0)},
		"Rate=Infinity":           {Rate: pointer(math.Inf(1))},
		"Color=red&ColorPtr=blue": {Color: "red", ColorPtr: pointer(color("blue"))},
		"At=2026-03-01T12:00:00Z&AtValue=2026-03-01T12:00:00Z&Stamps.member.1=2026-03-01T12:00:00Z": {At: &at, AtValue: at, Stamps: []stamp{at}},
		"Blob=AAH%2F": {Blob: []byte{0, 1, 255}},
		"Names=":      {Names: []string{}},
		"Names.member.2=b&Names.member.1=a&Colors.member.1=red":                     {Names: []string{"a", "b"}, Colors: []color{"red"}},
		"Flat.1=a&Flat.2=b&Custom.item.1=5":                                         {Flat: []string{"a", "b"}, Custom: []int32{5}},
		"Leaves.member.1.Key=k&Leaves.member.1.Value=&LeafPtrs.member.1.Key=k":      {Leaves: []leaf{{pointer("k"), pointer("")}}, LeafPtrs: []*leaf{{Key: pointer("k")}}},
		"Nested.member.1.member.1=a&Nested.member.2=":                               {Nested: [][]string{{"a"}, {}}},
		"Map.entry.1.key=a&Map.entry.1.value=b&FlatMap.1.key=red&FlatMap.1.value=3": {Map: map[string]string{"a": "b"}, FlatMap: map[color]int32{"red": 3}},
		"MapOf.entry.1.key=a&MapOf.entry.1.value.Key=k":                             {MapOf: map[string]*leaf{"a": {Key: pointer("k")}}},
		"Map=":                              {Map: map[string]string{}},
		"Leaf.Key=k&Deep.Deep.Leaf.Value=v": {Leaf: &leaf{Key: pointer("k")}, Deep: &everything{Deep: &everything{Leaf: &leaf{Value: pointer("v")}}}},
		"Leaf=":                             {Leaf: &leaf{}},
		"Untagged=u&Hidden=h&private=p&-=m": {Untagged: pointer("u"), private: nil},
	} {
		var got everything
		if err := decode(form, &got); err != nil {
			t.Errorf("%s: %v", form, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", form, got, want)
		}
	}
}

func TestMalformedInput(t *testing.T) {
	t.Parallel()
	for form, want := range map[string]string{
		"Small=abc":                           "'abc' can not be converted to an Integer. Parameter: 'Small'",
		"Small=2147483648":                    "'2147483648' can not be converted to an Integer. Parameter: 'Small'",
		"Small=":                              "'' can not be converted to an Integer. Parameter: 'Small'",
		"Small=1_000":                         "'1_000' can not be converted to an Integer. Parameter: 'Small'",
		"Flag=yes":                            "'yes' can not be converted to a Boolean. Parameter: 'Flag'",
		"Flag=True":                           "'True' can not be converted to a Boolean. Parameter: 'Flag'",
		"Rate=0x1p-2":                         "'0x1p-2' can not be converted to a Float. Parameter: 'Rate'",
		"Rate=inf":                            "'inf' can not be converted to a Float. Parameter: 'Rate'",
		"Blob=%25":                            "'%' can not be converted to a Blob: it must be base64. Parameter: 'Blob'",
		"At=yesterday":                        "Invalid value 'yesterday' for 'At': ",
		"Custom.item.1=x":                     "'x' can not be converted to an Integer. Parameter: 'Custom.item.1'",
		"FlatMap.1.key=a&FlatMap.1.value=x":   "'x' can not be converted to an Integer. Parameter: 'FlatMap.1.value'",
		"Text.member.1=a":                     "Start of list found where not expected: 'Text' is a single value",
		"Text.a=b":                            "Start of structure or map found where not expected: 'Text' is a single value",
		"At.a=b":                              "Start of structure or map found where not expected: 'At' is a single value",
		"Leaf=x":                              "Start of structure or map not found where expected: 'Leaf' is a structure",
		"Names=x":                             "Unexpected list element termination: the elements must be named 'Names.member.N'",
		"Names.1=x":                           "Unexpected list element termination: the elements must be named 'Names.member.N'",
		"Names.item.1=x":                      "Unexpected list element termination: the elements must be named 'Names.member.N'",
		"Names.member=x":                      "Unexpected list element termination: the elements must be named 'Names.member.N'",
		"Names.member.1=x&Names.1=y":          "Unexpected list element termination: the elements must be named 'Names.member.N'",
		"Names=&Names.member.1=y":             "Unexpected list element termination: the elements must be named 'Names.member.N'",
		"Names.member.0=x":                    "Unexpected list element termination: 'Names.member.0' is not one of the 1 elements, which must be numbered from 1 without gaps",
		"Names.member.2=x":                    "Unexpected list element termination: 'Names.member.2' is not one of the 1 elements",
		"Names.member.01=x":                   "Unexpected list element termination: 'Names.member.01' is not one of the 1 elements",
		"Names.member.%2B1=x":                 "Unexpected list element termination: 'Names.member.+1' is not one of the 1 elements",
		"Names.member.-1=x":                   "Unexpected list element termination: 'Names.member.-1' is not one of the 1 elements",
		"Names.member.99999999999999999999=x": "Unexpected list element termination: 'Names.member.99999999999999999999' is not one of the 1 elements",
		"Flat.x=1":                            "Unexpected list element termination: 'Flat.x' is not one of the 1 elements",
		"Map.entry.1.key=a":                   "'Map.entry.1' must have a key and a value",
		"Map.entry.1.value=a":                 "'Map.entry.1' must have a key and a value",
		"Map.entry.1.key=a&Map.entry.1.value=b&Map.entry.2.key=a&Map.entry.2.value=c": "The key 'a' is given more than once in 'Map.entry'",
		"Text=a&Text=b":              "The parameter 'Text' is given more than once",
		"Text=%zz":                   "The value of the parameter 'Text' is not validly percent-encoded",
		"%zz=a":                      "The parameter name '%zz' is not validly percent-encoded",
		strings.Repeat("Deep.", 100): "The parameter 'Deep.Deep.",
		strings.Repeat(".", 100):     "The parameter '......",
		many(60000):                  "The request has more than 50000 parameters",
	} {
		var in everything
		err := decode(form, &in)
		var refused *wire.Error
		if !errors.As(err, &refused) || refused.Code != "MalformedInput" || refused.Status != 400 || refused.Fault != wire.Sender || !strings.HasPrefix(refused.Message, want) {
			t.Errorf("%.60s:\n got %.200v\nwant %s", form, err, want)
		}
	}
}

func many(n int) string {
	var form strings.Builder
	for i := range n {
		fmt.Fprintf(&form, "x%d=&", i)
	}
	return form.String()
}

func TestParse(t *testing.T) {
	t.Parallel()
	get := httptest.NewRequest(http.MethodGet, "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Signature=0", nil)
	if call, err := query.Parse(get, []byte("Action=Ignored")); err != nil || call.Action != "GetCallerIdentity" || call.Version != "2011-06-15" {
		t.Errorf("GET: %+v, %v", call, err)
	}
	split := httptest.NewRequest(http.MethodPost, "/?Action=A", nil)
	if call, err := query.Parse(split, []byte("Version=1")); err != nil || call.Action != "A" || call.Version != "1" {
		t.Errorf("POST with both: %+v, %v", call, err)
	}
	for name, c := range map[string]struct{ target, contentType, body, code string }{
		"no action":         {"/", "", "Version=1", "MissingAction"},
		"action twice":      {"/?Action=A", "", "Action=B", "MalformedInput"},
		"not a form":        {"/", "application/json", "{}", "MalformedInput"},
		"structured action": {"/", "", "Action.member.1=A", "MissingAction"},
	} {
		r := httptest.NewRequest(http.MethodPost, c.target, nil)
		if c.contentType != "" {
			r.Header.Set("Content-Type", c.contentType)
		}
		var refused *wire.Error
		if _, err := query.Parse(r, []byte(c.body)); !errors.As(err, &refused) || refused.Code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// The inputs of the recorded calls; see record.py for what boto3 was asked to send.
type (
	tag struct {
		Key   *string `query:"Key"`
		Value *string `query:"Value"`
	}
	policyDescriptor struct {
		Arn *string `query:"arn"`
	}
	assumeRole struct {
		RoleArn           *string            `query:"RoleArn"`
		RoleSessionName   *string            `query:"RoleSessionName"`
		PolicyArns        []policyDescriptor `query:"PolicyArns"`
		Policy            *string            `query:"Policy"`
		DurationSeconds   *int32             `query:"DurationSeconds"`
		Tags              []tag              `query:"Tags"`
		TransitiveTagKeys []string           `query:"TransitiveTagKeys"`
	}
	contextEntry struct {
		ContextKeyName   *string  `query:"ContextKeyName"`
		ContextKeyValues []string `query:"ContextKeyValues"`
		ContextKeyType   *string  `query:"ContextKeyType"`
	}
	simulate struct {
		PolicySourceArn *string        `query:"PolicySourceArn"`
		ActionNames     []string       `query:"ActionNames"`
		ContextEntries  []contextEntry `query:"ContextEntries"`
		MaxItems        *int32         `query:"MaxItems"`
	}
	tagRole struct {
		RoleName *string `query:"RoleName"`
		Tags     []tag   `query:"Tags"`
	}
	listPolicies struct {
		Scope        *string `query:"Scope"`
		OnlyAttached *bool   `query:"OnlyAttached"`
		PathPrefix   *string `query:"PathPrefix"`
	}
)

func TestRequestsRecordedFromBoto3(t *testing.T) {
	t.Parallel()
	for file, c := range map[string]struct {
		action   string
		in, want any
	}{
		"sts-get-caller-identity":           {"GetCallerIdentity", &struct{}{}, &struct{}{}},
		"sts-get-caller-identity-presigned": {"GetCallerIdentity", &struct{}{}, &struct{}{}},
		"sts-assume-role": {"AssumeRole", &assumeRole{}, &assumeRole{
			RoleArn:           pointer("arn:aws:iam::123456789012:role/service-role/Trainer"),
			RoleSessionName:   pointer("fit&run=1 100%"),
			PolicyArns:        []policyDescriptor{{pointer("arn:aws:iam::aws:policy/ReadOnlyAccess")}, {pointer("arn:aws:iam::aws:policy/A+B")}},
			Policy:            pointer(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`),
			DurationSeconds:   pointer(int32(3600)),
			Tags:              []tag{{pointer("Équipe"), pointer("vision ~ 視覚")}},
			TransitiveTagKeys: []string{"Équipe"},
		}},
		"iam-tag-role-empty-list": {"TagRole", &tagRole{}, &tagRole{RoleName: pointer("Trainer"), Tags: []tag{}}},
		"iam-list-policies":       {"ListPolicies", &listPolicies{}, &listPolicies{Scope: pointer("Local"), OnlyAttached: pointer(true), PathPrefix: pointer("/a/b/")}},
		"iam-simulate-principal-policy": {"SimulatePrincipalPolicy", &simulate{}, &simulate{
			PolicySourceArn: pointer("arn:aws:iam::123456789012:role/Trainer"),
			ActionNames:     []string{"s3:GetObject", "sagemaker:CreateTrainingJob"},
			ContextEntries:  []contextEntry{{pointer("aws:SourceIp"), []string{"10.0.0.1", "10.0.0.2"}, pointer("ipList")}},
			MaxItems:        pointer(int32(7)),
		}},
	} {
		raw, err := os.ReadFile(filepath.Join("../testdata/boto3", file+".http"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		call, err := query.Parse(r, body)
		if err != nil || call.Action != c.action {
			t.Errorf("%s: %+v, %v", file, call, err)
			continue
		}
		if err := call.Decode(c.in); err != nil || !reflect.DeepEqual(c.in, c.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", file, err, c.in, c.want)
		}
	}
}

func write(t *testing.T, out any) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r = r.WithContext(wire.WithRequestID(r.Context(), "id-1"))
	answer := httptest.NewRecorder()
	if err := query.Write(answer, r, "https://iam.amazonaws.com/doc/2010-05-08/", "Do", out); err != nil {
		t.Fatal(err)
	}
	if answer.Header().Get("Content-Type") != "text/xml" || answer.Code != 200 {
		t.Errorf("%d %v", answer.Code, answer.Header())
	}
	text, found := strings.CutPrefix(answer.Body.String(), `<DoResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">`)
	text, ended := strings.CutSuffix(text, `<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DoResponse>`)
	if !found || !ended {
		t.Fatalf("got %s", answer.Body)
	}
	return text
}

func TestWriteEveryKind(t *testing.T) {
	t.Parallel()
	at := stamp{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	type noBare struct {
		A any               `query:"A"`
		L []string          `query:"L,flat"`
		C []int32           `query:"C,member=item"`
		M map[string]string `query:"M"`
		F map[color]float64 `query:"F,flat"`
	}
	for want, out := range map[string]any{
		"":                      nil,
		"<DoResult></DoResult>": struct{}{},
		"<DoResult><A>a&lt;b&gt;&amp;&#34;é</A></DoResult>":                &noBare{A: pointer(`a<b>&"é`)},
		"<DoResult><A>a�b&#xA;</A></DoResult>":                             noBare{A: "a\x00b\n"},
		"<DoResult><A>true</A></DoResult>":                                 noBare{A: true},
		"<DoResult><A>-5</A></DoResult>":                                   noBare{A: int64(-5)},
		"<DoResult><A>0.1</A></DoResult>":                                  noBare{A: 0.1},
		"<DoResult><A>NaN</A></DoResult>":                                  noBare{A: math.NaN()},
		"<DoResult><A>-Infinity</A></DoResult>":                            noBare{A: math.Inf(-1)},
		"<DoResult><A>AAH/</A></DoResult>":                                 noBare{A: []byte{0, 1, 255}},
		"<DoResult><A>red</A></DoResult>":                                  noBare{A: color("red")},
		"<DoResult><A>2026-03-01T12:00:00Z</A></DoResult>":                 noBare{A: at},
		"<DoResult><A>2026-03-01T12:00:01Z</A></DoResult>":                 noBare{A: &stamp{at.Add(time.Second)}},
		"<DoResult><A></A></DoResult>":                                     noBare{A: []string{}},
		"<DoResult><A><member>x</member><member>y</member></A></DoResult>": noBare{A: []string{"x", "y"}},
		"<DoResult><A><member><Key>k</Key></member></A></DoResult>":        noBare{A: []leaf{{Key: pointer("k")}}},
		"<DoResult><L>x</L><L>y</L><C><item>1</item></C></DoResult>":       noBare{L: []string{"x", "y"}, C: []int32{1}},
		"<DoResult><M><entry><key>a</key><value>1</value></entry><entry><key>b</key><value>2</value></entry></M></DoResult>": noBare{M: map[string]string{"b": "2", "a": "1"}},
		"<DoResult><F><key>red</key><value>1.5</value></F></DoResult>":                                                       noBare{F: map[color]float64{"red": 1.5}},
	} {
		if got := write(t, out); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func TestWriteError(t *testing.T) {
	t.Parallel()
	for want, failure := range map[string]*wire.Error{
		`<Type>Sender</Type><Code>NoSuchEntity</Code><Message>no &lt;role&gt;</Message>`:         {Status: 404, Code: "NoSuchEntity", Message: "no <role>"},
		`<Type>Receiver</Type><Code>InternalFailure</Code><Message>oh</Message>`:                 {Status: 500, Code: "InternalFailure", Message: "oh"},
		`<Type>Sender</Type><Code>X</Code><Message>m</Message><A>1</A><B><member>b</member></B>`: {Status: 400, Code: "X", Message: "m", Fields: map[string]any{"B": []string{"b"}, "A": 1, "C": nil}},
		`<Type>Sender</Type><Code>X</Code><Message>unwritable</Message>`:                         {Status: 400, Code: "X", Message: "unwritable", Fields: map[string]any{"A": []brokenText{{}}}},
	} {
		answer := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		query.WriteError(answer, r.WithContext(wire.WithRequestID(r.Context(), "id-1")), "https://sts.amazonaws.com/doc/2011-06-15/", failure)
		full := `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>` + want + `</Error><RequestId>id-1</RequestId></ErrorResponse>`
		if got := answer.Body.String(); got != full || answer.Code != failure.Status {
			t.Errorf("%d\n got %s\nwant %s", answer.Code, got, full)
		}
	}
}

type brokenText struct{}

func (brokenText) MarshalText() ([]byte, error) { return nil, errors.New("cannot") }

func TestWriteLeavesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	err := query.Write(answer, httptest.NewRequest(http.MethodPost, "/", nil), "urn:x", "Do", struct{ A brokenText }{})
	if err == nil || answer.Body.Len() != 0 || len(answer.Header()) != 0 {
		t.Errorf("%v, %q, %v", err, answer.Body, answer.Header())
	}
}

// FuzzParse feeds hostile forms: no panic, a typed refusal or a value, and an
// answer that is well-formed XML whatever the form put into it.
func FuzzParse(f *testing.F) {
	for _, form := range []string{
		"Action=Do&Text=a", "Names.member.1=a&Names.member.2=b", "Map.entry.1.key=k&Map.entry.1.value=v", "Deep.Deep.Deep.Leaf.Key=k",
		"Names.member.999999999=a", "Nested.member.1.member.1=x", "At=2026-03-01T12:00:00Z", "Blob=AAH/", "Rate=NaN&Flag=true&Small=1", "Text=%00%ff%ED%A0%80",
		strings.Repeat(".", 40) + "=", "Leaf=&Names=&Map=",
	} {
		f.Add(form)
	}
	f.Fuzz(func(t *testing.T, form string) {
		var in everything
		if err := decode(form, &in); err != nil {
			var refused *wire.Error
			if !errors.As(err, &refused) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		answer := httptest.NewRecorder()
		if err := query.Write(answer, httptest.NewRequest(http.MethodPost, "/", nil), "urn:x", "Do", &in); err != nil {
			return // a year beyond 9999, for example, has no text
		}
		decoder := xml.NewDecoder(answer.Body)
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				t.Fatalf("%q became %v", form, err)
			}
		}
	})
}
