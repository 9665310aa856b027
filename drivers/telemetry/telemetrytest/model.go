package telemetrytest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

// logModel is what logs should be, said as plainly as can be: one group, its streams' events in their order.
type logModel struct {
	streams map[string][]platform.LogEvent
	seqs    map[string]int64 // by stream
}

// testLogModel appends at random to logs and to the model, and compares all that they say.
func testLogModel(t *testing.T, open func(t *testing.T) Telemetry) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t)
		defer func() { noError(rt, s.Close()) }()
		m := &logModel{streams: map[string][]platform.LogEvent{}, seqs: map[string]int64{}}
		noError(rt, s.CreateGroup(ctx, "g"))
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) { m.append(rt, s) },
			"read":   func(rt *rapid.T) { m.read(rt, s) },
			"filter": func(rt *rapid.T) { m.filter(rt, s) },
			"delete": func(rt *rapid.T) { m.delete(rt, s) },
		})
	})
}

var genStream = rapid.SampledFrom([]string{"a", "a/1", "a/2", "b", "ü"})

// genMilli has ties, disorder, and steps beyond what drivers may treat as one stretch of time.
var genMilli = rapid.OneOf(rapid.IntRange(0, 5), rapid.IntRange(0, 5), rapid.IntRange(0, 5_000_000))

func genBound(rt *rapid.T, label string) time.Time {
	if rapid.IntRange(0, 2).Draw(rt, label) > 0 {
		return time.Time{}
	}
	return at(genMilli.Draw(rt, label)).Add(time.Duration(rapid.IntRange(0, 1).Draw(rt, "part")) * time.Microsecond)
}

func (m *logModel) append(rt *rapid.T, s Telemetry) {
	stream := genStream.Draw(rt, "stream")
	seq := m.seqs[stream] + rapid.Int64Range(0, 2).Draw(rt, "seq") // 0: delivered already
	n := rapid.SampledFrom([]int{0, 1, 1, 2, 2, 5, 5, 40, 300, 2100}).Draw(rt, "events")
	steady, step := genMilli.Draw(rt, "at"), rapid.IntRange(0, 3000).Draw(rt, "step")
	var events []platform.LogEvent
	for i := range n {
		milli := steady + i*step
		if n <= 5 {
			milli = genMilli.Draw(rt, "milli")
		}
		events = append(events, event(milli, fmt.Sprintf("%s %d %d %s", stream, seq, i, strings.Repeat("x", rapid.SampledFrom([]int{0, 0, 0, 700}).Draw(rt, "length")))))
		if n > 5 && i > 3 {
			events[i].Message = fmt.Sprint(i) // few draws, many events
		}
	}
	write(rt, s, stream, seq, events...)
	if _, exists := m.streams[stream]; exists && seq <= m.seqs[stream] {
		return
	}
	m.seqs[stream] = seq
	m.streams[stream] = append(m.streams[stream], events...)
}

func (m *logModel) read(rt *rapid.T, s Telemetry) {
	q := platform.LogRead{
		Group: "g", Stream: genStream.Draw(rt, "stream"), Forward: rapid.Bool().Draw(rt, "forward"),
		Limit: rapid.SampledFrom([]int{0, 1, 3, 250, 5000}).Draw(rt, "limit"), MaxBytes: rapid.SampledFrom([]int{0, 0, 1, 800, 5000}).Draw(rt, "bytes"),
		Start: genBound(rt, "start"), End: genBound(rt, "end"),
	}
	all, exists := m.streams[q.Stream]
	q.From = int64(rapid.IntRange(-1, len(all)+1).Draw(rt, "from"))
	got, err := s.Read(ctx, q)
	if !exists {
		isKind(rt, err, platform.NotFound)
		return
	}
	noError(rt, err)
	same(rt, q, got, m.page(q, all))
}

// page is what a Read should give.
func (m *logModel) page(q platform.LogRead, all []platform.LogEvent) (want []platform.StoredEvent) {
	limit, maxBytes := cmp.Or(q.Limit, 10_000), cmp.Or(q.MaxBytes, 1<<20)
	bytes := 0
	for i := range all {
		position := int64(i)
		if !q.Forward {
			position = int64(len(all) - 1 - i)
		}
		e := all[position]
		e.Timestamp = e.Timestamp.Truncate(time.Millisecond)
		inside := q.From < 0 || (position >= q.From) == q.Forward
		if !inside || !within(q.Start, e.Timestamp, q.End) {
			continue
		}
		if bytes += len(e.Message); len(want) == limit || len(want) > 0 && bytes > maxBytes {
			break
		}
		want = append(want, platform.StoredEvent{LogEvent: e, Position: position, Stream: q.Stream})
	}
	if !q.Forward {
		slices.Reverse(want)
	}
	return want
}

func (m *logModel) filter(rt *rapid.T, s Telemetry) {
	f := platform.LogFilter{
		Group: "g", StreamPrefix: rapid.SampledFrom([]string{"", "", "a", "a/", "none"}).Draw(rt, "prefix"),
		Start: genBound(rt, "start"), End: genBound(rt, "end"),
		Limit: rapid.SampledFrom([]int{0, 3, 500, 1000}).Draw(rt, "limit"),
	}
	for stream := range m.streams {
		if f.StreamPrefix == "" && rapid.IntRange(0, 4).Draw(rt, "by name") == 0 {
			f.Streams = append(f.Streams, stream)
		}
	}
	if part := rapid.SampledFrom([]string{"", "", "7", "x"}).Draw(rt, "part"); part != "" {
		f.Match = func(m string) bool { return strings.Contains(m, part) }
	}
	if f.Limit == 3 && len(m.streams) > 0 { // few pages
		f.Match = func(m string) bool { return strings.HasSuffix(m, "99") }
	}
	same(rt, f, filterAll(rt, s, f), m.filtered(f))
}

func within(start, t, end time.Time) bool {
	return (start.IsZero() || !t.Before(start)) && (end.IsZero() || t.Before(end))
}

// filtered is what all pages of a filter should give.
func (m *logModel) filtered(f platform.LogFilter) (want []platform.StoredEvent) {
	for stream, all := range m.streams {
		if !strings.HasPrefix(stream, f.StreamPrefix) || len(f.Streams) > 0 && !slices.Contains(f.Streams, stream) {
			continue
		}
		for _, e := range m.page(platform.LogRead{Stream: stream, Forward: true, Limit: math.MaxInt, MaxBytes: math.MaxInt, Start: f.Start, End: f.End}, all) {
			if f.Match == nil || f.Match(e.Message) {
				want = append(want, e)
			}
		}
	}
	slices.SortFunc(want, func(a, b platform.StoredEvent) int {
		return cmp.Or(a.Timestamp.Compare(b.Timestamp), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Position, b.Position))
	})
	return want
}

func (m *logModel) delete(rt *rapid.T, s Telemetry) {
	stream := genStream.Draw(rt, "stream")
	if _, exists := m.streams[stream]; !exists || rapid.IntRange(0, 3).Draw(rt, "really") > 0 {
		return
	}
	noError(rt, s.DeleteStream(ctx, "g", stream))
	delete(m.streams, stream)
	delete(m.seqs, stream)
}

func same(rt *rapid.T, what any, got, want []platform.StoredEvent) {
	rt.Helper()
	if len(got) != len(want) {
		rt.Fatalf("%+v gives %d events, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if !g.Timestamp.Equal(w.Timestamp) || g.Message != w.Message || g.Position != w.Position || g.Stream != w.Stream {
			rt.Fatalf("%+v: event %d is %v %s %d %.40q, want %v %s %d %.40q", what, i, g.Timestamp, g.Stream, g.Position, g.Message, w.Timestamp, w.Stream, w.Position, w.Message)
		}
	}
}

// testMetricModel puts data at random and compares the statistics with those reckoned from the data. Values are whole
// numbers, so that sums do not depend on their order.
func testMetricModel(t *testing.T, open func(t *testing.T) Telemetry) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t)
		defer func() { noError(rt, s.Close()) }()
		var all []platform.Datum
		for seq := range rapid.Int64Range(1, 6).Draw(rt, "batches") {
			batch := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) platform.Datum {
				return datum(rapid.SampledFrom([]string{"loss", "accuracy"}).Draw(rt, "name"), rapid.IntRange(0, 5000).Draw(rt, "at"), float64(rapid.IntRange(-5, 5).Draw(rt, "value")))
			}), 0, 10).Draw(rt, "data")
			noError(rt, s.PutData(ctx, "p", seq, batch))
			all = append(all, batch...)
		}
		for range 5 {
			x := series(rapid.SampledFrom([]string{"loss", "accuracy", "none"}).Draw(rt, "name"))
			start, end := at(rapid.IntRange(0, 5000).Draw(rt, "start")), at(rapid.IntRange(0, 6000).Draw(rt, "end"))
			period := time.Duration(rapid.IntRange(1, 3000).Draw(rt, "period")) * time.Millisecond
			got, err := s.Aggregate(ctx, x, start, end, period)
			noError(rt, err)
			if want := statistics(all, x, start, end, period); !slices.Equal(got, want) {
				rt.Fatalf("%s [%v, %v) by %v: %+v, want %+v", x.Name, start, end, period, got, want)
			}
		}
	})
}

func statistics(all []platform.Datum, x platform.Series, start, end time.Time, period time.Duration) (want []platform.Statistics) {
	start, end = start.Truncate(time.Millisecond), end.Truncate(time.Millisecond)
	for from := start; from.Before(end); from = from.Add(period) {
		w := platform.Statistics{Start: from, Minimum: math.Inf(1), Maximum: math.Inf(-1), Unit: "None"}
		for _, d := range all {
			if milli := d.At.Truncate(time.Millisecond); d.Name == x.Name && !milli.Before(from) && milli.Before(from.Add(period)) && milli.Before(end) {
				w.Count++
				w.Sum += d.Value
				w.Minimum, w.Maximum = min(w.Minimum, d.Value), max(w.Maximum, d.Value)
			}
		}
		if w.Count > 0 {
			want = append(want, w)
		}
	}
	return want
}
