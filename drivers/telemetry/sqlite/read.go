package sqlite

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

// Read is platform.Logs'.
func (t *Telemetry) Read(ctx context.Context, q platform.LogRead) ([]platform.StoredEvent, error) {
	if err := t.db.Usable(ctx); err != nil {
		return nil, err
	}
	grp, err := groupID(t.db, q.Group)
	if err != nil {
		return nil, err
	}
	var id, next int64
	if found, err := t.db.QueryRow("SELECT id, next FROM streams WHERE grp=? AND name=?", []any{grp, q.Stream}, &id, &next); err != nil || !found {
		return nil, cmp.Or(err, telemetry.NoStream(q.Group, q.Stream))
	}
	p := &page{LogRead: q, limit: telemetry.Limit(q.Limit, telemetry.PageOfEvents), maxBytes: telemetry.Limit(q.MaxBytes, telemetry.PageBytes)}
	p.from, p.until = telemetry.Bounds(q.Start, q.End)
	// The chunk that holds the position From is the last one that begins at or before it.
	query := "SELECT first, events FROM chunks WHERE stream=?1 AND first>=IFNULL((SELECT max(first) FROM chunks WHERE stream=?1 AND first<=?2), 0)" +
		" AND newest>=?3 AND oldest<?4 ORDER BY first"
	if !q.Forward {
		query = "SELECT first, events FROM chunks WHERE stream=?1 AND first<?2 AND newest>=?3 AND oldest<?4 ORDER BY first DESC"
		if p.From < 0 {
			p.From = math.MaxInt64
		}
	}
	p.expect(next)
	err = t.db.QueryEach(ctx, query, []any{id, p.From, p.from, p.until}, func(scan func(...any) error) error {
		var first int64
		var blob []byte
		if err := scan(&first, &blob); err != nil {
			return err
		}
		c, err := t.codec.decode(blob)
		if err != nil {
			return err
		}
		return p.take(first, c.events)
	})
	if err != nil {
		return nil, err
	}
	if !q.Forward {
		slices.Reverse(p.events)
	}
	return p.events, nil
}

// page is what a Read gives, as it fills.
type page struct {
	platform.LogRead
	limit, maxBytes, bytes int
	from, until            int64 // milliseconds
	events                 []platform.StoredEvent
}

// expect makes room for as many events as there can be, given the position of the next event of the stream.
func (p *page) expect(next int64) {
	ahead := min(p.From, next)
	if p.Forward {
		ahead = next - max(p.From, 0)
	}
	p.events = make([]platform.StoredEvent, 0, max(0, min(ahead, int64(p.limit), telemetry.PageOfEvents)))
}

// take adds what the page wants of a chunk, the next in the direction of the read, and says when it is full.
func (p *page) take(first int64, events []event) error {
	for i := range events {
		if !p.Forward {
			i = len(events) - 1 - i
		}
		e, position := events[i], first+int64(i)
		if e.at < p.from || e.at >= p.until || (position >= p.From) != p.Forward {
			continue
		}
		if p.bytes += len(e.message); len(p.events) == p.limit || len(p.events) > 0 && p.bytes > p.maxBytes {
			return drivers.ErrStop
		}
		p.events = append(p.events, stored(e, position, p.Stream))
	}
	return nil
}

func stored(e event, position int64, stream string) platform.StoredEvent {
	return platform.StoredEvent{
		LogEvent: platform.LogEvent{Timestamp: telemetry.Time(e.at), Message: e.message},
		Position: position, Ingested: telemetry.Time(e.ingested), Stream: stream,
	}
}
