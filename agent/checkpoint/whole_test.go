package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent/checkpoint"
	"github.com/stint-ml/stint/platform"
)

// opened is what processes have open for writing, as a test says.
type opened struct {
	mu     sync.Mutex
	inodes map[checkpoint.Inode]bool
	err    error
}

func (o *opened) ask() (map[checkpoint.Inode]bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	open := map[checkpoint.Inode]bool{}
	for i := range o.inodes {
		open[i] = true
	}
	return open, o.err
}

func (o *opened) set(t *testing.T, paths ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.inodes = map[checkpoint.Inode]bool{}
	for _, p := range paths {
		var st syscall.Stat_t
		if err := syscall.Stat(p, &st); err != nil {
			t.Fatal(err)
		}
		o.inodes[checkpoint.Inode{Dev: uint64(st.Dev), Ino: st.Ino}] = true //nolint:unconvert // narrower elsewhere
	}
}

// withOpen is a bundle's host that knows what is open.
func withOpen(b *bundle, epoch int64) (*host, *opened) {
	o := &opened{}
	cfg := b.config("algo-1", epoch)
	cfg.OpenForWrite = o.ask
	h := b.open(cfg)
	h.restore()
	return h, o
}

// A file that is being written stays as it last was whole; all else is saved without it after a while.
func TestAFileThatIsOpenIsNotShipped(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h, o := withOpen(b, 1)
	h.write("last.pt", "whole")
	h.round()
	h.write("last.pt", "half of a large")
	h.write("epoch-2.pt", "two")
	o.set(t, h.path("last.pt"))
	stop := b.restless(func() { h.write("last.pt", "half of another "+time.Now().String()) })
	h.round()
	stop()
	next := b.start("algo-1", 2)
	got := tree(t, next.dir)
	if !strings.HasSuffix(got["last.pt"], " whole") || !strings.HasSuffix(got["epoch-2.pt"], " two") {
		t.Errorf("restored %q", got)
	}
	last := b.committed[len(b.committed)-1]
	if len(last.Behind) != 1 || last.Behind[0] != "last.pt" || !b.said("never come to rest") {
		t.Errorf("told %+v, said %q", last, b.notes)
	}
	// Once it is closed, it is whole.
	o.set(t)
	h.write("last.pt", "new")
	next.write("last.pt", "new")
	next.round()
	if got := tree(t, b.start("algo-1", 3).dir)["last.pt"]; !strings.HasSuffix(got, " new") {
		t.Errorf("restored %q", got)
	}
}

// However quiet it is: a file that is open is not whole. After very long it is taken for a log.
func TestAFileThatStaysOpen(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h, o := withOpen(b, 1)
	h.write("slow.pt", "half")
	h.write("other", "other")
	o.set(t, h.path("slow.pt"))
	for range 4 {
		h.round()
		b.clock.After(time.Minute)
	}
	next, o := withOpen(b, 2)
	if got := tree(t, next.dir); len(got) != 1 || !strings.HasSuffix(got["other"], " other") {
		t.Errorf("restored %q", got)
	}
	next.write("log", "lines")
	o.set(t, next.path("log"))
	for range 12 {
		next.round()
		b.clock.After(time.Minute)
	}
	last := b.committed[len(b.committed)-1]
	if got := tree(t, b.start("algo-1", 3).dir); !strings.HasSuffix(got["log"], " lines") || len(last.Behind) != 1 {
		t.Errorf("restored %q, told %+v", got, last)
	}
}

// A file that is replaced by renaming more often than it would be quiet is whole each time; if its writing is seen, it is not.
func TestAFileThatIsReplacedAllTheTime(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{false, true} {
		b := newBundle(t)
		h, o := withOpen(b, 1)
		n := 0
		replace := func() {
			n++
			if n > 20 {
				return // it never came to rest before that
			}
			h.write("draft", fmt.Sprintf("step %d", n))
			h.rename("draft", "last.pt")
			if open {
				o.set(t, h.path("last.pt"))
			}
		}
		replace()
		stop := b.restless(replace)
		h.round()
		stop()
		if whole := n < 20; whole == open {
			t.Errorf("open %v: it took %d replacements", open, n)
		}
		if got := tree(t, b.start("algo-1", 2).dir)["last.pt"]; !open && !strings.Contains(got, " step ") {
			t.Errorf("restored %q", got)
		}
	}
}

// What was open at a killing before is no knowledge of what is open now.
func TestAFreezeThatFailsForgetsTheOneBefore(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h, o := withOpen(b, 1)
	h.write("fine", "fine")
	h.round()
	h.Freeze() // nothing was open
	o.err = errors.New("the processes cannot be looked at")
	h.write("torn.pt", "to")
	h.age("torn.pt")
	h.Freeze()
	if g := h.final(true); len(g.Behind) != 1 {
		t.Errorf("told %+v", g)
	}
}

// restless changes something at every look at the clock.
func (b *bundle) restless(change func()) (stop func()) {
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	b.clock.onWait = change
	return func() {
		b.clock.mu.Lock()
		defer b.clock.mu.Unlock()
		b.clock.onWait = nil
	}
}

// A log that never stops growing does not hold up the rest, and is saved as far as it had grown.
func TestALogThatOnlyGrows(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h, o := withOpen(b, 1)
	lines := "line 0\n"
	h.write("log", lines)
	h.round()
	grow := func() {
		lines += "another line of the log\n"
		h.write("log", lines)
	}
	grow()
	o.set(t, h.path("log"))
	h.write("model", "one")
	stop := b.restless(grow)
	for range 3 {
		h.round()
	}
	stop()
	next := b.start("algo-1", 2)
	got := tree(t, next.dir)
	_, saved, _ := strings.Cut(got["log"], "line 0")
	if !strings.HasSuffix(got["model"], " one") || !strings.HasPrefix(lines, "line 0"+saved) || len(saved) < 24 {
		t.Errorf("restored %q", got)
	}
	// At the end it is whole.
	next.write("log", lines)
	next.final(false)
	if got := tree(t, b.start("algo-1", 3).dir)["log"]; !strings.HasSuffix(got, lines) {
		t.Errorf("restored %q, want %q", got, lines)
	}
}

// A file that changes while it is read is not shipped as it was read.
func TestAFileThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h := b.start("algo-1", 1)
	old, fresh := noise(1, 40*chunk), noise(2, 40*chunk)
	h.write("large", old)
	var once sync.Once
	b.store.onPiece = func() { once.Do(func() { h.write("large", fresh) }) }
	h.round()
	if got := tree(t, b.start("algo-1", 2).dir)["large"]; !strings.HasSuffix(got, fresh) {
		t.Error("what was restored is not what was written last")
	}
	if len(b.committed) != 1 {
		t.Errorf("generations %+v", b.committed)
	}
}

// All files of a generation are from one moment: one that was taken while files changed in turn is taken again.
func TestAGenerationIsOfOneMoment(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h := b.start("algo-1", 1)
	h.write("a", "1")
	h.write("b", "1")
	step := 0
	b.store.onPiece = func() {
		if step++; step == 2 { // between the two files
			h.write("a", "2")
			h.write("b", "2")
		}
	}
	h.round()
	got := tree(t, b.start("algo-1", 2).dir)
	if got["a"][len(got["a"])-1:] != "2" || got["b"][len(got["b"])-1:] != "2" || len(b.committed) != 1 {
		t.Errorf("restored %q; generations %+v", got, b.committed)
	}
}

// What was open when the processes were killed is torn. Without that knowledge, whole is what got its name after it was
// written, and what had been quiet.
func TestTornFilesAreNotShipped(t *testing.T) {
	t.Parallel()
	for _, frozen := range []bool{true, false} {
		b := newBundle(t)
		h, o := withOpen(b, 1)
		h.write("last.pt", "whole")
		h.round()
		h.write("last.pt", "to")
		h.write("new.pt", "to")
		h.write("fine.tmp", "fine")
		h.age("last.pt", "new.pt", "fine.tmp")
		for written := time.Now(); time.Since(written) < 10*time.Millisecond; { // renaming is later than writing, as the kernel counts
			time.Sleep(time.Millisecond)
		}
		h.rename("fine.tmp", "fine.pt")
		o.set(t, h.path("last.pt"), h.path("new.pt"))
		if frozen {
			h.Freeze()
		}
		o.set(t)
		g := h.final(true)
		got := tree(t, b.start("algo-1", 2).dir)
		if _, torn := got["new.pt"]; torn || !strings.HasSuffix(got["last.pt"], " whole") || !strings.HasSuffix(got["fine.pt"], " fine") || len(g.Behind) != 2 {
			t.Errorf("frozen %v: restored %q, told %+v", frozen, got, g)
		}
	}
}

// age sets the times of files that were just written to what writing leaves: both the same.
func (h *host) age(names ...string) {
	h.t.Helper()
	for _, name := range names {
		data, err := os.ReadFile(h.path(name))
		if err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(h.path(name), data, 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
}

// When the processes ended by themselves, all is whole.
func TestTheEndShipsEverything(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h, o := withOpen(b, 1)
	h.write("a", "1")
	o.set(t, h.path("a"))
	g := h.final(false)
	if g.Number != 1 || g.Files != 1 || len(b.committed) != 1 {
		t.Errorf("told %+v", g)
	}
	// When the time is over, it says what is lost.
	h.write("a", "2")
	b.store.dead = true
	ctx, cancel := context.WithCancel(t.Context())
	waits := 0
	b.restless(func() {
		if waits++; waits == 5 {
			cancel()
		}
	})
	if g, err := h.Final(ctx, false); !errors.Is(err, context.Canceled) || !platform.Is(err, platform.Unavailable) || g.Number != 1 {
		t.Errorf("got %+v, %v", g, err)
	}
}

// Links are kept as links and never followed, whatever the user's code makes of them; what is no file is said.
func TestNothingOutsideIsRead(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h := b.start("algo-1", 1)
	secret := t.TempDir()
	must(t, os.WriteFile(secret+"/key", []byte("SECRET"), 0o600))
	h.write("sub/key", "mine")
	h.round()
	h.remove("sub")
	must(t, os.Symlink(secret, h.path("sub")), os.Symlink(secret+"/key", h.path("key")), syscall.Mkfifo(h.path("fifo"), 0o600), os.Mkdir(h.path(".stint"), 0o755))
	h.round()
	for key, data := range b.objects() {
		if strings.Contains(data, "SECRET") {
			t.Errorf("%s holds the secret", key)
		}
	}
	if !b.said("fifo: it is no file") || !b.said("Stint's own") {
		t.Errorf("said %q", b.notes)
	}
	next := b.start("algo-1", 2)
	got := tree(t, next.dir)
	if got["sub"] != "link to "+secret || got["key"] != "link to "+secret+"/key" || len(got) != 2 {
		t.Errorf("restored %q", got)
	}
	// The folder itself is replaced.
	must(t, os.RemoveAll(next.dir), os.Symlink(secret, next.dir))
	if err := next.Round(t.Context()); !platform.Is(err, platform.Invalid) {
		t.Errorf("the folder was a link: %v", err)
	}
	for key, data := range b.objects() {
		if strings.Contains(data, "SECRET") {
			t.Errorf("%s holds the secret", key)
		}
	}
}

// A manifest that somebody else wrote leads nowhere outside of the folder.
func TestAForgedManifest(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"../evil", "/etc/evil", "a/../../evil", ".stint/evil", ""} {
		b := newBundle(t)
		h := b.start("algo-1", 1)
		h.write("good", "good")
		h.round()
		b.forge(path)
		next := b.open(b.config("algo-1", 2))
		r := next.restore()
		if r.Generation.Number != 1 || r.Passed != 1 || !b.said("it names the path") {
			t.Errorf("%q: %+v, said %q", path, r, b.notes)
		}
	}
}
