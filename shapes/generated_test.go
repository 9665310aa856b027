package shapes_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stint-ml/stint/shapes"
)

// everyShape calls f once for each shape that an operation of any service reaches.
func everyShape(f func(service *shapes.Service, shape *shapes.Shape)) {
	for _, service := range services {
		seen := map[*shapes.Shape]bool{nil: true}
		var visit func(*shapes.Shape)
		visit = func(shape *shapes.Shape) {
			if seen[shape] {
				return
			}
			seen[shape] = true
			f(service, shape)
			for _, member := range shape.Members {
				visit(member.Shape)
			}
			visit(shape.Key)
			visit(shape.Elem)
		}
		for _, operation := range service.Operations {
			visit(operation.Input)
			visit(operation.Output)
		}
	}
}

// TestPatternsCompile proves that no pattern of any service is lost to Go's dialect.
func TestPatternsCompile(t *testing.T) {
	t.Parallel()
	patterns := 0
	everyShape(func(service *shapes.Service, shape *shapes.Shape) {
		if shape.Pattern == nil {
			return
		}
		patterns++
		if err := shape.Pattern.Compile(); err != nil {
			t.Errorf("%s %s: %v", service.Name, shape.Name, err)
		}
	})
	if patterns < 50 {
		t.Errorf("only %d patterns were found: the walk is broken", patterns)
	}
}

// TestPatternsMean compares the patterns that were rewritten or translated with
// examples of what AWS accepts and refuses.
func TestPatternsMean(t *testing.T) {
	t.Parallel()
	cases := []struct {
		shape        string
		takes, leave []string
	}{
		{"sagemaker TrainingJobName", []string{"a", "a-1", "a--b", strings.Repeat("a", 63)}, []string{"", "-a", "a-", "a_b", "a\n", "\na", "é", strings.Repeat("a", 64)}},
		{"sagemaker ArnOrName", []string{"a", "a-b", strings.Repeat("a", 63), "arn:aws:sagemaker:us-east-1:111122223333:algorithm/a-b"}, []string{"", "a-", "-a", strings.Repeat("a", 64), "arn:aws:sagemaker:us-east-1:111122223333:algorithm/a-"}},
		{"sagemaker ModelPackageGroupArn", []string{"arn:aws:sagemaker:us-east-1:111122223333:model-package-group/g" + strings.Repeat("g", 1500)}, []string{"arn:aws:sagemaker:us-east-1:111122223333:model-package-group/", "arn:aws:sagemaker:us-east-1:111122223333:model-package-group/a b"}},
		{"sagemaker RoleArn", []string{"arn:aws:iam::111122223333:role/r", "arn:aws-cn:iam::111122223333:role/a/b"}, []string{"arn:aws:iam::1:role/r", "xarn:aws:iam::111122223333:role/r"}},
		{"sagemaker HyperParameterValue", []string{"", "\"a\" b", "é"}, []string{"a\nb", "a\rb", "a\u0085b", "a\u2028b", "a\u2029b"}},
		{"sagemaker VersionedArnOrName", []string{"a", "a-b", "a/12", "arn:aws:sagemaker:us-east-1:111122223333:model-package/a-b/3"}, []string{"", "a-", "a-/1", "a/", "a/1234567890", strings.Repeat("a", 64)}},
		{"sagemaker AlarmName", []string{"a", " a ", "5xx é"}, []string{"", " ", "\t ", "a\nb", "\v"}},
		{"sagemaker MetricsEndpointPath", []string{"/a", "/.", "/a.b/c-d.", "/.a", "//"}, []string{"", "/", "a", "/..", "/a..b", "/a b", "/a/.."}},
		{"sagemaker TrainingEnvironmentValue", []string{"", "a\nb"}, nil},
		{"sagemaker S3Uri", []string{"s3://b", "s3://b/", "https://h/p"}, []string{"file:///a", "s3://", "s3://b/\n"}},
		{"application-autoscaling ScheduledActionName", []string{"a", "a b", "é"}, []string{"", " a", "a ", "a:b", "a/b", "a|b", "a\nb", "a\u2028b", "\u0085"}},
		{"application-autoscaling ResourceIdMaxLen1600", []string{"", "endpoint/e/variant/v", "😀\r\n\t"}, []string{"\x00", "\uFFFE"}},
		{"sagemaker TransformEnvironmentKey", []string{"_", strings.Repeat("a", 1024)}, []string{"", "1", strings.Repeat("a", 1025)}},
		{"iam policyDocumentType", []string{"{\"a\": \"é\"}\n\t"}, []string{"", "\x00", "☃"}},
		{"iam pathType", []string{"/", "/a/", "/a/b/"}, []string{"", "a", "/a", "a/", "/a b/"}},
		{"sts arnType", []string{"arn:aws:iam::111122223333:role/r", "☃"}, []string{"", "a\x01"}},
		{"logs LogGroupName", []string{"/aws/sagemaker/TrainingJobs", "a#b"}, []string{"", "a b", "a:b"}},
		{"logs LogStreamName", []string{"a/algo-1-1", "é b"}, []string{"a:b", "a*"}},
	}
	byName := map[string]*shapes.Shape{}
	everyShape(func(service *shapes.Service, shape *shapes.Shape) { byName[service.Name+" "+shape.Name] = shape })
	for _, c := range cases {
		shape := byName[c.shape]
		if shape == nil || shape.Pattern == nil {
			t.Errorf("%s has no pattern", c.shape)
			continue
		}
		for _, text := range c.takes {
			if !shape.Pattern.Match(text) {
				t.Errorf("%s refuses %q", c.shape, text)
			}
		}
		for _, text := range c.leave {
			if shape.Pattern.Match(text) {
				t.Errorf("%s takes %q", c.shape, text)
			}
		}
	}
}

// TestTypesMatchDescriptors walks every generated type beside its descriptor: the
// reader and the checker rely on fields and members being in step.
func TestTypesMatchDescriptors(t *testing.T) {
	t.Parallel()
	for _, service := range services {
		if !slices.IsSortedFunc(service.Operations, func(a, b shapes.Operation) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s: operations are not sorted", service.Name)
		}
		m := matcher{t: t, query: slices.Contains(service.Protocols, "query"), seen: map[reflect.Type]bool{}}
		for i := range service.Operations {
			operation := &service.Operations[i]
			if service.Operation(operation.Name) != operation {
				t.Errorf("%s: %s is not found by its name", service.Name, operation.Name)
			}
			m.root(operation.Name+" input", operation.Input, operation.NewInput())
			m.root(operation.Name+" output", operation.Output, operation.NewOutput())
		}
		if service.Operation("NoSuchOperation") != nil {
			t.Errorf("%s has an operation of no name", service.Name)
		}
	}
}

type matcher struct {
	t     *testing.T
	query bool
	seen  map[reflect.Type]bool
}

func (m *matcher) root(where string, shape *shapes.Shape, value any) {
	switch {
	case (shape == nil) != (value == nil):
		m.t.Errorf("%s: shape %v, value %T", where, shape, value)
	case shape != nil:
		m.match(where, shape, reflect.TypeOf(value).Elem())
	}
}

var scalars = map[shapes.Kind]string{
	shapes.KindString: "string", shapes.KindInteger: "int32", shapes.KindLong: "int64", shapes.KindFloat: "float64",
	shapes.KindDouble: "float64", shapes.KindBoolean: "bool", shapes.KindTimestamp: "shapes.Timestamp", shapes.KindBlob: "[]uint8",
}

// openEnums are checked elsewhere, so their descriptors list no values.
var openEnums = []string{"sagemaker.TrainingInstanceType", "sagemaker.ProductionVariantInstanceType", "sagemaker.TransformInstanceType"}

func (m *matcher) match(where string, shape *shapes.Shape, goType reflect.Type) {
	switch shape.Kind {
	case shapes.KindStructure, shapes.KindUnion:
		m.structure(where, shape, goType)
	case shapes.KindList:
		if goType.Kind() != reflect.Slice {
			m.t.Fatalf("%s: %s is no slice", where, goType)
		}
		m.match(where+"[]", shape.Elem, goType.Elem())
	case shapes.KindMap:
		if goType.Kind() != reflect.Map || goType.Key().Kind() != reflect.String || shape.Key.Kind != shapes.KindString {
			m.t.Fatalf("%s: %s is no map of strings", where, goType)
		}
		m.match(where+"{}", shape.Elem, goType.Elem())
	default:
		name := goType.String()
		enum := goType.Kind() == reflect.String && shape.Kind == shapes.KindString && (len(shape.Enum) > 0) != slices.Contains(openEnums, name)
		if name != scalars[shape.Kind] && !enum {
			m.t.Errorf("%s: kind %d is a %s", where, shape.Kind, name)
		}
	}
}

func (m *matcher) structure(where string, shape *shapes.Shape, goType reflect.Type) {
	if m.seen[goType] {
		return
	}
	m.seen[goType] = true
	if goType.Kind() != reflect.Struct || goType.NumField() != len(shape.Members) || !strings.EqualFold(goType.Name(), shape.Name) {
		m.t.Fatalf("%s: %s is not the type of %s", where, goType, shape.Name)
	}
	for i, member := range shape.Members {
		field := goType.Field(i)
		here := fmt.Sprintf("%s.%s", where, member.Name)
		if want := strings.ToUpper(member.Name[:1]) + member.Name[1:]; field.Name != want {
			m.t.Errorf("%s: the field is %s", here, field.Name)
		}
		if field.Tag.Get("json") != member.Name+",omitzero" {
			m.t.Errorf("%s: JSON tag %q", here, field.Tag.Get("json"))
		}
		if name, _, _ := strings.Cut(field.Tag.Get("query"), ","); (name != "") != m.query {
			m.t.Errorf("%s: query tag %q", here, name)
		}
		inner := field.Type
		switch member.Shape.Kind {
		case shapes.KindList, shapes.KindMap, shapes.KindBlob:
		default:
			if inner.Kind() != reflect.Pointer {
				m.t.Fatalf("%s: %s cannot be absent", here, inner)
			}
			inner = inner.Elem()
		}
		m.match(here, member.Shape, inner)
	}
}
