package async

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

func TestAQueueGivesTheFirstToArriveAndTheFirstToExpire(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue()
		var there []*entry
		for seq := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(there) > 0 && rapid.Bool().Draw(t, "remove") {
				at := rapid.IntRange(0, len(there)-1).Draw(t, "which")
				q.remove(there[at])
				there = slices.Delete(there, at, at+1)
			} else {
				arrived := start.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "arrived")) * time.Second)
				e := &entry{seq: seq, arrived: arrived, expires: arrived.Add(time.Duration(rapid.IntRange(1, 9).Draw(t, "ttl")) * time.Second)}
				q.push(e)
				there = append(there, e)
			}
			if q.len() != len(there) {
				t.Fatalf("%d wait, not %d", q.len(), len(there))
			}
			if len(there) == 0 {
				continue
			}
			first := slices.MinFunc(there, func(a, b *entry) int {
				if c := a.arrived.Compare(b.arrived); c != 0 {
					return c
				}
				return a.seq - b.seq
			})
			if q.first() != first {
				t.Fatalf("%+v is first, not %+v", q.first(), first)
			}
			ends := slices.MinFunc(there, func(a, b *entry) int { return a.expires.Compare(b.expires) }).expires
			if q.expired(ends.Add(-1)) != nil || !q.expired(ends).expires.Equal(ends) {
				t.Fatalf("at %v %+v expires", ends, q.expired(ends))
			}
		}
	})
}

func TestAGateLetsInAsManyAsItMayInTheirOrder(t *testing.T) {
	t.Parallel()
	g := &gate{}
	entered := make(chan int)
	for i := range 4 {
		go func() {
			if err := g.enter(t.Context(), nil); err == nil {
				entered <- i
			}
		}()
		for waits := 0; waits <= i; { // until it is in line
			g.mu.Lock()
			waits = len(g.waiting)
			g.mu.Unlock()
		}
	}
	g.resize(1)
	for i := range 3 {
		if got := <-entered; got != i {
			t.Errorf("%d enters as number %d", got, i)
		}
		g.leave()
	}
	<-entered
	late, left := make(chan time.Time), make(chan error)
	ctx, leave := context.WithCancel(t.Context())
	go func() { left <- g.enter(ctx, late) }()
	late <- time.Time{}
	if err := <-left; !errors.Is(err, errLate) {
		t.Error(err)
	}
	go func() { left <- g.enter(ctx, late) }()
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	g.leave()
	if g.inside != 0 || len(g.waiting) != 0 {
		t.Errorf("%d are in and %d wait", g.inside, len(g.waiting))
	}
}

func TestASpoolHoldsWhatItIsGivenAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		size, limit int64
		file        bool
	}{{0, 10, false}, {10, 10, false}, {11, 10, false}, {spoolMemory, 1 << 30, false}, {spoolMemory + 1, 1 << 30, true}, {3 << 20, 1 << 20, true}} {
		s, err := fill(dir, strings.NewReader(strings.Repeat("0123456789abcdef", 1<<18)[:c.size]), c.limit)
		if err != nil || s.Size() != min(c.size, c.limit+1) || (s.file != nil) != c.file {
			t.Fatalf("%+v: %d bytes, %v", c, s.Size(), err)
		}
		for range 2 {
			all, err := io.ReadAll(s.reader())
			if err != nil || int64(len(all)) != s.Size() || !strings.HasPrefix(strings.Repeat("0123456789abcdef", 1<<18), string(all)) {
				t.Errorf("%+v: %d bytes are read: %v", c, len(all), err)
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%v lie in the folder: %v", left, err)
		}
		s.close()
	}
}

func TestASpoolTellsAReadersFaultFromTheDisks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken := io.MultiReader(bytes.NewReader(make([]byte, spoolMemory*2)), &failing{})
	if _, err := fill(dir, broken, 1<<30); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reader's error is %v", err)
	}
	if _, err := fill(dir+"/nowhere", bytes.NewReader(make([]byte, spoolMemory*2)), 1<<30); !platform.Is(err, platform.Unavailable) {
		t.Errorf("a folder's error is %v", err)
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
