package control

import (
	"context"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Noun is a resource that lays itself over the record that it was read from.
type Noun interface {
	Record(was platform.Record, now time.Time) (platform.Record, error)
}

// Change reads a resource, lets f alter it, and commits it together with the rest of the Tx that f returns. When somebody else
// changed the record first, f is called again on the new one. f returns false to leave everything as it is.
func Change[N Noun](
	ctx context.Context, store platform.Store, clock platform.Clock, key platform.Key,
	read func(platform.Record) (N, error), f func(N) (platform.Tx, bool, error),
) (N, error) {
	var none N
	for {
		rec, err := store.Get(ctx, key)
		if err != nil {
			return none, err
		}
		noun, err := read(rec)
		if err != nil {
			return none, err
		}
		tx, changed, err := f(noun)
		if err != nil || !changed {
			return noun, err
		}
		if rec, err = noun.Record(rec, clock.Now()); err != nil {
			return none, err
		}
		tx.Puts = append(tx.Puts, platform.Put{Record: rec})
		if err = store.Commit(ctx, tx); !platform.Is(err, platform.Conflict) {
			return noun, err
		}
	}
}

// Each calls f for every record that a query selects, page by page.
func Each(ctx context.Context, store platform.Store, q platform.Query, f func(platform.Record) error) error {
	for {
		page, err := store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			if err := f(r); err != nil {
				return err
			}
		}
		if q.Token = page.Next; q.Token == "" {
			return nil
		}
	}
}
