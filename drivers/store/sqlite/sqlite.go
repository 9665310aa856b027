// Package sqlite keeps records and the ledger in one SQLite file: the platform.Store of a single machine.
//
// Concurrent Commits share a transaction and an fsync (drivers.Database.Write). Lists are answered by store.Index in
// memory, which is loaded on opening and kept current by the writing goroutine; only the records of the page are read from
// the file, or from a small cache of records in front of it.
package sqlite

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/drivers/store"
	"github.com/stint-ml/stint/platform"
)

// Documents have their own table so that what lists need stays small: opening reads all of records.
var schema = drivers.Schema{Name: "store", Steps: []string{`
	CREATE TABLE records(
		kind TEXT NOT NULL, name TEXT NOT NULL,
		revision INTEGER NOT NULL,
		state TEXT NOT NULL,
		created INTEGER NOT NULL, modified INTEGER NOT NULL, -- microseconds since 1970, UTC
		doc INTEGER NOT NULL,                                -- docs.id
		PRIMARY KEY(kind, name)) WITHOUT ROWID;
	CREATE TABLE docs(
		id INTEGER PRIMARY KEY,
		tags TEXT, -- a JSON object; NULL for none
		doc BLOB);
	CREATE TABLE ledger(
		seq INTEGER PRIMARY KEY,
		id TEXT NOT NULL UNIQUE,
		line TEXT NOT NULL,
		resource TEXT NOT NULL,
		at INTEGER NOT NULL, -- microseconds since 1970, UTC, rounded down; doc has it exactly
		doc TEXT NOT NULL);  -- the entry as JSON
	CREATE INDEX ledger_resource ON ledger(resource, seq);
	CREATE INDEX ledger_at ON ledger(at);
`}}

// Store is a platform.Store.
type Store struct {
	db       *drivers.Database
	cache    *cache
	index    store.Index
	watchers store.Watchers
}

// Open opens the database file at path, or creates it. See drivers.OpenDatabase for what can go wrong.
func Open(ctx context.Context, path string) (*Store, error) {
	db, err := drivers.OpenDatabase(ctx, path, schema)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, cache: newCache()}
	if err := s.load(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) load(ctx context.Context) error {
	var all []store.Change
	err := s.db.QueryEach(ctx, "SELECT kind, name, state, created, modified FROM records", nil, func(scan func(...any) error) error {
		var kind, name, state string
		var created, modified int64
		if err := scan(&kind, &name, &state, &created, &modified); err != nil {
			return err
		}
		all = append(all, store.Change{
			Key: platform.Key{Kind: platform.Kind(kind), Name: name}, State: state,
			Created: time.UnixMicro(created), Modified: time.UnixMicro(modified),
		})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b store.Change) int { return a.Created.Compare(b.Created) }) // as the index likes it
	s.index.Apply(all...)
	return nil
}

// Get is platform.Store's.
func (s *Store) Get(ctx context.Context, key platform.Key) (platform.Record, error) {
	if err := s.db.Usable(ctx); err != nil {
		return platform.Record{}, err
	}
	r, found, err := s.read(key)
	if err == nil && !found {
		err = store.NoRecord(key)
	}
	return r, err
}

// readFile reads a record past the cache.
func (s *Store) readFile(key platform.Key) (platform.Record, bool, error) {
	r := platform.Record{Key: key}
	var created, modified int64
	var tags []byte
	found, err := s.db.QueryRow("SELECT revision, state, created, modified, tags, docs.doc FROM records JOIN docs ON docs.id = records.doc WHERE kind=? AND name=?",
		[]any{string(key.Kind), key.Name}, &r.Revision, &r.State, &created, &modified, &tags, &r.Doc)
	if err != nil || !found {
		return platform.Record{}, false, err
	}
	r.Created, r.Modified = time.UnixMicro(created).UTC(), time.UnixMicro(modified).UTC()
	if tags != nil {
		if err := json.Unmarshal(tags, &r.Tags); err != nil {
			return platform.Record{}, false, s.db.Fault(err)
		}
	}
	return r, true, nil
}

// List is platform.Store's. A record that changed since the index was asked is left out when it does not match any more.
func (s *Store) List(ctx context.Context, q platform.Query) (platform.Page, error) {
	if err := s.db.Usable(ctx); err != nil {
		return platform.Page{}, err
	}
	names, next, err := s.index.Select(q)
	if err != nil {
		return platform.Page{}, err
	}
	page := platform.Page{Next: next}
	for _, name := range names {
		if err := s.db.Usable(ctx); err != nil {
			return platform.Page{}, err
		}
		r, found, err := s.read(platform.Key{Kind: q.Kind, Name: name})
		if err != nil {
			return platform.Page{}, err
		}
		if found && store.Matches(q, &r) {
			page.Records = append(page.Records, r)
		}
	}
	return page, nil
}

// Commit is platform.Store's.
func (s *Store) Commit(ctx context.Context, tx platform.Tx) error {
	if err := store.CheckTx(tx); err != nil {
		return err
	}
	c := &commit{tx: tx, keys: store.KeysOf(tx), cache: s.cache}
	if err := c.encode(); err != nil {
		return s.db.Fault(err)
	}
	return s.db.Write(ctx, c.apply, func(committed bool) {
		if committed {
			s.index.Apply(store.ChangesOf(tx)...)
		}
		if c.begun {
			s.cache.end(c.keys)
		}
		if committed {
			s.watchers.Publish(c.keys)
		}
	})
}

// Ledger is platform.Store's.
func (s *Store) Ledger(ctx context.Context, q platform.LedgerQuery) ([]platform.LedgerEntry, error) {
	if err := s.db.Usable(ctx); err != nil {
		return nil, err
	}
	query, args := "SELECT doc FROM ledger WHERE true", []any(nil)
	if q.Resource != "" {
		query, args = query+" AND resource=?", append(args, string(q.Resource))
	}
	if !q.From.IsZero() {
		query, args = query+" AND at>=?", append(args, q.From.UnixMicro())
	}
	if !q.Until.IsZero() {
		query, args = query+" AND at<=?", append(args, q.Until.UnixMicro())
	}
	var found []platform.LedgerEntry
	err := s.db.QueryEach(ctx, query+" ORDER BY seq", args, func(scan func(...any) error) error {
		var doc []byte
		var e platform.LedgerEntry
		if err := scan(&doc); err != nil {
			return err
		}
		if err := json.Unmarshal(doc, &e); err != nil {
			return err
		}
		if store.Selects(q, e) { // the column is only exact to the microsecond
			found = append(found, e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Watch is platform.Store's.
func (s *Store) Watch(kind platform.Kind) (<-chan platform.Key, func()) {
	return s.watchers.Watch(kind)
}

// Close lets Commits in flight finish and ends all watching; later calls are Unavailable. A second Close does nothing.
func (s *Store) Close() error {
	err := s.db.Close()
	s.watchers.Close()
	return err
}
