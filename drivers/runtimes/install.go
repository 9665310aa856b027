package runtimes

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/stint-ml/stint/platform"
)

//go:embed pins/*.txt
var pins embed.FS

// pythons are the interpreters an environment is made from, the first that is there. The system's comes first: jobs run as
// unprivileged users, who cannot reach one under root's home.
var pythons = []string{"/usr/bin/python3", "python3"}

// Install makes the environment of a built-in runtime, saying to out what it does. An interrupted installation is not seen
// as installed and is made anew; one that is whole is left alone.
func (t *Table) Install(ctx context.Context, name string, out io.Writer) error {
	line, err := t.named(name)
	if err != nil {
		return err
	}
	if line.Pins == "" || t.Installed(line) {
		fmt.Fprintf(out, "%s: installed\n", name)
		return nil
	}
	// 1. Clear what an interrupted installation left. Only the finished one has the marker.
	dir := filepath.Join(t.dir, name)
	if err := os.RemoveAll(dir); err != nil {
		return platform.Errorf(platform.Internal, dir, "clear %s: %w", dir, err)
	}
	if err := os.MkdirAll(t.dir, 0o755); err != nil { // jobs run as other users and read it
		return platform.Errorf(platform.Internal, dir, "make %s: %w", t.dir, err)
	}
	// 2. Make the environment, and install into it exactly what is pinned.
	if err := makeEnvironment(ctx, line, dir, out); err != nil {
		return err
	}
	if err := installPins(ctx, line, dir, out); err != nil {
		return err
	}
	if err := writePrograms(line, dir); err != nil {
		return err
	}
	// 3. It counts from now on.
	if err := replaceFile(t.marker(name), []byte(pinsOf(line))); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: installed\n", name)
	return nil
}

// makeEnvironment makes a virtual environment and sees that what the system must bring is there, before anything is
// downloaded.
func makeEnvironment(ctx context.Context, line Line, dir string, out io.Writer) error {
	python, err := findPython()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: making an environment of %s in %s\n", line.Name, python, dir)
	args := []string{"-m", "venv", dir}
	if line.System {
		args = []string{"-m", "venv", "--system-site-packages", dir}
	}
	if err := run(ctx, out, python, args...); err != nil {
		return platform.Errorf(platform.Unavailable, line.Name, "%s -m venv failed (on Debian: apt-get install python3-venv): %w", python, err)
	}
	if line.Needs == "" {
		return nil
	}
	if err := run(ctx, io.Discard, line.Interpreter, "-c", "import "+line.Needs); err != nil {
		return platform.Errorf(platform.Unavailable, line.Name, "runtime %s needs the Python module %s; get it with: %s", line.Name, line.Needs, line.Remedy)
	}
	return nil
}

func installPins(ctx context.Context, line Line, dir string, out io.Writer) error {
	list := filepath.Join(dir, "pins.txt")
	if err := os.WriteFile(list, []byte(pinsOf(line)), 0o644); err != nil { // jobs run as other users and read it
		return platform.Errorf(platform.Internal, dir, "write %s: %w", list, err)
	}
	err := run(ctx, out, line.Interpreter, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-deps",
		"--ignore-installed", "--progress-bar", "off", "-r", list)
	if err != nil {
		return platform.Errorf(platform.Unavailable, line.Name, "pip could not install the packages of runtime %s: %w", line.Name, err)
	}
	return nil
}

// writePrograms makes the runtime's commands. They take the python3 of the caller's PATH: a job may have one of its own over
// the runtime's.
func writePrograms(line Line, dir string) error {
	for name, module := range line.Programs {
		path := filepath.Join(dir, "bin", name)
		program := "#!/bin/sh\nexec python3 -m " + module + " \"$@\"\n"
		if err := os.WriteFile(path, []byte(program), 0o755); err != nil { //nolint:gosec // jobs run as other users and run it
			return platform.Errorf(platform.Internal, path, "write %s: %w", path, err)
		}
	}
	return nil
}

// named finds the line of a name, a user's before a built-in one.
func (t *Table) named(name string) (Line, error) {
	lines, err := t.List()
	if err != nil {
		return Line{}, err
	}
	var known []string
	for _, l := range lines {
		if l.Name == name {
			return l, nil
		}
		known = append(known, l.Name)
	}
	return Line{}, platform.Errorf(platform.NotFound, name, "there is no runtime %q; there are %v", name, known)
}

// pinsOf is the requirement list of a built-in line.
func pinsOf(l Line) string {
	list, err := pins.ReadFile("pins/" + l.Pins)
	if err != nil {
		return "" // a test sees that every built-in line's list is there
	}
	return string(list)
}

func findPython() (string, error) {
	for _, p := range pythons {
		if found, err := exec.LookPath(p); err == nil {
			return found, nil
		}
	}
	return "", platform.Errorf(platform.Unavailable, "", "there is no python3 on this machine (on Debian: apt-get install python3-venv)")
}

// run runs a command, passing on what it says; its last words become the error.
func run(ctx context.Context, out io.Writer, name string, args ...string) error {
	var last tail
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(out, &last), io.MultiWriter(out, &last)
	if err := cmd.Run(); err != nil {
		return errors.New(err.Error() + ": " + string(bytes.TrimSpace(last)))
	}
	return nil
}

// tail keeps the last 2,000 bytes written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if len(*t) > 2000 {
		*t = append((*t)[:0], (*t)[len(*t)-2000:]...)
	}
	return len(p), nil
}
