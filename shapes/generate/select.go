package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// selection is the part of a model that the wanted operations can reach.
type selection struct {
	model      *model
	operations []string // sorted
	shapes     []string // sorted
	patterns   []translatedPattern
	backEdges  map[edge]bool // references that close a cycle
}

// edge is a reference from one shape to another.
type edge struct {
	from   string
	member int // index of the member, or -1 for the element of a list or map
}

// selectShapes walks the model from the operations' inputs and outputs.
func selectShapes(m *model, operations []string) (*selection, error) {
	s := &selection{model: m, operations: operations, backEdges: map[edge]bool{}}
	walk := walker{selection: s, state: map[string]visit{}}
	for _, name := range operations {
		operation, known := m.Operations[name]
		if !known {
			return nil, fmt.Errorf("the service has no operation %q", name)
		}
		for _, root := range []*reference{operation.Input, operation.Output} {
			if root == nil {
				continue
			}
			if err := walk.visit(root.Shape); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	s.shapes = slices.Sorted(maps.Keys(walk.state))
	return s, s.translatePatterns()
}

func (s *selection) translatePatterns() error {
	bySource := map[string]translatedPattern{}
	for _, name := range s.shapes {
		shape := s.model.Shapes[name]
		if shape.Pattern == "" {
			continue
		}
		translated, err := translatePattern(shape.Pattern, shape.Max.String())
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if other, seen := bySource[shape.Pattern]; seen && other != translated {
			return fmt.Errorf("%s: pattern %s translates in two ways", name, shape.Pattern)
		}
		bySource[shape.Pattern] = translated
	}
	for _, source := range slices.Sorted(maps.Keys(bySource)) {
		s.patterns = append(s.patterns, bySource[source])
	}
	return nil
}

type visit int

const (
	entered visit = iota + 1
	left
)

type walker struct {
	selection *selection
	state     map[string]visit
	stack     []string // the shapes that are entered
}

func (w *walker) visit(name string) error {
	shape, known := w.selection.model.Shapes[name]
	if !known {
		return fmt.Errorf("no shape %q in the model", name)
	}
	w.state[name] = entered
	w.stack = append(w.stack, name)
	defer func() {
		w.state[name] = left
		w.stack = w.stack[:len(w.stack)-1]
	}()
	if err := shape.unsupportedTraits.check(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for i, member := range shape.Members {
		if err := w.follow(edge{name, i}, &member.reference); err != nil {
			return err
		}
	}
	if shape.Key != nil {
		if err := w.follow(edge{name, -1}, shape.Key); err != nil {
			return err
		}
	}
	for _, element := range []*reference{shape.Member, shape.Value} {
		if element == nil {
			continue
		}
		if err := w.follow(edge{name, -1}, element); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) follow(from edge, to *reference) error {
	if err := to.unsupportedTraits.check(); err != nil {
		return fmt.Errorf("%s, member %d: %w", from.from, from.member, err)
	}
	switch w.state[to.Shape] {
	case left:
		return nil
	case entered:
		if !w.cycleHasStructure(to.Shape) {
			return fmt.Errorf("%s: lists and maps that hold only each other have no Go type", to.Shape)
		}
		w.selection.backEdges[from] = true
		return nil
	}
	return w.visit(to.Shape)
}

// cycleHasStructure looks at the cycle that a reference to an entered shape closes.
func (w *walker) cycleHasStructure(to string) bool {
	cycle := w.stack[slices.Index(w.stack, to):]
	return slices.ContainsFunc(cycle, func(name string) bool { return w.selection.model.Shapes[name].Type == "structure" })
}

// kinds names the constant shapes.Kind… of each type.
var kinds = map[string]string{
	"structure": "Structure", "list": "List", "map": "Map",
	"string": "String", "character": "String",
	"integer": "Integer", "long": "Long", "float": "Float", "double": "Double",
	"boolean": "Boolean", "timestamp": "Timestamp", "blob": "Blob",
}

// goType is the type of a member that refers to the shape; element says that it
// stands in a list or map, where nothing can be absent and no pointer is due.
func (s *selection) goType(name string, element bool) (string, error) {
	shape := s.model.Shapes[name]
	optional := func(goType string) (string, error) {
		if element {
			return goType, nil
		}
		return "*" + goType, nil
	}
	switch shape.Type {
	case "structure":
		return optional(exported(name))
	case "list":
		inner, err := s.goType(shape.Member.Shape, true)
		return "[]" + inner, err
	case "map":
		inner, err := s.goType(shape.Value.Shape, true)
		return "map[string]" + inner, err
	case "blob":
		return "[]byte", nil
	}
	goType, known := scalarTypes[shape.Type]
	if !known {
		return "", fmt.Errorf("%s: the generator knows no type %q", name, shape.Type)
	}
	if len(shape.Enum) > 0 {
		goType = exported(name)
	}
	return optional(goType)
}

var scalarTypes = map[string]string{
	"string": "string", "character": "string", "integer": "int32", "long": "int64",
	"float": "float64", "double": "float64", "boolean": "bool", "timestamp": "shapes.Timestamp",
}

// exported is a name of the model as an exported Go name.
func exported(name string) string {
	return strings.ToUpper(name[:1]) + name[1:]
}

// enumConstant names a value of an enum: TrainingJobStatus + "InProgress",
// TrainingInstanceType + "ml.m5.large" → TrainingInstanceTypeMlM5Large.
func enumConstant(shapeName, value string) string {
	words := strings.FieldsFunc(value, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	shouting := strings.ToUpper(value) == value
	var name strings.Builder
	name.WriteString(exported(shapeName))
	for _, word := range words {
		if shouting {
			word = strings.ToLower(word)
		}
		name.WriteString(exported(word))
	}
	return name.String()
}

// bound reads a min or max. Fractions have not occurred; a bound that int64
// cannot hold exactly would be a wrong check.
func bound(number string) (value int64, has bool, err error) {
	if number == "" {
		return 0, false, nil
	}
	if value, err = strconv.ParseInt(number, 10, 64); err == nil {
		return value, true, nil
	}
	float, err := strconv.ParseFloat(number, 64)
	if err != nil || float != float64(int64(float)) {
		return 0, false, fmt.Errorf("the generator cannot hold the bound %s", number)
	}
	return int64(float), true, nil
}
