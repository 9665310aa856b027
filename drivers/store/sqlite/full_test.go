package sqlite_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stint-ml/stint/drivers/store/sqlite"
	"github.com/stint-ml/stint/platform"
)

const smallDisk = "STINT_TEST_SMALL_DISK"

// TestFullDisk fills a real file system of 8 MB, which a child process mounts where only it sees it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(smallDisk); dir != "" {
		fillDisk(t, dir)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	child.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 { // only root may mount; in a user namespace anybody is root
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	}
	if out, err := child.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestFullDisk")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fillDisk(t *testing.T, dir string) {
	must(t, syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"))
	ballast := filepath.Join(dir, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, 1<<20), 0o600))
	s := open(t, filepath.Join(dir, "store.db"))

	// 1. Fill it. What is refused is refused whole.
	n, pair := 0, func(i int) platform.Tx {
		a, b := job(2*i), job(2*i+1)
		return platform.Tx{
			Puts:   []platform.Put{{Record: a}, {Record: b}},
			Ledger: []platform.LedgerEntry{{Line: a.Name, Event: platform.LineOpened, At: a.Created}},
		}
	}
	for {
		if err := s.Commit(context.Background(), pair(n)); err != nil {
			mustBeFull(t, err)
			break
		}
		n++
	}
	if n < 50 {
		t.Fatalf("only %d went in", n)
	}
	complete(t, s, n)
	mustBeFull(t, s.Commit(context.Background(), pair(n)))

	// 2. Reading goes on, and a process that finds the disk full can start.
	must(t, s.Close())
	s = open(t, filepath.Join(dir, "store.db"))
	complete(t, s, n)

	// 3. With room again it goes on by itself.
	must(t, os.Remove(ballast))
	more := n + 20
	for ; n < more; n++ {
		must(t, s.Commit(context.Background(), pair(n)))
	}
	complete(t, s, n)
	must(t, s.Close())
	s = open(t, filepath.Join(dir, "store.db"))
	complete(t, s, n)
}

// complete wants just the first n pairs to be there.
func complete(t *testing.T, s *sqlite.Store, n int) {
	t.Helper()
	for i := range 2 * n {
		if _, err := s.Get(context.Background(), job(i).Key); err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.List(context.Background(), platform.Query{Kind: "training-job", Limit: 100_000})
	must(t, err)
	entries, err := s.Ledger(context.Background(), platform.LedgerQuery{})
	must(t, err)
	if len(page.Records) != 2*n || len(entries) != n {
		t.Fatalf("%d records and %d entries of %d pairs", len(page.Records), len(entries), n)
	}
}

func mustBeFull(t *testing.T, err error) {
	t.Helper()
	if !platform.Is(err, platform.Unavailable) {
		t.Fatalf("a full disk gives %v", err)
	}
	fmt.Println(err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
