package runtimes

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stint-ml/stint/platform"
)

func TestBuiltInLinesAreWhole(t *testing.T) {
	t.Parallel()
	lines, err := Open(t.TempDir()).List()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if l.Name == "" || len(l.Images) == 0 || l.About == "" || len(l.Serve) == 0 {
			t.Errorf("%+v", l)
		}
		if l.Pins == "" {
			continue
		}
		for pin := range strings.FieldsSeq(pinsOf(l)) {
			if !strings.Contains(pin, "==") {
				t.Errorf("%s: %q is not pinned", l.Name, pin)
			}
		}
		if pinsOf(l) == "" {
			t.Errorf("%s: %s is empty", l.Name, l.Pins)
		}
	}
}

// markInstalled makes a built-in runtime look like one whose installation was finished.
func markInstalled(t *testing.T, table *Table, name string) {
	t.Helper()
	l, err := table.named(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(table.marker(name), []byte(pinsOf(l))); err != nil {
		t.Fatal(err)
	}
}

func TestResolveKnowsTheImagesThatTheSDKsName(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	for _, name := range []string{"sklearn", "xgboost", "pytorch", "python", "onnx"} {
		markInstalled(t, table, name)
	}
	for image, want := range map[string]string{
		"683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3": "sklearn",
		"683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1":              "xgboost",
		"763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:1.13-cpu-py39":       "pytorch",
		"763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.1-cpu-py310":      "pytorch",
		"763104351884.dkr.ecr.cn-north-1.amazonaws.com.cn/pytorch-training:1.13.1-gpu-py39": "pytorch",
		"python": "python", "python:3.11-slim": "python", "stint/onnx": "onnx", "stint/exec": "exec", "localhost/stint/exec:v1": "exec",
	} {
		if r, err := table.Resolve(image); err != nil || r.Name != want {
			t.Errorf("%s: %q, %v; want %s", image, r.Name, err, want)
		}
	}
}

func TestWhatIsMissingNamesTheCommand(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	for _, c := range []struct {
		image string
		kind  platform.ErrorKind
		says  string
	}{
		{"sagemaker-scikit-learn:1.2-1-cpu-py3", platform.Unavailable, "stint runtime install sklearn"},
		{"example.com/team/own-image:7", platform.NotFound, "stint runtime add NAME --image 'team/own-image:7'"},
		{"xsagemaker-scikit-learn:1", platform.NotFound, "stint runtime list"},
	} {
		_, err := table.Resolve(c.image)
		if !platform.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.image, err)
		}
	}
}

func TestAHalfInstallationDoesNotCount(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	bin := filepath.Join(table.dir, "sklearn", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "python"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Resolve("sagemaker-scikit-learn:1"); !platform.Is(err, platform.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestAUsersLineWins(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	own := Line{Runtime: platform.Runtime{Name: "mine", Images: []string{"sagemaker-scikit-learn", "team/*"}, Interpreter: "/bin/sh", Entry: []string{"{python}"}}}
	if err := table.Add(own); err != nil {
		t.Fatal(err)
	}
	own.Entry = []string{"{python}", "-u"}
	if err := table.Add(own); err != nil { // again: replaced, not doubled
		t.Fatal(err)
	}
	r, err := table.Resolve("sagemaker-scikit-learn:1.2-1-cpu-py3")
	if err != nil || r.Name != "mine" || len(r.Entry) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	var lines []Line
	doc, err := os.ReadFile(table.file())
	if err != nil || json.Unmarshal(doc, &lines) != nil || len(lines) != 1 {
		t.Errorf("%s, %v", doc, err)
	}
	for _, bad := range []Line{
		{}, {Runtime: platform.Runtime{Name: "a/b", Images: []string{"x"}}},
		{Runtime: platform.Runtime{Name: "a", Images: []string{"x"}, Interpreter: "relative"}},
	} {
		if err := table.Add(bad); !platform.Is(err, platform.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestADamagedTableSaysWhichFile(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	if err := os.WriteFile(table.file(), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Resolve("python"); !platform.Is(err, platform.Invalid) || !strings.Contains(err.Error(), table.file()) {
		t.Errorf("%v", err)
	}
}

func TestProgramsTakeThePythonOfThePath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "python3"), []byte("#!/bin/sh\necho \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writePrograms(Line{Programs: map[string]string{"torchrun": "torch.distributed.run"}}, dir); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "torchrun"), "--nnodes=1", "a b")
	cmd.Env = []string{"PATH=" + bin}
	out, err := cmd.Output()
	if want := "-m torch.distributed.run --nnodes=1 a b\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

func TestInstallOfAnUnknownRuntimeNamesThoseThereAre(t *testing.T) {
	t.Parallel()
	err := Open(t.TempDir()).Install(t.Context(), "nope", &bytes.Buffer{})
	if !platform.Is(err, platform.NotFound) || !strings.Contains(err.Error(), "sklearn") {
		t.Errorf("%v", err)
	}
}
