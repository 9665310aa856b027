package query_test

import (
	"encoding"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/wire/query"
)

// encodeForm is what a client does: the protocol's definition for the type
// everything, written independently of the package.
func encodeForm(form url.Values, prefix string, e *everything) {
	set := func(name string, value any) { form.Set(prefix+name, clientText(value)) }
	for name, scalar := range map[string]any{"Text": e.Text, "Bare": &e.Bare, "Flag": e.Flag, "Small": e.Small, "Rate": e.Rate, "At": e.At} {
		if value := reflect.ValueOf(scalar); !value.IsNil() {
			set(name, scalar)
		}
	}
	if e.Blob != nil {
		set("Blob", e.Blob)
	}
	encodeLists(set, e)
	if e.Deep != nil {
		encodeForm(form, prefix+"Deep.", e.Deep)
	}
}

func encodeLists(set func(string, any), e *everything) {
	if e.Names != nil && len(e.Names) == 0 {
		set("Names", "")
	}
	for i, name := range e.Names {
		set(fmt.Sprintf("Names.member.%d", i+1), name)
	}
	for i, name := range e.Flat {
		set(fmt.Sprintf("Flat.%d", i+1), name)
	}
	for i, number := range e.Custom {
		set(fmt.Sprintf("Custom.item.%d", i+1), number)
	}
	for i, l := range e.Leaves {
		if l.Key != nil {
			set(fmt.Sprintf("Leaves.member.%d.Key", i+1), l.Key)
		}
		set(fmt.Sprintf("Leaves.member.%d.Value", i+1), l.Value)
	}
	i := 0
	for key, value := range e.Map {
		i++
		set(fmt.Sprintf("Map.entry.%d.key", i), key)
		set(fmt.Sprintf("Map.entry.%d.value", i), value)
	}
}

func clientText(value any) string {
	switch v := value.(type) {
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			panic(err)
		}
		return string(text)
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case *float64:
		return strconv.FormatFloat(*v, 'f', -1, 64)
	default:
		return fmt.Sprint(reflect.Indirect(reflect.ValueOf(v)))
	}
}

func drawOptional[T any](t *rapid.T, generator *rapid.Generator[T], label string) *T {
	if !rapid.Bool().Draw(t, label+" given") {
		return nil
	}
	v := generator.Draw(t, label)
	return &v
}

// drawLists draws nil rather than an empty slice where the form cannot tell
// one from the other.
func drawList[T any](t *rapid.T, generator *rapid.Generator[T], label string) []T {
	list := rapid.SliceOfN(generator, 0, 4).Draw(t, label)
	if len(list) == 0 {
		return nil
	}
	return list
}

func drawEverything(t *rapid.T, depth int) *everything {
	e := &everything{
		Text:   drawOptional(t, rapid.String(), "Text"),
		Bare:   rapid.String().Draw(t, "Bare"),
		Flag:   drawOptional(t, rapid.Bool(), "Flag"),
		Small:  drawOptional(t, rapid.Int32(), "Small"),
		Rate:   drawOptional(t, rapid.Float64(), "Rate"),
		Names:  drawList(t, rapid.String(), "Names"),
		Flat:   drawList(t, rapid.String(), "Flat"),
		Custom: drawList(t, rapid.Int32(), "Custom"),
	}
	if e.Names == nil && rapid.Bool().Draw(t, "Names empty") {
		e.Names = []string{}
	}
	if rapid.Bool().Draw(t, "Blob given") {
		e.Blob = append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "Blob")...)
	}
	if seconds := drawOptional(t, rapid.Int64Range(0, 1<<33), "At"); seconds != nil {
		e.At = &stamp{time.Unix(*seconds, 0).UTC()}
	}
	for range rapid.IntRange(0, 3).Draw(t, "Leaves") {
		value := rapid.String().Draw(t, "Value")
		e.Leaves = append(e.Leaves, leaf{Key: drawOptional(t, rapid.String(), "Key"), Value: &value})
	}
	if entries := rapid.MapOfN(rapid.String(), rapid.String(), 0, 4).Draw(t, "Map"); len(entries) > 0 {
		e.Map = entries
	}
	if depth > 0 && rapid.Bool().Draw(t, "Deep given") {
		e.Deep = drawEverything(t, depth-1)
		text := "so that the structure is not empty"
		e.Deep.Text = &text
	}
	return e
}

func TestWhatAClientSpellsIsWhatWeRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := drawEverything(t, 3)
		form := url.Values{}
		encodeForm(form, "", want)
		var got everything
		if err := decode(form.Encode(), &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&got, want) {
			t.Fatalf("%s\n got %+v\nwant %+v", form.Encode(), got, want)
		}
	})
}

// An answer, read by the standard library's XML decoder, is what was written.
func TestWhatWeWriteIsWhatAClientReads(t *testing.T) {
	t.Parallel()
	type leafXML struct{ Key, Value *string }
	type entryXML struct {
		Key   string `xml:"key"`
		Value string `xml:"value"`
	}
	type resultXML struct {
		Text   *string
		Bare   string
		Flag   *bool
		Small  *int32
		Rate   *float64
		At     *stamp
		Blob   *string
		Names  []string   `xml:"Names>member"`
		Flat   []string   `xml:"Flat"`
		Custom []int32    `xml:"Custom>item"`
		Leaves []leafXML  `xml:"Leaves>member"`
		Map    []entryXML `xml:"Map>entry"`
	}
	printable := rapid.StringMatching(`[ -~é視]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		in := &everything{
			Text:   drawOptional(t, printable, "Text"),
			Bare:   printable.Draw(t, "Bare"),
			Flag:   drawOptional(t, rapid.Bool(), "Flag"),
			Small:  drawOptional(t, rapid.Int32(), "Small"),
			Rate:   drawOptional(t, rapid.Float64(), "Rate"),
			Names:  drawList(t, printable, "Names"),
			Flat:   drawList(t, printable, "Flat"),
			Custom: drawList(t, rapid.Int32(), "Custom"),
			Map:    map[string]string{"b": printable.Draw(t, "b"), "a": "1"},
		}
		value := printable.Draw(t, "Value")
		in.Leaves = []leaf{{Value: &value}, {Key: &value, Value: &value}}
		answer := httptest.NewRecorder()
		if err := query.Write(answer, httptest.NewRequest(http.MethodPost, "/", nil), "urn:x", "Do", in); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Result resultXML `xml:"DoResult"`
		}
		if err := xml.Unmarshal(answer.Body.Bytes(), &got); err != nil {
			t.Fatalf("%v in %s", err, answer.Body)
		}
		want := resultXML{
			Text: in.Text, Bare: in.Bare, Flag: in.Flag, Small: in.Small, Rate: in.Rate, Names: in.Names, Flat: in.Flat, Custom: in.Custom,
			Leaves: []leafXML{{nil, &value}, {&value, &value}},
			Map:    []entryXML{{"a", "1"}, {"b", in.Map["b"]}},
		}
		if !reflect.DeepEqual(got.Result, want) {
			t.Fatalf("%s\n got %+v\nwant %+v", answer.Body, got.Result, want)
		}
	})
}
