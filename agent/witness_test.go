package agent_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

// TestWitnessSpeaksForFilesThatTheirTimesDoNot has files written while an attempt runs, and the next attempt look at them as if the
// first had been killed that instant.
func TestWitnessSpeaksForFilesThatTheirTimesDoNot(t *testing.T) {
	t.Parallel()
	first, l := newBench(t, savesAndGoes), &ledger{}
	first.keeping(l)
	cancel := first.start(t)
	first.until(t, "the script to begin", said("ready"))
	folder := filepath.Join(first.cfg.Root, "checkpoints")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// One that is renamed in the kernel's very tick of its writing.
	draft, state := filepath.Join(folder, "draft"), filepath.Join(folder, "state")
	for sameTick := false; !sameTick; {
		must(os.WriteFile(draft, []byte("renamed"), 0o644))
		must(os.Rename(draft, state))
		info, err := os.Stat(state)
		must(err)
		st, ok := info.Sys().(*syscall.Stat_t)
		sameTick = ok && st.Ctim == st.Mtim
	}
	// One that was closed, in a folder that is new; one that is still open.
	must(os.MkdirAll(filepath.Join(folder, "deep"), 0o755))
	awaitTestimony(t, first.cfg.Dir, len("closed"), func() { must(os.WriteFile(filepath.Join(folder, "deep/closed"), []byte("closed"), 0o644)) })
	// One that was closed before its folder was there to be watched. Only once: what comes after it must not speak against it.
	come := filepath.Join(first.cfg.Root, "come")
	must(os.Mkdir(come, 0o755))
	must(os.WriteFile(filepath.Join(come, "earlier"), []byte("closed earlier"), 0o644))
	must(os.Rename(come, filepath.Join(folder, "come")))
	awaitTestimony(t, first.cfg.Dir, len("closed earlier"), func() {})
	open, err := os.Create(filepath.Join(folder, "open"))
	must(err)
	defer open.Close()
	_, err = open.WriteString("op")
	must(err)
	other, err := os.OpenFile(filepath.Join(folder, "open"), os.O_WRONLY, 0) // a second writer, who is done
	must(err)
	must(other.Close())
	awaitTestimony(t, first.cfg.Dir, len("last"), func() { must(os.WriteFile(filepath.Join(folder, "last"), []byte("last"), 0o644)) })

	second, next := newBench(t, "true"), &ledger{}
	second.keeping(next)
	second.cfg.Previous = []agent.Remains{{Dir: first.cfg.Dir, Root: first.cfg.Root, Ended: time.Now()}}
	wantKind(t, second.run(t), platform.Succeeded)
	want := map[string]string{"state": "renamed", "deep/closed": "closed", "come/earlier": "closed earlier", "last": "last"}
	if got := contents(t, filepath.Join(second.cfg.Root, "checkpoints")); !reflect.DeepEqual(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	cancel()
	first.leave(t)
}

// awaitTestimony does something to a file until the witness has spoken for one of that size. A folder that has just been made may
// not be watched yet.
func awaitTestimony(t *testing.T, dir string, size int, do func()) {
	t.Helper()
	want := fmt.Appendf(nil, `"size":%d,`, size)
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		do()
		for settle := time.Now().Add(200 * time.Millisecond); time.Now().Before(settle); time.Sleep(time.Millisecond) {
			log, err := os.ReadFile(filepath.Join(dir, "whole.log"))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(log, want) {
				return
			}
		}
	}
	t.Fatal("the witness says nothing")
}
