package shapes

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ValidationError lists every constraint of its shape that a request breaks.
// JSON services of AWS answer it as ValidationException (CloudWatch Logs as
// InvalidParameterException), Query services as ValidationError, with status 400
// and Error() as the message.
type ValidationError struct{ Violations []Violation }

// Violation is one broken constraint.
type Violation struct {
	Path       string // "resourceConfig.instanceGroups.1.member.instanceCount"
	Value      string // as AWS quotes it, *** in place of what is sensitive
	Null       bool   // the value is absent
	Secret     bool   // the whole value is sensitive: the message leaves it out
	Constraint string // "Member must not be null"
}

// maxViolations keeps a hostile request from writing a book.
const maxViolations = 100

// Error words the violations as AWS does.
func (e *ValidationError) Error() string {
	var out strings.Builder
	plural := "s"
	if len(e.Violations) == 1 {
		plural = ""
	}
	fmt.Fprintf(&out, "%d validation error%s detected: ", len(e.Violations), plural)
	for i, violation := range e.Violations {
		if i > 0 {
			out.WriteString("; ")
		}
		out.WriteString("Value ")
		switch {
		case violation.Null:
			out.WriteString("null ")
		case !violation.Secret:
			out.WriteString("'" + violation.Value + "' ")
		}
		out.WriteString("at '" + violation.Path + "' failed to satisfy constraint: " + violation.Constraint)
	}
	return out.String()
}

// Validate checks a generated struct, or a pointer to one, against the
// constraints of its shape. It answers nil, or *ValidationError with the violations
// in the order of the model; any other error is a mistake of the caller. Absent
// members are checked only for being required.
func Validate(shape *Shape, v any) error {
	value := reflect.ValueOf(v)
	for value.Kind() == reflect.Pointer && !value.IsNil() {
		value = value.Elem()
	}
	if value.Kind() != reflect.Struct || value.NumField() != len(shape.Members) {
		return fmt.Errorf("shapes: %T is not the type of shape %s", v, shape.Name)
	}
	c := checker{path: make([]step, 0, 16)}
	c.structure(shape, value)
	if len(c.violations) > 0 {
		return &ValidationError{Violations: c.violations}
	}
	return nil
}

// checker collects violations on a walk over a value.
type checker struct {
	path       []step // to the value being checked
	violations []Violation
}

// step is one step down into a value: to a member, to an index (from 1) of a list,
// or to a key of a map. It becomes text only when something is wrong.
type step struct {
	member string
	index  int
	key    string
}

func (c *checker) where() string {
	var out strings.Builder
	for i, step := range c.path {
		if i > 0 {
			out.WriteByte('.')
		}
		switch {
		case step.member != "":
			out.WriteString(lowerFirst(step.member))
		case step.index > 0:
			out.WriteString(strconv.Itoa(step.index) + ".member")
		default:
			out.WriteString(step.key + ".member")
		}
	}
	return out.String()
}

func (c *checker) enter(s step) { c.path = append(c.path, s) }
func (c *checker) leave()       { c.path = c.path[:len(c.path)-1] }

func (c *checker) fail(shape *Shape, v reflect.Value, constraint string) {
	if len(c.violations) >= maxViolations {
		return
	}
	c.violations = append(c.violations, Violation{
		Path: c.where(), Value: quote(shape, v), Secret: shape.Sensitive, Constraint: constraint,
	})
}

func (c *checker) structure(shape *Shape, v reflect.Value) {
	set := 0
	for i := range shape.Members {
		member, field := &shape.Members[i], v.Field(i)
		if absent(field) {
			if member.Required {
				c.missing(member.Name)
			}
			continue
		}
		set++
		c.enter(step{member: member.Name})
		c.value(member.Shape, reflect.Indirect(field))
		c.leave()
	}
	if shape.Kind == KindUnion && set != 1 {
		c.fail(shape, v, "Union must have exactly one member set")
	}
}

func (c *checker) missing(member string) {
	if len(c.violations) >= maxViolations {
		return
	}
	c.enter(step{member: member})
	c.violations = append(c.violations, Violation{Path: c.where(), Null: true, Constraint: "Member must not be null"})
	c.leave()
}

// absent: every field of a generated struct can be nil.
func absent(field reflect.Value) bool {
	switch field.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return field.IsNil()
	}
	return false
}

// lowerFirst is how AWS names a member in a path: TrainingJobName → trainingJobName.
func lowerFirst(name string) string {
	if name == "" || name[0] < 'A' || name[0] > 'Z' {
		return name
	}
	return string(name[0]+'a'-'A') + name[1:]
}

// value checks what stands at the current path.
func (c *checker) value(shape *Shape, v reflect.Value) {
	for _, constraint := range broken(shape, v) {
		c.fail(shape, v, constraint)
	}
	switch shape.Kind {
	case KindStructure, KindUnion:
		c.structure(shape, v)
	case KindList:
		c.list(shape, v)
	case KindMap:
		c.mapping(shape, v)
	}
}

// list reports what its members break once, at the list itself, with all of their
// constraints: that is how AWS words it. Only what is nested in a member has a path
// of its own.
func (c *checker) list(shape *Shape, v reflect.Value) {
	if constrained(shape.Elem) {
		for i := range v.Len() {
			if len(broken(shape.Elem, v.Index(i))) > 0 {
				c.fail(shape, v, "Member must satisfy constraint: "+constraints(shape.Elem))
				break
			}
		}
	}
	if !nested(shape.Elem) {
		return
	}
	for i := range v.Len() {
		c.enter(step{index: i + 1})
		c.inside(shape.Elem, v.Index(i))
		c.leave()
	}
}

// mapping does for a map what list does for a list.
func (c *checker) mapping(shape *Shape, v reflect.Value) {
	badKey, badValue := false, false
	checkValues := constrained(shape.Elem)
	for entry := v.MapRange(); entry.Next() && !(badKey && badValue); {
		badKey = badKey || len(broken(shape.Key, entry.Key())) > 0
		badValue = badValue || checkValues && len(broken(shape.Elem, entry.Value())) > 0
	}
	if badKey {
		c.fail(shape, v, "Map keys must satisfy constraint: "+constraints(shape.Key))
	}
	if badValue {
		c.fail(shape, v, "Map value must satisfy constraint: "+constraints(shape.Elem))
	}
	if !nested(shape.Elem) {
		return
	}
	for _, key := range sortedKeys(v) {
		c.enter(step{key: key})
		c.inside(shape.Elem, v.MapIndex(reflect.ValueOf(key)))
		c.leave()
	}
}

// inside checks what is nested in an element; its own constraints were reported at
// its list or map.
func (c *checker) inside(shape *Shape, v reflect.Value) {
	switch shape.Kind {
	case KindStructure, KindUnion:
		c.structure(shape, v)
	case KindList:
		c.list(shape, v)
	case KindMap:
		c.mapping(shape, v)
	}
}

func nested(shape *Shape) bool {
	switch shape.Kind {
	case KindStructure, KindUnion, KindList, KindMap:
		return true
	}
	return false
}

func constrained(shape *Shape) bool {
	return shape.HasMin || shape.HasMax || shape.Pattern != nil || len(shape.Enum) > 0
}

func sortedKeys(v reflect.Value) []string {
	keys := make(map[string]bool, v.Len())
	for _, key := range v.MapKeys() {
		keys[key.String()] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

// broken lists the shape's own constraints that v breaks: the pattern before the
// length, which is the order in which AWS reports them.
func broken(shape *Shape, v reflect.Value) []string {
	var out []string
	if shape.Kind == KindString {
		if len(shape.Enum) > 0 && !slices.Contains(shape.Enum, v.String()) {
			out = append(out, enumConstraint(shape))
		}
		if shape.Pattern != nil && !shape.Pattern.Match(v.String()) {
			out = append(out, patternConstraint(shape))
		}
	}
	tooSmall, tooLarge := outOfBounds(shape, v)
	if tooSmall {
		out = append(out, minConstraint(shape))
	}
	if tooLarge {
		out = append(out, maxConstraint(shape))
	}
	return out
}

func outOfBounds(shape *Shape, v reflect.Value) (tooSmall, tooLarge bool) {
	if !shape.HasMin && !shape.HasMax {
		return false, false
	}
	if shape.Kind == KindFloat || shape.Kind == KindDouble {
		number := v.Float()
		return shape.HasMin && number < float64(shape.Min), shape.HasMax && number > float64(shape.Max)
	}
	size := sizeOf(shape.Kind, v)
	return shape.HasMin && size < shape.Min, shape.HasMax && size > shape.Max
}

// sizeOf is what the bounds of all other kinds limit: the length, or the number.
func sizeOf(kind Kind, v reflect.Value) int64 {
	switch kind {
	case KindInteger, KindLong:
		return v.Int()
	case KindString:
		return int64(utf8.RuneCountInString(v.String()))
	}
	return int64(v.Len())
}

// constraints lists all of a shape's own constraints, the longest bound first, as
// AWS lists them for the members of lists and maps.
func constraints(shape *Shape) string {
	var all []string
	if shape.HasMax {
		all = append(all, maxConstraint(shape))
	}
	if shape.HasMin {
		all = append(all, minConstraint(shape))
	}
	if len(shape.Enum) > 0 {
		all = append(all, enumConstraint(shape))
	}
	if shape.Pattern != nil {
		all = append(all, patternConstraint(shape))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func enumConstraint(shape *Shape) string {
	return "Member must satisfy enum value set: [" + strings.Join(shape.Enum, ", ") + "]"
}

func patternConstraint(shape *Shape) string {
	return "Member must satisfy regular expression pattern: " + shape.Pattern.Source
}

func minConstraint(shape *Shape) string {
	return "Member must have " + measure(shape) + " greater than or equal to " + boundText(shape, shape.Min)
}

func maxConstraint(shape *Shape) string {
	return "Member must have " + measure(shape) + " less than or equal to " + boundText(shape, shape.Max)
}

func measure(shape *Shape) string {
	switch shape.Kind {
	case KindInteger, KindLong, KindFloat, KindDouble:
		return "value"
	}
	return "length"
}

func boundText(shape *Shape, bound int64) string {
	if shape.Kind == KindFloat || shape.Kind == KindDouble {
		return strconv.FormatInt(bound, 10) + ".0"
	}
	return strconv.FormatInt(bound, 10)
}
