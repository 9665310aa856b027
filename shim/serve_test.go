package shim_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/shim"
)

// The model server's tests are Python, since they define models; this runs them: all with the machine's interpreter and with
// the oldest that is there, the contract's with the others, and those of a framework with its runtime.
func TestModelServer(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := shim.Install(folder); err != nil {
		t.Fatal(err)
	}
	for i, interpreter := range pythons() {
		pattern := "test_*.py"
		if i > 1 { // the machine's own comes first, then the others by age
			pattern = "test_contract.py"
		}
		t.Run(filepath.Base(interpreter)+" "+version(t, interpreter), func(t *testing.T) {
			t.Parallel()
			runPythonTests(t, interpreter, folder, pattern)
		})
	}
	for name, interpreter := range runtimePythons(t) {
		t.Run("runtime "+name, func(t *testing.T) {
			t.Parallel()
			runPythonTests(t, interpreter, folder, "framework_"+name+".py")
		})
	}
}

// version is an interpreter's own word for it.
func version(t *testing.T, interpreter string) string {
	t.Helper()
	output, err := exec.Command(interpreter, "-c", "import platform; print(platform.python_version())").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

// runtimePythons are the interpreters of the installed runtimes that have a file of tests.
func runtimePythons(t *testing.T) map[string]string {
	t.Helper()
	runtimes := os.Getenv("STINT_RUNTIMES")
	if runtimes == "" {
		runtimes = filepath.Join("..", ".venv", "stint", "runtimes")
	}
	files, err := filepath.Glob("testdata/serve/framework_*.py")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "framework_"), ".py")
		interpreter, err := filepath.Abs(filepath.Join(runtimes, name, "bin", "python"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(interpreter); err == nil {
			found[name] = interpreter
		}
	}
	return found
}

func runPythonTests(t *testing.T, interpreter, folder, pattern string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, "-B", "-m", "unittest", "discover", "-p", pattern)
	cmd.Dir = filepath.Join("testdata", "serve")
	cmd.Env = append(os.Environ(), "STINT_SERVE_PROGRAM="+filepath.Join(folder, shim.ServeProgram), "TMPDIR="+t.TempDir())
	output, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "\nOK") {
		t.Errorf("%v\n%s", err, output)
	}
}
