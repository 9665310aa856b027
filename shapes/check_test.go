package shapes

import (
	"errors"
	"strings"
	"testing"
)

// Hand-made shapes for what the generated requests do not have.
var (
	text       = &Shape{Name: "Text", Kind: KindString}
	secret     = &Shape{Name: "Secret", Kind: KindString, Min: 3, HasMin: true, Sensitive: true}
	ratio      = &Shape{Name: "Ratio", Kind: KindDouble, Min: 0, HasMin: true, Max: 1, HasMax: true}
	short      = &Shape{Name: "Short", Kind: KindString, Min: 2, HasMin: true, Max: 4, HasMax: true}
	shorts     = &Shape{Name: "Shorts", Kind: KindList, Max: 2, HasMax: true, Elem: short}
	blob       = &Shape{Name: "Blob", Kind: KindBlob, Max: 3, HasMax: true}
	choice     = &Shape{Name: "Choice", Kind: KindUnion, Members: []Member{{Name: "Left", Shape: text}, {Name: "Right", Shape: secret}}}
	everything = &Shape{Name: "Everything", Kind: KindStructure, Members: []Member{
		{Name: "Choice", Shape: choice},
		{Name: "Secret", Shape: secret},
		{Name: "Ratio", Shape: ratio},
		{Name: "Blob", Shape: blob},
		{Name: "Choices", Shape: &Shape{Name: "Choices", Kind: KindMap, Key: text, Elem: choice}},
		{Name: "Table", Shape: &Shape{Name: "Table", Kind: KindMap, Key: short, Elem: shorts}},
	}}
)

type choiceType struct{ Left, Right *string }

type everythingType struct {
	Choice  *choiceType
	Secret  *string
	Ratio   *float64
	Blob    []byte
	Choices map[string]choiceType
	Table   map[string][]string
}

func TestValidateRareKinds(t *testing.T) {
	t.Parallel()
	const failed = " failed to satisfy constraint: "
	for _, c := range []struct{ body, want string }{
		{`{}`, ""},
		{`{"Choice":{"Left":"a"}}`, ""},
		{`{"Choice":{}}`, "Value 'Choice(left=null, right=null)' at 'choice'" + failed + "Union must have exactly one member set"},
		{`{"Choice":{"Left":"a","Right":"abc"}}`, "Value 'Choice(left=a, right=***)' at 'choice'" + failed + "Union must have exactly one member set"},
		{`{"Choices":{"b":{"Right":"x"},"a":{"Right":"abc"}}}`, "Value at 'choices.b.member.right'" + failed + "Member must have length greater than or equal to 3"},
		{`{"Secret":"ab"}`, "Value at 'secret'" + failed + "Member must have length greater than or equal to 3"},
		{`{"Ratio":1}`, ""},
		{`{"Ratio":1.5}`, "Value '1.5' at 'ratio'" + failed + "Member must have value less than or equal to 1.0"},
		{`{"Ratio":-1e-9}`, "Value '-1e-09' at 'ratio'" + failed + "Member must have value greater than or equal to 0.0"},
		{`{"Blob":"AQID"}`, ""},
		{`{"Blob":"AQIDBA=="}`, "Value 'java.nio.HeapByteBuffer[pos=0 lim=4 cap=4]' at 'blob'" + failed + "Member must have length less than or equal to 3"},
		{`{"Blob":"!"}`, "STRING_VALUE can not be converted to a Blob"},
		{`{"Table":{"key":["one","two"]}}`, ""},
		{`{"Table":{"key":["1","2","3"]}}`, "Value '{key=[1, 2, 3]}' at 'table'" + failed + "Map value must satisfy constraint: [Member must have length less than or equal to 2]; " +
			"Value '[1, 2, 3]' at 'table.key.member'" + failed + "Member must satisfy constraint: [Member must have length less than or equal to 4, Member must have length greater than or equal to 2]"},
		{`{"Table":{"k":[]}}`, "Value '{k=[]}' at 'table'" + failed + "Map keys must satisfy constraint: [Member must have length less than or equal to 4, Member must have length greater than or equal to 2]"},
	} {
		var value everythingType
		err := DecodeJSON([]byte(c.body), everything, &value)
		if err == nil {
			err = Validate(everything, &value)
		}
		got := ""
		if err != nil {
			got = err.Error()
			if _, counted, found := strings.Cut(got, " detected: "); found {
				got = counted
			}
		}
		if got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.body, got, c.want)
		}
	}
}

func TestWrongTypesOfCallersAreErrors(t *testing.T) {
	t.Parallel()
	var value everythingType
	for _, err := range []error{
		DecodeJSON([]byte(`{}`), everything, value),
		DecodeJSON([]byte(`{}`), everything, nil),
		DecodeJSON([]byte(`{}`), everything, (*everythingType)(nil)),
		DecodeJSON([]byte(`{}`), everything, new(choiceType)),
		Validate(everything, nil),
		Validate(everything, (*everythingType)(nil)),
		Validate(everything, new(choiceType)),
		Validate(everything, "text"),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "shapes: ") {
			t.Errorf("got %v, want an error that blames the caller", err)
		}
	}
}

func TestHostileRequestsGetBoundedAnswers(t *testing.T) {
	t.Parallel()
	var value everythingType
	many := `{"Choices":{` + strings.Repeat(`"a":{},`, 1) + keys(5000) + `}}`
	if err := DecodeJSON([]byte(many), everything, &value); err != nil {
		t.Fatal(err)
	}
	var validation *ValidationError
	if err := Validate(everything, &value); !errors.As(err, &validation) || len(validation.Violations) != maxViolations {
		t.Fatalf("want %d violations, got %v", maxViolations, err)
	}

	value = everythingType{}
	long := `{"Table":{"key":["` + strings.Repeat("é", 100_000) + `"]}}`
	if err := DecodeJSON([]byte(long), everything, &value); err != nil {
		t.Fatal(err)
	}
	if message := Validate(everything, &value).Error(); len(message) > 2*maxQuoted || !strings.Contains(message, "é...") {
		t.Errorf("a message of %d bytes quotes a long value", len(message))
	}

	value = everythingType{}
	deep := `{"Unknown":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `,"Secret":"abc"}`
	if err := DecodeJSON([]byte(deep), everything, &value); err != nil || Value(value.Secret) != "abc" {
		t.Errorf("deep nesting in an unknown member: %v", err)
	}
	var serialization *SerializationError
	if err := DecodeJSON([]byte(strings.Repeat("[", 1_000_000)), everything, &value); !errors.As(err, &serialization) {
		t.Errorf("a million brackets: %v", err)
	}
	beyond := `{"Table":{"key":[` + strings.Repeat(`"aa",`, 100_000) + `"aa"]}}`
	if err := DecodeJSON([]byte(beyond), everything, &value); err != nil || len(value.Table["key"]) != 3 {
		t.Errorf("a list keeps %d members beyond its limit of 2 (%v)", len(value.Table["key"]), err)
	}
}

func keys(n int) string {
	var out strings.Builder
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(`"` + strings.Repeat("k", i%7) + string(rune('a'+i%26)) + strings.Repeat("z", i/26) + `":{}`)
	}
	return out.String()
}

func TestTextIsUnicode(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"Secret":"a\u00e9\n\"\/"}`:     "aé\n\"/",
		`{"Secret":"\ud83d\ude00"}`:      "😀",
		`{"Secret":"\ud83d"}`:            "\ufffd",
		"{\"Secret\":\"a\xffb\"}":        "a\ufffdb",
		"{\"Secret\":\"a\xffb\\u0000\"}": "a\ufffdb\x00",
	} {
		var value everythingType
		if err := DecodeJSON([]byte(body), everything, &value); err != nil || Value(value.Secret) != want {
			t.Errorf("%q is read as %q, %v", body, Value(value.Secret), err)
		}
	}
}

func TestValue(t *testing.T) {
	t.Parallel()
	if Value[string](nil) != "" || Value(new("x")) != "x" {
		t.Error("Value does not read pointers")
	}
}
