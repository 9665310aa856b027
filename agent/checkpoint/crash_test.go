package checkpoint_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// story is what a training does to its folder, step by step; after each the folder is looked at.
var story = []func(h *host){
	func(h *host) { h.write("a", noise(1, 5*chunk)); h.write("sub/b", "b1") },
	func(h *host) { h.write("a", noise(2, 3*chunk)); h.write("c", noise(3, 10*chunk+1)) },
	func(h *host) { h.rename("c", "sub/c"); h.remove("sub/b") },
	func(h *host) {
		h.write("a", noise(4, chunk))
		h.write("sub/c", noise(3, 10*chunk+1)+"tail")
		h.write("d", "")
	},
	func(h *host) { h.remove("a"); h.write("e", noise(5, 40)) },
	func(h *host) { h.write("a", "again"); h.write("e", noise(6, 40)) },
}

// tell plays the story and gives the folder as it was at each commit, by the number of the generation.
func tell(h *host, final bool) map[int64]map[string]string {
	states := map[int64]map[string]string{}
	for _, step := range story {
		step(h)
		before := len(h.committed)
		err := h.Round(context.Background())
		for _, g := range h.committed[before:] {
			states[g.Number] = tree(h.t, h.dir)
		}
		if err != nil || h.store.dead {
			states[-1] = tree(h.t, h.dir) // may have been committed without anybody hearing of it
			return states
		}
	}
	if final {
		_, _ = h.Final(context.Background(), false)
	}
	return states
}

// The store or the syncer dies at every request in turn, before or after it was carried out: what is restored is always a whole
// generation, and never older than the last one that was told of.
func TestDeathAtEveryRequest(t *testing.T) {
	t.Parallel()
	whole := newBundle(t)
	tell(whole.start("algo-1", 1), true)
	requests := whole.store.requests
	if requests < 40 {
		t.Fatalf("only %d requests", requests)
	}
	for k := 1; k <= requests+5; k++ {
		for _, after := range []bool{false, true} {
			b := newBundle(t)
			h := b.open(b.config("algo-1", 1))
			b.store.dieAt, b.store.after = k, after
			states := map[int64]map[string]string{}
			if _, err := h.Restore(context.Background()); err == nil {
				states = tell(h, true)
			}
			checkRestored(t, b, fmt.Sprintf("dead at request %d, carried out: %v", k, after), states)
		}
	}
}

// checkRestored restores with a new syncer, twice: the second time after it has swept and gone on.
func checkRestored(t tester, b *bundle, what string, states map[int64]map[string]string) {
	t.Helper()
	b.store.dieAt, b.store.dead = 0, false
	last := int64(0)
	for _, g := range b.committed {
		last = max(last, g.Number)
	}
	next := b.start("algo-1", 2)
	got := tree(t, next.dir)
	allowed := []map[string]string{states[-1], states[last]}
	if last == 0 {
		allowed[1] = map[string]string{}
	}
	if !slices.ContainsFunc(allowed, func(s map[string]string) bool { return maps.Equal(s, got) }) {
		equalTrees(t, what+": restored", got, allowed[1])
		t.Fatalf("%s: notes %q, objects %q", what, b.notes, slices.Sorted(maps.Keys(b.objects())))
	}
	if len(b.notes) > 0 {
		t.Errorf("%s: said %q", what, b.notes)
	}
	next.write("more", "more")
	next.round()
	next.write("more", "and more")
	next.final(false)
	want := tree(t, next.dir)
	third := b.start("algo-1", 3)
	equalTrees(t, what+": restored after going on", tree(t, third.dir), want)
	checkTidy(t, b, what, next.dir)
}

// checkTidy sees that a job leaves the files under their names, and two generations at most.
func checkTidy(t tester, b *bundle, what, dir string) {
	t.Helper()
	checkFlat(t, b, what, dir)
	if kept := b.kept("algo-1", "manifests"); len(kept) > 2 {
		t.Errorf("%s: left %q", what, kept)
	}
}

// checkFlat sees that the files lie under their names. What was removed lately may lie there still: the generation before needs it.
func checkFlat(t tester, b *bundle, what, dir string) {
	t.Helper()
	files := map[string]string{}
	for name := range tree(t, dir) {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(data)
		}
	}
	flats := b.flats()
	maps.DeleteFunc(flats, func(name, _ string) bool { _, wanted := files[name]; return !wanted })
	equalTrees(t, what+": flat objects", flats, files)
}

// Any history of writing, renaming, removing and dying, over several attempts.
func TestHistories(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		b := newBundleFor(r, t.TempDir)
		m := &history{T: r, bundle: b}
		m.attempt()
		for range rapid.IntRange(3, 30).Draw(r, "steps") {
			m.step()
		}
		b.store.dieAt, b.store.dead = 0, false
		m.h.final(false)
		checkTidy(r, b, "at the end", m.h.dir)
		want := tree(r, m.h.dir)
		m.states = []map[string]string{want}
		m.attempt()
	})
}

// history is a training that lives on the edge.
type history struct {
	*rapid.T
	*bundle
	h      *host
	epoch  int64
	seed   uint64
	states []map[string]string // that may be restored: the last one told of, and those that may have been committed since
}

// attempt is a new one, on a new machine.
func (m *history) attempt() {
	m.epoch++
	m.store.dieAt, m.store.dead = 0, false
	m.h = m.start("algo-1", m.epoch)
	got := tree(m.T, m.h.dir)
	if m.states == nil {
		m.states = []map[string]string{{}}
	}
	if !slices.ContainsFunc(m.states, func(s map[string]string) bool { return maps.Equal(s, got) }) {
		for i, s := range m.states {
			equalTrees(m.T, fmt.Sprintf("restored, beside state %d", i), got, s)
		}
		m.T.Fatalf("attempt %d restored what never was; notes %q", m.epoch, m.notes)
	}
	m.states = []map[string]string{got}
	if len(m.notes) > 0 {
		m.T.Fatalf("said %q", m.notes)
	}
}

var historyNames = []string{"a", "b", "d/a", "d/e/b", "f"}

func (m *history) step() {
	name := rapid.SampledFrom(historyNames).Draw(m.T, "name")
	data, err := os.ReadFile(m.h.path(name))
	there := err == nil
	m.seed++
	actions := map[string]func(){
		"write":  func() { m.h.write(name, noise(m.seed, rapid.IntRange(0, 6*chunk).Draw(m.T, "size"))) },
		"append": func() { m.h.write(name, string(data)+noise(m.seed, rapid.IntRange(1, 3*chunk).Draw(m.T, "more"))) },
		"cut":    func() { m.h.write(name, string(data[:len(data)/2])) },
		"change": func() {
			if len(data) > 0 {
				data[rapid.IntRange(0, len(data)-1).Draw(m.T, "at")]++
				m.h.write(name, string(data))
			}
		},
		"rename": func() { m.another(name, there, os.Rename) },
		"link":   func() { m.another(name, there, os.Link) },
		"remove": func() { m.h.remove(rapid.SampledFrom([]string{name, "d", "d/e"}).Draw(m.T, "what")) },
		"look":   func() { m.look() },
		"die": func() {
			m.store.dieAt, m.store.after = m.store.requests+rapid.IntRange(1, 30).Draw(m.T, "in"), rapid.Bool().Draw(m.T, "after")
		},
		"attempt": m.attempt,
		"idle": func() {
			// What was seen to change before and after a long time counts as never at rest in it. Here all is at rest.
			if m.look() {
				m.clock.After(20 * time.Minute)
				m.h.Audit()
			}
		},
	}
	names := append(slices.Sorted(maps.Keys(actions)), "look", "look", "write") // some happen more often
	actions[rapid.SampledFrom(names).Draw(m.T, "action")]()
}

// another gives a file that is there another name.
func (m *history) another(name string, there bool, how func(from, to string) error) {
	to := rapid.SampledFrom(historyNames).Draw(m.T, "to")
	if there && to != name {
		m.h.remove(to)
		must(m.T, os.MkdirAll(filepath.Dir(m.h.path(to)), 0o755), how(m.h.path(name), m.h.path(to)))
	}
}

// look is a round, and what may be restored from then on. It tells whether the store has let it come to its end.
func (m *history) look() bool {
	before := len(m.committed)
	_ = m.h.Round(context.Background())
	if m.store.dead {
		if len(m.committed) > before {
			m.states = nil
		}
		m.states = append(m.states, tree(m.T, m.h.dir))
		// The store comes back, or else only the next attempt sees it.
		if rapid.Bool().Draw(m.T, "back") {
			m.store.dieAt, m.store.dead = 0, false
		}
		return false
	}
	m.states = []map[string]string{tree(m.T, m.h.dir)}
	return true
}
