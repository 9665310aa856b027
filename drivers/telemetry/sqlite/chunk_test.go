package sqlite

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

func newTestCodec(t *testing.T) *codec {
	k, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestChunks: whatever is divided, packed and unpacked comes back, in chunks that keep their bounds.
func TestChunks(t *testing.T) {
	t.Parallel()
	k := newTestCodec(t)
	rapid.Check(t, func(rt *rapid.T) {
		events, ingested := drawEvents(rt), rapid.Int64().Draw(rt, "ingested")
		var got []event
		for _, c := range chunksOf(events, ingested) {
			if n := len(c.events); n == 0 || n > chunkEvents || n > 1 && c.bytes > chunkBytes || c.newest-c.oldest >= chunkSpan {
				rt.Fatalf("a chunk of %d events, %d bytes, %d to %d", n, c.bytes, c.oldest, c.newest)
			}
			back, err := k.decode(k.encode(c))
			if err != nil || !reflect.DeepEqual(back, c) {
				rt.Fatalf("a chunk does not come back: %v", err)
			}
			got = append(got, back.events...)
		}
		if !slices.EqualFunc(got, events, func(g event, e platform.LogEvent) bool {
			return g == event{e.Timestamp.UnixMilli(), ingested, e.Message}
		}) {
			rt.Fatal("the events do not come back")
		}
	})
}

// drawEvents gives steady ones, and among them some with odd times and lengths.
func drawEvents(rt *rapid.T) (events []platform.LogEvent) {
	for range rapid.SampledFrom([]int{0, 1, 10, 5000}).Draw(rt, "events") {
		events = append(events, platform.LogEvent{Message: "steady"})
	}
	for range rapid.IntRange(0, 20).Draw(rt, "odd ones") {
		e := platform.LogEvent{
			Timestamp: time.Date(rapid.IntRange(1, 9999).Draw(rt, "year"), 1, 1, 0, 0, 0, 0, time.UTC),
			Message:   string(make([]byte, rapid.SampledFrom([]int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1}).Draw(rt, "length"))),
		}
		events = slices.Insert(events, rapid.IntRange(0, len(events)).Draw(rt, "place"), e)
	}
	return events
}

// TestDamagedChunks: a blob that a disk has changed is an error or other events, never a panic.
func TestDamagedChunks(t *testing.T) {
	t.Parallel()
	k := newTestCodec(t)
	rapid.Check(t, func(rt *rapid.T) {
		raw := rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.ByteRange(0, 3), rapid.Just(byte(0xff))), 0, 40).Draw(rt, "raw")
		if _, err := k.decode(k.compress.EncodeAll(raw, nil)); err != nil && !errors.Is(err, errDamaged) {
			rt.Fatal(err)
		}
		if _, err := k.decode(raw); len(raw) > 0 && err == nil {
			rt.Fatal("what is not compressed is taken for a chunk")
		}
	})
}
