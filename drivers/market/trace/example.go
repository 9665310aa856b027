package trace

import _ "embed" // the example

//go:embed example.csv
var example []byte

// Example is a small trace to try things with: three days, made up, without prices and for any instance type.
func Example() (*Trace, error) {
	return parse(example, source{file: "the built-in example"})
}
