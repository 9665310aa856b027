package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent/checkpoint"
	"github.com/stint-ml/stint/platform"
)

func suffixes(t *testing.T, what string, got map[string]string, want map[string]string) {
	t.Helper()
	for name, end := range want {
		if !strings.HasSuffix(got[name], end) {
			t.Errorf("%s: %s is %q, want it to end with %q", what, name, got[name], end)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// A damaged, missing or replaced object, or a damaged manifest, makes the generation before come back, and that is said.
func TestADamagedGenerationIsPassedOver(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(b *bundle, object, manifest string){
		"bytes":            func(b *bundle, object, _ string) { b.flip(object) },
		"missing object":   func(b *bundle, object, _ string) { b.drop(object) },
		"other object":     func(b *bundle, object, _ string) { b.put(object, "another") },
		"manifest":         func(b *bundle, _, manifest string) { b.flip(manifest) },
		"short manifest":   func(b *bundle, _, manifest string) { b.put(manifest, b.objects()[manifest][:50]) },
		"empty manifest":   func(b *bundle, _, manifest string) { b.put(manifest, "") },
		"foreign manifest": func(b *bundle, _, manifest string) { b.put(manifest, "hello") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			h := b.start("algo-1", 1)
			h.write("a", noise(1, 3*chunk))
			h.write("b", "b")
			h.round()
			want := tree(t, h.dir)
			h.write("a", noise(2, 3*chunk))
			h.write("c", "c")
			h.round()
			newest := tree(t, h.dir)
			damage(b, b.kept("algo-1", "objects")[0], b.kept("algo-1", "manifests")[1])
			next := b.open(b.config("algo-1", 2))
			r := next.restore()
			equalTrees(t, "restored", tree(t, next.dir), want)
			if r.Passed != 1 || r.Generation.Number != 1 || len(b.notes) == 0 || !b.said("generation 2") {
				t.Errorf("told %+v, said %q", r, b.notes)
			}
			// From there it goes on, and what is damaged is swept.
			next.write("a", noise(2, 3*chunk))
			next.write("c", "c")
			next.round()
			next.final(false)
			if got := tree(t, b.start("algo-1", 3).dir); len(got) != len(newest) {
				t.Errorf("restored %q", got)
			}
			checkFlat(t, b, name, next.dir)
		})
	}
}

// flip damages an object so that its size and ETag stay, as a disk does.
func (b *bundle) flip(key string) {
	b.t.Helper()
	b.store.damaged = append(b.store.damaged, prefix+platform.URI("/"+key))
}

func (b *bundle) drop(key string) {
	b.t.Helper()
	if err := b.mem.Delete(context.Background(), prefix+platform.URI("/"+key)); err != nil {
		b.t.Fatal(err)
	}
}

// Files that were put below the prefix by hand come back as on AWS, belong to nobody, and do not rise again once they were removed.
func TestFilesPutThereByHand(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	for key, data := range map[string]string{"seed.pt": "seed", "sub/other.pt": "other", "old.pt": "old", "marker/": "", "a/../evil": "evil"} {
		b.put(key, data)
	}
	h := b.start("algo-1", 1)
	suffixes(t, "first", tree(t, h.dir), map[string]string{"seed.pt": " seed", "sub": "", "sub/other.pt": " other", "old.pt": " old", "marker": "folder drwxr-xr-x"})
	if !b.said("evil is not restored") {
		t.Errorf("said %q", b.notes)
	}
	h.remove("old.pt")
	h.write("seed.pt", "trained")
	h.write("new.pt", "new")
	h.round()
	next := b.start("algo-1", 2)
	want := map[string]string{"seed.pt": " trained", "sub": "", "sub/other.pt": " other", "new.pt": " new", "marker": "folder drwxr-xr-x"}
	suffixes(t, "second", tree(t, next.dir), want)
	next.write("new.pt", "newer")
	next.round()
	next.final(false)
	suffixes(t, "third", tree(t, b.start("algo-1", 3).dir), map[string]string{"seed.pt": " trained", "sub": "", "sub/other.pt": " other", "new.pt": " newer", "marker": "folder drwxr-xr-x"})
	if flats := b.flats(); flats["seed.pt"] != "trained" || flats["new.pt"] != "newer" || flats["old.pt"] != "old" {
		t.Errorf("flat objects %q", flats)
	}
}

// A user who changes files below the prefix after a job gets what lies there.
func TestFilesChangedByHandAfterTheJob(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h := b.start("algo-1", 1)
	h.write("keep", "kept")
	h.write("fix", "wrong")
	h.write("drop", "dropped")
	h.final(false)
	b.put("fix", "right")
	b.drop("drop")
	suffixes(t, "restored", tree(t, b.start("algo-1", 2).dir), map[string]string{"keep": " kept", "fix": " right"})
	if !b.said("taken as they lie") {
		t.Errorf("said %q", b.notes)
	}
}

// Several hosts share a prefix: each gets all files, its own of those that several have.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	one, two := b.start("algo-1", 1), b.start("algo-2", 1)
	for round := range 3 {
		for i, h := range []*host{one, two} {
			h.write(fmt.Sprintf("rank-%d.pt", i), fmt.Sprintf("own %d %d", i, round))
			h.write("same.pt", fmt.Sprintf("of %d %d", i, round))
			h.round()
		}
	}
	all := map[string]string{"rank-0.pt": " own 0 2", "rank-1.pt": " own 1 2", "same.pt": " of 0 2"}
	one = b.start("algo-1", 2)
	suffixes(t, "one", tree(t, one.dir), all)
	all["same.pt"] = " of 1 2"
	two = b.start("algo-2", 2)
	suffixes(t, "two", tree(t, two.dir), all)
	// A host that has joined gets the newest of each.
	suffixes(t, "three", tree(t, b.start("algo-3", 2).dir), all)
	// What a host got from another is not its own: it ships none of it, and removing it removes nothing there.
	b.store.takeShipped()
	one.remove("rank-1.pt")
	one.round()
	two.round()
	if n := b.store.takeShipped(); n != 0 {
		t.Errorf("shipped %d bytes", n)
	}
	suffixes(t, "after removing", tree(t, b.start("algo-2", 3).dir), all)
	// Their last rounds, at the same time.
	one.write("same.pt", "the end of 0")
	var both sync.WaitGroup
	for _, h := range []*host{one, b.start("algo-2", 4)} {
		h.write("last-of-"+h.Host, "end")
		both.Go(func() {
			if _, err := h.Final(context.Background(), false); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	want := map[string]string{"rank-0.pt": " own 0 2", "rank-1.pt": " own 1 2", "same.pt": " the end of 0", "last-of-algo-1": " end", "last-of-algo-2": " end"}
	suffixes(t, "one at the end", tree(t, b.start("algo-1", 5).dir), want)
	want["same.pt"] = " of 1 2"
	suffixes(t, "two at the end", tree(t, b.start("algo-2", 5).dir), want)
	flats := b.flats()
	if len(flats) != 5 || flats["same.pt"] != "the end of 0" || flats["rank-1.pt"] != "own 1 2" {
		t.Errorf("flat objects %q", flats)
	}
}

// An attempt that was given up and still lives neither wins nor destroys anything.
func TestAnAttemptThatWasGivenUp(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	old := b.start("algo-1", 1)
	old.write("a", "1")
	old.write("b", "1")
	old.round()
	next := b.start("algo-1", 2)
	old.write("a", "old 2")
	if err := old.Round(t.Context()); !platform.Is(err, platform.Conflict) || !strings.Contains(err.Error(), "later attempt") {
		t.Errorf("the old attempt got %v", err)
	}
	next.write("b", "new 2")
	next.round()
	for range 3 {
		old.write("a", noise(9, 10))
		_ = old.Round(t.Context())
	}
	_, _ = old.Final(t.Context(), false)
	suffixes(t, "restored", tree(t, b.start("algo-1", 3).dir), map[string]string{"a": " 1", "b": " new 2"})
	late := b.open(b.config("algo-1", 2))
	if _, err := late.Restore(t.Context()); !platform.Is(err, platform.Conflict) {
		t.Errorf("an attempt that comes late got %v", err)
	}
	// Another job goes on with the same prefix, whatever its attempts are called.
	cfg := b.config("algo-1", 1)
	cfg.Job = "arn:other"
	other := b.open(cfg)
	other.restore()
	other.write("c", "3")
	other.round()
	suffixes(t, "another job", tree(t, other.dir), map[string]string{"a": " 1", "b": " new 2", "c": " 3"})
}

// What somebody removes below the prefix while the job runs is saved again.
func TestWhatIsRemovedIsSavedAgain(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h := b.start("algo-1", 1)
	h.write("a", "1")
	h.write("b", "1")
	h.round()
	b.drop("a")
	h.Audit()
	h.round()
	h.round()
	suffixes(t, "restored", tree(t, b.start("algo-1", 2).dir), map[string]string{"a": " 1", "b": " 1"})
	if !b.said("is saved again") {
		t.Errorf("said %q", b.notes)
	}
}

// A syncer that was killed left a journal: what it had shipped is not shipped again.
func TestWhatWasShippedIsNotShippedAgain(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	cfg := b.config("algo-1", 1)
	h := b.open(cfg)
	h.restore()
	for i := range 4 {
		h.write(fmt.Sprint("f", i), noise(uint64(i), 5*chunk))
	}
	b.store.before = func(method string, u platform.URI) error {
		if strings.Contains(string(u), "/manifests/") && method == "Compose" {
			return errDead
		}
		return nil
	}
	if err := h.Round(t.Context()); err == nil {
		t.Fatal("the manifest was written")
	}
	b.store.before = nil
	if n := b.store.takeShipped(); n != 20*chunk {
		t.Errorf("shipped %d bytes", n)
	}
	again := b.open(cfg) // with the same folder and state
	again.restore()
	again.round()
	if n := b.store.takeShipped(); n != 0 || len(b.committed) != 1 || b.committed[0].Files != 4 {
		t.Errorf("shipped %d bytes again; generations %+v", n, b.committed)
	}
	if got := tree(t, b.start("algo-1", 2).dir); len(got) != 4 {
		t.Errorf("restored %d files", len(got))
	}
}

// A store that does not take anything is told, and that it does again.
func TestStalls(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	type told struct {
		since time.Duration
		cause error
	}
	stalls := make(chan told, 100)
	cfg := b.config("algo-1", 1)
	cfg.Clock, cfg.Every, cfg.Settle, cfg.StallAfter = platform.SystemClock{}, 5*time.Millisecond, time.Millisecond, 500*time.Millisecond
	cfg.Stalled = func(since time.Duration, cause error) { stalls <- told{since, cause} }
	committed := make(chan checkpoint.Generation, 100)
	cfg.Committed = func(g checkpoint.Generation) { committed <- g }
	h := b.open(cfg)
	h.restore()
	b.store.mu.Lock()
	b.store.dead = true
	b.store.mu.Unlock()
	h.write("a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	wait := func(what string, ch <-chan told) told {
		t.Helper()
		select {
		case s := <-ch:
			return s
		case <-time.After(60 * time.Second):
			t.Fatalf("waited for %s", what)
			return told{}
		}
	}
	if s := wait("the stall", stalls); s.since < 500*time.Millisecond || !errors.Is(s.cause, errDead) {
		t.Errorf("told %+v", s)
	}
	b.store.mu.Lock()
	b.store.dead = false
	b.store.mu.Unlock()
	if s := wait("the end of it", stalls); s.since < 500*time.Millisecond || s.cause != nil {
		t.Errorf("told %+v", s)
	}
	select {
	case <-committed:
	case <-time.After(60 * time.Second):
		t.Fatal("nothing was committed")
	}
	cancel()
	<-ended
	close(stalls)
	stalled := false
	for s := range stalls { // on a machine that has much to do, it may have stalled again
		if stalled == (s.cause != nil) {
			t.Errorf("told twice: %+v", s)
		}
		stalled = s.cause != nil
	}
}

// A location that cannot be used is told before the job begins, and nothing is left behind by asking.
func TestProbe(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h := b.open(b.config("algo-1", 1))
	if err := h.Probe(t.Context()); err != nil || len(b.objects()) != 0 {
		t.Errorf("got %v, left %q", err, b.objects())
	}
	denied := func(method string) {
		b.store.before = func(m string, u platform.URI) error {
			if m == method {
				return platform.Errorf(platform.Denied, string(u), "%s was refused", method)
			}
			return nil
		}
	}
	for method, words := range map[string]string{"List": "cannot be listed", "Upload": "cannot be written", "Open": "cannot be read", "Delete": "cannot be cleared"} {
		denied(method)
		err := h.Probe(t.Context())
		for _, said := range []string{words, string(prefix), "s3:PutObject"} {
			if !platform.Is(err, platform.Denied) || !strings.Contains(err.Error(), said) {
				t.Errorf("%s: %v does not say %q", method, err, said)
			}
		}
	}
	cfg := b.config("algo-1", 1)
	cfg.Prefix = "s3://no-such-bucket/x"
	b.store.before = nil
	if err := b.open(cfg).Probe(t.Context()); !platform.Is(err, platform.NotFound) || !strings.Contains(err.Error(), "Create the bucket") {
		t.Errorf("got %v", err)
	}
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	t.Parallel()
	blobs := func() platform.Blobs { return nil }
	for _, bad := range []checkpoint.Config{
		{}, {Dir: "x", State: "y", Blobs: blobs, Host: "a/b", Prefix: prefix}, {Dir: "x", State: "y", Blobs: blobs, Host: "a", Prefix: "nonsense"},
	} {
		if _, err := checkpoint.New(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// The bandwidth that Run takes is bounded; at the end there is no time to lose.
func TestBandwidth(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	cfg := b.config("algo-1", 1)
	cfg.Bandwidth = 10 * chunk
	h := b.open(cfg)
	h.restore()
	h.write("a", noise(1, 200*chunk))
	before := b.clock.Now()
	h.round()
	if took := b.clock.Now().Sub(before); took < 19*time.Second || took > 25*time.Second {
		t.Errorf("it took %v, not 19 seconds and the time to settle", took)
	}
	h.write("a", noise(2, 200*chunk))
	before = b.clock.Now()
	h.final(false)
	if took := b.clock.Now().Sub(before); took > time.Second {
		t.Errorf("the end took %v", took)
	}
}

// damage gives an object's content with one bit changed.
type damage struct{ io.ReadCloser }

func (d damage) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if n > 0 {
		p[n/2] ^= 4
	}
	return n, err
}
