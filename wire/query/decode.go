package query

import (
	"encoding"
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Decode fills the struct that in points to. Parameters without a field are
// ignored, as AWS ignores them. Every error is a *wire.Error with the code
// MalformedInput and names the parameter. A kind that this package does not
// map is a mistake in the program and panics.
func (q *Request) Decode(in any) error {
	target := reflect.ValueOf(in)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("query: Decode wants a pointer to a struct, got %T", in))
	}
	return decodeStruct(target.Elem(), q.root, "")
}

// decodeStruct fills target from n; path is where n stands in the request.
// Recursive types end with the request, whose depth is bounded.
func decodeStruct(target reflect.Value, n *node, path string) error {
	for _, f := range planOf(target.Type()) {
		child := n.children[f.name]
		if child == nil {
			continue
		}
		if err := decodeValue(target.Field(f.index), child, join(path, f.name), &f); err != nil {
			return err
		}
	}
	return nil
}

// decodeValue fills target, allocating through pointers. f gives the form of
// lists and maps; elements of lists and maps have the default form.
func decodeValue(target reflect.Value, n *node, path string, f *field) error {
	for target.Kind() == reflect.Pointer && !target.Type().Implements(textUnmarshaler) {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	if reader, ok := textReader(target); ok {
		return decodeText(reader, n, path)
	}
	switch kind := target.Kind(); {
	case isBytes(target.Type()):
		return decodeScalar(target, n, path)
	case kind == reflect.Struct:
		if n.given && n.value != "" {
			return malformed("Start of structure or map not found where expected: '" + path + "' is a structure")
		}
		return decodeStruct(target, n, path)
	case kind == reflect.Slice:
		return decodeList(target, n, path, f)
	case kind == reflect.Map:
		return decodeMap(target, n, path, f)
	default:
		return decodeScalar(target, n, path)
	}
}

// textReader returns target as a TextUnmarshaler, if it is one.
func textReader(target reflect.Value) (encoding.TextUnmarshaler, bool) {
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
	} else {
		target = target.Addr()
	}
	reader, ok := target.Interface().(encoding.TextUnmarshaler)
	return reader, ok
}

func decodeText(reader encoding.TextUnmarshaler, n *node, path string) error {
	if err := wantScalar(n, path); err != nil {
		return err
	}
	if err := reader.UnmarshalText([]byte(n.value)); err != nil {
		return malformed("Invalid value '" + n.value + "' for '" + path + "': " + err.Error())
	}
	return nil
}

func wantScalar(n *node, path string) error {
	if n.children == nil {
		return nil
	}
	if n.children["member"] != nil {
		return malformed("Start of list found where not expected: '" + path + "' is a single value")
	}
	return malformed("Start of structure or map found where not expected: '" + path + "' is a single value")
}

func decodeScalar(target reflect.Value, n *node, path string) error {
	if err := wantScalar(n, path); err != nil {
		return err
	}
	wrong := func(kind string) error {
		return malformed("'" + n.value + "' can not be converted to " + kind + ". Parameter: '" + path + "'")
	}
	switch kind := target.Kind(); kind {
	case reflect.String:
		target.SetString(n.value)
	case reflect.Bool:
		switch n.value {
		case "true":
			target.SetBool(true)
		case "false":
			target.SetBool(false)
		default:
			return wrong("a Boolean")
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		number, err := strconv.ParseInt(n.value, 10, target.Type().Bits())
		if err != nil {
			return wrong("an Integer")
		}
		target.SetInt(number)
	case reflect.Float32, reflect.Float64:
		number, ok := parseFloat(n.value, target.Type().Bits())
		if !ok {
			return wrong("a Float")
		}
		target.SetFloat(number)
	case reflect.Slice: // of bytes: decodeValue sends no other here
		blob, err := base64.StdEncoding.DecodeString(n.value)
		if err != nil {
			return wrong("a Blob: it must be base64")
		}
		target.SetBytes(blob)
	default:
		panic(fmt.Sprintf("query: %s has a kind that cannot be decoded: %s", path, target.Type()))
	}
	return nil
}

// parseFloat takes decimal numbers and the protocol's three special values,
// not Go's hexadecimal, underscored or "inf" forms.
func parseFloat(text string, bits int) (float64, bool) {
	switch text {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	if strings.Trim(text, "+-.0123456789eE") != "" {
		return 0, false
	}
	number, err := strconv.ParseFloat(text, bits)
	return number, err == nil
}

func decodeList(target reflect.Value, n *node, path string, f *field) error {
	if !f.flat {
		path = join(path, f.member)
	}
	elements, err := indexed(n, f.flat, f.member, path)
	if err != nil {
		return err
	}
	list := reflect.MakeSlice(target.Type(), len(elements), len(elements))
	for i, element := range elements {
		if err := decodeValue(list.Index(i), element, join(path, strconv.Itoa(i+1)), &plainField); err != nil {
			return err
		}
	}
	target.Set(list)
	return nil
}

// plainField is the form of lists and maps that have no tag of their own.
var plainField = field{member: "member"}

func decodeMap(target reflect.Value, n *node, path string, f *field) error {
	if target.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("query: %s has keys that are not strings: %s", path, target.Type()))
	}
	if !f.flat {
		path = join(path, "entry")
	}
	entries, err := indexed(n, f.flat, "entry", path)
	if err != nil {
		return err
	}
	result := reflect.MakeMapWithSize(target.Type(), len(entries))
	for i, entry := range entries {
		at := join(path, strconv.Itoa(i+1))
		keyNode, valueNode := entry.children["key"], entry.children["value"]
		if keyNode == nil || !keyNode.given || valueNode == nil {
			return malformed("'" + at + "' must have a key and a value")
		}
		key := reflect.New(target.Type().Key()).Elem()
		key.SetString(keyNode.value)
		if result.MapIndex(key).IsValid() {
			return malformed("The key '" + keyNode.value + "' is given more than once in '" + path + "'")
		}
		value := reflect.New(target.Type().Elem()).Elem()
		if err := decodeValue(value, valueNode, join(at, "value"), &plainField); err != nil {
			return err
		}
		result.SetMapIndex(key, value)
	}
	target.Set(result)
	return nil
}

// indexed returns the elements 1…n of a list or map in order. The numbers must
// be exactly these: with gaps allowed, "member.999999999" would name either
// nothing or a huge allocation, and "01" would be a second name for "1".
func indexed(n *node, flat bool, step, path string) ([]*node, error) {
	holder, err := elementsOf(n, flat, step, path)
	if err != nil {
		return nil, err
	}
	elements := make([]*node, len(holder.children))
	for number, element := range holder.children {
		index, err := strconv.Atoi(number)
		if err != nil || index < 1 || index > len(elements) || strconv.Itoa(index) != number {
			return nil, malformed("Unexpected list element termination: '" + join(path, number) + "' is not one of the " +
				strconv.Itoa(len(elements)) + " elements, which must be numbered from 1 without gaps")
		}
		elements[index-1] = element
	}
	return elements, nil
}

// elementsOf returns the node whose children are the numbered elements. An
// empty value, as in "Tags=", is how clients send an empty list.
func elementsOf(n *node, flat bool, step, path string) (*node, error) {
	if n.given && n.value == "" && n.children == nil {
		return n, nil
	}
	holder := n
	if !flat {
		holder = n.children[step]
	}
	if n.given || holder == nil || holder.given || !flat && len(n.children) > 1 {
		return nil, malformed("Unexpected list element termination: the elements must be named '" + path + ".N'")
	}
	return holder, nil
}

func join(path, step string) string {
	if path == "" {
		return step
	}
	return path + "." + step
}
