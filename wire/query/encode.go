package query

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/wire"
)

// Write answers 200 with out, a struct or a pointer to one, as the result of
// operation; a nil out is an operation without output. namespace is the
// service's XML namespace. When out cannot be encoded, nothing has been
// written and the error is returned.
func Write(w http.ResponseWriter, r *http.Request, namespace, operation string, out any) error {
	var e encoder
	e.openRoot(operation+"Response", namespace)
	if value := indirect(reflect.ValueOf(out)); value.IsValid() {
		if value.Kind() != reflect.Struct {
			panic(fmt.Sprintf("query: the result of %s must be a struct, got %T", operation, out))
		}
		if err := e.element(operation+"Result", value, &plainField); err != nil {
			return err
		}
	}
	e.open("ResponseMetadata")
	e.leaf("RequestId", wire.RequestID(r.Context()))
	e.close("ResponseMetadata")
	e.close(operation + "Response")
	e.send(w, http.StatusOK)
	return nil
}

// WriteError answers an error in the service's XML namespace.
func WriteError(w http.ResponseWriter, r *http.Request, namespace string, failure *wire.Error) {
	var e encoder
	e.openRoot("ErrorResponse", namespace)
	e.open("Error")
	e.leaf("Type", string(failure.Blame()))
	e.leaf("Code", failure.Code)
	e.leaf("Message", failure.Message)
	for _, name := range slices.Sorted(maps.Keys(failure.Fields)) {
		value := indirect(reflect.ValueOf(failure.Fields[name]))
		if !value.IsValid() {
			continue
		}
		before := e.text.Len()
		if e.element(name, value, &plainField) != nil {
			e.text.Truncate(before) // the error matters more than its fields
		}
	}
	e.close("Error")
	e.leaf("RequestId", wire.RequestID(r.Context()))
	e.close("ErrorResponse")
	e.send(w, failure.Status)
}

// encoder writes XML without indentation or declarations beyond the root's
// namespace. Element names come from the program, text from anywhere.
type encoder struct{ text bytes.Buffer }

func (e *encoder) openRoot(name, namespace string) {
	e.text.WriteString("<" + name + ` xmlns="`)
	e.escape(namespace)
	e.text.WriteString(`">`)
}

func (e *encoder) open(name string)  { e.text.WriteString("<" + name + ">") }
func (e *encoder) close(name string) { e.text.WriteString("</" + name + ">") }

func (e *encoder) leaf(name, text string) {
	e.open(name)
	e.escape(text)
	e.close(name)
}

func (e *encoder) escape(text string) {
	// A bytes.Buffer takes every write, so EscapeText cannot fail. It replaces
	// characters that XML cannot hold.
	_ = xml.EscapeText(&e.text, []byte(text))
}

func (e *encoder) send(w http.ResponseWriter, status int) {
	header := w.Header()
	header["Content-Type"] = []string{"text/xml"}
	header["Content-Length"] = []string{strconv.Itoa(e.text.Len())}
	w.WriteHeader(status)
	// A client that has gone away is not our concern.
	_, _ = w.Write(e.text.Bytes())
}

// element writes a present value under a name.
func (e *encoder) element(name string, value reflect.Value, f *field) error {
	value = indirect(value)
	if !value.IsValid() {
		return nil
	}
	text, isText, err := scalarText(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if isText {
		e.leaf(name, text)
		return nil
	}
	switch value.Kind() {
	case reflect.Struct:
		return e.structure(name, value)
	case reflect.Slice:
		return e.list(name, value, f)
	case reflect.Map:
		return e.entries(name, value, f)
	default:
		panic(fmt.Sprintf("query: %s has a kind that cannot be encoded: %s", name, value.Type()))
	}
}

func (e *encoder) structure(name string, value reflect.Value) error {
	e.open(name)
	for _, f := range planOf(value.Type()) {
		if err := e.element(f.name, value.Field(f.index), &f); err != nil {
			return err
		}
	}
	e.close(name)
	return nil
}

func (e *encoder) list(name string, value reflect.Value, f *field) error {
	if value.IsNil() {
		return nil
	}
	each := name
	if !f.flat {
		e.open(name)
		each = f.member
	}
	for i := range value.Len() {
		if err := e.element(each, value.Index(i), &plainField); err != nil {
			return err
		}
	}
	if !f.flat {
		e.close(name)
	}
	return nil
}

// entries writes a map in the order of its keys, so that equal answers are
// equal bytes.
func (e *encoder) entries(name string, value reflect.Value, f *field) error {
	if value.IsNil() {
		return nil
	}
	each := name
	if !f.flat {
		e.open(name)
		each = "entry"
	}
	keys := value.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		e.open(each)
		e.leaf("key", key.String())
		if err := e.element("value", value.MapIndex(key), &plainField); err != nil {
			return err
		}
		e.close(each)
	}
	if !f.flat {
		e.close(name)
	}
	return nil
}

// indirect follows pointers and interfaces; a nil one gives the zero Value.
// It stops at a pointer that writes itself.
func indirect(value reflect.Value) reflect.Value {
	for value.IsValid() && (value.Kind() == reflect.Pointer || value.Kind() == reflect.Interface) {
		if value.IsNil() {
			return reflect.Value{}
		}
		if value.Kind() == reflect.Pointer && value.Type().Implements(textMarshaler) {
			return value
		}
		value = value.Elem()
	}
	return value
}

// scalarText returns the text of a single value; isText is false for
// structures, lists and maps.
func scalarText(value reflect.Value) (text string, isText bool, err error) {
	if value.Type().Implements(textMarshaler) {
		b, err := value.Interface().(encoding.TextMarshaler).MarshalText()
		return string(b), true, err
	}
	if isBytes(value.Type()) {
		if value.IsNil() {
			return "", false, nil // an absent list of bytes
		}
		return base64.StdEncoding.EncodeToString(value.Bytes()), true, nil
	}
	switch value.Kind() {
	case reflect.String:
		return value.String(), true, nil
	case reflect.Bool:
		return strconv.FormatBool(value.Bool()), true, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(value.Int(), 10), true, nil
	case reflect.Float32, reflect.Float64:
		return floatText(value.Float(), value.Type().Bits()), true, nil
	}
	return "", false, nil
}

func floatText(number float64, bits int) string {
	switch {
	case math.IsInf(number, 1):
		return "Infinity"
	case math.IsInf(number, -1):
		return "-Infinity"
	default:
		return strconv.FormatFloat(number, 'g', -1, bits) // "NaN" included
	}
}
