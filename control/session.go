package control

import (
	"context"

	"github.com/stint-ml/stint/platform"
)

// The credentials that an agent is given live as long as the agent: they are made in the transaction that writes it down, and
// deleted in the one that closes it.

// Session reads an agent's credentials.
func Session(ctx context.Context, store platform.Store, id string) (platform.Session, error) {
	rec, err := store.Get(ctx, platform.Key{Kind: platform.KindSession, Name: id})
	if err != nil {
		return platform.Session{}, err
	}
	return platform.ReadSession(rec)
}

// EndSession adds to a transaction that an agent's credentials are to go; those that are gone are fine.
func EndSession(ctx context.Context, store platform.Store, id string, tx *platform.Tx) error {
	key := platform.Key{Kind: platform.KindSession, Name: id}
	rec, err := store.Get(ctx, key)
	switch {
	case err == nil:
		tx.Deletes = append(tx.Deletes, platform.Delete{Key: key, Revision: rec.Revision})
	case !platform.Is(err, platform.NotFound):
		return err
	}
	return nil
}
