package telemetrytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

func testFilter(t *testing.T, s Telemetry) {
	write(t, s, "job-a/algo-1", 1, event(10, "a1 loss=1"), event(30, "a1 loss=2"))
	write(t, s, "job-a/algo-2", 1, event(20, "a2 loss=3"), event(40, "a2 done"))
	write(t, s, "job-b/algo-1", 1, event(25, "b1 loss=4"))
	loss := func(m string) bool { return strings.Contains(m, "loss") }
	whole := func(milli int) time.Time { return at(milli).Truncate(time.Millisecond) }
	for _, c := range []struct {
		f    platform.LogFilter
		want []string
	}{
		{platform.LogFilter{}, []string{"a1 loss=1", "a2 loss=3", "b1 loss=4", "a1 loss=2", "a2 done"}},
		{platform.LogFilter{Match: loss}, []string{"a1 loss=1", "a2 loss=3", "b1 loss=4", "a1 loss=2"}},
		{platform.LogFilter{StreamPrefix: "job-a/"}, []string{"a1 loss=1", "a2 loss=3", "a1 loss=2", "a2 done"}},
		{platform.LogFilter{StreamPrefix: "none"}, nil},
		{platform.LogFilter{Streams: []string{"job-b/algo-1", "job-a/algo-1"}}, []string{"a1 loss=1", "b1 loss=4", "a1 loss=2"}},
		{platform.LogFilter{Start: whole(20), End: whole(30)}, []string{"a2 loss=3", "b1 loss=4"}},
		{platform.LogFilter{Start: whole(20).Add(1), Match: loss}, []string{"b1 loss=4", "a1 loss=2"}},
		{platform.LogFilter{Match: func(string) bool { return false }}, nil},
	} {
		for limit := range 4 {
			c.f.Limit = limit
			if got := messages(filterAll(t, s, c.f)); !slices.Equal(got, c.want) {
				t.Errorf("%+v gives %q, want %q", c.f, got, c.want)
			}
		}
	}
	got := filterAll(t, s, platform.LogFilter{StreamPrefix: "job-b"})[0]
	if got.Stream != "job-b/algo-1" || got.Position != 0 || !got.Timestamp.Equal(whole(25)) || got.Ingested.IsZero() {
		t.Errorf("the event is %+v", got)
	}
}

// testFilterOrder: by time; then by stream, then as appended, also where a stream's clock went back and forth by days.
func testFilterOrder(t *testing.T, s Telemetry) {
	const day = 24 * 3600 * 1000
	write(t, s, "b", 1, event(0, "3"), event(0, "4"), event(-2*day, "1"), event(day, "7"))
	write(t, s, "a", 1, event(0, "2"), event(3*day, "8"), event(1, "6"))
	write(t, s, "b", 2, event(0, "5"), event(4*day, "9"))
	for limit := range 10 {
		if got := strings.Join(messages(filterAll(t, s, platform.LogFilter{Limit: limit})), ""); got != "123456789" {
			t.Errorf("in pages of %d: %s", limit, got)
		}
	}
}

// testFilterPages: streams of many interleaved batches, more than may be looked at one by one, in pages, while more is appended.
func testFilterPages(t *testing.T, s Telemetry) {
	const streams, batches, size = 40, 5, 30
	var want []string
	for b := range batches {
		for x := range streams {
			var events []platform.LogEvent
			for i := range size {
				events = append(events, event((b*size+i)*streams+x, fmt.Sprintf("%02d %d", x, b*size+i)))
			}
			write(t, s, fmt.Sprintf("stream-%02d", x), int64(b), events...)
		}
	}
	for i := range batches * size {
		for x := range streams {
			want = append(want, fmt.Sprintf("%02d %d", x, i))
		}
	}
	for round, f := range []platform.LogFilter{{Group: "g", Limit: 777}, {Group: "g", Limit: 1000, StreamPrefix: "stream-"}} {
		var got []string
		victim := fmt.Sprintf("stream-%02d", round)
		for {
			page, next, err := s.Filter(ctx, f)
			noError(t, err)
			got = append(got, messages(page)...)
			if f.After = next; next == "" {
				break
			}
			// What comes behind the token is not seen any more, and disturbs nothing.
			noError(t, s.Append(ctx, platform.LogBatch{Group: "g", Stream: victim, Events: []platform.LogEvent{event(-1000, "late")}}))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d events in pages of %d, want %d in their order", len(got), f.Limit, len(want))
		}
		noError(t, s.DeleteStream(ctx, "g", victim)) // and with it the late ones
		want = slices.DeleteFunc(want, func(m string) bool { return strings.HasPrefix(m, fmt.Sprintf("%02d ", round)) })
	}
	odd := filterAll(t, s, platform.LogFilter{StreamPrefix: "stream-0", Limit: 10, Match: func(m string) bool { return strings.HasSuffix(m, "7") }})
	if len(odd) != 8*batches*size/10 {
		t.Errorf("%d events match", len(odd))
	}
}

func testBadTokens(t *testing.T, s Telemetry) {
	for i := range 5 {
		write(t, s, fmt.Sprint("stream-", i), 1, lines(0, 5)...)
		noError(t, s.CreateGroup(ctx, fmt.Sprint("group-", i)))
	}
	_, groups, err := s.Groups(ctx, "group", "", 2)
	noError(t, err)
	_, streams, err := s.Streams(ctx, platform.LogStreamQuery{Group: "g", Limit: 2})
	noError(t, err)
	_, events, err := s.Filter(ctx, platform.LogFilter{Group: "g", Limit: 2})
	noError(t, err)
	for _, token := range []string{"x", "%%%", "AAAAAAAAAAAAAAAAAAAAAAAA", groups + "AAAA", streams[1:], events[:len(events)-2], groups + streams} {
		_, _, err := s.Groups(ctx, "group", token, 2)
		isKind(t, err, platform.Invalid)
		_, _, err = s.Streams(ctx, platform.LogStreamQuery{Group: "g", After: token})
		isKind(t, err, platform.Invalid)
		_, _, err = s.Filter(ctx, platform.LogFilter{Group: "g", After: token})
		isKind(t, err, platform.Invalid)
	}
	_, _, err = s.Groups(ctx, "g", groups, 2)
	isKind(t, err, platform.Invalid)
	_, _, err = s.Streams(ctx, platform.LogStreamQuery{Group: "g", After: streams, Descending: true})
	isKind(t, err, platform.Invalid)
	_, _, err = s.Streams(ctx, platform.LogStreamQuery{Group: "g", After: events})
	isKind(t, err, platform.Invalid)
	_, _, err = s.Filter(ctx, platform.LogFilter{Group: "g", After: events, Start: epoch})
	isKind(t, err, platform.Invalid)
	_, _, err = s.Filter(ctx, platform.LogFilter{Group: "g", After: events, StreamPrefix: "s"})
	isKind(t, err, platform.Invalid)
}
