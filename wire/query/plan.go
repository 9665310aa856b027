package query

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// field is how one struct field is named on the wire.
type field struct {
	index  int
	name   string
	flat   bool
	member string // name of a list's elements
}

// plans holds a []field for each struct type seen. Types are few and fixed by
// the program, so it does not grow with traffic.
var plans sync.Map

func planOf(t reflect.Type) []field {
	if plan, ok := plans.Load(t); ok {
		return plan.([]field)
	}
	var plan []field
	for i := range t.NumField() {
		structField := t.Field(i)
		tag := structField.Tag.Get("query")
		if !structField.IsExported() || tag == "-" {
			continue
		}
		f := field{index: i, member: "member"}
		options := strings.Split(tag, ",")
		if f.name = options[0]; f.name == "" {
			f.name = structField.Name
		}
		for _, option := range options[1:] {
			member, named := strings.CutPrefix(option, "member=")
			switch {
			case option == "flat":
				f.flat = true
			case named && member != "":
				f.member = member
			default:
				// A mistake in the program, found by the first call in any test.
				panic(fmt.Sprintf("query: field %s.%s: unknown tag option %q", t, structField.Name, option))
			}
		}
		plan = append(plan, f)
	}
	plans.Store(t, plan)
	return plan
}

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
)

func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}
