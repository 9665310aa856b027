// Package runtimes is the table from container image to Python environment on a machine without containers. The built-in
// lines are embedded; a user's own stand in runtimes.json of the table's folder and win. Environments that need installing
// live in the folder, one each. Running anything in them is the agent's matter.
package runtimes

import (
	_ "embed" // the built-in table
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/stint-ml/stint/platform"
)

// About the variables of its PyTorch line: Debian 12's PyTorch is older than its Python, whose enumerations no longer list a
// flag's zero, so torchrun finds no value for "redirect nothing" and dies. "Of the tenth process only" is a value it finds.
//
//go:embed builtin.json
var builtin []byte

// builtinLines reads the built-in table once: every job that waits has its image looked up again and again.
var builtinLines = sync.OnceValues(func() (lines []Line, err error) {
	if err = json.Unmarshal(builtin, &lines); err != nil {
		err = platform.Errorf(platform.Internal, "", "built-in runtimes: %w", err)
	}
	return lines, err
})

// Line is one line of the table.
type Line struct {
	platform.Runtime
	About  string `json:"about,omitempty"`  // for people
	Pins   string `json:"pins,omitempty"`   // built-in requirement list; such a runtime has to be installed
	System bool   `json:"system,omitempty"` // its environment also sees the system's Python packages
	Needs  string `json:"needs,omitempty"`  // a module that must be importable after the installation
	Remedy string `json:"remedy,omitempty"` // the command that brings Needs
	// Programs are commands by their modules. The system's own, such as torchrun, would start the system's Python and not
	// see what the runtime and the job have installed.
	Programs map[string]string `json:"programs,omitempty"`
	Own      bool              `json:"-"` // a user's, not built in
}

// Table is the runtimes of one folder. It reads the folder at every call, so that a change is seen without a restart.
type Table struct {
	dir string
}

var _ platform.Runtimes = (*Table)(nil)

// Open uses a folder; it need not exist yet. Jobs run as users of their own, so it must be readable for all.
func Open(dir string) *Table { return &Table{dir: dir} }

// List gives the user's lines and then the built-in ones.
func (t *Table) List() ([]Line, error) {
	own, err := t.own()
	if err != nil {
		return nil, err
	}
	known, err := builtinLines()
	if err != nil {
		return nil, err
	}
	lines := slices.Clone(known) // what the lines hold in common is only read
	for i := range lines {
		if lines[i].Pins != "" {
			lines[i].Interpreter = filepath.Join(t.dir, lines[i].Name, "bin", "python")
		}
	}
	return append(own, lines...), nil
}

// Installed reports whether a job could run on the line now.
func (t *Table) Installed(l Line) bool {
	if l.Pins != "" {
		done, err := os.ReadFile(t.marker(l.Name))
		return err == nil && string(done) == pinsOf(l)
	}
	if l.Interpreter == "" {
		return true
	}
	_, err := os.Stat(l.Interpreter)
	return err == nil
}

// Resolve finds the runtime of an image.
func (t *Table) Resolve(image string) (platform.Runtime, error) {
	lines, err := t.List()
	if err != nil {
		return platform.Runtime{}, err
	}
	name := withoutRegistry(image)
	for _, l := range lines {
		if !matches(l.Images, name) {
			continue
		}
		if t.Installed(l) {
			return l.Runtime, nil
		}
		if l.Pins == "" {
			return l.Runtime, platform.Errorf(platform.Unavailable, image,
				"the runtime %q of image %s has no interpreter at %s; mend it with: stint runtime add %s --image '%s' --python PATH", l.Name, image, l.Interpreter, l.Name, l.Images[0])
		}
		return l.Runtime, platform.Errorf(platform.Unavailable, image,
			"the runtime %q of image %s is not installed; install it with: stint runtime install %s", l.Name, image, l.Name)
	}
	return platform.Runtime{}, platform.Errorf(platform.NotFound, image,
		"no runtime is known for image %s; see: stint runtime list; add one with: stint runtime add NAME --image '%s' --python PATH", image, name)
}

// Add puts a user's line into the table; one of the same name is replaced.
func (t *Table) Add(l Line) error {
	if l.Name == "" || len(l.Images) == 0 || strings.ContainsAny(l.Name, "/ ") {
		return platform.Errorf(platform.Invalid, l.Name, "a runtime needs a name without slashes or blanks, and an image pattern")
	}
	if l.Interpreter != "" {
		if _, err := os.Stat(l.Interpreter); err != nil || !filepath.IsAbs(l.Interpreter) {
			return platform.Errorf(platform.Invalid, l.Name, "interpreter %q is not the absolute path of a file", l.Interpreter)
		}
	}
	own, err := t.own()
	if err != nil {
		return err
	}
	kept := []Line{l}
	for _, o := range own {
		if o.Name != l.Name {
			kept = append(kept, o)
		}
	}
	return t.write(kept)
}

func (t *Table) file() string              { return filepath.Join(t.dir, "runtimes.json") }
func (t *Table) marker(name string) string { return filepath.Join(t.dir, name, "installed") }

func (t *Table) own() ([]Line, error) {
	doc, err := os.ReadFile(t.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, platform.Errorf(platform.Internal, "", "runtimes: %w", err)
	}
	var lines []Line
	if err := json.Unmarshal(doc, &lines); err != nil {
		return nil, platform.Errorf(platform.Invalid, t.file(), "%s is not a list of runtimes: %w", t.file(), err)
	}
	for i := range lines {
		lines[i].Own = true
	}
	return lines, nil
}

// withoutRegistry drops the registry's host from an image URI: what has a dot or a colon before the first slash, or is
// localhost.
func withoutRegistry(image string) string {
	host, rest, ok := strings.Cut(image, "/")
	if ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		return rest
	}
	return image
}

// matches compares repository:tag with patterns; a pattern without a tag takes any.
func matches(patterns []string, name string) bool {
	if !strings.ContainsAny(name, ":@") {
		name += ":latest"
	}
	for _, p := range patterns {
		if !strings.Contains(p, ":") {
			p += ":*"
		}
		if glob(p, name) {
			return true
		}
	}
	return false
}

// glob matches '*' against any run of characters, slashes too; everything else stands for itself.
func glob(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(name, p)
		if i < 0 {
			return false
		}
		name = name[i+len(p):]
	}
	return strings.HasSuffix(name, parts[len(parts)-1])
}

// replaceFile writes a file whole or not at all.
func replaceFile(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { // jobs run as other users and read it
		return fmt.Errorf("runtimes: %w", err)
	}
	tmp := name + ".new"
	if err := os.WriteFile(tmp, content, 0o644); err != nil { // as above
		return fmt.Errorf("runtimes: %w", err)
	}
	return os.Rename(tmp, name)
}
