package checkpoint

import "context"

// Small makes chunks of a few bytes, so that tests need not move much.
func (s *Syncer) Small(chunk int64) *Syncer {
	s.chunk = chunk
	s.memory = newMemory(12*int(chunk), int(pieceChunks*chunk))
	return s
}

// Round is one look at the folder and what follows from it, as Run does it again and again.
func (s *Syncer) Round(ctx context.Context) error {
	err := s.round(ctx)
	s.lastLook = s.Clock.Now()
	return err
}

// Audit makes the next tidying compare all that is there.
func (s *Syncer) Audit() { s.audited = s.audited.AddDate(-1, 0, 0) }
