package architecture

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// mayImport is the dependency rule: the top folder of a package → the top folders it
// may import. Anywhere, a package may also import those it lies in (api/iam imports
// api), and nothing else in its own top folder: siblings never know each other.
var mayImport = map[string][]string{
	"cmd":     {anything},
	"sim":     {"control", "decide", "drivers", "platform", "shapes"}, // a job's spec is a shape
	"api":     {"decide", "platform", "shapes", "wire"},
	"router":  {"decide", "http1", "platform", "shapes"},
	"agent":   {"decide", "http1", "platform", "shapes"},
	"control": {"decide", "platform", "shapes"},
	"drivers": {"platform", "shapes"},
	"decide":  {"platform", "shapes"},

	"platform": {"shapes"},
	"wire":     {"http1"},
	"http1":    {},
	"shapes":   {},
	"shim":     {},
	"studio":   {},

	// Not part of the product: these try it, measure it and show it.
	"test":     {anything},
	"scripts":  {anything},
	"examples": {anything},
	"bench":    {anything},
}

const anything = "*"

// forbiddenImports tells what breaks the dependency rule. Test files are free: they
// need doubles from other rooms.
func forbiddenImports(packages []goPackage) []string {
	var complaints []string
	for _, p := range packages {
		top := topFolder(p.Path)
		allowed, known := mayImport[top]
		if !known {
			complaints = append(complaints, fmt.Sprintf("%s: %q has no place in the dependency rule (test/architecture)", p.Path, top))
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, "./") || slices.Contains(allowed, anything) {
				continue
			}
			if liesIn(p.Path, imported) || slices.Contains(allowed, topFolder(imported)) {
				continue
			}
			complaints = append(complaints, fmt.Sprintf("%s imports %s; %s may import %s and the packages it lies in",
				p.Path, imported, top, orNothing(allowed)))
		}
	}
	return complaints
}

// pureRooms hold nouns and decisions: what they say must follow from their arguments alone.
var pureRooms = []string{"platform", "decide", "shapes"}

// impureImports tells which pure package reaches for the outside world. Generators
// that live beside what they generate are programs, not part of the room.
func impureImports(packages []goPackage) []string {
	outside := []string{"database/sql", "net", "net/http", "os", "os/exec", "os/signal", "syscall"}
	var complaints []string
	for _, p := range packages {
		if !slices.Contains(pureRooms, topFolder(p.Path)) || p.Path == "./shapes/generate" {
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(outside, imported) {
				complaints = append(complaints, fmt.Sprintf("%s imports %s; %s does no input or output", p.Path, imported, topFolder(p.Path)))
			}
		}
	}
	return complaints
}

func topFolder(packagePath string) string {
	top, _, _ := strings.Cut(strings.TrimPrefix(packagePath, "./"), "/")
	return top
}

func liesIn(packagePath, folder string) bool { return strings.HasPrefix(packagePath, folder+"/") }

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing of ours"
	}
	return strings.Join(names, ", ")
}

func TestForbiddenImports(t *testing.T) {
	t.Parallel()
	tests := []struct {
		importer, imported string
		allowed            bool
	}{
		{"./cmd/stint", "./drivers/store/sqlite", true},
		{"./cmd/stint", "./cmd/stint/flags", true},
		{"./test/e2e", "./cmd/stint", true},
		{"./api/sagemaker", "./wire/awsjson", true},
		{"./api/sagemaker", "./api", true},
		{"./drivers/store/sqlite", "./drivers/store", true},
		{"./drivers/store/sqlite/schema", "./drivers/store", true},
		{"./sim", "./drivers/runner/fake", true},
		{"./platform", "./shapes/sagemaker", true},
		{"./shapes/sagemaker", "./shapes", true},
		{"./wire/query", "net/http", true},
		{"./wire", "./http1", true},
		{"./router", "./http1", true},
		{"./decide/spot", "gonum.org/v1/gonum/stat", true},

		{"./api/sagemaker", "./api/iam", false},           // siblings
		{"./api", "./api/iam", false},                     // a parent knows no child
		{"./control/training", "./control/meter", false},  // siblings
		{"./drivers/store/sqlite", "./drivers/s3", false}, // adapters never meet
		{"./drivers/store/memory", "./drivers/store/sqlite", false},
		{"./drivers/storetest", "./drivers/store", false}, // a name that begins alike is no parent
		{"./control/training", "./wire", false},
		{"./control/training", "./drivers/runner/local", false},
		{"./decide/bill", "./control/training", false},
		{"./platform", "./decide/bill", false},
		{"./platform", "./wire", false},
		{"./wire", "./platform", false},
		{"./http1", "./wire", false},
		{"./wire/awsjson", "./shapes", false},
		{"./shapes/sagemaker", "./platform", false},
		{"./shim", "./platform", false},
		{"./agent", "./api/sagemaker", false},
		{"./sim", "./wire", false},
		{"./api/s3", "./cmd/stint", false},
		{"./drivers/runner/local", "./agent", false},
		{"./newroom", "fmt", false},      // a room that the rule does not know
		{"./newroom", "./wire", false},   //
		{".", "./platform", false},       // the top folder is no room
		{"./api/iam", "./extras", false}, // nor is one that the rule does not know importable
	}
	for _, tt := range tests {
		t.Run(tt.importer+" → "+tt.imported, func(t *testing.T) {
			t.Parallel()
			found := forbiddenImports([]goPackage{{Path: tt.importer, Imports: []string{tt.imported}}})
			if (len(found) == 0) != tt.allowed {
				t.Errorf("allowed should be %v, complaints: %q", tt.allowed, found)
			}
		})
	}
}

func TestImpureImports(t *testing.T) {
	t.Parallel()
	tests := []struct {
		importer, imported string
		allowed            bool
	}{
		{"./decide/bill", "math/big", true},
		{"./decide/authorize", "net/netip", true},
		{"./shapes/generate", "os", true},
		{"./control/training", "os", true},
		{"./decide/bill", "os", false},
		{"./platform", "net/http", false},
		{"./platform/catalog", "os", false},
		{"./shapes", "database/sql", false},
	}
	for _, tt := range tests {
		t.Run(tt.importer+" → "+tt.imported, func(t *testing.T) {
			t.Parallel()
			found := impureImports([]goPackage{{Path: tt.importer, Imports: []string{tt.imported}}})
			if (len(found) == 0) != tt.allowed {
				t.Errorf("allowed should be %v, complaints: %q", tt.allowed, found)
			}
		})
	}
}

func TestInModule(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		module:               ".",
		module + "/api/iam":  "./api/iam",
		module + "-extra/x":  module + "-extra/x",
		"encoding/json":      "encoding/json",
		"example.com/stint/": "example.com/stint/",
	} {
		if got := inModule(given); got != want {
			t.Errorf("inModule(%q) = %q, want %q", given, got, want)
		}
	}
}
