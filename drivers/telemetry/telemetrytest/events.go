package telemetrytest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

func testMessages(t *testing.T, s Telemetry) {
	before := time.Now().Truncate(time.Millisecond)
	long := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	want := []string{"plain", "", "ünï\x00 \t\r code \U0001f600", long, "after", strings.Repeat("x", 300_000)}
	var events []platform.LogEvent
	for i, m := range want {
		events = append(events, event(i, m))
	}
	events[0].Timestamp = events[0].Timestamp.In(time.FixedZone("east", 3600))
	events[4].Timestamp = time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC) // a clock that jumped
	write(t, s, "s", 1, events...)
	got := readAll(t, s, "s")
	if !slices.Equal(messages(got), want) {
		t.Fatalf("%d messages do not come back as they went in", len(got))
	}
	for i, e := range got {
		if !e.Timestamp.Equal(events[i].Timestamp.Truncate(time.Millisecond)) || e.Timestamp.Location() != time.UTC || e.Position != int64(i) ||
			e.Stream != "s" || e.Ingested.Before(before) || e.Ingested.After(time.Now()) {
			t.Errorf("event %d comes back as %v %d %s %v", i, e.Timestamp, e.Position, e.Stream, e.Ingested)
		}
	}
}

// testOnce: a batch counts once for its producer in its stream.
func testOnce(t *testing.T, s Telemetry) {
	batch := func(stream, producer string, seq int64, message string) {
		t.Helper()
		noError(t, s.Append(ctx, platform.LogBatch{Group: "g", Stream: stream, Producer: producer, Seq: seq, Events: []platform.LogEvent{event(0, message)}}))
	}
	batch("s", "p", 5, "a")
	batch("s", "p", 5, "again")
	batch("s", "p", 4, "earlier")
	batch("s", "q", 1, "b") // of another producer
	batch("s", "p", 9, "c") // gaps are fine
	batch("s", "p", 6, "within the gap")
	batch("s", "", 1, "d")
	batch("s", "", 1, "e") // without a producer, never the same
	batch("other", "p", 1, "of another stream")
	noError(t, s.Append(ctx, platform.LogBatch{Group: "g", Stream: "s", Producer: "p", Seq: 10}))
	batch("s", "p", 10, "the empty one counted")
	batch("s", "p", 11, "f")
	if got := strings.Join(messages(readAll(t, s, "s")), ""); got != "abcdef" {
		t.Errorf("the stream has %q, want abcdef", got)
	}
	if got := messages(readAll(t, s, "other")); !slices.Equal(got, []string{"of another stream"}) {
		t.Errorf("the other stream has %q", got)
	}
}

// testConcurrentAppend: each producer's lines are in its order, a batch's lines together, positions without gaps, and a
// batch that two deliver at once is there once.
func testConcurrentAppend(t *testing.T, s Telemetry) {
	const producers, batches, size = 4, 15, 7
	var wg sync.WaitGroup
	for p := range producers {
		for range 2 { // twice the same
			wg.Go(func() {
				for b := range batches {
					var events []platform.LogEvent
					for i := range size {
						events = append(events, event(i, fmt.Sprintf("%d %02d %d", p, b, i)))
					}
					if err := s.Append(ctx, platform.LogBatch{Group: "g", Stream: "s", Producer: fmt.Sprint(p), Seq: int64(b), Events: events}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	all := readAll(t, s, "s")
	if len(all) != producers*batches*size {
		t.Fatalf("%d events, want %d", len(all), producers*batches*size)
	}
	last := map[byte]string{}
	for i, e := range all {
		if e.Position != int64(i) {
			t.Fatalf("event %d has position %d", i, e.Position)
		}
		if p := e.Message[0]; last[p] >= e.Message {
			t.Fatalf("%q comes after %q", e.Message, last[p])
		} else {
			last[p] = e.Message
		}
		if i%size > 0 && e.Message[:4] != all[i-1].Message[:4] {
			t.Fatalf("%q stands within another batch, after %q", e.Message, all[i-1].Message)
		}
	}
}

// testPaging goes through a stream of batches of many sizes, forward and back, with many sizes of page.
func testPaging(t *testing.T, s Telemetry) {
	n := 0
	for i, size := range []int{1, 1, 2, 999, 1, 3, 2500, 40, 40, 1, 300, 1} {
		write(t, s, "s", int64(i), lines(n, size)...)
		n += size
	}
	for _, limit := range []int{7, 100, 1000, 2500, n - 1, n, n + 1, 0} {
		forward(t, s, limit, n)
		backward(t, s, limit, n)
	}
	for _, from := range []int64{0, 1, 2, 3, 1003, int64(n) - 1} {
		for _, q := range []platform.LogRead{{From: from, Forward: true}, {From: from + 1}} {
			q.Stream, q.Limit = "s", 1
			if got := read(t, s, q); len(got) != 1 || got[0].Position != from {
				t.Errorf("%+v gives %v", q, got)
			}
		}
	}
	readEnds(t, s, n)
}

// readEnds begins at and beyond both ends of a stream of n events.
func readEnds(t *testing.T, s Telemetry, n int) {
	t.Helper()
	for _, q := range []platform.LogRead{{From: 0}, {From: int64(n), Forward: true}, {From: int64(n) + 1000, Forward: true}} {
		q.Stream = "s"
		if got := read(t, s, q); len(got) != 0 {
			t.Errorf("%+v gives %d events, want none", q, len(got))
		}
	}
	for _, q := range []platform.LogRead{{From: -1, Limit: 5}, {From: int64(n) + 1000, Limit: 5}} {
		q.Stream = "s"
		if got := read(t, s, q); len(got) != 5 || got[4].Position != int64(n)-1 {
			t.Errorf("%+v does not give the end: %v", q, messages(got))
		}
	}
	if got := read(t, s, platform.LogRead{Stream: "s", From: -1, Forward: true, Limit: 5}); len(got) != 5 || got[0].Position != 0 {
		t.Errorf("from -1 forward does not give the start: %v", messages(got))
	}
}

func forward(t *testing.T, s Telemetry, limit, n int) {
	t.Helper()
	next := 0
	for {
		page := read(t, s, platform.LogRead{Stream: "s", From: int64(next), Forward: true, Limit: limit})
		for _, e := range page {
			if e.Position != int64(next) || e.Message != fmt.Sprintf("line %d", next) {
				t.Fatalf("forward by %d: position %d %q, want %d", limit, e.Position, e.Message, next)
			}
			next++
		}
		if len(page) < limit || limit == 0 && len(page) == 0 {
			break
		}
	}
	if next != n {
		t.Fatalf("forward by %d: ends at %d of %d", limit, next, n)
	}
}

func backward(t *testing.T, s Telemetry, limit, n int) {
	t.Helper()
	from := int64(-1)
	end := n
	for {
		page := read(t, s, platform.LogRead{Stream: "s", From: from, Limit: limit})
		for i, e := range page {
			if want := end - len(page) + i; e.Position != int64(want) || e.Message != fmt.Sprintf("line %d", want) {
				t.Fatalf("back by %d: position %d %q, want %d", limit, e.Position, e.Message, want)
			}
		}
		end -= len(page)
		from = int64(end)
		if len(page) < limit || limit == 0 && len(page) == 0 {
			break
		}
	}
	if end != 0 {
		t.Fatalf("back by %d: ends at %d", limit, end)
	}
}

// testReadBounds: of time, start inclusive and end exclusive; of bytes, but for the first event.
func testReadBounds(t *testing.T, s Telemetry) {
	whole := func(milli int) time.Time { return at(milli).Truncate(time.Millisecond) }
	write(t, s, "s", 1, event(10, "aaaa"), event(30, "bbbb"), event(20, "cccc"), event(40, "dddd"))
	for _, c := range []struct {
		q    platform.LogRead
		want string
	}{
		{platform.LogRead{Start: whole(20)}, "bcd"},
		{platform.LogRead{Start: whole(20).Add(1)}, "bd"},
		{platform.LogRead{End: whole(30)}, "ac"},
		{platform.LogRead{End: whole(30).Add(1)}, "abc"},
		{platform.LogRead{Start: whole(20), End: whole(40)}, "bc"},
		{platform.LogRead{Start: whole(50)}, ""},
		{platform.LogRead{Start: whole(20), End: whole(20)}, ""},
		{platform.LogRead{MaxBytes: 8}, "ab"},
		{platform.LogRead{MaxBytes: 11}, "ab"},
		{platform.LogRead{MaxBytes: 12}, "abc"},
		{platform.LogRead{MaxBytes: 1}, "a"},
		{platform.LogRead{MaxBytes: 8, Start: whole(20)}, "bc"},
	} {
		c.q.Stream, c.q.Forward = "s", true
		got := ""
		for _, m := range messages(read(t, s, c.q)) {
			got += m[:1]
		}
		if got != c.want {
			t.Errorf("%+v gives %q, want %q", c.q, got, c.want)
		}
	}
	if got := messages(read(t, s, platform.LogRead{Stream: "s", From: -1, MaxBytes: 9})); !slices.Equal(got, []string{"cccc", "dddd"}) {
		t.Errorf("the last 9 bytes are %v", got)
	}
	if got := messages(read(t, s, platform.LogRead{Stream: "s", From: -1, MaxBytes: 1})); !slices.Equal(got, []string{"dddd"}) {
		t.Errorf("the last byte is in %v", got)
	}
}

func testStoredBytes(t *testing.T, s Telemetry) {
	want := int64(0)
	check := func() {
		t.Helper()
		groups, _, err := s.Groups(ctx, "g", "", 0)
		noError(t, err)
		if groups[0].StoredBytes != want {
			t.Fatalf("%d bytes stored, want %d", groups[0].StoredBytes, want)
		}
	}
	add := func(stream string, seq int64, messages ...string) {
		t.Helper()
		var events []platform.LogEvent
		for i, m := range messages {
			events = append(events, event(i, m))
			want += int64(len(m)) + 26
		}
		write(t, s, stream, seq, events...)
		check()
	}
	add("a", 1, "one", "two")
	add("a", 2, "ü")
	add("b", 1, strings.Repeat("x", 300_000), "y")
	write(t, s, "b", 1, event(0, "delivered already"))
	check()
	noError(t, s.DeleteStream(ctx, "g", "b"))
	want -= 300_000 + 1 + 2*26
	check()
}

func testSweep(t *testing.T, s Telemetry) {
	day := 24 * time.Hour
	now := epoch.Add(100 * day)
	ago := func(d time.Duration, m string) platform.LogEvent {
		return platform.LogEvent{Timestamp: now.Add(-d), Message: m}
	}
	write(t, s, "s", 1, ago(40*day, "old"), ago(39*day, "old"))
	write(t, s, "s", 2, ago(6*day, "new"), ago(30*day, "late and old"), ago(5*day, "new"))
	write(t, s, "s", 3, ago(6*day+23*time.Hour, "new"))
	write(t, s, "gone", 1, ago(8*day, "old"))
	noError(t, s.Sweep(ctx, now)) // nothing is to be forgotten yet
	if n := len(readAll(t, s, "s")); n != 6 {
		t.Fatalf("%d events without retention, want 6", n)
	}
	noError(t, s.SetRetention(ctx, "g", 7))
	noError(t, s.Append(ctx, platform.LogBatch{Group: "kept", Stream: "s", Producer: "p", Seq: 1, Events: []platform.LogEvent{ago(400*day, "x")}}))
	if n := len(readAll(t, s, "s")); n != 6 {
		t.Fatalf("%d events before the sweep, want 6", n)
	}
	noError(t, s.Sweep(ctx, now))
	noError(t, s.Sweep(ctx, now))
	got := readAll(t, s, "s")
	if !slices.Equal(messages(got), []string{"new", "new", "new"}) || got[0].Position != 2 || got[2].Position != 5 {
		t.Fatalf("after the sweep: %+v", got)
	}
	describes(t, s, "gone", time.Time{}, time.Time{}, 0)
	describes(t, s, "s", got[2].Timestamp, got[1].Timestamp, 3)
	groups, _, err := s.Groups(ctx, "", "", 0)
	noError(t, err)
	if groups[0].StoredBytes != 3*(26+3) || groups[1].StoredBytes != 27 {
		t.Errorf("groups after the sweep: %+v", groups)
	}
	write(t, s, "s", 3, ago(0, "delivered already"))
	write(t, s, "s", 4, ago(0, "next"))
	if got = readAll(t, s, "s"); len(got) != 4 || got[3].Position != 6 {
		t.Errorf("after the sweep and one more: %+v", got)
	}
}

// testSweepEdge: what is too old may stay for an hour more, for drivers delete events by the stretch; what is not must stay.
func testSweepEdge(t *testing.T, s Telemetry) {
	now := epoch.AddDate(0, 0, 100)
	limit := now.AddDate(0, 0, -7)
	write(t, s, "s", 1,
		platform.LogEvent{Timestamp: limit.Add(-40 * time.Minute), Message: "either"},
		platform.LogEvent{Timestamp: limit, Message: "new"},
		platform.LogEvent{Timestamp: limit.Add(10 * time.Minute), Message: "new"})
	write(t, s, "s", 2, platform.LogEvent{Timestamp: limit.Add(-61 * time.Minute), Message: "old"})
	noError(t, s.SetRetention(ctx, "g", 7))
	noError(t, s.Sweep(ctx, now))
	got := slices.DeleteFunc(messages(readAll(t, s, "s")), func(m string) bool { return m == "either" })
	if !slices.Equal(got, []string{"new", "new"}) {
		t.Errorf("after the sweep: %q", got)
	}
}
