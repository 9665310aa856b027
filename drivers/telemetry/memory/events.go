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
	from, until := telemetry.Bounds(q.Start, q.End)
	var candidates []platform.StoredEvent
	for _, e := range s.events {
		after := e.Position >= q.From
		if milli := e.Timestamp.UnixMilli(); milli >= from && milli < until && (after == q.Forward || q.From < 0) {
			candidates = append(candidates, e)
		}
	}
	if !q.Forward {
		slices.Reverse(candidates)
	}
	n, bytes := 0, 0
	for n < len(candidates) && n < telemetry.Limit(q.Limit, telemetry.PageOfEvents) {
		bytes += len(candidates[n].Message)
		if n > 0 && bytes > telemetry.Limit(q.MaxBytes, telemetry.PageBytes) {
			break
		}
		n++
	}
	candidates = candidates[:n]
	if !q.Forward {
		slices.Reverse(candidates)
	}
	return candidates, nil
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
	from, until := telemetry.Bounds(f.Start, f.End)
	var candidates []platform.StoredEvent
	for name, s := range g.streams {
		for _, e := range s.events {
			if p := place(e); telemetry.InFilter(f, name) && p.Milli >= from && p.Milli < until && p.Compare(after) > 0 {
				candidates = append(candidates, e)
			}
		}
	}
	slices.SortFunc(candidates, func(a, b platform.StoredEvent) int { return place(a).Compare(place(b)) })
	var found []platform.StoredEvent
	for _, e := range candidates {
		if f.Match != nil && !f.Match(e.Message) {
			continue
		}
		if len(found) == min(telemetry.Limit(f.Limit, telemetry.PageOfEvents), telemetry.PageOfEvents) {
			return found, place(found[len(found)-1]).Token(f), nil
		}
		found = append(found, e)
	}
	return found, "", nil
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
	return nil
}
