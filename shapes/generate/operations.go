package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// wantedOperations is the content of shapes/operations.txt.
type wantedOperations struct {
	version    string              // of botocore
	operations map[string][]string // by service, sorted
	open       map[string][]string // by service: enums whose legal values an installation knows, not the model
}

func readOperations(path string) (*wantedOperations, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	wanted := &wantedOperations{operations: map[string][]string{}, open: map[string][]string{}}
	for i, line := range strings.Split(string(content), "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case len(fields) == 3 && fields[2] == "open":
			wanted.open[fields[0]] = append(wanted.open[fields[0]], fields[1])
		case len(fields) != 2:
			return nil, fmt.Errorf("%s:%d: want \"service Operation\", got %q", path, i+1, line)
		case fields[0] == "botocore":
			wanted.version = fields[1]
		case slices.Contains(wanted.operations[fields[0]], fields[1]):
			return nil, fmt.Errorf("%s:%d: %s %s is listed twice", path, i+1, fields[0], fields[1])
		default:
			wanted.operations[fields[0]] = append(wanted.operations[fields[0]], fields[1])
		}
	}
	if wanted.version == "" {
		return nil, fmt.Errorf("%s: no line \"botocore VERSION\" pins the model", path)
	}
	for _, names := range wanted.operations {
		slices.Sort(names)
	}
	return wanted, nil
}

func (w *wantedOperations) services() []string {
	var names []string
	for name := range w.operations {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

var versionLine = regexp.MustCompile(`(?m)^__version__ = '([^']+)'`)

// checkVersion refuses a botocore other than the pinned one.
func (w *wantedOperations) checkVersion(botocore string) error {
	path := filepath.Join(botocore, "..", "__init__.py")
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s is not botocore/data of an installed botocore: %w", botocore, err)
	}
	found := versionLine.FindSubmatch(content)
	if found == nil {
		return fmt.Errorf("%s: no __version__", path)
	}
	if string(found[1]) != w.version {
		return fmt.Errorf("botocore %s is installed, operations.txt pins %s", found[1], w.version)
	}
	return nil
}
