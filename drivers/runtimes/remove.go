package runtimes

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/stint-ml/stint/platform"
)

// Remove takes a user's line out of the table, or a built-in runtime's environment from the disk, which can be installed again.
// A name that is both is the user's. done is false when the runtime was not installed; an unknown name is NotFound. Whether a
// job uses it is the caller's to know.
func (t *Table) Remove(name string) (done bool, err error) {
	line, err := t.named(name)
	switch {
	case err != nil:
		return false, err
	case line.Own:
		return true, t.removeOwn(name)
	case line.Pins == "":
		return false, platform.Errorf(platform.Invalid, name, "the runtime %s is part of stint and cannot be removed", name)
	}
	dir := filepath.Join(t.dir, name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	// Without its marker it does not count, so that what a killed removal leaves is not taken for whole.
	if err := os.Remove(t.marker(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, platform.Errorf(platform.Internal, name, "remove the runtime %s: %w", name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return false, platform.Errorf(platform.Internal, name, "remove the runtime %s: %w", name, err)
	}
	return true, nil
}

func (t *Table) removeOwn(name string) error {
	own, err := t.own()
	if err != nil {
		return err
	}
	return t.write(slices.DeleteFunc(own, func(l Line) bool { return l.Name == name }))
}

// write replaces the user's lines.
func (t *Table) write(own []Line) error {
	doc, err := json.MarshalIndent(own, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(t.file(), append(doc, '\n'))
}
