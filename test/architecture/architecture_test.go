// Package architecture enforces the house rules that a linter does not know: which
// room may import which, how long a file may be, what a package must say of itself,
// and what may not stand in the repository at all.
//
// A rule is a function from a tree (or a list of packages) to complaints, so that
// each is proved on a small made-up tree that breaks it before it judges the real
// one. Nothing here knows what Stint does; rules about one package's behavior belong
// to that package's own tests.
//
// Budgets of functions (length, complexity) are in .golangci.yml.
package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/stint-ml/stint"

// tree is the repository's text: slash-separated path from the top folder → content.
type tree map[string]string

// goPackage is what the import rules look at: paths within the module, without its
// prefix; imports from elsewhere are left as they are.
type goPackage struct {
	Path    string
	Imports []string
}

// rule names a rule over the whole tree and what it finds wrong, one sentence a breach.
type rule struct {
	name  string
	check func(tree) []string
}

func rules(root string) []rule {
	return []rule{
		{"files are short", longFiles},
		{"packages say what lives in them", undocumentedPackages},
		{"folders have names of their own", vagueNames},
		{"nothing runs at import", initFunctions},
		{"constructors are narrow", wideConstructors},
		{"decisions start no goroutines", decidingGoroutines},
		{"no path of a machine", func(t tree) []string { return machinePaths(t, root, os.Getenv("HOME")) }},
		{"no number of a tracker", trackerNumbers},
		{"no address of a registry", registryAddresses},
		{"the plan shows every room", roomsNotInThePlan},
	}
}

func TestHouse(t *testing.T) {
	t.Parallel()
	root := repositoryRoot(t)
	text := readTree(t, root)
	for _, r := range rules(root) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			report(t, r.check(text))
		})
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	packages := listPackages(t, repositoryRoot(t))
	t.Run("point down", func(t *testing.T) {
		t.Parallel()
		report(t, forbiddenImports(packages))
	})
	t.Run("bring no input or output to pure rooms", func(t *testing.T) {
		t.Parallel()
		report(t, impureImports(packages))
	})
}

func report(t *testing.T, complaints []string) {
	t.Helper()
	slices.Sort(complaints)
	for _, complaint := range complaints {
		t.Error(complaint)
	}
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("the repository's top folder is two above this package: %v", err)
	}
	return root
}

// readTree reads every text file that is committed or could be: git knows which
// folders are ignored.
func readTree(t *testing.T, root string) tree {
	t.Helper()
	text := tree{}
	list := output(t, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, but not yet from the index
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.ContainsRune(content[:min(len(content), 8000)], 0) {
			text[name] = string(content)
		}
	}
	if len(text) == 0 {
		t.Fatal("git lists no file: nothing would be checked")
	}
	return text
}

// listPackages asks the go command, so that build constraints count as they do in a
// build. A package that does not compile is listed all the same; the compiler says the rest.
func listPackages(t *testing.T, root string) []goPackage {
	t.Helper()
	var packages []goPackage
	decoder := json.NewDecoder(bytes.NewReader(output(t, root, "go", "list", "-e", "-json=ImportPath,Imports", "./...")))
	for {
		var listed struct {
			ImportPath string
			Imports    []string
		}
		err := decoder.Decode(&listed)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, imported := range listed.Imports {
			listed.Imports[i] = inModule(imported)
		}
		packages = append(packages, goPackage{Path: inModule(listed.ImportPath), Imports: listed.Imports})
	}
	if len(packages) == 0 {
		t.Fatal("go lists no package: nothing would be checked")
	}
	return packages
}

// inModule turns "<module>/api/iam" into "./api/iam", which no other import path looks like.
func inModule(importPath string) string {
	if importPath == module || strings.HasPrefix(importPath, module+"/") {
		return "." + strings.TrimPrefix(importPath, module)
	}
	return importPath
}

func output(t *testing.T, folder, program string, arguments ...string) []byte {
	t.Helper()
	command := exec.Command(program, arguments...)
	command.Dir = folder
	var complaints bytes.Buffer
	command.Stderr = &complaints
	printed, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, complaints.String())
	}
	return printed
}

var generatedMark = regexp.MustCompile(`(?m)^(//|#) Code generated .* DO NOT EDIT\.$`)

// written says whether a person keeps this file: neither generated nor test data.
func written(name, content string) bool {
	if slices.Contains(strings.Split(path.Dir(name), "/"), "testdata") {
		return false
	}
	return !generatedMark.MatchString(content[:min(len(content), 2000)])
}
