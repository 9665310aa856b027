package shapes

import "sort"

// Kind is the type of a Shape in the service model.
type Kind uint8

// The kinds of the service model. A union is a structure with exactly one
// member set.
const (
	KindStructure Kind = iota + 1
	KindUnion
	KindList
	KindMap
	KindString
	KindInteger
	KindLong
	KindFloat
	KindDouble
	KindBoolean
	KindTimestamp
	KindBlob
)

// Shape describes one type of a service model and the constraints that AWS
// checks on it. Generated descriptors are static data: they cost nothing at
// start-up and must not be changed.
type Shape struct {
	Name string // as in the service model
	Kind Kind

	// Members of a structure or union, in the order of the model. The generated
	// Go struct has the same fields in the same order.
	Members []Member

	Key  *Shape // of a map
	Elem *Shape // of a list's members or a map's values

	// Min and Max bound the length of a string (in code points), a blob, a list
	// or a map, and the value of a number. They hold only where HasMin, HasMax.
	Min, Max       int64
	HasMin, HasMax bool

	Pattern *Pattern // nil when any text will do
	Enum    []string // legal values, in the order of the model

	// Sensitive values are never echoed in an error.
	Sensitive bool
}

// Member is one member of a structure or union.
type Member struct {
	Name     string // on the wire
	Shape    *Shape
	Required bool
}

// Service is a service of the model, as far as Stint speaks it.
type Service struct {
	Name         string   // botocore's name of the service: "sagemaker"
	Protocols    []string // that real clients use, the preferred one first: "json", "query", "smithy-rpc-v2-cbor"
	JSONVersion  string   // "1.1"; empty where JSON is not spoken
	TargetPrefix string   // X-Amz-Target is TargetPrefix.Operation
	APIVersion   string   // "2017-07-24"
	SigningName  string   // the service in a SigV4 credential scope
	XMLNamespace string   // of Query answers

	// QueryCompatible says that errors on other protocols also carry the Query
	// protocol's error code, in the header x-amzn-query-error.
	QueryCompatible bool

	Operations []Operation // sorted by name
}

// Operation is one operation of a service.
type Operation struct {
	Name   string
	Input  *Shape // nil when the operation has no input
	Output *Shape // nil when the operation has no output

	// NewInput and NewOutput return a pointer to an empty generated struct, or
	// nil when the operation has no input or output.
	NewInput  func() any
	NewOutput func() any

	ResultWrapper string // the element around a Query answer
	Errors        []Fault
}

// Fault is an error an operation may answer according to the model.
type Fault struct {
	Name   string // of the shape: what JSON clients match
	Code   string // what Query clients match; often, not always, the Name
	Status int    // HTTP status
	Sender bool   // the client's fault
}

// Operation finds an operation by name. It answers nil when the service, or
// Stint, has none of that name.
func (s *Service) Operation(name string) *Operation {
	i := sort.Search(len(s.Operations), func(i int) bool { return s.Operations[i].Name >= name })
	if i < len(s.Operations) && s.Operations[i].Name == name {
		return &s.Operations[i]
	}
	return nil
}

// Value is what p points to, or the zero value when p is nil.
func Value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
