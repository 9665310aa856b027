package storetest

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

func testReopen(t *testing.T, open func(t *testing.T, dir string) platform.Store) {
	dir := t.TempDir()
	s := open(t, dir)
	a := record("a")
	a.Tags = map[string]string{"k": "v"}
	b := record("b")
	b.Created = epoch.Add(-time.Hour)
	commit(t, s, put(a, b, record("doomed")))
	b.Revision, b.State = 1, "Failed"
	commit(t, s, platform.Tx{Puts: put(b).Puts, Deletes: remove("doomed", 1).Deletes, Ledger: []platform.LedgerEntry{entry("l", platform.LineOpened, epoch)}})
	first, err := s.List(context.Background(), platform.Query{Kind: kind, Limit: 1})
	noError(t, err)
	noError(t, s.Close())

	s = open(t, dir)
	defer func() { noError(t, s.Close()) }()
	sameRecord(t, get(t, s, "a"), a, 1)
	sameRecord(t, get(t, s, "b"), b, 2)
	missing(t, s, "doomed")
	lists(t, s, platform.Query{}, "b", "a")
	lists(t, s, platform.Query{States: []string{"Failed"}}, "b")
	lists(t, s, platform.Query{Limit: 1, Token: first.Next}, "a") // tokens know nothing of the process
	refused(t, s, platform.Tx{Ledger: []platform.LedgerEntry{entry("l", platform.LineOpened, epoch)}}, platform.AlreadyExists)
	commit(t, s, platform.Tx{Puts: put(b2(b)).Puts, Ledger: []platform.LedgerEntry{entry("l", platform.LineClosed, epoch)}})
	if ids := ledger(t, s, platform.LedgerQuery{}); len(ids) != 2 || get(t, s, "b").Revision != 3 {
		t.Fatalf("after reopening: ledger %v, b at %d", ids, get(t, s, "b").Revision)
	}
}

func b2(b platform.Record) platform.Record { b.Revision = 2; return b }

// testCloseDrains: a Commit that meets Close is either kept or refused as Unavailable.
func testCloseDrains(t *testing.T, open func(t *testing.T, dir string) platform.Store) {
	dir := t.TempDir()
	s := open(t, dir)
	const workers = 8
	committed := make([][]string, workers)
	begun := make(chan bool, workers)
	closed := make(chan error, 1)
	go func() {
		for range workers {
			<-begun
		}
		closed <- s.Close()
	}()
	together(t, workers, func(w int) error {
		for i := 0; ; i++ {
			r := record(fmt.Sprintf("%d-%d", w, i))
			if err := s.Commit(context.Background(), put(r)); platform.Is(err, platform.Unavailable) {
				return nil
			} else if err != nil {
				return err
			}
			committed[w] = append(committed[w], r.Name)
			if i == 10 {
				begun <- true
			}
		}
	})
	noError(t, <-closed)
	s = open(t, dir)
	defer func() { noError(t, s.Close()) }()
	n := 0
	for _, names := range committed {
		for _, name := range names {
			get(t, s, name)
			n++
		}
	}
	if all := names(t, s, platform.Query{}); len(all) != n {
		t.Fatalf("%d records, but %d commits succeeded", len(all), n)
	}
}

const crashVariable = "STORETEST_CRASH_DIR"

func crashDir() string { return os.Getenv(crashVariable) }

// parts is how many records a Tx of the crash test has, beside a ledger entry.
const parts = 3

// commitUntilKilled is the child's life: several goroutines commit, and each acknowledged Tx is printed.
func commitUntilKilled(t *testing.T, s platform.Store) {
	start := time.Now().UnixNano() // each life has its own names
	together(t, 4, func(w int) error {
		for i := 0; ; i++ {
			name := fmt.Sprintf("%d-%d-%d", start, w, i)
			tx := platform.Tx{Ledger: []platform.LedgerEntry{entry(name, platform.LineOpened, epoch)}}
			for p := range parts {
				r := record(fmt.Sprintf("%s/%d", name, p))
				r.Doc = []byte(strings.Repeat(name, 50))
				tx.Puts = append(tx.Puts, platform.Put{Record: r})
			}
			if err := s.Commit(context.Background(), tx); err != nil {
				return err
			}
			fmt.Println("committed " + name)
		}
	})
}

// testCrash kills a committing process at random moments, again and again on the same data: what was acknowledged is
// there, and nothing is there by halves.
func testCrash(t *testing.T, parent string, open func(t *testing.T, dir string) platform.Store) {
	dir := t.TempDir()
	var acknowledged []string
	for range 6 {
		acknowledged = append(acknowledged, runAndKill(t, parent, dir)...)
		s := open(t, dir)
		for _, name := range acknowledged {
			for p := range parts {
				if r := get(t, s, fmt.Sprintf("%s/%d", name, p)); string(r.Doc) != strings.Repeat(name, 50) {
					t.Errorf("%s has a wrong document", r.Name)
				}
			}
		}
		entries := map[string]bool{}
		for _, id := range ledger(t, s, platform.LedgerQuery{}) {
			entries[strings.TrimSuffix(id, "/opened")] = true
		}
		count := map[string]int{}
		for _, name := range names(t, s, platform.Query{}) {
			count[filepath.Dir(name)]++
		}
		for name, n := range count {
			if n != parts || !entries[name] {
				t.Errorf("%s is there by halves: %d records, ledger entry %t", name, n, entries[name])
			}
		}
		if len(count) != len(entries) || len(count) < len(acknowledged) {
			t.Errorf("%d Txs have records, %d have ledger entries, %d were acknowledged", len(count), len(entries), len(acknowledged))
		}
		noError(t, s.Close())
	}
	t.Logf("%d acknowledged", len(acknowledged))
}

// runAndKill gives what one child's life acknowledged.
func runAndKill(t *testing.T, parent, dir string) (acknowledged []string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^"+parent+"$")
	child.Env = append(os.Environ(), crashVariable+"="+dir)
	out, err := child.StdoutPipe()
	noError(t, err)
	noError(t, child.Start())
	lines, after := bufio.NewScanner(out), rand.IntN(300)
	var said []string
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "committed "); ok {
			acknowledged = append(acknowledged, name)
		} else {
			said = append(said, lines.Text())
		}
		if len(acknowledged) == after+1 {
			// From now on it may die at any instruction; what it prints until then still counts.
			time.AfterFunc(time.Duration(rand.IntN(5000))*time.Microsecond, func() { _ = child.Process.Kill() })
		}
	}
	if err := child.Wait(); len(acknowledged) <= after || child.ProcessState.Exited() {
		t.Fatalf("the child ended by itself after %d commits: %v\n%s", len(acknowledged), err, strings.Join(said, "\n"))
	}
	return acknowledged
}
