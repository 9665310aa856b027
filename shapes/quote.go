package shapes

import (
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxQuoted bounds how much of a value an error repeats. AWS repeats all of it; a
// list of megabytes should not come back several times.
const maxQuoted = 8 << 10

// quote writes a value as AWS quotes it in a validation error, which is how Java
// prints it: [a, b], {key=value}, Tag(key=a, value=null).
func quote(shape *Shape, v reflect.Value) string {
	var out strings.Builder
	writeQuoted(&out, shape, v)
	text := out.String()
	if len(text) <= maxQuoted {
		return text
	}
	cut := maxQuoted
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}

func writeQuoted(out *strings.Builder, shape *Shape, v reflect.Value) {
	if out.Len() > maxQuoted {
		return
	}
	if absent(v) {
		out.WriteString("null")
		return
	}
	if shape.Sensitive {
		out.WriteString("***")
		return
	}
	v = reflect.Indirect(v)
	switch shape.Kind {
	case KindStructure, KindUnion:
		writeQuotedStructure(out, shape, v)
	case KindList:
		out.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				out.WriteString(", ")
			}
			writeQuoted(out, shape.Elem, v.Index(i))
		}
		out.WriteByte(']')
	case KindMap:
		out.WriteByte('{')
		for i, key := range sortedKeys(v) {
			if i > 0 {
				out.WriteString(", ")
			}
			out.WriteString(key + "=")
			writeQuoted(out, shape.Elem, v.MapIndex(reflect.ValueOf(key)))
		}
		out.WriteByte('}')
	default:
		writeQuotedScalar(out, shape.Kind, v)
	}
}

func writeQuotedStructure(out *strings.Builder, shape *Shape, v reflect.Value) {
	out.WriteString(shape.Name + "(")
	for i := range shape.Members {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(lowerFirst(shape.Members[i].Name) + "=")
		writeQuoted(out, shape.Members[i].Shape, v.Field(i))
	}
	out.WriteByte(')')
}

func writeQuotedScalar(out *strings.Builder, kind Kind, v reflect.Value) {
	switch kind {
	case KindString:
		out.WriteString(v.String())
	case KindInteger, KindLong:
		out.WriteString(strconv.FormatInt(v.Int(), 10))
	case KindFloat, KindDouble:
		out.WriteString(strconv.FormatFloat(v.Float(), 'g', -1, 64))
	case KindBoolean:
		out.WriteString(strconv.FormatBool(v.Bool()))
	case KindTimestamp:
		moment, _ := v.Interface().(Timestamp)
		out.WriteString(moment.ISO8601())
	case KindBlob:
		out.WriteString("java.nio.HeapByteBuffer[pos=0 lim=" + strconv.Itoa(v.Len()) + " cap=" + strconv.Itoa(v.Len()) + "]")
	}
}
