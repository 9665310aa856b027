package agent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

// newRuntime makes a virtual environment with two modules: shared, and pip, which here only says where it would install.
func newRuntime(t *testing.T) platform.Runtime {
	t.Helper()
	dir := t.TempDir()
	openWay(t, dir)
	dir = filepath.Join(dir, "runtime")
	if out, err := exec.Command("/usr/bin/python3", "-m", "venv", "--without-pip", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sites, err := filepath.Glob(filepath.Join(dir, "lib", "python3*", "site-packages"))
	if err != nil || len(sites) != 1 {
		t.Fatalf("%v, %v", sites, err)
	}
	for name, text := range map[string]string{
		"shared.py": "version = 'the runtime'\n",
		"pip.py":    "import sys, sysconfig; print(sys.argv[1:], sysconfig.get_path('purelib'))\n",
	} {
		if err := os.WriteFile(filepath.Join(sites[0], name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return platform.Runtime{Name: "r", Interpreter: filepath.Join(dir, "bin", "python"), Entry: []string{"{python}", "{shim}"}}
}

// openWay lets every user pass to a folder.
func openWay(t *testing.T, dir string) {
	t.Helper()
	for ; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOwnCommandInstallsPackagesOverTheRuntime(t *testing.T) {
	t.Parallel()
	runtime := newRuntime(t)
	b := newBench(t, `set -e
where() { python3 -c 'import shared, sys; print(sys.prefix, shared.version)'; }
where
pip install a
pip3 install b
site=$(python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
echo "version = 'the job'" > $site/shared.py
where
`)
	if os.Getuid() == 0 {
		if err := os.MkdirAll(b.cfg.Root, 0o755); err != nil {
			t.Fatal(err)
		}
		openWay(t, b.cfg.Root)
		b.cfg.User = &agent.User{UID: 234567, GID: 234568}
	}
	b.assignment.Runtime = runtime
	wantKind(t, b.run(t), platform.Succeeded)
	own := filepath.Join(b.cfg.Root, "home", ".runtime")
	site, err := filepath.Glob(filepath.Join(own, "lib", "python3*", "site-packages"))
	if err != nil || len(site) != 1 {
		t.Fatalf("%v, %v", site, err)
	}
	want := []string{own + " the runtime", "['install', 'a'] " + site[0], "['install', 'b'] " + site[0], own + " the job"}
	if got := b.log(); !slices.Equal(got, want) {
		t.Errorf("log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestScriptModeRunsOnTheRuntimeItself(t *testing.T) {
	t.Parallel()
	runtime := newRuntime(t)
	b := newBench(t, "")
	b.spec.AlgorithmSpecification.ContainerEntrypoint = nil
	b.cfg.Shim = filepath.Join(t.TempDir(), "shim.py")
	if err := os.WriteFile(b.cfg.Shim, []byte("import sys; print(sys.prefix)\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.assignment.Runtime = runtime
	wantKind(t, b.run(t), platform.Succeeded)
	if got, want := b.log(), []string{filepath.Dir(filepath.Dir(runtime.Interpreter))}; !slices.Equal(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
}

func TestARequestsWordsAreItsOwn(t *testing.T) {
	t.Parallel()
	b := newBench(t, `echo "$0"`)
	b.cfg.Shim = "/shim/train.py"
	b.spec.AlgorithmSpecification.ContainerArguments = []string{"{python} {shim}"}
	b.assignment.Runtime = platform.Runtime{Name: "r", Interpreter: "/usr/bin/python3"}
	wantKind(t, b.run(t), platform.Succeeded)
	if got, want := b.log(), []string{"{python} {shim}"}; !slices.Equal(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
}
