package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

const (
	toyBotocore = "testdata/botocore/data"
	toyModel    = toyBotocore + "/toy/2020-01-01/service-2.json"
	golden      = "testdata/golden/toy"
)

// TestGolden generates a small service that has one of everything.
func TestGolden(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	stale := filepath.Join(out, "toy", "stale_gen.go")
	if err := os.MkdirAll(filepath.Dir(stale), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale, []byte("package toy\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := generate(toyBotocore, "testdata/operations.txt", out); err != nil {
		t.Fatal(err)
	}
	got := readFolder(t, filepath.Join(out, "toy"))
	if *update {
		if err := writePackage(golden, got); err != nil {
			t.Fatal(err)
		}
	}
	want := readFolder(t, golden)
	for name := range want {
		if got[name] == nil {
			t.Errorf("%s is not generated", name)
		}
	}
	for name, content := range got {
		if !bytes.Equal(content, want[name]) {
			t.Errorf("%s differs from %s: run go test ./shapes/generate -update and read the difference", name, golden)
		}
	}
	if output, err := exec.CommandContext(t.Context(), "go", "build", "./"+golden).CombinedOutput(); err != nil {
		t.Errorf("the generated package does not compile: %s", output)
	}
}

func readFolder(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = content
	}
	return files
}

// TestRefusals: what the generator does not understand, it names.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ operations, from, to, want string }{
		"no pin":              {operations: "toy MakeToy", want: "pins the model"},
		"another version":     {operations: "botocore 9.9.9\ntoy MakeToy", want: "botocore 0.0.1 is installed, operations.txt pins 9.9.9"},
		"a line of one word":  {operations: "botocore 0.0.1\ntoy", want: "operations.txt:2"},
		"a line twice":        {operations: "botocore 0.0.1\ntoy MakeToy\ntoy MakeToy", want: "listed twice"},
		"no such service":     {operations: "botocore 0.0.1\ngame Play", want: `no service "game"`},
		"no such operation":   {operations: "botocore 0.0.1\ntoy Play", want: `no operation "Play"`},
		"an unknown trait":    {from: `"Moment": {"type": "timestamp"`, to: `"Moment": {"type": "timestamp", "timestampFormat": "iso8601"`, want: "knows no such trait"},
		"an unknown type":     {from: `"type": "boolean"`, to: `"type": "bigDecimal"`, want: `knows no type "bigDecimal"`},
		"a dangling shape":    {from: `{"shape": "Price"}`, to: `{"shape": "Cost"}`, want: `no shape "Cost"`},
		"lookaround":          {from: `[a-zA-Z0-9](-*[a-zA-Z0-9])*`, to: `(?!-)[a-z-]+`, want: "patterns.go"},
		"a long repeat":       {from: `"ToyArn": {"type": "string", "max": 2048`, to: `"ToyArn": {"type": "string", "max": 4096`, want: "too long for Go"},
		"a fractional bound":  {from: `"max": 1.0`, to: `"max": 0.5`, want: "cannot hold the bound 0.5"},
		"two members, a name": {from: `"Fragile": {`, to: `"name": {`, want: "would both be named Name"},
		"two enums, a name":   {from: `"red"`, to: `"lightBlue"`, want: "would both be named ColourTypeLightBlue"},
		"maps of maps":        {from: `"MakeToyResponse": {"type": "structure", "members": {`, to: `"M": {"type": "map", "key": {"shape": "Secret"}, "value": {"shape": "M"}}, "MakeToyResponse": {"type": "structure", "members": {"Map": {"shape": "M"},`, want: "have no Go type"},
		"an error that is no": {from: `"members": {}, "exception": true}`, to: `"members": {}}`, want: "not an exception"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			operations := filepath.Join(folder, "operations.txt")
			text := c.operations
			if text == "" {
				text = "botocore 0.0.1\ntoy MakeToy"
			}
			model, err := os.ReadFile(toyModel)
			if err != nil {
				t.Fatal(err)
			}
			if c.from != "" && !strings.Contains(string(model), c.from) {
				t.Fatalf("the model has no %s", c.from)
			}
			changed := filepath.Join(folder, "data", "toy", "2020-01-01", "service-2.json")
			for path, content := range map[string]string{
				operations:                           text,
				changed:                              strings.Replace(string(model), c.from, c.to, 1),
				filepath.Join(folder, "__init__.py"): "__version__ = '0.0.1'\n",
			} {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err = generate(filepath.Join(folder, "data"), operations, filepath.Join(folder, "out"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}
