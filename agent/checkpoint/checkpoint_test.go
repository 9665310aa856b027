package checkpoint_test

import (
	"os"
	"reflect"
	"testing"

	"github.com/stint-ml/stint/agent/checkpoint"
)

// What was in the folder comes back as it was, and lies in the store under its own names.
func TestWhatWasThereComesBack(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h := b.start("algo-1", 1)
	h.write("epoch-1/model.bin", noise(1, 1000))
	h.write("epoch-1/empty", "")
	h.write("state.json", `{"step": 10}`)
	h.write("with space + ünï", "x")
	h.write("bad\xffname", "y")
	must(t, os.Mkdir(h.path("empty folder"), 0o750), os.Symlink("epoch-1/model.bin", h.path("latest")), os.Chmod(h.path("state.json"), 0o600),
		os.Symlink("/etc/passwd", h.path("out")))
	h.round()
	want := tree(t, h.dir)
	next := b.open(b.config("algo-1", 2))
	r := next.restore()
	equalTrees(t, "restored", tree(t, next.dir), want)
	if want := (checkpoint.Restored{Generation: r.Generation, Files: 5, Bytes: 1000 + 12 + 2}); !reflect.DeepEqual(r, want) {
		t.Errorf("told %+v, want %+v", r, want)
	}
	if g := r.Generation; g.Number != 1 || g.Epoch != 1 || len(b.committed) != 1 || b.committed[0].Files != 5 {
		t.Errorf("committed %+v", b.committed)
	}
	flats := b.flats()
	if len(flats) != 4 || flats["epoch-1/model.bin"] != noise(1, 1000) || flats["state.json"] != `{"step": 10}` {
		t.Errorf("flat objects: %d", len(flats))
	}
	// What was restored is not shipped again, and is no new generation.
	b.store.takeShipped()
	next.round()
	if n := b.store.takeShipped(); n != 0 || len(b.committed) != 1 {
		t.Errorf("shipped %d bytes for what was restored, generations %+v", n, b.committed)
	}
	if len(b.notes) != 0 {
		t.Errorf("said %q", b.notes)
	}
}

// Only what is new or changed is shipped.
func TestOnlyChangesAreShipped(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	h := b.start("algo-1", 1)
	large := []byte(noise(2, 20*chunk+10))
	h.write("large", string(large))
	h.write("other", noise(3, 5*chunk))
	h.round()
	b.store.takeShipped()
	expect := func(what string, want int) {
		t.Helper()
		h.round()
		if n := b.store.takeShipped(); n != want {
			t.Errorf("%s: shipped %d bytes, want %d", what, n, want)
		}
		next := b.start("algo-1", 1)
		equalTrees(t, what, tree(t, next.dir), tree(t, h.dir))
		h = next
		b.store.takeShipped()
	}
	large[7*chunk+3]++
	h.write("large", string(large))
	expect("a chunk of a large file", chunk)
	large = append(large, noise(4, 3*chunk)...)
	h.write("large", string(large))
	expect("an appended end", 3*chunk+10)
	h.write("large", string(large))
	expect("a file written with what it held", 0)
	h.rename("large", "renamed")
	expect("a new name", 0)
	if err := os.Link(h.path("renamed"), h.path("linked")); err != nil {
		t.Fatal(err)
	}
	expect("a second name", 0)
	large = large[:9*chunk+1]
	h.write("renamed", string(large))
	h.remove("linked")
	h.write("linked", "new")
	expect("a shorter file, and a small one", 1+3)
}
