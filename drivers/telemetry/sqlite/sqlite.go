// Package sqlite keeps logs and metrics in one SQLite file, other than the store's so that heavy logs never slow it:
// platform.Logs and platform.Metrics of a single machine.
//
// Events are kept in chunks: compressed runs of a stream's events, each a row (chunk.go). What is appended at a time
// makes a chunk of its own or, when it is small, grows the stream's last one. Concurrent appends share a transaction and
// an fsync (drivers.Database.Write).
package sqlite

import (
	"context"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/platform"
)

// All times are milliseconds since 1970, UTC. Ids of groups and streams are never used again (AUTOINCREMENT), so that
// what a deletion has not yet cleared away can never turn up under another name.
var schema = drivers.Schema{Name: "telemetry", Shrinks: true, Steps: []string{`
	CREATE TABLE groups(
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		name TEXT NOT NULL UNIQUE,
		created INTEGER NOT NULL,
		retention INTEGER NOT NULL DEFAULT 0, -- days; 0 = for ever
		bytes INTEGER NOT NULL DEFAULT 0);
	CREATE TABLE streams(
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		grp INTEGER NOT NULL, -- groups.id
		name TEXT NOT NULL,
		created INTEGER NOT NULL,
		next INTEGER NOT NULL DEFAULT 0,   -- the position of the next event
		events INTEGER NOT NULL DEFAULT 0, -- how many are kept
		first INTEGER NOT NULL DEFAULT 0, ingested INTEGER NOT NULL DEFAULT 0, -- meaningless without events
		last INTEGER NOT NULL DEFAULT -4611686018427387904,                    -- telemetry.NeverWritten
		UNIQUE(grp, name));
	CREATE INDEX streams_last ON streams(grp, last, name);
	CREATE TABLE producers(
		stream INTEGER NOT NULL, -- streams.id
		name TEXT NOT NULL,
		seq INTEGER NOT NULL,    -- of the last batch taken
		PRIMARY KEY(stream, name)) WITHOUT ROWID;
	CREATE TABLE chunks(
		id INTEGER PRIMARY KEY,
		grp INTEGER NOT NULL, stream INTEGER NOT NULL,
		first INTEGER NOT NULL, count INTEGER NOT NULL,   -- positions [first, first+count)
		oldest INTEGER NOT NULL, newest INTEGER NOT NULL, -- less than an hour apart
		bytes INTEGER NOT NULL,                           -- as StoredBytes counts
		events BLOB NOT NULL);
	-- To look for chunks must not touch their rows, each on pages of its own: the indexes have all it takes.
	CREATE INDEX chunks_place ON chunks(stream, first, oldest, newest);
	CREATE INDEX chunks_time ON chunks(stream, oldest, newest, first);
	CREATE INDEX chunks_group_time ON chunks(grp, oldest, newest, stream, first);
	CREATE TABLE graves(stream INTEGER PRIMARY KEY); -- deleted streams whose chunks are still there
	CREATE TABLE series(
		id INTEGER PRIMARY KEY,
		namespace TEXT NOT NULL, name TEXT NOT NULL,
		dimensions TEXT NOT NULL, -- a JSON object with sorted keys
		UNIQUE(namespace, name, dimensions));
	CREATE TABLE points(
		series INTEGER NOT NULL, at INTEGER NOT NULL,
		n INTEGER NOT NULL, -- tells points of one instant apart
		value REAL NOT NULL, unit TEXT NOT NULL,
		PRIMARY KEY(series, at, n)) WITHOUT ROWID;
	CREATE TABLE metric_producers(name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
`, `
	-- A point may be what several values come to; value is their sum then.
	ALTER TABLE points ADD COLUMN count REAL NOT NULL DEFAULT 1;
	ALTER TABLE points ADD COLUMN minimum REAL; -- NULL: value, and so is maximum
	ALTER TABLE points ADD COLUMN maximum REAL;
`}}

// Telemetry is a platform.Logs and a platform.Metrics.
type Telemetry struct {
	db    *drivers.Database
	clock platform.Clock
	codec *codec
}

// Open opens the database file at path, or creates it. See drivers.OpenDatabase for what can go wrong. The clock tells
// when things were created and ingested.
func Open(ctx context.Context, path string, clock platform.Clock) (*Telemetry, error) {
	codec, err := newCodec()
	if err != nil {
		return nil, platform.Errorf(platform.Internal, path, "compression: %w", err)
	}
	db, err := drivers.OpenDatabase(ctx, path, schema)
	if err != nil {
		return nil, err
	}
	return &Telemetry{db: db, clock: clock, codec: codec}, nil
}

// Close lets appends in flight finish; later calls are Unavailable. A second Close does nothing.
func (t *Telemetry) Close() error { return t.db.Close() }
