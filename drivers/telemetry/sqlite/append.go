package sqlite

import (
	"context"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

// Append is platform.Logs'.
func (t *Telemetry) Append(ctx context.Context, b platform.LogBatch) error {
	if err := telemetry.CheckNames(b.Group, b.Stream); err != nil {
		return err
	}
	a := &appending{t: t, batch: b, ingested: t.clock.Now().UnixMilli()}
	a.chunks = chunksOf(b.Events, a.ingested)
	for _, c := range a.chunks {
		a.blobs = append(a.blobs, t.codec.encode(c)) // here and not in apply, for there is only one writer
	}
	return t.db.Write(ctx, a.apply, nil)
}

// appending is a batch on its way into the database.
type appending struct {
	t        *Telemetry
	batch    platform.LogBatch
	ingested int64
	chunks   []*chunk
	blobs    [][]byte

	// Set by find, each time that apply runs.
	grp, stream, next int64
}

func (a *appending) apply(tx *drivers.Tx) error {
	if err := a.find(tx); err != nil {
		return err
	}
	if taken, err := a.taken(tx); taken || err != nil {
		return err
	}
	if len(a.chunks) == 0 {
		return nil
	}
	var events, stored int64
	oldest, newest := a.chunks[0].oldest, a.chunks[0].newest
	for i, c := range a.chunks {
		if err := a.put(tx, i); err != nil {
			return err
		}
		events, stored = events+int64(len(c.events)), stored+c.stored()
		oldest, newest = min(oldest, c.oldest), max(newest, c.newest)
	}
	if _, err := tx.Exec("UPDATE streams SET next=?, events=events+?, first=CASE events WHEN 0 THEN ? ELSE min(first,?) END, last=max(last,?), ingested=? WHERE id=?",
		a.next, events, oldest, oldest, newest, a.ingested, a.stream); err != nil {
		return err
	}
	_, err := tx.Exec("UPDATE groups SET bytes=bytes+? WHERE id=?", stored, a.grp)
	return err
}

// find gives the stream; with a producer it makes what is missing.
func (a *appending) find(tx *drivers.Tx) (err error) {
	b := a.batch
	a.next = 0
	if a.grp, err = groupID(tx, b.Group); platform.Is(err, platform.NotFound) && b.Producer != "" {
		a.grp, err = a.t.addGroup(tx, b.Group)
	}
	if err != nil {
		return err
	}
	found, err := tx.QueryRow("SELECT id, next FROM streams WHERE grp=? AND name=?", []any{a.grp, b.Stream}, &a.stream, &a.next)
	switch {
	case err != nil || found:
		return err
	case b.Producer == "":
		return telemetry.NoStream(b.Group, b.Stream)
	}
	a.stream, err = a.t.addStream(tx, a.grp, b.Stream)
	return err
}

// taken reports whether the batch was delivered before; if not, it notes that it is now.
func (a *appending) taken(tx *drivers.Tx) (bool, error) {
	if a.batch.Producer == "" {
		return false, nil
	}
	var seq int64
	found, err := tx.QueryRow("SELECT seq FROM producers WHERE stream=? AND name=?", []any{a.stream, a.batch.Producer}, &seq)
	if err != nil || found && a.batch.Seq <= seq {
		return true, err
	}
	_, err = tx.Exec("INSERT INTO producers VALUES(?,?,?) ON CONFLICT DO UPDATE SET seq=excluded.seq", a.stream, a.batch.Producer, a.batch.Seq)
	return false, err
}

// put writes the chunk, or adds it to the stream's last one if both together are small.
func (a *appending) put(tx *drivers.Tx, i int) error {
	c := a.chunks[i]
	defer func() { a.next += int64(len(c.events)) }()
	if len(c.events) < smallEvents && c.bytes < smallBytes {
		if grown, err := a.grow(tx, c); grown || err != nil {
			return err
		}
	}
	_, err := tx.Exec("INSERT INTO chunks(grp, stream, first, count, oldest, newest, bytes, events) VALUES(?,?,?,?,?,?,?,?)",
		a.grp, a.stream, a.next, len(c.events), c.oldest, c.newest, c.stored(), a.blobs[i])
	return err
}

func (a *appending) grow(tx *drivers.Tx, c *chunk) (bool, error) {
	var id, first, oldest, newest int64
	var count, stored int
	last := func(columns string, dest ...any) (bool, error) {
		return tx.QueryRow("SELECT "+columns+" FROM chunks WHERE stream=? ORDER BY first DESC LIMIT 1", []any{a.stream}, dest...)
	}
	found, err := last("id, first, count, oldest, newest, bytes", &id, &first, &count, &oldest, &newest, &stored)
	if err != nil || !found || first+int64(count) != a.next || count+len(c.events) > smallEvents ||
		stored-count*telemetry.EventOverhead+c.bytes > smallBytes || max(newest, c.newest)-min(oldest, c.oldest) >= chunkSpan {
		return false, err
	}
	var blob []byte
	if _, err := last("events", &blob); err != nil {
		return false, err
	}
	whole, err := a.t.codec.decode(blob)
	if err != nil {
		return false, a.t.db.Fault(err)
	}
	for _, e := range c.events {
		whole.add(e)
	}
	_, err = tx.Exec("UPDATE chunks SET count=?, oldest=?, newest=?, bytes=?, events=? WHERE id=?",
		len(whole.events), whole.oldest, whole.newest, whole.stored(), a.t.codec.encode(whole), id)
	return true, err
}
