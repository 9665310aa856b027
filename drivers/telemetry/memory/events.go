package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

// Append is platform.Logs'.
func (t *Telemetry) Append(ctx context.Context, b platform.LogBatch) error {
	defer t.mu.Unlock()
	if err := cmp.Or(t.lock(ctx), telemetry.CheckNames(b.Group, b.Stream)); err != nil {
		return err
	}
	s, err := t.stream(b.Group, b.Stream)
	if err != nil {
		if b.Producer == "" {
			return err
		}
		g := t.groups[b.Group]
		if g == nil {
			g = t.addGroup(b.Group)
		}
		s = &stream{created: t.now(), delivered: map[string]int64{}}
		g.streams[b.Stream] = s
	}
	if b.Producer != "" {
		if last, some := s.delivered[b.Producer]; some && b.Seq <= last {
			return nil
		}
		s.delivered[b.Producer] = b.Seq
	}
	now, had := t.now(), len(s.events)
	for _, e := range b.Events {
		e.Timestamp = e.Timestamp.UTC().Truncate(time.Millisecond)
		s.events = append(s.events, platform.StoredEvent{LogEvent: e, Position: s.next, Ingested: now, Stream: b.Stream})
		s.next++
	}
	t.groups[b.Group].info.StoredBytes += size(s.events[had:])
	return nil
}

// Read is platform.Logs'.
func (t *Telemetry) Read(ctx context.Context, q platform.LogRead) ([]platform.StoredEvent, error) {
	defer t.mu.Unlock()
	if err := t.lock(ctx); err != nil {
		return nil, err
	}
	s, err := t.stream(q.Group, q.Stream)
	if err != nil {
		return nil, err
	}
	inside := within(q.Start, q.End)
	var candidates []platform.StoredEvent
	for _, e := range s.events {
		if inside(e) && (q.From < 0 || (e.Position >= q.From) == q.Forward) {
			candidates = append(candidates, e)
		}
	}
	if !q.Forward {
		slices.Reverse(candidates)
	}
	candidates = candidates[:fitting(candidates, telemetry.Limit(q.Limit, telemetry.PageOfEvents), telemetry.Limit(q.MaxBytes, telemetry.PageBytes))]
	if !q.Forward {
		slices.Reverse(candidates)
	}
	return candidates, nil
}

func within(start, end time.Time) func(platform.StoredEvent) bool {
	from, until := telemetry.Bounds(start, end)
	return func(e platform.StoredEvent) bool {
		milli := e.Timestamp.UnixMilli()
		return milli >= from && milli < until
	}
}

// fitting is how many of the events go on a page, one at least.
func fitting(events []platform.StoredEvent, limit, maxBytes int) (n int) {
	for bytes := 0; n < len(events) && n < limit; n++ {
		if bytes += len(events[n].Message); n > 0 && bytes > maxBytes {
			break
		}
	}
	return n
}

// Filter is platform.Logs'.
func (t *Telemetry) Filter(ctx context.Context, f platform.LogFilter) ([]platform.StoredEvent, string, error) {
	defer t.mu.Unlock()
	if err := t.lock(ctx); err != nil {
		return nil, "", err
	}
	g, err := t.group(f.Group)
	if err != nil {
		return nil, "", err
	}
	for _, name := range f.Streams {
		if g.streams[name] == nil {
			return nil, "", telemetry.NoStream(f.Group, name)
		}
	}
	after, err := telemetry.StartOf(f)
	if err != nil {
		return nil, "", err
	}
	found := g.matching(f, after)
	if limit := min(telemetry.Limit(f.Limit, telemetry.PageOfEvents), telemetry.PageOfEvents); len(found) > limit {
		found = found[:limit]
		return found, place(found[limit-1]).Token(f), nil
	}
	return found, "", nil
}

// matching gives all events that the filter has after a place, in their order.
func (g *group) matching(f platform.LogFilter, after telemetry.Place) (found []platform.StoredEvent) {
	inside := within(f.Start, f.End)
	for name, s := range g.streams {
		if !telemetry.InFilter(f, name) {
			continue
		}
		for _, e := range s.events {
			if inside(e) && place(e).Compare(after) > 0 && (f.Match == nil || f.Match(e.Message)) {
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, func(a, b platform.StoredEvent) int { return place(a).Compare(place(b)) })
	return found
}

func place(e platform.StoredEvent) telemetry.Place {
	return telemetry.Place{Milli: e.Timestamp.UnixMilli(), Stream: e.Stream, Position: e.Position}
}

// Sweep is platform.Logs'.
func (t *Telemetry) Sweep(ctx context.Context, now time.Time) error {
	defer t.mu.Unlock()
	if err := t.lock(ctx); err != nil {
		return err
	}
	for _, g := range t.groups {
		if g.info.RetentionDays == 0 {
			continue
		}
		cutoff := telemetry.Cutoff(now, g.info.RetentionDays)
		for _, s := range g.streams {
			g.info.StoredBytes -= size(s.events)
			s.events = slices.DeleteFunc(s.events, func(e platform.StoredEvent) bool { return e.Timestamp.UnixMilli() < cutoff })
			g.info.StoredBytes += size(s.events)
		}
	}
	t.forget(telemetry.Cutoff(now, platform.MetricDays))
	return nil
}
