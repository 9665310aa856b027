package runtimes

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stint-ml/stint/platform"
)

func TestRemoveABuiltInRuntime(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	if done, err := table.Remove("sklearn"); done || err != nil {
		t.Errorf("one that is not installed: %v, %v", done, err)
	}
	markInstalled(t, table, "sklearn")
	if err := os.WriteFile(filepath.Join(table.dir, "sklearn", "file"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if done, err := table.Remove("sklearn"); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(table.dir, "sklearn")); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
	if _, err := table.Resolve("sagemaker-scikit-learn:1"); !platform.Is(err, platform.Unavailable) || !strings.Contains(err.Error(), "stint runtime install sklearn") {
		t.Errorf("its image: %v", err)
	}
	markInstalled(t, table, "sklearn") // and again
	if r, err := table.Resolve("sagemaker-scikit-learn:1"); err != nil || r.Name != "sklearn" {
		t.Errorf("%v, %v", r, err)
	}
}

// What a removal that was killed leaves does not count, and goes with the next.
func TestAHalfRemovalIsRemoved(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	markInstalled(t, table, "xgboost")
	if err := os.Remove(table.marker("xgboost")); err != nil {
		t.Fatal(err)
	}
	if done, err := table.Remove("xgboost"); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(table.dir, "xgboost")); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
}

func TestRemoveAUsersLine(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	interpreter := filepath.Join(t.TempDir(), "python")
	if err := os.WriteFile(interpreter, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	addMine(t, table, "mine", interpreter)
	if done, err := table.Remove("mine"); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	if _, err := os.Stat(interpreter); err != nil {
		t.Errorf("the user's interpreter: %v", err)
	}
	if doc, err := os.ReadFile(table.file()); err != nil || strings.TrimSpace(string(doc)) != "[]" {
		t.Errorf("%s, %v", doc, err)
	}
}

// A user's line may have a built-in one's name; then it is the user's that goes, and only that.
func TestRemoveAUsersLineOverABuiltInOne(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	markInstalled(t, table, "sklearn")
	addMine(t, table, "sklearn", "/bin/sh")
	addMine(t, table, "mine", "/bin/sh")
	if done, err := table.Remove("sklearn"); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	for _, image := range []string{"sagemaker-scikit-learn:1", "mine"} {
		if _, err := table.Resolve(image); err != nil {
			t.Errorf("%s went too: %v", image, err)
		}
	}
}

func addMine(t *testing.T, table *Table, name, interpreter string) {
	t.Helper()
	if err := table.Add(Line{Runtime: platform.Runtime{Name: name, Images: []string{name}, Interpreter: interpreter}}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatCannotBeRemoved(t *testing.T) {
	t.Parallel()
	table := Open(t.TempDir())
	if _, err := table.Remove("exec"); !platform.Is(err, platform.Invalid) {
		t.Errorf("exec: %v", err)
	}
	if _, err := table.Remove("../.."); !platform.Is(err, platform.NotFound) || !strings.Contains(err.Error(), "sklearn") {
		t.Errorf("a stranger: %v", err)
	}
	if err := fs.WalkDir(os.DirFS(table.dir), ".", func(path string, _ fs.DirEntry, err error) error {
		if path != "." {
			t.Errorf("%s was made", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
