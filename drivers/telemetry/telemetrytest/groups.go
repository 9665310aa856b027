package telemetrytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

func testGroups(t *testing.T, s Telemetry) {
	before := time.Now().Truncate(time.Millisecond)
	noError(t, s.CreateGroup(ctx, "/aws/sagemaker/TrainingJobs"))
	isKind(t, s.CreateGroup(ctx, "/aws/sagemaker/TrainingJobs"), platform.AlreadyExists)
	isKind(t, s.CreateGroup(ctx, ""), platform.Invalid)
	noError(t, s.SetRetention(ctx, "/aws/sagemaker/TrainingJobs", 30))
	isKind(t, s.SetRetention(ctx, "/aws/sagemaker/TrainingJobs", -1), platform.Invalid)
	isKind(t, s.SetRetention(ctx, "none", 30), platform.NotFound)
	groups, next, err := s.Groups(ctx, "/aws/", "", 0)
	noError(t, err)
	if len(groups) != 1 || next != "" {
		t.Fatalf("groups %v, token %q", groups, next)
	}
	g := groups[0]
	if g.Name != "/aws/sagemaker/TrainingJobs" || g.RetentionDays != 30 || g.StoredBytes != 0 || g.Created.Before(before) || g.Created.After(time.Now()) {
		t.Errorf("group %+v, made after %v", g, before)
	}
	noError(t, s.SetRetention(ctx, g.Name, 0))
	noError(t, s.DeleteGroup(ctx, g.Name))
	isKind(t, s.DeleteGroup(ctx, g.Name), platform.NotFound)
	if groups, _, err := s.Groups(ctx, "", "", 0); err != nil || len(groups) != 0 {
		t.Errorf("after the deletion: %v %v", groups, err)
	}
}

func groupNames(t rapid.TB, s Telemetry, prefix string, limit int) (names []string) {
	t.Helper()
	for token := ""; ; {
		groups, next, err := s.Groups(ctx, prefix, token, limit)
		noError(t, err)
		if len(groups) > limit && limit > 0 {
			t.Fatalf("a page of %d has %d groups", limit, len(groups))
		}
		for _, g := range groups {
			names = append(names, g.Name)
		}
		if token = next; next == "" {
			return names
		}
	}
}

func testGroupPages(t *testing.T, s Telemetry) {
	all := []string{"/a", "/a/b", "/a_", "/a%", "/b", "A", "a", "ü", "üx", "\U0010ffff"}
	for _, name := range all {
		noError(t, s.CreateGroup(ctx, name))
	}
	slices.Sort(all)
	for _, prefix := range []string{"", "/a", "/a/", "/a%", "a", "ü", "\U0010ffff", "none"} {
		var want []string
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		for limit := range 5 {
			if got := groupNames(t, s, prefix, limit); !slices.Equal(got, want) {
				t.Errorf("prefix %q in pages of %d: %q, want %q", prefix, limit, got, want)
			}
		}
	}
}

func streamNames(t rapid.TB, s Telemetry, q platform.LogStreamQuery) (names []string) {
	t.Helper()
	q.Group = "g"
	for {
		streams, next, err := s.Streams(ctx, q)
		noError(t, err)
		if len(streams) > q.Limit && q.Limit > 0 {
			t.Fatalf("a page of %d has %d streams", q.Limit, len(streams))
		}
		for _, x := range streams {
			names = append(names, x.Name)
		}
		if q.After = next; next == "" {
			return names
		}
	}
}

func testStreams(t *testing.T, s Telemetry) {
	before := time.Now().Truncate(time.Millisecond)
	isKind(t, s.CreateStream(ctx, "g", "s"), platform.NotFound)
	noError(t, s.CreateGroup(ctx, "g"))
	noError(t, s.CreateStream(ctx, "g", "s"))
	isKind(t, s.CreateStream(ctx, "g", "s"), platform.AlreadyExists)
	isKind(t, s.CreateStream(ctx, "g", ""), platform.Invalid)
	x := describes(t, s, "s", time.Time{}, time.Time{}, 0)
	if x.Created.Before(before) || x.Created.After(time.Now()) || !x.Ingested.IsZero() {
		t.Errorf("an empty stream is %+v", x)
	}
	write(t, s, "s", 1, event(20, "b"), event(10, "a"), event(30, "c"), event(15, "d"))
	x = describes(t, s, "s", at(10), at(30), 4)
	if x.Ingested.Before(before) || x.Ingested.After(time.Now()) {
		t.Errorf("a stream with events is %+v", x)
	}
	write(t, s, "s", 2, event(5, "e"))
	describes(t, s, "s", at(5), at(30), 5)
	isKind(t, s.DeleteStream(ctx, "g", "none"), platform.NotFound)
	isKind(t, s.DeleteStream(ctx, "none", "s"), platform.NotFound)
	noError(t, s.DeleteStream(ctx, "g", "s"))
	if names := streamNames(t, s, platform.LogStreamQuery{}); names != nil {
		t.Errorf("after the deletion: %v", names)
	}
}

// describes wants a stream to show the time of its first and last event and how many they are.
func describes(t rapid.TB, s Telemetry, name string, first, last time.Time, events int64) platform.LogStream {
	t.Helper()
	streams, _, err := s.Streams(ctx, platform.LogStreamQuery{Group: "g", Prefix: name})
	noError(t, err)
	if len(streams) != 1 {
		t.Fatalf("streams %v", streams)
	}
	x := streams[0]
	if x.Name != name || !x.First.Equal(first.Truncate(time.Millisecond)) || !x.Last.Equal(last.Truncate(time.Millisecond)) || x.Events != events {
		t.Errorf("stream %+v, want %s with %d events from %v to %v", x, name, events, first, last)
	}
	return x
}

func testStreamOrders(t *testing.T, s Telemetry) {
	noError(t, s.CreateGroup(ctx, "g"))
	noError(t, s.CreateStream(ctx, "g", "b-empty"))
	noError(t, s.CreateStream(ctx, "g", "a-empty"))
	for i, name := range []string{"job/z", "job/a", "job-2", "job/m"} {
		write(t, s, name, 1, event(100-i/2*10, "x")) // z and a tie, then the others do
	}
	byName := []string{"a-empty", "b-empty", "job-2", "job/a", "job/m", "job/z"}
	byLast := []string{"a-empty", "b-empty", "job-2", "job/m", "job/a", "job/z"}
	for limit := range 8 {
		for _, c := range []struct {
			q    platform.LogStreamQuery
			want []string
		}{
			{platform.LogStreamQuery{}, byName},
			{platform.LogStreamQuery{ByLastEvent: true}, byLast},
			{platform.LogStreamQuery{Prefix: "job/"}, byName[3:]},
			{platform.LogStreamQuery{Prefix: "job/", ByLastEvent: true}, byLast[3:]},
			{platform.LogStreamQuery{Prefix: "job/none"}, nil},
		} {
			c.q.Limit = limit
			if got := streamNames(t, s, c.q); !slices.Equal(got, c.want) {
				t.Errorf("%+v gives %v, want %v", c.q, got, c.want)
			}
			c.q.Descending = true
			got := streamNames(t, s, c.q)
			if slices.Reverse(got); !slices.Equal(got, c.want) {
				t.Errorf("%+v reversed gives %v, want %v", c.q, got, c.want)
			}
		}
	}
}

func testStreamPages(t *testing.T, s Telemetry) {
	var want []string
	for i := range 120 {
		name := fmt.Sprintf("job-%03d", i)
		write(t, s, name, 1, event(i, "x"))
		want = append(want, name)
	}
	streams, next, err := s.Streams(ctx, platform.LogStreamQuery{Group: "g"})
	noError(t, err)
	if len(streams) != 50 || next == "" {
		t.Errorf("a page without limit has %d streams, token %q", len(streams), next)
	}
	for _, q := range []platform.LogStreamQuery{{}, {Limit: 7}, {Limit: 7, ByLastEvent: true}, {Limit: 120}, {Limit: 1000}} {
		if got := streamNames(t, s, q); !slices.Equal(got, want) {
			t.Errorf("%+v gives %d streams", q, len(got))
		}
	}
}

func testMissing(t *testing.T, s Telemetry) {
	_, _, err := s.Streams(ctx, platform.LogStreamQuery{Group: "g"})
	isKind(t, err, platform.NotFound)
	_, _, err = s.Filter(ctx, platform.LogFilter{Group: "g"})
	isKind(t, err, platform.NotFound)
	_, err = s.Read(ctx, platform.LogRead{Group: "g", Stream: "s"})
	isKind(t, err, platform.NotFound)
	isKind(t, s.Append(ctx, platform.LogBatch{Group: "g", Stream: "s", Events: lines(0, 1)}), platform.NotFound)
	isKind(t, s.Append(ctx, platform.LogBatch{Group: "", Stream: "s", Producer: "p", Seq: 1, Events: lines(0, 1)}), platform.Invalid)
	noError(t, s.CreateGroup(ctx, "g"))
	isKind(t, s.Append(ctx, platform.LogBatch{Group: "g", Stream: "s", Events: lines(0, 1)}), platform.NotFound)
	_, err = s.Read(ctx, platform.LogRead{Group: "g", Stream: "s"})
	isKind(t, err, platform.NotFound)
	_, _, err = s.Filter(ctx, platform.LogFilter{Group: "g", Streams: []string{"s"}})
	isKind(t, err, platform.NotFound)
	write(t, s, "s", 1) // with a producer even an empty batch makes the stream
	if names := streamNames(t, s, platform.LogStreamQuery{}); !slices.Equal(names, []string{"s"}) {
		t.Errorf("streams %v", names)
	}
}

func testDeleteAndReuse(t *testing.T, s Telemetry) {
	write(t, s, "s", 5, lines(0, 3000)...)
	write(t, s, "other", 1, lines(0, 10)...)
	noError(t, s.DeleteStream(ctx, "g", "s"))
	if got := filterAll(t, s, platform.LogFilter{}); len(got) != 10 {
		t.Errorf("%d events after the deletion of a stream, want the other's 10", len(got))
	}
	write(t, s, "s", 1, lines(0, 2)...) // a new stream knows no producer
	if got := readAll(t, s, "s"); len(got) != 2 || got[0].Position != 0 {
		t.Errorf("the new stream has %v", got)
	}
	noError(t, s.DeleteGroup(ctx, "g"))
	noError(t, s.CreateGroup(ctx, "g"))
	if got := filterAll(t, s, platform.LogFilter{}); len(got) != 0 {
		t.Errorf("a new group has %d events", len(got))
	}
	write(t, s, "s", 1, lines(0, 1)...)
	if got := readAll(t, s, "s"); len(got) != 1 || got[0].Position != 0 {
		t.Errorf("the stream of the new group has %v", got)
	}
	if groups, _, err := s.Groups(ctx, "", "", 0); err != nil || groups[0].StoredBytes != 26+6 {
		t.Errorf("the new group is %+v %v", groups, err)
	}
}

func testCancelled(t *testing.T, s Telemetry) {
	write(t, s, "s", 1, lines(0, 1)...)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, readErr := s.Read(cancelled, platform.LogRead{Group: "g", Stream: "s"})
	_, _, filterErr := s.Filter(cancelled, platform.LogFilter{Group: "g"})
	_, _, groupsErr := s.Groups(cancelled, "", "", 0)
	_, findErr := s.Find(cancelled, platform.Series{})
	for what, err := range map[string]error{
		"Read": readErr, "Filter": filterErr, "Groups": groupsErr, "Find": findErr,
		"Append":  s.Append(cancelled, platform.LogBatch{Group: "g", Stream: "s", Events: lines(1, 1)}),
		"PutData": s.PutData(cancelled, "", 0, []platform.Datum{datum("m", 0, 1)}),
	} {
		if !errors.Is(err, context.Canceled) || !platform.Is(err, platform.Unavailable) {
			t.Errorf("%s: %v is not Unavailable for being cancelled", what, err)
		}
	}
	if got := readAll(t, s, "s"); len(got) != 1 {
		t.Errorf("%d events, want 1", len(got))
	}
}

func testClosed(t *testing.T, s Telemetry) {
	write(t, s, "s", 1, lines(0, 1)...)
	noError(t, s.Close())
	noError(t, s.Close())
	_, err := s.Read(ctx, platform.LogRead{Group: "g", Stream: "s"})
	isKind(t, err, platform.Unavailable)
	_, _, err = s.Filter(ctx, platform.LogFilter{Group: "g"})
	isKind(t, err, platform.Unavailable)
	_, err = s.Find(ctx, platform.Series{})
	isKind(t, err, platform.Unavailable)
	isKind(t, s.CreateGroup(ctx, "h"), platform.Unavailable)
	isKind(t, s.Append(ctx, platform.LogBatch{Group: "g", Stream: "s", Events: lines(1, 1)}), platform.Unavailable)
	isKind(t, s.Sweep(ctx, time.Now()), platform.Unavailable)
}
