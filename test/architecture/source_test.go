package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

const (
	maxFileLines             = 500
	maxConstructorParameters = 5
)

var (
	budgetedExtensions = []string{".go", ".py", ".ts", ".tsx", ".js"}
	// An exemption is worth a sentence, near the top where a reader meets it.
	exemptMark = regexp.MustCompile(`(?m)^\s*(//|#) budget:exempt \S.{9,}$`)
)

// longFiles tells which written source is over budget and does not say why.
func longFiles(t tree) []string {
	var complaints []string
	for name, content := range t {
		if !slices.Contains(budgetedExtensions, path.Ext(name)) || !written(name, content) {
			continue
		}
		lines := strings.SplitAfter(content, "\n")
		if exemptMark.MatchString(strings.Join(lines[:min(len(lines), 10)], "")) {
			continue
		}
		if n := len(strings.TrimSuffix(content, "\n")); n > 0 {
			n = strings.Count(content[:n], "\n") + 1
			if n > maxFileLines {
				complaints = append(complaints, fmt.Sprintf("%s has %d lines, over the budget of %d", name, n, maxFileLines))
			}
		}
	}
	return complaints
}

// undocumentedPackages tells which Go package has no doc comment in any of its files.
// A folder of tests alone is a package too.
func undocumentedPackages(t tree) []string {
	documented := map[string]bool{}
	for name, file := range parsed(t) {
		folder := path.Dir(name)
		says := file.Doc != nil && len(strings.TrimSpace(file.Doc.Text())) > 0
		documented[folder] = documented[folder] || says
	}
	var complaints []string
	for folder, ok := range documented {
		if !ok {
			complaints = append(complaints, fmt.Sprintf("package %s has no doc comment: say what lives there and what must not", folder))
		}
	}
	return complaints
}

// vagueNames tells which folder of source is named for no one thing.
func vagueNames(t tree) []string {
	vague := []string{"base", "common", "helper", "helpers", "internal", "misc", "pkg", "util", "utils"}
	found := map[string]bool{}
	for name, content := range t {
		if !slices.Contains(budgetedExtensions, path.Ext(name)) || !written(name, content) {
			continue
		}
		for _, folder := range strings.Split(path.Dir(name), "/") {
			if slices.Contains(vague, folder) {
				found[fmt.Sprintf("%s: a folder named %q says nothing of what is in it", path.Dir(name), folder)] = true
			}
		}
	}
	return keys(found)
}

// initFunctions tells which file acts by being imported; main wires, explicitly.
func initFunctions(t tree) []string {
	var complaints []string
	for name, function := range functions(t) {
		if function.Recv == nil && function.Name.Name == "init" {
			complaints = append(complaints, name+" has an init function: call it from where things are wired")
		}
	}
	return complaints
}

// wideConstructors tells which New… takes more than a reader can tell apart at the call.
func wideConstructors(t tree) []string {
	var complaints []string
	for name, function := range functions(t) {
		if function.Recv != nil || !strings.HasPrefix(strings.ToLower(function.Name.Name), "new") {
			continue
		}
		if n := function.Type.Params.NumFields(); n > maxConstructorParameters {
			complaints = append(complaints, fmt.Sprintf("%s: %s takes %d parameters, over the budget of %d: take a Config struct",
				name, function.Name.Name, n, maxConstructorParameters))
		}
	}
	return complaints
}

// decidingGoroutines tells which decision depends on a schedule.
func decidingGoroutines(t tree) []string {
	found := map[string]bool{}
	for name, file := range parsed(t) {
		if !strings.HasPrefix(name, "decide/") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if _, ok := node.(*ast.GoStmt); ok {
				found[name+" starts a goroutine: a decision is a plain function"] = true
			}
			return true
		})
	}
	return keys(found)
}

// functions yields the written functions of the tree with the names of their files.
func functions(t tree) func(yield func(string, *ast.FuncDecl) bool) {
	return func(yield func(string, *ast.FuncDecl) bool) {
		for name, file := range parsed(t) {
			if !written(name, t[name]) {
				continue
			}
			for _, declared := range file.Decls {
				if function, ok := declared.(*ast.FuncDecl); ok && !yield(name, function) {
					return
				}
			}
		}
	}
}

// parsed yields the Go files of the tree, but for test data. What does not parse is
// skipped: the compiler reports it better.
func parsed(t tree) func(yield func(string, *ast.File) bool) {
	return func(yield func(string, *ast.File) bool) {
		for name, content := range t {
			if path.Ext(name) != ".go" || slices.Contains(strings.Split(name, "/"), "testdata") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, content, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				continue
			}
			if !yield(name, file) {
				return
			}
		}
	}
}

func keys(set map[string]bool) []string {
	var list []string
	for key := range set {
		list = append(list, key)
	}
	return list
}
