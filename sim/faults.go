package sim

import (
	"context"

	"github.com/stint-ml/stint/platform"
)

// FaultyStore is a store whose commits fail on demand.
type FaultyStore struct {
	platform.Store
	// Fault is asked before each commit: whether it fails, and whether it was applied all the same, as when the power goes
	// between the disk's write and the answer. Nil: none fail.
	Fault func() (fails, applied bool)
}

// Commit fails as Fault says.
func (s *FaultyStore) Commit(ctx context.Context, tx platform.Tx) error {
	if s.Fault == nil {
		return s.Store.Commit(ctx, tx)
	}
	fails, applied := s.Fault()
	if !fails {
		return s.Store.Commit(ctx, tx)
	}
	if applied {
		if err := s.Store.Commit(ctx, tx); err != nil {
			return err
		}
	}
	return platform.Errorf(platform.Unavailable, "", "the store is away")
}
