package shim_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wheel is a Python package of one module which knows its version.
func wheel(t *testing.T, name, version string) string {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	info := fmt.Sprintf("%s-%s.dist-info/", name, version)
	for _, file := range [][2]string{
		{name + ".py", fmt.Sprintf("version = %q\n", version)},
		{info + "METADATA", fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version)},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", ""},
	} {
		entry, err := w.Create(file[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.String()
}

// newRequiringJob makes a job in a runtime of its own: a virtual environment that sees the
// machine's packages and holds version 1.0 of the module thing. Its pip knows versions 1.0
// and 2.0 and no network.
func newRequiringJob(t *testing.T, requirements string) (j *job, runtime string) {
	t.Helper()
	j = newJob(t, map[string]any{"sagemaker_program": "train.py"}, map[string]string{
		"train.py":         "import sys, thing\nprint(thing.version, sys.executable)\n",
		"requirements.txt": requirements,
	})
	j.write("wheels/thing-1.0-py3-none-any.whl", wheel(t, "thing", "1.0"))
	j.write("wheels/thing-2.0-py3-none-any.whl", wheel(t, "thing", "2.0"))
	j.write("wheels/other-1.0-py3-none-any.whl", wheel(t, "other", "1.0"))
	j.environ = append(j.environ, "PIP_NO_INDEX=1", "PIP_FIND_LINKS="+filepath.Join(j.root, "wheels"), "PIP_CONFIG_FILE=/dev/null")
	runtime = t.TempDir()
	j.python = venv(t, runtime, "--system-site-packages")
	unzip(t, wheel(t, "thing", "1.0"), j.sitePackages(runtime))
	return j, runtime
}

// venv makes a virtual environment without a pip of its own and returns its interpreter.
func venv(t *testing.T, folder string, options ...string) string {
	t.Helper()
	arguments := append([]string{"-m", "venv", "--without-pip", folder}, options...)
	if output, err := exec.Command(python(), arguments...).CombinedOutput(); err != nil {
		t.Fatalf("venv: %v\n%s", err, output)
	}
	return filepath.Join(folder, "bin", "python3")
}

// sitePackages is where a virtual environment keeps its packages.
func (j *job) sitePackages(folder string) string {
	j.t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "lib", "python3*", "site-packages"))
	if err != nil || len(found) != 1 {
		j.t.Fatalf("no packages in %s: %v %v", folder, found, err)
	}
	return found[0]
}

func unzip(t *testing.T, archive, folder string) {
	t.Helper()
	r, err := zip.NewReader(strings.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, r); err != nil {
		t.Fatal(err)
	}
}

// files lists everything under folder but what Python compiles for itself.
func files(t *testing.T, folder string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && !strings.Contains(path, "__pycache__") {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestRequirements: what is there is used without a network, what is missing or of another
// version comes in for this job alone, and the runtime stays as it is.
func TestRequirements(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		requirements string
		version      string
		overlaid     bool
	}{
		"none but a comment": {"# nothing yet\n\n", "1.0", false},
		"satisfied":          {"thing>=1.0\nthing\npip\n", "1.0", false},
		"another version":    {"thing==2.0\n", "2.0", true},
		"a missing one":      {"thing\nother\n", "1.0", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, runtime := newRequiringJob(t, test.requirements)
			before := files(t, runtime)
			r := j.must()
			lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
			version, interpreter, _ := strings.Cut(lines[len(lines)-1], " ")
			if version != test.version || (interpreter != j.python) != test.overlaid {
				t.Errorf("thing %s in %s\n%s", version, interpreter, r.stdout)
			}
			if after := files(t, runtime); !slices.Equal(after, before) {
				t.Errorf("the runtime was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// TestRequirementsFail: pip's own words are in the failure file.
func TestRequirementsFail(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ requirements, want string }{
		"no such package": {"nothing-of-that-name==1\n", `ErrorMessage "ERROR: Could not find a version that satisfies the requirement nothing-of-that-name==1`},
		"not a line":      {"=== what\n", `ErrorMessage "ERROR: Invalid requirement: `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, _ := newRequiringJob(t, test.requirements)
			r := j.run()
			if r.code != 1 || !strings.HasPrefix(r.failure, "InstallRequirementsError:\nExitCode 1\n") || !strings.Contains(r.failure, test.want) {
				t.Errorf("exit code %d, failure %q", r.code, r.failure)
			}
			if !strings.Contains(r.stderr, "ERROR: ") || strings.Contains(r.stdout, "1.0 ") {
				t.Errorf("pip's output is not in the log, or the script ran: %s %s", r.stdout, r.stderr)
			}
		})
	}
}

func TestRequirementsWithoutPip(t *testing.T) {
	t.Parallel()
	j := newJob(t, map[string]any{"sagemaker_program": "train.py"}, map[string]string{"train.py": "", "requirements.txt": "thing\n"})
	j.python = venv(t, t.TempDir())
	if r := j.run(); r.code != 1 || !strings.Contains(r.failure, "has no pip") {
		t.Errorf("exit code %d, failure %q", r.code, r.failure)
	}
}

// TestPackage: a source with a setup.py is installed, and its entry point run as a module.
// (Shell scripts in one are run as such, and get nothing installed: the toolkit's rules.)
func TestPackage(t *testing.T) {
	t.Parallel()
	// The build needs no network: the source brings its own.
	const backend = `
import zipfile
def build_wheel(folder, settings=None, metadata=None):
    with zipfile.ZipFile(folder + "/mine-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write("src/train.py", "mine/train.py")
        wheel.writestr("mine-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        wheel.writestr("mine-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("mine-1.0.dist-info/RECORD", "")
    return "mine-1.0-py3-none-any.whl"
`
	for name, test := range map[string]struct {
		program, backend string
		stdout, failure  string
	}{
		"module":       {"mine/train.py", backend, "module ['-x', '1']\n", ""},
		"shell script": {"run.sh", "raise RuntimeError\n", "shell\n", ""},
		"broken":       {"mine/train.py", "raise RuntimeError\n", "", "InstallModuleError:\nExitCode 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, map[string]any{"sagemaker_program": test.program, "x": "1"}, map[string]string{
				"setup.py":       "raise RuntimeError('not asked')\n",
				"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
				"backend.py":     test.backend,
				"src/train.py":   "import sys\nprint('module', sys.argv[1:])\n",
				"run.sh":         "#!/bin/sh\necho shell\n",
			})
			j.environ = append(j.environ, "PIP_NO_INDEX=1", "PIP_CONFIG_FILE=/dev/null", "PIP_FIND_LINKS=")
			r := j.run()
			if !strings.HasSuffix(r.stdout, test.stdout) || !strings.HasPrefix(r.failure, test.failure) || (r.code == 0) != (r.failure == "") {
				t.Errorf("exit code %d, failure %q\nstdout %s\nstderr %s", r.code, r.failure, r.stdout, r.stderr)
			}
		})
	}
}
