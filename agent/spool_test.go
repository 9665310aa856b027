package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

func newSpool(t *testing.T, dir string, limit int64) *spool {
	t.Helper()
	s, err := openSpool(filepath.Join(dir, spoolFolder), limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func message(text string) platform.Report { return platform.Report{Message: text} }

func mustAppend(t *testing.T, s *spool, text string, how care) int64 {
	t.Helper()
	seq, err := s.append(context.Background(), message(text), how)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// wantReports checks numbers without gaps from first on, and messages.
func wantReports(t *testing.T, got []platform.Report, first int64, messages ...string) {
	t.Helper()
	if len(got) != len(messages) {
		t.Fatalf("%d reports, want %d", len(got), len(messages))
	}
	for i, r := range got {
		if r.Seq != first+int64(i) || r.Message != messages[i] {
			t.Errorf("report %d is number %d %q, want %d %q", i, r.Seq, r.Message, first+int64(i), messages[i])
		}
	}
}

func TestSpoolKeepsOrderAndGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSpool(t, dir, 1<<30)
	mustAppend(t, s, "a", brief)
	mustAppend(t, s, "b", bulk)
	got, err := s.next(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	wantReports(t, got, 1, "a", "b")
	mustAppend(t, s, "c", durable)
	if got, err = s.next(1 << 20); err != nil {
		t.Fatal(err)
	}
	wantReports(t, got, 3, "c")
	s.close()
	again := newSpool(t, dir, 1<<30)
	if seq := mustAppend(t, again, "d", brief); seq != 4 {
		t.Errorf("number %d follows 3", seq)
	}
	if got, err = ReadSpool(dir, 1); err != nil {
		t.Fatal(err)
	}
	wantReports(t, got, 2, "b", "c", "d")
	if got, err = ReadSpool(t.TempDir(), 0); err != nil || got != nil {
		t.Errorf("an empty folder gives %v, %v", got, err)
	}
}

func TestSpoolWithATornTail(t *testing.T) {
	t.Parallel()
	whole := int64(0)
	for cut := int64(1); cut < 60; cut += 7 {
		dir := t.TempDir()
		s := newSpool(t, dir, 1<<30)
		mustAppend(t, s, "a", brief)
		whole = s.size
		mustAppend(t, s, "b", brief)
		path := s.segments[0].path
		size := s.size
		s.close()
		if size-cut <= whole {
			break
		}
		if err := os.Truncate(path, size-cut); err != nil {
			t.Fatal(err)
		}
		got, err := ReadSpool(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantReports(t, got, 1, "a")
		again := newSpool(t, dir, 1<<30)
		if seq := mustAppend(t, again, "c", brief); seq != 2 {
			t.Errorf("number %d follows 1", seq)
		}
		if got, err = again.next(1 << 20); err != nil {
			t.Fatal(err)
		}
		wantReports(t, got, 1, "a", "c")
		if got, err = ReadSpool(dir, 0); err != nil {
			t.Fatal(err)
		}
		wantReports(t, got, 1, "a", "c")
	}
}

func TestSpoolDropsWhatIsAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSpool(t, dir, 4096) // segments of 1 KiB
	text := strings.Repeat("x", 200)
	var last int64
	for range 50 {
		last = mustAppend(t, s, text, brief)
	}
	before, _ := findSegments(s.dir)
	if len(before) < 8 {
		t.Fatalf("only %d segments", len(before))
	}
	s.ack(last - 1)
	s.ack(3) // says nothing
	after, _ := findSegments(s.dir)
	if len(after) != 1 {
		t.Errorf("%d segments are left", len(after))
	}
	got, err := ReadSpool(dir, last-1)
	if err != nil {
		t.Fatal(err)
	}
	wantReports(t, got, last, text)
}

func TestFullSpoolHoldsOutputBackAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newSpool(t, t.TempDir(), 4096)
	for range 20 {
		mustAppend(t, s, strings.Repeat("x", 200), brief)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.append(ctx, message("output"), bulk); err == nil {
		t.Fatal("a full spool took output")
	}
	last := mustAppend(t, s, "phase", brief)
	done := make(chan error, 1)
	go func() {
		_, err := s.append(context.Background(), message("output"), bulk)
		done <- err
	}()
	s.ack(last)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatalf("mount a small file system (this needs root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestFullDiskLosesNothing(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 64<<10)
	s := newSpool(t, dir, 1<<20)
	var want []string
	add := func(how care) {
		want = append(want, strings.Repeat(fmt.Sprint(len(want)%10), 1000))
		mustAppend(t, s, want[len(want)-1], how)
	}
	// The first reports go to the disk, the rest to memory.
	for range 150 {
		add(bulk)
	}
	// The user's files are gone, the disk takes reports again.
	first, err := s.next(90_000)
	if err != nil {
		t.Fatal(err)
	}
	s.ack(first[len(first)-1].Seq)
	for range 20 {
		add(brief)
	}
	add(durable)
	rest, err := s.next(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	wantReports(t, append(first, rest...), 1, want...)
	onDisk, err := ReadSpool(dir, int64(len(want)-1))
	if err != nil {
		t.Fatal(err)
	}
	wantReports(t, onDisk, int64(len(want)), want[len(want)-1])
}
