package sqlite

import (
	"container/heap"
	"context"
	"math"
	"slices"

	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

const (
	// filterScan bounds the events that one page looks at, so that a search for what is not there comes back in time,
	// with a token to go on and perhaps nothing else, as CloudWatch's does.
	filterScan = 100_000
	// filterBytes bounds the messages of one page; at least one event is given.
	filterBytes = 4 << 20
	// filterStreams is up to how many streams are looked at one by one; more are found by going through their group.
	filterStreams = 32
)

// Filter is platform.Logs'. A page may have fewer events than its limit, or none, though there are more: only an empty
// token is the end.
func (t *Telemetry) Filter(ctx context.Context, f platform.LogFilter) (events []platform.StoredEvent, next string, err error) {
	if err := t.db.Usable(ctx); err != nil {
		return nil, "", err
	}
	m, err := t.newMerge(ctx, f)
	if err != nil {
		return nil, "", err
	}
	limit := min(telemetry.Limit(f.Limit, telemetry.PageOfEvents), telemetry.PageOfEvents)
	bytes, last := 0, m.after
	for scanned := 0; ; scanned++ {
		e, some, err := m.next(ctx)
		if err != nil || !some {
			return events, "", err
		}
		if scanned == filterScan || len(events) == limit || len(events) > 0 && bytes+len(e.Message) > filterBytes {
			return events, last.Token(f), nil
		}
		last = placeOf(&e)
		if f.Match == nil || f.Match(e.Message) {
			events, bytes = append(events, e), bytes+len(e.Message)
		}
	}
}

func placeOf(e *platform.StoredEvent) telemetry.Place {
	return telemetry.Place{Milli: e.Timestamp.UnixMilli(), Stream: e.Stream, Position: e.Position}
}

// merge gives the events of a filter in the order of their places. A chunk is read when the merge reaches the time of
// its oldest event; until then its source only knows that it is there.
type merge struct {
	t           *Telemetry
	filter      platform.LogFilter
	from, until int64
	after       telemetry.Place
	sources     []*source
	names       map[int64]string // of streams
	open        openChunks
}

// source lists the chunks of one stream or one group by their oldest event.
type source struct {
	column string // stream or grp
	id     int64
	listed []listed
	last   listed // in the order of the listing
	done   bool
}

// listed is a chunk that was not read yet; its fields are in the order of an index.
type listed struct{ oldest, newest, stream, first, row int64 }

func (t *Telemetry) newMerge(ctx context.Context, f platform.LogFilter) (*merge, error) {
	m := &merge{t: t, filter: f, names: map[int64]string{}}
	var err error
	if m.after, err = telemetry.StartOf(f); err != nil {
		return nil, err
	}
	m.from, m.until = telemetry.Bounds(f.Start, f.End)
	m.from = max(m.from, m.after.Milli)
	grp, err := groupID(t.db, f.Group)
	if err != nil {
		return nil, err
	}
	for _, name := range f.Streams {
		_, id, err := streamID(t.db, f.Group, name)
		if err != nil {
			return nil, err
		}
		m.names[id] = name
	}
	if len(f.Streams) == 0 && f.StreamPrefix != "" {
		query, args := withPrefix("SELECT id, name FROM streams WHERE grp=?", []any{grp}, f.StreamPrefix)
		err := t.db.QueryEach(ctx, query+" LIMIT ?", append(args, filterStreams+1), func(scan func(...any) error) error {
			var id int64
			var name string
			err := scan(&id, &name)
			m.names[id] = name
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	m.chooseSources(grp)
	return m, nil
}

func (m *merge) chooseSources(grp int64) {
	some := len(m.filter.Streams) > 0 || m.filter.StreamPrefix != ""
	if !some || len(m.names) > filterStreams {
		m.sources = []*source{m.source("grp", grp)}
		return
	}
	for id := range m.names {
		m.sources = append(m.sources, m.source("stream", id))
	}
}

// source begins a chunk's span before the time wanted: the chunk with that time cannot begin earlier.
func (m *merge) source(column string, id int64) *source {
	s := &source{column: column, id: id, last: listed{oldest: math.MinInt64}}
	if m.from > math.MinInt64+chunkSpan {
		s.last.oldest = m.from - chunkSpan
	}
	return s
}

// head gives the next chunk of the source.
func (m *merge) head(ctx context.Context, s *source) (*listed, error) {
	if len(s.listed) == 0 && !s.done {
		const batch = 64
		query := "SELECT oldest, newest, stream, first, id FROM chunks WHERE " + s.column + "=? AND oldest<? AND newest>=?" +
			" AND (oldest, newest, stream, first)>(?, ?, ?, ?) ORDER BY oldest, newest, stream, first LIMIT ?"
		args := []any{s.id, m.until, m.from, s.last.oldest, s.last.newest, s.last.stream, s.last.first, batch}
		err := m.t.db.QueryEach(ctx, query, args, func(scan func(...any) error) error {
			err := scan(&s.last.oldest, &s.last.newest, &s.last.stream, &s.last.first, &s.last.row)
			s.listed = append(s.listed, s.last)
			return err
		})
		if err != nil {
			return nil, err
		}
		s.done = len(s.listed) < batch
	}
	if len(s.listed) == 0 {
		return nil, nil
	}
	return &s.listed[0], nil
}

// next opens every chunk that may hold the next event, then takes the first event of all that are open.
func (m *merge) next(ctx context.Context) (e platform.StoredEvent, some bool, err error) {
	for _, s := range m.sources {
		for {
			l, err := m.head(ctx, s)
			if err != nil {
				return e, false, err
			}
			if l == nil || len(m.open) > 0 && l.oldest > m.open[0].place().Milli {
				break
			}
			s.listed = s.listed[1:]
			if err := m.openChunk(ctx, *l); err != nil {
				return e, false, err
			}
		}
	}
	if len(m.open) == 0 {
		return e, false, nil
	}
	c := m.open[0]
	e = c.events[0]
	if c.events = c.events[1:]; len(c.events) > 0 {
		heap.Fix(&m.open, 0)
	} else {
		heap.Pop(&m.open)
	}
	return e, true, nil
}

// openChunk reads a chunk and keeps of it what the filter asks for.
func (m *merge) openChunk(ctx context.Context, l listed) error {
	name, err := m.name(l.stream)
	if err != nil || name == "" || !telemetry.InFilter(m.filter, name) {
		return err
	}
	if err := m.t.db.Usable(ctx); err != nil {
		return err
	}
	var blob []byte
	found, err := m.t.db.QueryRow("SELECT events FROM chunks WHERE id=? AND stream=? AND first=?", []any{l.row, l.stream, l.first}, &blob)
	if err != nil || !found { // deleted meanwhile
		return err
	}
	c, err := m.t.codec.decode(blob)
	if err != nil {
		return m.t.db.Fault(err)
	}
	if wanted := m.wanted(c.events, name, l.first); len(wanted) > 0 {
		heap.Push(&m.open, &openChunk{wanted})
	}
	return nil
}

func (m *merge) wanted(events []event, stream string, first int64) []platform.StoredEvent {
	wanted := make([]platform.StoredEvent, 0, len(events))
	for i, e := range events {
		p := telemetry.Place{Milli: e.at, Stream: stream, Position: first + int64(i)}
		if e.at >= m.from && e.at < m.until && p.Compare(m.after) > 0 {
			wanted = append(wanted, stored(e, p.Position, stream))
		}
	}
	byTime := func(a, b platform.StoredEvent) int { return a.Timestamp.Compare(b.Timestamp) }
	if !slices.IsSortedFunc(wanted, byTime) { // most are
		slices.SortStableFunc(wanted, byTime)
	}
	return wanted
}

// name gives a stream's name; empty when it was deleted.
func (m *merge) name(stream int64) (string, error) {
	name, known := m.names[stream]
	if !known {
		if _, err := m.t.db.QueryRow("SELECT name FROM streams WHERE id=?", []any{stream}, &name); err != nil {
			return "", err
		}
		m.names[stream] = name
	}
	return name, nil
}

// openChunk is what is left of a chunk, in the order of places.
type openChunk struct{ events []platform.StoredEvent }

func (c *openChunk) place() telemetry.Place { return placeOf(&c.events[0]) }

// openChunks is a heap with the first place on top.
type openChunks []*openChunk

func (h openChunks) Len() int           { return len(h) }
func (h openChunks) Less(i, j int) bool { return h[i].place().Compare(h[j].place()) < 0 }
func (h openChunks) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *openChunks) Push(x any)        { *h = append(*h, x.(*openChunk)) }
func (h *openChunks) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return x
}
