package logs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/logs"
)

// stopped is a clock that stands still.
type stopped time.Time

func (s stopped) Now() time.Time                                 { return time.Time(s) }
func (s stopped) After(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }

// grower is a stream that grows while it is read.
type grower struct {
	t     *rapid.T
	s     *service
	call  *api.Call
	wrote []string
	at    int64 // the last event's millisecond; many share one
}

func newGrower(t *rapid.T) *grower {
	clock := stopped(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	g := &grower{t: t, s: &service{memory.New(clock)}, call: &api.Call{Site: apitest.Site, Now: clock.Now()}, at: clock.Now().UnixMilli()}
	if err := errors.Join(g.s.store.CreateGroup(context.Background(), "g"), g.s.store.CreateStream(context.Background(), "g", "s")); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *grower) append(n int) {
	for range n {
		g.at += int64(rapid.IntRange(0, 1).Draw(g.t, "milliseconds on"))
		message := fmt.Sprint(len(g.wrote))
		_, err := g.s.putLogEvents(context.Background(), g.call, &model.PutLogEventsRequest{
			LogGroupName: new("g"), LogStreamName: new("s"), LogEvents: []model.InputLogEvent{{Timestamp: &g.at, Message: &message}},
		})
		if err != nil {
			g.t.Fatal(err)
		}
		g.wrote = append(g.wrote, message)
	}
}

func (g *grower) get(in model.GetLogEventsRequest) *model.GetLogEventsResponse {
	in.LogGroupName, in.LogStreamName = new("g"), new("s")
	out, err := g.s.getLogEvents(context.Background(), g.call, &in)
	if err != nil {
		g.t.Fatal(err)
	}
	if out.NextForwardToken == nil || out.NextBackwardToken == nil {
		g.t.Fatal("a token is missing")
	}
	return out
}

func messages(events []model.OutputLogEvent) (texts []string) {
	for _, e := range events {
		texts = append(texts, *e.Message)
	}
	return texts
}

// Whoever follows the forward tokens gets every event once and in order, whatever is appended between the pages, and
// reaches the end as soon as nothing more comes.
func TestForwardPagingOfAGrowingStream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGrower(t)
		limit := rapid.Int32Range(1, 4).Draw(t, "limit")
		var read []string
		in := model.GetLogEventsRequest{Limit: &limit, StartFromHead: new(true)}
		for range rapid.IntRange(0, 12).Draw(t, "polls") {
			g.append(rapid.IntRange(0, 6).Draw(t, "appended"))
			out := g.get(in)
			read = append(read, messages(out.Events)...)
			if in.NextToken != nil && (*in.NextToken == *out.NextForwardToken) != (len(out.Events) == 0) {
				t.Fatalf("token %s, then %s with %d events", *in.NextToken, *out.NextForwardToken, len(out.Events))
			}
			in.NextToken = out.NextForwardToken
		}
		for range len(g.wrote) + 2 {
			out := g.get(in)
			read = append(read, messages(out.Events)...)
			if in.NextToken != nil && *in.NextToken == *out.NextForwardToken {
				if !slices.Equal(read, g.wrote) {
					t.Fatalf("read %v of %v", read, g.wrote)
				}
				return
			}
			in.NextToken = out.NextForwardToken
		}
		t.Fatal("the paging does not end")
	})
}

// From the end back to the start, with appends meanwhile: all that was there at first, and the forward token of the first
// page leads to all that came later.
func TestBackwardPagingOfAGrowingStream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGrower(t)
		g.append(rapid.IntRange(0, 15).Draw(t, "at first"))
		there := slices.Clone(g.wrote)
		limit := rapid.Int32Range(1, 4).Draw(t, "limit")
		out := g.get(model.GetLogEventsRequest{Limit: &limit})
		read, forward := messages(out.Events), out.NextForwardToken
		for back := out.NextBackwardToken; ; {
			g.append(rapid.IntRange(0, 2).Draw(t, "appended"))
			out := g.get(model.GetLogEventsRequest{Limit: &limit, NextToken: back})
			read = append(messages(out.Events), read...)
			if *out.NextBackwardToken == *back {
				break
			}
			back = out.NextBackwardToken
		}
		if !slices.Equal(read, there) {
			t.Fatalf("backward: read %v of %v", read, there)
		}
		later := messages(g.get(model.GetLogEventsRequest{NextToken: forward, StartFromHead: new(true)}).Events)
		if !slices.Equal(later, g.wrote[len(there):]) {
			t.Fatalf("forward: read %v of %v", later, g.wrote[len(there):])
		}
	})
}

// The SageMaker SDK keeps no token between polls: it asks from the last timestamp it saw and skips as many events as it had
// of it (sagemaker.logs.log_stream and multi_stream_iter, version 2).
func TestPollingAsTheSageMakerSDK(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGrower(t)
		var read []string
		since, skip := int64(0), 0
		for range rapid.IntRange(1, 8).Draw(t, "polls") {
			g.append(rapid.IntRange(0, 6).Draw(t, "appended"))
			left, from := skip, since
			for in := (model.GetLogEventsRequest{StartTime: &from, StartFromHead: new(true), Limit: new(int32(3))}); ; {
				out := g.get(in)
				in.NextToken = out.NextForwardToken
				for _, e := range out.Events[min(left, len(out.Events)):] {
					read = append(read, *e.Message)
					if *e.Timestamp == since {
						skip++
					} else {
						since, skip = *e.Timestamp, 1
					}
				}
				left -= min(left, len(out.Events))
				if len(out.Events) == 0 {
					break
				}
			}
		}
		if !slices.Equal(read, g.wrote) {
			t.Fatalf("read %v of %v", read, g.wrote)
		}
	})
}

// The pages of a filter give each event once, in order of time, also when the group grows at its end meanwhile.
func TestFilterPagingOfAGrowingGroup(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGrower(t)
		g.append(rapid.IntRange(0, 10).Draw(t, "at first"))
		var read, ids []string
		in := &model.FilterLogEventsRequest{LogGroupName: new("g"), Limit: new(rapid.Int32Range(1, 4).Draw(t, "limit")), FilterPattern: new("-7")}
		for {
			out, err := g.s.filterLogEvents(context.Background(), g.call, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range out.Events {
				read, ids = append(read, *e.Message), append(ids, *e.EventId)
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				break
			}
			if len(g.wrote) < 30 {
				g.append(rapid.IntRange(0, 2).Draw(t, "appended"))
			}
		}
		want := slices.DeleteFunc(slices.Clone(g.wrote), func(m string) bool { return strings.Contains(m, "7") })
		if !slices.Equal(read, want) {
			t.Fatalf("read %v of %v", read, want)
		}
		slices.Sort(ids)
		if n := len(slices.Compact(ids)); n != len(read) || slices.ContainsFunc(ids[:n], func(id string) bool { return len(id) != 56 }) {
			t.Fatalf("event ids %v", ids)
		}
	})
}

// Whatever comes as a token, it is a place or refused in AWS's words.
func FuzzToken(f *testing.F) {
	owner := fingerprint("g", "s")
	for _, seed := range []string{"", "f/", place{true, 0}.token(owner), place{false, 1 << 62}.token(owner), place{true, 1}.token(owner + 1), strings.Repeat("f", 60)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		p, err := parsePlace(owner, token)
		switch {
		case err == nil && (p.token(owner) != token || p.position < 0):
			t.Errorf("%q is taken for %+v", token, p)
		case err != nil && (!platform.Is(err, platform.Invalid) || err.Error() != "The specified nextToken is invalid."):
			t.Errorf("%q: %v", token, err)
		}
	})
}
