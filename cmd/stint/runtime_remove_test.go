package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stint-ml/stint/platform"
)

func TestRuntimeRemove(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	python, err := os.Executable() // any program will do
	if err != nil {
		t.Fatal(err)
	}
	remains := filepath.Join(b.home.Runtimes(), "sklearn") // of an installation that was broken off
	if err := os.MkdirAll(remains, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args, out, err string
		code           int
	}{
		{args: "add mine --image mine --python " + python, out: "mine  added for mine\n"},
		{args: "add tool --image tool --entry /opt/tool", out: "tool  added for tool\n"},
		{args: "remove", err: "stint: remove needs the names of runtimes; see: stint runtime remove --help\n", code: 2},
		{args: "remove cobol", err: "stint: there is no runtime \"cobol\"; there are [tool mine sklearn xgboost pytorch python onnx exec]\n", code: 1},
		{args: "remove exec", err: "stint: the runtime exec is part of stint and cannot be removed\n", code: 1},
		{args: "remove xgboost", err: "✓ xgboost  is not installed\n"},
		{args: "remove mine sklearn", err: "✓ mine  removed\n✓ sklearn  removed\n"},
		{args: "rm tool --json", out: "{\n  \"Removed\": [\n    \"tool\"\n  ]\n}\n", err: "✓ tool  removed\n"},
		{args: "remove mine", err: "stint: there is no runtime \"mine\"; there are [sklearn xgboost pytorch python onnx exec]\n", code: 1},
	} {
		code, out, stderr := b.run(append([]string{"runtime"}, strings.Fields(tt.args)...)...)
		if code != tt.code || out != tt.out || stderr != tt.err {
			t.Errorf("runtime %s: exit %d, out %q, err %q", tt.args, code, out, stderr)
		}
	}
	if _, err := os.Stat(remains); !os.IsNotExist(err) {
		t.Errorf("the environment is still there: %v", err)
	}
}

func TestARuntimeInUseIsKept(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	python, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.run("runtime", "add", "mine", "--image", "stint/python", "--python", python)
	b.run("runtime", "add", "other", "--image", "other", "--python", python)
	b.create("digits")
	if err := os.MkdirAll(filepath.Join(b.home.Agents(), "digits-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	remove := func(name string) (int, string) {
		code, _, stderr := b.run("runtime", "remove", name)
		return code, stderr
	}
	if code, stderr := remove("mine"); code != 1 || stderr != "stint: the runtime mine is used by the job digits; wait for its end, or end it with: stint stop digits\n" {
		t.Errorf("one in use: exit %d, %q", code, stderr)
	}
	if code, stderr := remove("other"); code != 0 {
		t.Errorf("one not in use: exit %d, %q", code, stderr)
	}
	b.announce("http://127.0.0.1:1")
	if code, stderr := remove("mine"); code != 3 || !strings.HasPrefix(stderr, "stint: no server answers") {
		t.Errorf("without the server: exit %d, %q", code, stderr)
	}
	b.announce(b.door.URL)
	b.change("digits", b.enter(platform.JobPhaseFailed))
	if code, stderr := remove("mine"); code != 0 {
		t.Errorf("after the job: exit %d, %q", code, stderr)
	}
}

func TestRuntimesThatCanBeRemovedAreOffered(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.run("runtime", "add", "tool", "--image", "tool", "--entry", "/opt/tool")
	b.execute(t.Context(), []string{"__complete", "--home", string(b.home), "runtime", "remove", ""})
	if out := b.out.take(); !strings.HasPrefix(out, "tool\t/opt/tool\n:") {
		t.Errorf("offered: %q", out)
	}
}

// What serves or transforms keeps its runtime too, also an endpoint that sleeps and so has no agent.
func TestARuntimeOfInferenceIsKept(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	python, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.run("runtime", "add", "mine", "--image", "stint/python", "--python", python)
	b.serve("digits")
	kept := func(by, end string) {
		t.Helper()
		code, _, stderr := b.run("runtime", "remove", "mine")
		if want := "stint: the runtime mine is used by the " + by + "; wait for its end, or end it with: stint " + end + "\n"; code != 1 || stderr != want {
			t.Errorf("exit %d, %q, want %q", code, stderr, want)
		}
	}
	kept("endpoint digits", "endpoint delete digits")
	b.transform("batch", "1")
	kept("job batch", "stop batch")
	b.transforms("batch", func(s *platform.TransformStatus) error { return s.Enter(platform.JobFailed, b.door.Clock.Now()) })
	kept("endpoint digits", "endpoint delete digits")
	b.announce("http://127.0.0.1:1") // nothing runs here, and nobody is there to begin it
	if code, _, stderr := b.run("runtime", "remove", "mine"); code != 0 {
		t.Errorf("without a server and without agents: exit %d, %q", code, stderr)
	}
}
