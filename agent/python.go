package agent

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// python is what the user's process finds by the names python, python3 and pip.
type python struct {
	interpreter string // empty: the runtime has none
	path        string // PATH
}

// privatePython is the job's own environment below $HOME.
const privatePython = ".runtime"

// python makes the names python and python3 mean the runtime's interpreter, and pip install packages where the job may write:
// a runtime is shared by all jobs and belongs to none. Script mode installs what a source requires by itself; a command of
// the request's own, as SDK 3.x sends one, runs pip as it would in a container.
func (a *agent) python() (python, error) {
	p := python{interpreter: a.job.Runtime.Interpreter, path: systemPath}
	if p.interpreter == "" {
		return p, nil
	}
	if len(a.spec.AlgorithmSpecification.ContainerEntrypoint) > 0 {
		if packages := packagesOf(p.interpreter); packages != "" {
			return a.overlay(p.interpreter, packages)
		}
	}
	// Not a virtual environment: pip installs into $HOME of its own accord where it may not write.
	p.path = strings.Join([]string{filepath.Dir(p.interpreter), filepath.Join(a.Root, homeFolder, ".local", "bin"), systemPath}, ":")
	var missing []string
	for _, name := range []string{"python", "python3"} {
		if !same(filepath.Join(filepath.Dir(p.interpreter), name), p.interpreter) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return p, nil
	}
	bin, err := a.privateBin(p.interpreter, missing...)
	p.path = bin + ":" + p.path
	return p, err
}

// packagesOf is the package folder of the virtual environment that an interpreter stands in, empty when it stands in none.
func packagesOf(interpreter string) string {
	prefix := filepath.Dir(filepath.Dir(interpreter))
	if _, err := os.Stat(filepath.Join(prefix, "pyvenv.cfg")); err != nil {
		return ""
	}
	found, err := filepath.Glob(filepath.Join(prefix, "lib", "python3*", "site-packages"))
	if err != nil || len(found) != 1 {
		return ""
	}
	return found[0]
}

// overlay makes a virtual environment of the job's own over the runtime's. What the runtime has counts as installed; what the
// job installs comes before it; nothing of the runtime is ever changed. Unlike python -m venv it starts no process.
func (a *agent) overlay(interpreter, packages string) (python, error) {
	prefix := filepath.Join(a.Root, homeFolder, privatePython)
	bin, err := a.privateBin(interpreter, "python", "python3")
	if err != nil {
		return python{}, err
	}
	settings, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(interpreter)), "pyvenv.cfg"))
	if err != nil {
		return python{}, diskError(interpreter, err)
	}
	site := prefix
	for _, name := range []string{"lib", filepath.Base(filepath.Dir(packages)), "site-packages"} {
		site = filepath.Join(site, name)
		if err := a.owned(site); err != nil {
			return python{}, err
		}
	}
	pip := fmt.Sprintf("#!/bin/sh\nexec %s -m pip \"$@\"\n", filepath.Join(bin, "python"))
	for path, content := range map[string]string{
		filepath.Join(prefix, "pyvenv.cfg"): string(settings),
		filepath.Join(site, "_runtime.pth"): fmt.Sprintf("import site; site.addsitedir(%q)\n", packages),
		filepath.Join(bin, "pip"):           pip,
		filepath.Join(bin, "pip3"):          pip,
	} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			return python{}, diskError(path, err)
		}
		if err := a.own(path); err != nil {
			return python{}, err
		}
	}
	return python{
		interpreter: filepath.Join(bin, "python"),
		path:        strings.Join([]string{bin, filepath.Dir(interpreter), systemPath}, ":"),
	}, nil
}

// privateBin makes the job's own folder of programs, in which the names given lead to the interpreter.
func (a *agent) privateBin(interpreter string, names ...string) (string, error) {
	bin := filepath.Join(a.Root, homeFolder, privatePython, "bin")
	for _, folder := range []string{filepath.Dir(bin), bin} {
		if err := a.owned(folder); err != nil {
			return "", err
		}
	}
	for _, name := range names {
		if err := os.Symlink(interpreter, filepath.Join(bin, name)); err != nil {
			return "", diskError(bin, err)
		}
	}
	return bin, nil
}

// pythonVariables are settings that Python and its tools need where they are not in a container.
func pythonVariables(job string) map[string]string {
	return map[string]string{
		"PYTHONUNBUFFERED": "1", // the log is to be live
		// pip of a system's own Python refuses even $HOME, which here is the job's and vanishes with it.
		"PIP_BREAK_SYSTEM_PACKAGES":     "1",
		"PIP_DISABLE_PIP_VERSION_CHECK": "1",
		// torchrun's default is one port for all, and the jobs of one machine share its network. From the job's name, as script
		// mode does it, and below the ports that the kernel gives to clients.
		"PET_MASTER_PORT": strconv.Itoa(20000 + int(crc32.ChecksumIEEE([]byte(job))%10000)),
	}
}

// same reports whether two paths lead to one file.
func same(x, y string) bool {
	xi, err := os.Stat(x)
	if err != nil {
		return false
	}
	yi, err := os.Stat(y)
	return err == nil && os.SameFile(xi, yi)
}
