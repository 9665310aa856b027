package sqlite

import (
	"context"
	"time"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

// sweepChunks is how many chunks one transaction deletes: appends wait for no more than that.
const sweepChunks = 100

// sweepPoints is how many values of metrics it deletes.
const sweepPoints = 2000

// Sweep is platform.Logs'. It deletes whole chunks, so events go up to an hour later than retention says. Then it clears
// away what deletions have left and, when more than a quarter of the file is unused, gives the room back to the disk.
func (t *Telemetry) Sweep(ctx context.Context, now time.Time) error {
	retention := map[int64]int{}
	err := t.db.QueryEach(ctx, "SELECT id, retention FROM groups WHERE retention>0", nil, func(scan func(...any) error) error {
		var id int64
		var days int
		err := scan(&id, &days)
		retention[id] = days
		return err
	})
	if err != nil {
		return err
	}
	for grp, days := range retention {
		if err := t.repeat(ctx, func(tx *drivers.Tx) (bool, error) { return expire(tx, grp, telemetry.Cutoff(now, days)) }); err != nil {
			return err
		}
	}
	if err := t.bury(ctx); err != nil {
		return err
	}
	if err := t.repeat(ctx, func(tx *drivers.Tx) (bool, error) { return forget(tx, telemetry.Cutoff(now, platform.MetricDays)) }); err != nil {
		return err
	}
	return t.repeat(ctx, shrink)
}

// repeat runs step in transactions of its own until it says that there is nothing more.
func (t *Telemetry) repeat(ctx context.Context, step func(*drivers.Tx) (more bool, err error)) error {
	for more := true; more; {
		err := t.db.Write(ctx, func(tx *drivers.Tx) (err error) { more, err = step(tx); return err }, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func expire(tx *drivers.Tx, grp, cutoff int64) (more bool, err error) {
	type old struct{ id, stream, count, bytes int64 }
	var expired []old
	err = tx.QueryEach("SELECT id, stream, count, bytes FROM chunks WHERE grp=? AND oldest<? AND newest<? ORDER BY oldest LIMIT ?",
		[]any{grp, cutoff, cutoff, sweepChunks}, func(scan func(...any) error) error {
			var o old
			err := scan(&o.id, &o.stream, &o.count, &o.bytes)
			expired = append(expired, o)
			return err
		})
	if err != nil {
		return false, err
	}
	streams := map[int64]bool{}
	for _, o := range expired {
		streams[o.stream] = true
		if _, err := tx.Exec("DELETE FROM chunks WHERE id=?", o.id); err != nil {
			return false, err
		}
		if _, err := tx.Exec("UPDATE streams SET events=events-? WHERE id=?", o.count, o.stream); err != nil {
			return false, err
		}
		if _, err := tx.Exec("UPDATE groups SET bytes=bytes-? WHERE id=?", o.bytes, grp); err != nil {
			return false, err
		}
	}
	for stream := range streams {
		// A chunk covers less than an hour, so the newest event is in one that begins in the last hour.
		if _, err := tx.Exec("UPDATE streams SET first=IFNULL((SELECT min(oldest) FROM chunks WHERE stream=?1), 0), last=IFNULL((SELECT max(newest) FROM chunks"+
			" WHERE stream=?1 AND oldest>(SELECT max(oldest) FROM chunks WHERE stream=?1)-?2), ?3) WHERE id=?1", stream, chunkSpan, telemetry.NeverWritten); err != nil {
			return false, err
		}
	}
	return len(expired) == sweepChunks, nil
}

// forget deletes values of metrics, and in the end the series that have none any more. CROSS JOIN lets SQLite look up each series' oldest
// values instead of going over all there are.
func forget(tx *drivers.Tx, cutoff int64) (more bool, err error) {
	r, err := tx.Exec("DELETE FROM points WHERE (series, at, n) IN (SELECT series, at, n FROM series CROSS JOIN points ON points.series=series.id"+
		" WHERE at<? LIMIT ?)", cutoff, sweepPoints)
	if err != nil {
		return false, err
	}
	if n, err := r.RowsAffected(); err != nil || n > 0 {
		return true, err
	}
	_, err = tx.Exec("DELETE FROM series WHERE NOT EXISTS(SELECT 1 FROM points WHERE points.series=series.id)")
	return false, err
}

// bury clears away what deleted streams have left.
func (t *Telemetry) bury(ctx context.Context) error {
	return t.repeat(ctx, func(tx *drivers.Tx) (more bool, err error) {
		// 1. Some graves at a time, so that those already empty are not gone over again and again.
		var last int64
		found, err := tx.QueryRow("SELECT max(stream) FROM (SELECT stream FROM graves ORDER BY stream LIMIT 500) HAVING count(*)>0", nil, &last)
		if err != nil || !found {
			return false, err
		}
		// 2. Their chunks. CROSS JOIN keeps SQLite from going over the chunks of all streams instead.
		r, err := tx.Exec("DELETE FROM chunks WHERE id IN (SELECT chunks.id FROM graves CROSS JOIN chunks USING(stream) WHERE graves.stream<=? LIMIT ?)", last, sweepChunks)
		if err != nil {
			return false, err
		}
		if n, err := r.RowsAffected(); err != nil || n > 0 {
			return true, err
		}
		// 3. Then the graves.
		if _, err := tx.Exec("DELETE FROM producers WHERE stream IN (SELECT stream FROM graves WHERE stream<=?)", last); err != nil {
			return false, err
		}
		_, err = tx.Exec("DELETE FROM graves WHERE stream<=?", last)
		return true, err
	})
}

// shrink gives 4 MB back at a time.
func shrink(tx *drivers.Tx) (more bool, err error) {
	var unused, pages int64
	if _, err := tx.QueryRow("PRAGMA freelist_count", nil, &unused); err != nil {
		return false, err
	}
	if _, err := tx.QueryRow("PRAGMA page_count", nil, &pages); err != nil {
		return false, err
	}
	if unused <= pages/4 || unused < 500 {
		return false, nil
	}
	return true, tx.QueryEach("PRAGMA incremental_vacuum(500)", nil, func(func(...any) error) error { return nil })
}
