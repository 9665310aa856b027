// Package memory keeps records and the ledger in memory: platform.Store for tests and simulation. Nothing survives Close.
package memory

import (
	"context"
	"sync"

	"github.com/stint-ml/stint/drivers/store"
	"github.com/stint-ml/stint/platform"
)

// Store is a platform.Store.
type Store struct {
	mu       sync.RWMutex
	records  map[platform.Key]platform.Record
	entries  []platform.LedgerEntry
	ids      map[string]bool
	closed   bool
	index    store.Index
	watchers store.Watchers
}

// New makes an empty store.
func New() *Store {
	return &Store{records: map[platform.Key]platform.Record{}, ids: map[string]bool{}}
}

// Get is platform.Store's.
func (s *Store) Get(ctx context.Context, key platform.Key) (platform.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return platform.Record{}, err
	}
	r, ok := s.records[key]
	if !ok {
		return platform.Record{}, store.NoRecord(key)
	}
	return store.Clone(r), nil
}

// List is platform.Store's.
func (s *Store) List(ctx context.Context, q platform.Query) (platform.Page, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return platform.Page{}, err
	}
	names, next, err := s.index.Select(q)
	page := platform.Page{Next: next}
	for _, name := range names {
		page.Records = append(page.Records, store.Clone(s.records[platform.Key{Kind: q.Kind, Name: name}]))
	}
	return page, err
}

// Commit is platform.Store's; memory is its stable storage.
func (s *Store) Commit(ctx context.Context, tx platform.Tx) error {
	if err := store.CheckTx(tx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := s.check(tx); err != nil {
		return err
	}
	for _, p := range tx.Puts {
		r := store.Clone(p.Record)
		r.Revision++
		s.records[r.Key] = r
	}
	for _, d := range tx.Deletes {
		delete(s.records, d.Key)
	}
	for _, e := range tx.Ledger {
		s.ids[e.ID()] = true
		s.entries = append(s.entries, e)
	}
	s.index.Apply(store.ChangesOf(tx)...)
	s.watchers.Publish(store.KeysOf(tx))
	return nil
}

func (s *Store) check(tx platform.Tx) error {
	for _, p := range tx.Puts {
		if err := store.CheckRevision(p.Record.Key, s.records[p.Record.Key].Revision, p.Record.Revision, false); err != nil {
			return err
		}
	}
	for _, d := range tx.Deletes {
		if err := store.CheckRevision(d.Key, s.records[d.Key].Revision, d.Revision, true); err != nil {
			return err
		}
	}
	for _, e := range tx.Ledger {
		if s.ids[e.ID()] {
			return store.DuplicateEntry(e)
		}
	}
	return nil
}

// Ledger is platform.Store's.
func (s *Store) Ledger(ctx context.Context, q platform.LedgerQuery) ([]platform.LedgerEntry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	var found []platform.LedgerEntry
	for _, e := range s.entries {
		if store.Selects(q, e) {
			found = append(found, e)
		}
	}
	return found, nil
}

// Watch is platform.Store's.
func (s *Store) Watch(kind platform.Kind) (<-chan platform.Key, func()) {
	return s.watchers.Watch(kind)
}

// Close ends all watching; later calls are Unavailable. A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.watchers.Close()
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return platform.Errorf(platform.Unavailable, "", "the store is closed")
	}
	if err := ctx.Err(); err != nil {
		return platform.Errorf(platform.Unavailable, "", "given up by the caller: %w", err)
	}
	return nil
}
