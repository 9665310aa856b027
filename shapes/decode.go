package shapes

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// SerializationError says that a JSON body does not have the types of its shape.
// AWS answers it as SerializationException, status 400, with this message.
type SerializationError struct {
	Message string
	// Path leads to the offending value ("ResourceConfig.InstanceCount"). AWS does
	// not tell it; it is for the log and for clients that want more.
	Path string
}

func (e *SerializationError) Error() string { return e.Message }

// in puts a member's name in front of the path.
func (e *SerializationError) in(name string) *SerializationError {
	if e.Path == "" {
		e.Path = name
	} else {
		e.Path = name + "." + e.Path
	}
	return e
}

// The words AWS uses, as real services answer them.
const (
	unexpectedList      = "Start of list found where not expected"
	unexpectedStructure = "Start of structure or map found where not expected."
	expectedNull        = "Expected null"
	expectedList        = "Expected list or null"
)

// DecodeJSON reads a JSON object into the generated struct that `into` points
// to, which must be the type that belongs to shape. An empty body is an empty
// object. Null means absent, members that the shape does not have are ignored, a
// member given twice takes its last value, and names are case-sensitive.
//
// A body that is not JSON or has a value of the wrong type answers
// *SerializationError; any other error is a mistake of the caller. Constraints are
// not checked: call Validate next, always, because what a list holds beyond its
// limit is dropped here (one more than the limit is kept, so that Validate sees it).
//
// It is safe on hostile input: nesting is bounded as in encoding/json, memory by a
// multiple of the body, which the caller limits.
func DecodeJSON(data []byte, shape *Shape, into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("shapes: cannot decode %s into %T", shape.Name, into)
	}
	data = bytes.Trim(data, " \t\r\n") // what JSON calls white space, no more
	if len(data) == 0 {
		return nil
	}
	// Only syntax is checked here, by the standard library; the reader below then
	// never meets a malformed token.
	if !json.Valid(data) {
		return syntaxError(data)
	}
	r := reader{data: data}
	if r.peek() != '{' && r.peek() != '[' {
		return &SerializationError{Message: "Expected a JSON object"}
	}
	return r.structure(shape, target.Elem())
}

func syntaxError(data []byte) error {
	message := "Request body is not valid JSON"
	var syntax *json.SyntaxError
	if err := json.Unmarshal(data, new(json.RawMessage)); errors.As(err, &syntax) {
		message = fmt.Sprintf("%s: %s at byte %d", message, syntax.Error(), syntax.Offset)
	}
	return &SerializationError{Message: message}
}

// reader walks over valid JSON.
type reader struct {
	data []byte
	at   int
}

// peek skips white space and answers the next byte without taking it.
func (r *reader) peek() byte {
	for {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return c
		}
	}
}

// next is called before each element of an object or array that was opened by
// taking its first byte. It answers false, having taken the last byte, at the end.
func (r *reader) next() bool {
	switch r.peek() {
	case '}', ']':
		r.at++
		return false
	case ',':
		r.at++
		r.peek()
	}
	return true
}

// text takes a string.
func (r *reader) text() string { return unquote(r.rawString()) }

// unquote reads a string with its quotes. Most have no escapes, and most of the
// others are JSON inside JSON: SDK 2.x quotes every hyperparameter.
func unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	escape := bytes.IndexByte(inner, '\\')
	if !utf8.Valid(inner) {
		return unquoteSlowly(raw)
	}
	if escape < 0 {
		return string(inner)
	}
	out := make([]byte, 0, len(inner))
	for escape >= 0 {
		if c := inner[escape+1]; c != '"' && c != '\\' && c != '/' {
			return unquoteSlowly(raw)
		}
		out = append(append(out, inner[:escape]...), inner[escape+1])
		inner = inner[escape+2:]
		escape = bytes.IndexByte(inner, '\\')
	}
	return string(append(out, inner...))
}

// unquoteSlowly knows every escape, and what to put for invalid UTF-8.
func unquoteSlowly(raw []byte) string {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return string(raw) // cannot be: the whole body is valid
	}
	return s
}

// rawString takes a string with its quotes.
func (r *reader) rawString() []byte {
	r.peek()
	start := r.at
	for r.at++; r.data[r.at] != '"'; r.at++ {
		if r.data[r.at] == '\\' {
			r.at++
		}
	}
	r.at++
	return r.data[start:r.at]
}

// key takes an object's key, with its quotes, and the colon.
func (r *reader) key() []byte {
	raw := r.rawString()
	r.peek()
	r.at++
	return raw
}

// literal takes a number, true, false or null.
func (r *reader) literal() []byte {
	r.peek()
	start := r.at
	for ; r.at < len(r.data); r.at++ {
		switch r.data[r.at] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return r.data[start:r.at]
		}
	}
	return r.data[start:]
}

// skip takes any value, without recursion.
func (r *reader) skip() {
	depth := 0
	for {
		switch r.peek() {
		case '"':
			r.rawString()
		case '{', '[':
			depth++
			r.at++
		case '}', ']':
			depth--
			r.at++
		case ',', ':':
			r.at++
		default:
			r.literal()
		}
		if depth == 0 {
			return
		}
	}
}

// null takes a null, if that is next.
func (r *reader) null() bool {
	if r.peek() != 'n' {
		return false
	}
	r.literal()
	return true
}

func (r *reader) structure(shape *Shape, v reflect.Value) error {
	if v.Kind() != reflect.Struct || v.NumField() != len(shape.Members) {
		return fmt.Errorf("shapes: %s is not the type of shape %s", v.Type(), shape.Name)
	}
	if err := r.open('{'); err != nil {
		return err
	}
	for r.next() {
		member := memberIndex(shape, r.key())
		if member < 0 {
			r.skip()
			continue
		}
		if err := r.member(shape.Members[member].Shape, v.Field(member)); err != nil {
			return inPath(err, shape.Members[member].Name)
		}
	}
	return nil
}

// memberIndex is a linear search: shapes are small, and comparing strings of
// different lengths costs nothing.
func memberIndex(shape *Shape, key []byte) int {
	name := key[1 : len(key)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name = []byte(unquote(key))
	}
	for i := range shape.Members {
		if shape.Members[i].Name == string(name) {
			return i
		}
	}
	return -1
}

func inPath(err error, name string) error {
	var serialization *SerializationError
	if errors.As(err, &serialization) {
		return serialization.in(name)
	}
	return err
}

// open takes the first byte of a structure or map, or says what stands there
// instead.
func (r *reader) open(want byte) error {
	switch found := r.peek(); {
	case found == want:
		r.at++
		return nil
	case found == '[':
		return &SerializationError{Message: unexpectedList}
	case found == '{':
		return &SerializationError{Message: unexpectedStructure}
	case want == '[':
		return &SerializationError{Message: expectedList}
	}
	return &SerializationError{Message: expectedNull}
}

// member reads a value into a field, where null is legal and means absent.
func (r *reader) member(shape *Shape, field reflect.Value) error {
	if r.null() {
		field.SetZero()
		return nil
	}
	if field.Kind() != reflect.Pointer {
		return r.value(shape, field)
	}
	target := reflect.New(field.Type().Elem())
	if err := r.value(shape, target.Elem()); err != nil {
		return err
	}
	field.Set(target)
	return nil
}

// value reads a value that is not null.
func (r *reader) value(shape *Shape, v reflect.Value) error {
	switch shape.Kind {
	case KindStructure, KindUnion:
		return r.structure(shape, v)
	case KindList:
		return r.list(shape, v)
	case KindMap:
		return r.mapping(shape, v)
	}
	return r.scalar(shape.Kind, v)
}

const nullElement = "Null found where a value was expected"

func (r *reader) list(shape *Shape, v reflect.Value) error {
	if err := r.open('['); err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 4))
	for n := 0; r.next(); n++ {
		if shape.HasMax && int64(n) > shape.Max {
			r.skip()
			continue
		}
		if r.null() {
			return (&SerializationError{Message: nullElement}).in(strconv.Itoa(n))
		}
		v.Grow(1)
		v.SetLen(n + 1)
		if err := r.value(shape.Elem, v.Index(n)); err != nil {
			return inPath(err, strconv.Itoa(n))
		}
	}
	return nil
}

func (r *reader) mapping(shape *Shape, v reflect.Value) error {
	if err := r.open('{'); err != nil {
		return err
	}
	v.Set(reflect.MakeMap(v.Type()))
	texts, plain := v.Interface().(map[string]string)
	for r.next() {
		key := unquote(r.key())
		if r.null() {
			return (&SerializationError{Message: nullElement}).in(key)
		}
		if plain && r.peek() == '"' {
			texts[key] = r.text()
			continue
		}
		value := reflect.New(v.Type().Elem()).Elem()
		if err := r.value(shape.Elem, value); err != nil {
			return inPath(err, key)
		}
		v.SetMapIndex(reflect.ValueOf(key), value)
	}
	return nil
}

// targets are the words for what a value could not be converted to.
var targets = [...]string{
	KindString: "a String", KindInteger: "an Integer", KindLong: "a Long", KindFloat: "a Float", KindDouble: "a Double",
	KindBoolean: "a Boolean", KindTimestamp: "milliseconds since epoch", KindBlob: "a Blob",
}

func (r *reader) scalar(kind Kind, v reflect.Value) error {
	ok, found := false, ""
	switch first := r.peek(); first {
	case '[':
		return &SerializationError{Message: unexpectedList}
	case '{':
		return &SerializationError{Message: unexpectedStructure}
	case '"':
		found = "STRING_VALUE"
		switch kind {
		case KindString:
			v.SetString(r.text())
			return nil
		case KindBlob:
			content, err := base64.StdEncoding.DecodeString(r.text())
			v.SetBytes(content)
			ok = err == nil
		}
	case 't', 'f':
		if found = "FALSE_VALUE"; first == 't' {
			found = "TRUE_VALUE"
		}
		r.literal()
		if ok = kind == KindBoolean; ok {
			v.SetBool(first == 't')
		}
	default:
		found = "NUMBER_VALUE"
		ok = setNumber(kind, v, string(r.literal()))
	}
	if !ok {
		return &SerializationError{Message: found + " can not be converted to " + targets[kind]}
	}
	return nil
}

// setNumber reports whether the number fits the kind. 3.0 and 3e0 are integers,
// 3.5 is not.
func setNumber(kind Kind, v reflect.Value, text string) bool {
	switch kind {
	case KindInteger, KindLong:
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			float, err := strconv.ParseFloat(text, 64)
			if err != nil || float < -1<<53 || float > 1<<53 || float != float64(int64(float)) {
				return false
			}
			number = int64(float)
		}
		if v.OverflowInt(number) {
			return false
		}
		v.SetInt(number)
		return true
	case KindFloat, KindDouble:
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return false
		}
		v.SetFloat(number)
		return true
	case KindTimestamp:
		moment, err := parseEpoch(text)
		if err != nil {
			return false
		}
		v.Set(reflect.ValueOf(Timestamp{moment}))
		return true
	}
	return false
}
