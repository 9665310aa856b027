package shim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/shim"
)

// python is the machine's python3, which must be there.
var python = sync.OnceValue(func() string { return findPython("python3") })

// pythons are the interpreters on this machine, python3 first.
var pythons = sync.OnceValue(func() []string {
	found := []string{python()}
	for _, minor := range []string{"8", "9", "10", "11", "12", "13", "14"} {
		if path := findPython("python3." + minor); path != "" && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	return found
})

// findPython is the interpreter that answers to name, past any version manager's stand-in
// for it, or "" when there is none.
func findPython(name string) string {
	output, err := exec.Command(name, "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(output))
}

// job is one training job's world in a fresh folder.
type job struct {
	t       testing.TB
	root    string
	python  string
	folder  string // the installed programs
	environ []string
}

// newJob makes a job of one host whose source holds the files given; its hyperparameters
// ask for quiet, so that its output is the script's alone.
func newJob(t testing.TB, hyperparameters map[string]any, source map[string]string) *job {
	t.Helper()
	j := &job{t: t, root: t.TempDir(), python: python(), folder: t.TempDir()}
	j.environ = append(os.Environ(), "TRAINING_JOB_NAME=a-job", "STINT_NUM_CPUS=4")
	if err := shim.Install(j.folder); err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"sagemaker_container_log_level": "40"}
	for name, value := range hyperparameters {
		all[name] = value
	}
	j.configure("hyperparameters", all)
	j.configure("inputdataconfig", map[string]any{"train": map[string]any{"TrainingInputMode": "File"}})
	j.configure("resourceconfig", map[string]any{"current_host": "algo-1", "hosts": []string{"algo-1"}})
	for name, text := range source {
		j.write("code/"+name, text)
	}
	return j
}

func (j *job) configure(name string, value any) {
	j.t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		j.t.Fatal(err)
	}
	j.write("input/config/"+name+".json", string(text))
}

func (j *job) write(name, text string) {
	j.t.Helper()
	path := filepath.Join(j.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		j.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		j.t.Fatal(err)
	}
}

func (j *job) remove(name string) {
	j.t.Helper()
	if err := os.RemoveAll(filepath.Join(j.root, name)); err != nil {
		j.t.Fatal(err)
	}
}

// read is the text of a file under the job's root, "" when there is none.
func (j *job) read(name string) string {
	j.t.Helper()
	text, err := os.ReadFile(filepath.Join(j.root, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.t.Fatal(err)
	}
	return string(text)
}

func (j *job) command() *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	j.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, j.python, "-S", "-E", filepath.Join(j.folder, shim.TrainProgram), "--root", j.root)
	cmd.Env = j.environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

type result struct {
	code           int
	stdout, stderr string
	failure        string
}

// run runs the job to its end.
func (j *job) run() result {
	j.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := j.command()
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		j.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), j.read("output/failure")}
}

// must is run for a job that has to succeed.
func (j *job) must() result {
	j.t.Helper()
	r := j.run()
	if r.code != 0 || r.failure != "" {
		j.t.Fatalf("exit code %d, failure %q\nstdout: %s\nstderr: %s", r.code, r.failure, r.stdout, r.stderr)
	}
	return r
}

func TestInstallTwiceKeepsWhatIsRight(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "shim")
	if err := shim.Install(folder); err != nil {
		t.Fatal(err)
	}
	train, launch := filepath.Join(folder, shim.TrainProgram), filepath.Join(folder, "launch.py")
	before, err := os.Stat(train)
	if err != nil {
		t.Fatal(err)
	}
	if before.Mode().Perm() != 0o644 {
		t.Errorf("mode is %v; a job's user could not read it", before.Mode())
	}
	if err := os.WriteFile(launch, []byte("half a progr"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := shim.Install(folder); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(train)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("a file that was right has been replaced")
	}
	want, _ := fs.ReadFile(shim.Programs(), "launch.py")
	if got, _ := os.ReadFile(launch); !bytes.Equal(got, want) {
		t.Error("a damaged file has not been replaced")
	}
}

// TestProgramsNeedOnlyTheStandardLibrary holds the list of every module the programs may
// import: each is in the standard library of Python 3.8 to 3.13, or is one of them. The
// model server's formats and frameworks are about libraries, which they import when a model needs them.
func TestProgramsNeedOnlyTheStandardLibrary(t *testing.T) {
	t.Parallel()
	allowed := []string{
		"_json", "_signal", "importlib", "json", "os", "shlex", "shutil", "site", "subprocess",
		"sys", "tarfile", "traceback", "zlib",
		"fastjson", "jobenv", "launch", "prepare", "scriptmode",
		"sitecustomize", // the one that ours hides
	}
	serving := append([]string{
		"array", "atexit", "collections", "csv", "importlib.machinery", "importlib.util", "inspect", "io", "logging", "math", "mmap",
		"pickle", "select", "signal", "socket", "struct", "threading", "time", "types", "urllib.parse",
		"stintserve",
	}, allowed...)
	libraries := map[string][]string{
		"stintserve/codecs.py":     {"numpy"},
		"stintserve/frameworks.py": {"numpy", "onnxruntime", "scipy.sparse", "torch", "xgboost"},
	}
	const scan = `
import ast, sys
for node in ast.walk(ast.parse(sys.stdin.read())):
    if isinstance(node, ast.Import):
        print(*[alias.name for alias in node.names], sep="\n")
    elif isinstance(node, ast.ImportFrom) and not node.level:
        print(node.module)
`
	interpreter := python()
	err := fs.WalkDir(shim.Programs(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(shim.Programs(), path)
		if err != nil {
			return err
		}
		cmd := exec.Command(interpreter, "-c", scan)
		cmd.Stdin = bytes.NewReader(text)
		output, err := cmd.Output()
		if err != nil {
			return err
		}
		modules := allowed
		if strings.Contains(path, "serve") {
			modules = append(libraries[path], serving...)
		}
		for _, module := range strings.Fields(string(output)) {
			if !slices.Contains(modules, module) {
				t.Errorf("%s imports %s", path, module)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryInterpreterHereRunsIt(t *testing.T) {
	t.Parallel()
	for _, python := range pythons() {
		t.Run(python, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, map[string]any{"sagemaker_program": `"train.py"`, "n": "[1]"}, map[string]string{
				"train.py": "import sys, os\nassert sys.argv == ['train.py', '-n', '[1]'], sys.argv\nraise OSError(os.environ['SM_HP_N'])\n",
			})
			j.python = python
			r := j.run()
			if r.code != 1 || !strings.Contains(r.failure, `ErrorMessage "OSError: [1]`) {
				t.Errorf("exit code %d, failure %q, stderr %s", r.code, r.failure, r.stderr)
			}
		})
	}
}

// TestFastJSONIsJSON compares the two on values and on text that is not JSON, each in
// an interpreter of its own: the json package changes what the C code under it does.
func TestFastJSONIsJSON(t *testing.T) {
	t.Parallel()
	const answers = `
import os, sys
sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "json":
    import json
    loads, dumps = json.loads, lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"))
else:
    import fastjson
    assert fastjson._scan is not None, "this interpreter gets the slow way"
    loads, dumps = fastjson.loads, fastjson.dumps
for text in ["", " ", "1", " 1 ", "1 2", "1e", "1e5", "-", "-0", "0.1", "01", ".5", "NaN", "-Infinity", "nan", "null", "nulll",
    "true", "True", '"a"', '"a', "'a'", "[1,]", "[1", "[]", "[1, [2, {}]]", "{", '{"a": 1, "a": 2}', "{1: 2}", '"\\ud800"', '"\u00e9\\n"',
    '"tab\there"', '"\\x"', "\ufeff1", "\u00a01", "9" * 40, "1" * 5000, '{"b": {"d": [true, null], "c": 1.5e300}, "a": "\u4e16"}', "[" * 99999]:
    try:
        value = loads(text)
        print(ascii(text)[:40], ascii(value), dumps(value), dumps(value))
    except (ValueError, RecursionError):
        print(ascii(text)[:40], "refused")
    if sys.argv[2] != "json":
        for name in [name for name in sys.modules if name.split(".")[0] == "json"]:
            del sys.modules[name]
`
	folder := t.TempDir()
	if err := shim.Install(folder); err != nil {
		t.Fatal(err)
	}
	for _, python := range pythons() {
		want, err := exec.Command(python, "-c", answers, folder, "json").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", python, err, want)
		}
		got, err := exec.Command(python, "-c", answers, folder, "fastjson").CombinedOutput()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n got %s\nwant %s", python, err, got, want)
		}
	}
}

// BenchmarkStart measures from starting the shim to the user's process having run: the
// time that script mode adds to every job (the script is an empty shell script).
func BenchmarkStart(b *testing.B) {
	j := newJob(b, map[string]any{"sagemaker_program": "run.sh"}, map[string]string{"run.sh": "#!/bin/sh\n"})
	for b.Loop() {
		j.must()
	}
}
