package agent_test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

// remnant is a file as a killed attempt left it.
type remnant struct {
	content string
	quiet   bool // it was left alone for long
	renamed bool // it got its name when it was whole
	open    bool // it was seen open for writing at the end
	before  bool // it was there when the program began
}

// past is an earlier attempt on a bench.
type past struct {
	agent.Remains
	began time.Time
	ended bool
	open  []uint64
}

// newPast lays an attempt's files out. The time at which a file was changed is the kernel's, so the attempt's times are put around it.
func newPast(t *testing.T, ended bool, files map[string]remnant) *past {
	t.Helper()
	dir := t.TempDir()
	p := &past{Remains: agent.Remains{Dir: dir, Root: filepath.Join(dir, "ml")}, began: time.Now().Add(-time.Hour), ended: ended}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		p.lay(t, filepath.Join(p.Root, "checkpoints", name), files[name])
	}
	doc, err := json.Marshal(map[string]any{"began": p.began, "ended": p.ended, "open": p.open})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lastrun.json"), doc, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *past) lay(t *testing.T, path string, f remnant) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if target, ok := strings.CutPrefix(f.content, "-> "); ok {
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(path, []byte(f.content), 0o640); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	p.Ended = info.ModTime().Add(time.Millisecond)
	if f.quiet {
		p.Ended = info.ModTime().Add(time.Minute)
	}
	if f.before {
		p.began = time.Now().Add(time.Hour)
	}
	if f.open {
		p.open = append(p.open, inode(path))
	}
	if f.renamed {
		if err := os.Chtimes(path, time.Time{}, info.ModTime().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		p.tick(t, path)
	}
}

// tick waits until the kernel's clock for files, which counts in milliseconds, has moved on since one was changed.
func (p *past) tick(t *testing.T, path string) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if changed(t, probe).After(changed(t, path)) {
			return
		}
	}
	t.Fatal("the clock stands still")
}

func changed(t *testing.T, path string) time.Time {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return time.Unix(st.Ctim.Unix())
}

func TestSalvage(t *testing.T) {
	t.Parallel()
	restored := map[string]string{"last.pt": "old", "log": "one\n"}
	for name, c := range map[string]struct {
		left  map[string]remnant
		ended bool // the processes ended in order before the agent did
		want  map[string]string
		says  string
	}{
		"what was renamed into place":              {map[string]remnant{"last.pt": {content: "new", renamed: true}}, false, map[string]string{"last.pt": "new"}, "newer checkpoints, 1 file, 3 bytes"},
		"what was left alone":                      {map[string]remnant{"last.pt": {content: "new", quiet: true}}, false, map[string]string{"last.pt": "new"}, ""},
		"what is new, in new folders":              {map[string]remnant{"a/b/c.pt": {content: "new", renamed: true}}, false, map[string]string{"a/b/c.pt": "new"}, ""},
		"links":                                    {map[string]remnant{"latest": {content: "-> last.pt"}}, false, map[string]string{"latest": "-> last.pt"}, ""},
		"not what was being written":               {map[string]remnant{"tmp": {content: "ne"}, "new.pt": {content: "new", renamed: true}}, false, map[string]string{"new.pt": "new"}, ""},
		"not what came after one that may be torn": {map[string]remnant{"1.pt": {content: "ne"}, "2.pt": {content: "new", renamed: true}}, false, nil, ""},
		"nothing when that replaced another":       {map[string]remnant{"0.pt": {content: "new", renamed: true}, "1.pt": {content: "ne"}, "last.pt": {content: "new", renamed: true}}, false, nil, "last.pt"},
		"not a folder that is not whole":           {map[string]remnant{"step5/a": {content: "new", renamed: true}, "step5/b": {content: "ne"}}, false, nil, ""},
		"nothing beside an overwritten":            {map[string]remnant{"last.pt": {content: "ne"}, "new.pt": {content: "new", renamed: true}}, false, nil, "last.pt"},
		"a log that grew is no objection":          {map[string]remnant{"log": {content: "one\ntwo"}, "last.pt": {content: "new", renamed: true}}, false, map[string]string{"last.pt": "new"}, ""},
		"not what was there before":                {map[string]remnant{"last.pt": {content: "other", renamed: true, before: true}}, false, nil, ""},
		"all, when the program had ended":          {map[string]remnant{"last.pt": {content: "new"}}, true, map[string]string{"last.pt": "new"}, ""},
		"not what was open at the end":             {map[string]remnant{"a.pt": {content: "ne", open: true, renamed: true}, "b.pt": {content: "new"}}, true, map[string]string{"b.pt": "new"}, ""},
		"no drafts":                                {map[string]remnant{".stint-salvage-0": {content: "x", renamed: true}}, false, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, l := newBench(t, "true"), &ledger{files: restored}
			b.keeping(l)
			p := newPast(t, c.ended, c.left)
			b.cfg.Previous = []agent.Remains{p.Remains}
			wantKind(t, b.run(t), platform.Succeeded)
			want := maps.Clone(restored)
			maps.Copy(want, c.want)
			if got := contents(t, filepath.Join(b.cfg.Root, "checkpoints")); !reflect.DeepEqual(got, want) {
				t.Errorf("there are %v, want %v", got, want)
			}
			_, _, messages := b.toldOfCheckpoints()
			if said := b.warnings() + strings.Join(messages, "\n"); !strings.Contains(said, c.says) {
				t.Errorf("said was %q, want %q", said, c.says)
			}
		})
	}
}

// contents reads a folder: files by name, links as "-> target".
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if entry.Type()&os.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			found[name] = "-> " + target
			return err
		}
		text, err := os.ReadFile(path)
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What is older than the restored set is not brought back: it was in it, or had been removed.
func TestSalvageOfWhatIsOlderThanTheSet(t *testing.T) {
	t.Parallel()
	b, l := newBench(t, "true"), &ledger{set: platform.Checkpoint{Generation: 3, At: time.Now().Add(time.Minute)}}
	b.keeping(l)
	b.cfg.Previous = []agent.Remains{newPast(t, false, map[string]remnant{"removed.pt": {content: "x", renamed: true}}).Remains}
	wantKind(t, b.run(t), platform.Succeeded)
	if got := contents(t, filepath.Join(b.cfg.Root, "checkpoints")); len(got) > 0 {
		t.Errorf("there are %v", got)
	}
}

// The attempt in between was killed before it had got anything done.
func TestSalvageLooksBackFurther(t *testing.T) {
	t.Parallel()
	b, l := newBench(t, "true"), &ledger{}
	b.keeping(l)
	first := newPast(t, false, map[string]remnant{"a": {content: "first", renamed: true}, "b": {content: "first", renamed: true}})
	second := newPast(t, false, map[string]remnant{"a": {content: "second", renamed: true}})
	none := agent.Remains{Dir: t.TempDir(), Root: t.TempDir(), Ended: time.Now()}
	b.cfg.Previous = []agent.Remains{none, second.Remains, first.Remains}
	wantKind(t, b.run(t), platform.Succeeded)
	if got, want := contents(t, filepath.Join(b.cfg.Root, "checkpoints")), map[string]string{"a": "second", "b": "first"}; !reflect.DeepEqual(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
}

// What is left is the user's and not to be trusted.
func TestSalvageFollowsNoLinkOut(t *testing.T) {
	t.Parallel()
	secret := t.TempDir()
	if err := os.WriteFile(filepath.Join(secret, "key"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, lay := range map[string]func(p *past) error{
		"of the folder": func(p *past) error {
			if err := os.RemoveAll(filepath.Join(p.Root, "checkpoints")); err != nil {
				return err
			}
			return os.Symlink(secret, filepath.Join(p.Root, "checkpoints"))
		},
		"of a folder in it": func(p *past) error { return os.Symlink(secret, filepath.Join(p.Root, "checkpoints", "sub")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, l := newBench(t, "true"), &ledger{}
			b.keeping(l)
			p := newPast(t, true, map[string]remnant{"a": {content: "a"}})
			if err := lay(p); err != nil {
				t.Fatal(err)
			}
			b.cfg.Previous = []agent.Remains{p.Remains}
			wantKind(t, b.run(t), platform.Succeeded)
			for name, content := range contents(t, filepath.Join(b.cfg.Root, "checkpoints")) {
				if strings.Contains(content, "secret") && !strings.HasPrefix(content, "-> ") {
					t.Errorf("%s holds %q", name, content)
				}
			}
		})
	}
}

// An interrupted attempt that could not ship its last checkpoints leaves them to the next.
func TestWhatAnInterruptionCouldNotShipIsTakenOver(t *testing.T) {
	t.Parallel()
	never := func(ctx context.Context, _ bool) error { <-ctx.Done(); return ctx.Err() }
	first, l := newBench(t, `trap 'echo state > $ROOT/checkpoints/s; exit 0' TERM; echo ready; while :; do sleep 0.02; done`), &ledger{final: never}
	first.keeping(l)
	first.interruptAt("ready", 2*time.Second)
	wantKind(t, first.run(t), platform.Interrupted)
	second, next := newBench(t, "true"), &ledger{}
	second.keeping(next)
	second.cfg.Previous = []agent.Remains{{Dir: first.cfg.Dir, Root: first.cfg.Root, Ended: time.Now()}}
	wantKind(t, second.run(t), platform.Succeeded)
	if got, want := contents(t, filepath.Join(second.cfg.Root, "checkpoints")), map[string]string{"s": "state\n"}; !reflect.DeepEqual(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	third, last := newBench(t, "true"), &ledger{}
	third.keeping(last)
	third.cfg.Previous = []agent.Remains{{Dir: second.cfg.Dir, Root: second.cfg.Root, Ended: time.Now()}}
	wantKind(t, third.run(t), platform.Succeeded)
	if got := contents(t, filepath.Join(third.cfg.Root, "checkpoints")); len(got) > 0 {
		t.Errorf("what had come home was taken over: %v", got)
	}
}
