package drivers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

var schema = Schema{Name: "test", Steps: []string{"CREATE TABLE things(name TEXT PRIMARY KEY) WITHOUT ROWID"}}

func open(t *testing.T, path string, schema Schema) *Database {
	t.Helper()
	d, err := OpenDatabase(t.Context(), path, schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func refused(t *testing.T, path string, schema Schema, kind platform.ErrorKind, words ...string) {
	t.Helper()
	d, err := OpenDatabase(t.Context(), path, schema)
	if err == nil {
		_ = d.Close()
	}
	if !platform.Is(err, kind) {
		t.Fatalf("opening gives %v, want the kind %v", err, kind)
	}
	for _, w := range append(words, path) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not tell %q: %v", w, err)
		}
	}
}

func add(t *Tx, name string) error {
	_, err := t.Exec("INSERT INTO things VALUES(?)", name)
	return err
}

func things(t *testing.T, d *Database) (names []string) {
	t.Helper()
	err := d.QueryEach(t.Context(), "SELECT name FROM things ORDER BY name", nil, func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestOneProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	d := open(t, path, schema)
	refused(t, path, schema, platform.InUse, fmt.Sprintf("process %d", os.Getpid()))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, schema)
}

// A process that starts another one shares its files with that for a moment.
func TestTheLockGoesAlthoughAChildHasIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	d := open(t, path, schema)
	child, err := syscall.Dup(int(d.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(child) //nolint:errcheck // it only has to stay open until now
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, schema)
}

// A server that is killed while it starts a process may leave the lock to that process for a moment. Whoever comes after it
// waits.
func TestLockThatOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".lock", fmt.Appendln(nil, gone.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { held.Close() })
	open(t, path, schema)
}

func TestFileMode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d := open(t, path, schema)
	if err := d.Write(t.Context(), func(t *Tx) error { return add(t, "a") }, nil); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		if info, err := os.Stat(path + suffix); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s%s has mode %v: %v", path, suffix, info.Mode(), err)
		}
	}
}

// TestPaths: a folder may be called anything.
func TestPaths(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?c=d&e%20f#g'h;ü.db")
	open(t, path, schema)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	refused(t, filepath.Join(t.TempDir(), "none", "a.db"), schema, platform.Unavailable)
	refused(t, t.TempDir(), schema, platform.Unavailable)
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	whole := filepath.Join(t.TempDir(), "whole.db")
	d := open(t, whole, schema)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"garbage":   bytes.Repeat([]byte("garbage "), 4096),
		"truncated": content[:len(content)-8192],
		"header":    append(bytes.Repeat([]byte{0xff}, 100), content[100:]...),
		"page":      append(bytes.Clone(content[:100]), bytes.Repeat([]byte{0xff}, len(content)-100)...),
	} {
		path := filepath.Join(t.TempDir(), name+".db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, path, schema, platform.Internal, "damaged")
		refused(t, path, schema, platform.Internal, "damaged") // and not: in use
	}
}

func TestSchemas(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	two := Schema{Name: "test", Steps: append(slices.Clone(schema.Steps), "ALTER TABLE things RENAME TO old; CREATE TABLE things(name TEXT); INSERT INTO things SELECT name FROM old; DROP TABLE old")}
	broken := Schema{Name: "test", Steps: append(slices.Clone(two.Steps), "DROP TABLE things; SELECT nonsense")}

	d := open(t, path, schema)
	if err := d.Write(t.Context(), func(t *Tx) error { return add(t, "kept") }, nil); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	refused(t, path, Schema{Name: "other", Steps: schema.Steps}, platform.Internal, "is a test database, not a other")
	refused(t, path, broken, platform.Internal) // takes the second step and not the third
	refused(t, path, schema, platform.Internal, "newer")
	d = open(t, path, two)
	if got := things(t, d); !slices.Equal(got, []string{"kept"}) {
		t.Fatalf("after the migration there is %v", got)
	}
}

// batch makes all changes be one batch: the writer is held until they wait. It gives their errors.
func batch(t *testing.T, d *Database, applies []func(*Tx) error, settled func(i int, kept bool)) []error {
	t.Helper()
	started, release := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = d.Write(context.Background(), func(*Tx) error { close(started); <-release; return nil }, nil)
	})
	<-started
	errs := make([]error, len(applies))
	for i, apply := range applies {
		wg.Go(func() { errs[i] = d.Write(context.Background(), apply, func(kept bool) { settled(i, kept) }) })
		for len(d.queue) <= i { // the queue keeps the order in which they come
			runtime.Gosched()
		}
	}
	close(release)
	wg.Wait()
	return errs
}

// TestGroupCommit: changes that wait together share a transaction, and are told so in their order.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "a.db"), schema)
	var order, want []string
	var applies []func(*Tx) error
	for i := range 20 {
		applies = append(applies, func(t *Tx) error {
			order = append(order, fmt.Sprint("apply ", i))
			return add(t, fmt.Sprintf("%02d", i))
		})
		want = append(want, fmt.Sprint("apply ", i))
	}
	for i := range 20 {
		want = append(want, fmt.Sprint("settled ", i, true))
	}
	if err := errors.Join(batch(t, d, applies, func(i int, kept bool) { order = append(order, fmt.Sprint("settled ", i, kept)) })...); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if n := len(things(t, d)); n != 20 {
		t.Errorf("%d of 20 are there", n)
	}
}

// TestNeighbours: a change that fails leaves nothing, and the others of its batch do not notice, whether it fails before
// it writes or after.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "a.db"), schema)
	runs := 0
	early, late := errors.New("early"), errors.New("late")
	var settled []string
	note := func(i int, kept bool) { settled = append(settled, fmt.Sprint(i, kept)) }
	errs := batch(t, d, []func(*Tx) error{
		func(t *Tx) error { runs++; return add(t, "a") },
		func(*Tx) error { return early },
		func(t *Tx) error { return add(t, "b") },
	}, note)
	if runs != 1 || errs[0] != nil || !errors.Is(errs[1], early) || errs[2] != nil || !slices.Equal(settled, []string{"0 true", "1 false", "2 true"}) {
		t.Errorf("early: runs %d, errors %v, settled %v", runs, errs, settled)
	}
	settled = nil
	errs = batch(t, d, []func(*Tx) error{
		func(t *Tx) error { return add(t, "c") },
		func(t *Tx) error { return errors.Join(add(t, "lost"), late) },
		func(t *Tx) error { return add(t, "c") }, // a constraint
		func(t *Tx) error { return add(t, "d") },
	}, note)
	if errs[0] != nil || !errors.Is(errs[1], late) || !platform.Is(errs[2], platform.Internal) || errs[3] != nil || !slices.Equal(settled, []string{"0 true", "1 false", "2 false", "3 true"}) {
		t.Errorf("late: errors %v, settled %v", errs, settled)
	}
	if got := things(t, d); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("there is %v", got)
	}
}

// TestDurability: no test can pull the plug, so this looks at what SQLite was told to do. FULL makes each commit wait for
// the log's fsync.
func TestDurability(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "a.db"), schema)
	var mode, synchronous string
	err := d.Write(t.Context(), func(t *Tx) error {
		_, err := t.QueryRow("PRAGMA journal_mode", nil, &mode)
		_, err2 := t.QueryRow("PRAGMA synchronous", nil, &synchronous)
		return errors.Join(err, err2)
	}, nil)
	if err != nil || mode != "wal" || synchronous != "2" {
		t.Errorf("journal_mode %s, synchronous %s: %v", mode, synchronous, err)
	}
}

// TestReadOnly: only the writer can write.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "a.db"), schema)
	err := d.QueryEach(t.Context(), "INSERT INTO things VALUES('x') RETURNING name", nil, func(func(...any) error) error { return nil })
	if err == nil || len(things(t, d)) != 0 {
		t.Errorf("a reader could write: %v", err)
	}
}
