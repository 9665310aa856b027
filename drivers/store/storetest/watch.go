package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

// patience is how long a test waits for what should come at once.
const patience = 30 * time.Second

// next waits for a key; open is false when the channel was closed.
func next(t rapid.TB, changed <-chan platform.Key) (k platform.Key, open bool) {
	t.Helper()
	select {
	case k, open = <-changed:
		return k, open
	case <-time.After(patience):
		t.Fatal("a watch tells nothing")
	}
	return k, open
}

func testWatch(t *testing.T, s platform.Store) {
	commit(t, s, put(record("earlier")))
	changed, stop := s.Watch(kind)
	also, stopAlso := s.Watch(kind)
	defer stopAlso()
	other := record("of another kind")
	other.Kind = "another"
	commit(t, s, put(other))
	refused(t, s, put(record("earlier")), platform.AlreadyExists)
	wants := func(name string) {
		t.Helper()
		for _, c := range []<-chan platform.Key{changed, also} {
			if k, open := next(t, c); !open || k != record(name).Key {
				t.Fatalf("told of %v (open %t), want %s", k, open, name)
			}
		}
	}
	commit(t, s, put(record("a")))
	wants("a")
	r := get(t, s, "a")
	commit(t, s, put(r))
	wants("a")
	commit(t, s, remove("a", 2))
	wants("a")
	stop()
	stop()
	for range changed { // ends when the channel is closed
	}
	commit(t, s, put(record("b")))
	if k, _ := next(t, also); k.Name != "b" {
		t.Fatalf("told of %v, want b", k)
	}
}

// testWatchMerges: a reader that takes nothing blocks nobody, and then hears of each record, of none too often.
func testWatchMerges(t *testing.T, s platform.Store) {
	changed, stop := s.Watch(kind)
	defer stop()
	const records, rounds = 20, 10
	for round := range int64(rounds) {
		for i := range records {
			r := record(fmt.Sprintf("job-%d", i))
			r.Revision = round
			commit(t, s, put(r))
		}
	}
	commit(t, s, put(record("last")))
	told := map[string]int{}
	for told["last"] == 0 {
		k, _ := next(t, changed)
		told[k.Name]++
	}
	for i := range records {
		if n := told[fmt.Sprintf("job-%d", i)]; n < 1 || n > 2 { // one may have been on its way already
			t.Errorf("told %d times of job-%d", n, i)
		}
	}
}

// testWatchLosesNoLast: a reader that reads on every word from the watch ends with the last state.
func testWatchLosesNoLast(t *testing.T, s platform.Store) {
	const last = 200
	changed, stop := s.Watch(kind)
	defer stop()
	done := make(chan error, 1)
	go func() {
		for i := range int64(last) {
			r := record("a")
			r.Revision = i
			if err := s.Commit(context.Background(), put(r)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for seen := int64(0); seen < last; seen = get(t, s, "a").Revision {
		next(t, changed)
	}
	noError(t, <-done)
}
