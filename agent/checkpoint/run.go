package checkpoint

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

const (
	firstPause   = 200 * time.Millisecond // after a failure; doubled each time
	longestPause = 15 * time.Second
	// lookShare is how many times longer than a look the pause before the next one is, at least: looking takes a hundredth of a
	// processor at most, however many files there are.
	lookShare = 100
)

// watch tells when nothing goes on although there is something to ship.
type watch struct {
	mu       sync.Mutex
	pending  bool
	progress time.Time // the last one, or when something became pending
	cause    error     // the last failure
	told     bool      // that it stalled
	stalled  time.Time // since when, once it was told
}

// progress notes that something came through.
func (s *Syncer) progress() {
	now := s.Clock.Now()
	s.watch.mu.Lock()
	told, since := s.watch.told, s.watch.stalled
	s.watch.progress, s.watch.told, s.watch.cause = now, false, nil
	s.watch.mu.Unlock()
	if told && s.Stalled != nil {
		s.Stalled(now.Sub(since), nil)
	}
}

// busy notes that there is something to ship, idle that there is not.
func (s *Syncer) busy() {
	now := s.Clock.Now()
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	if !s.watch.pending {
		s.watch.pending, s.watch.progress = true, now
	}
}

func (s *Syncer) idle() {
	s.progress()
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.pending = false
}

// failed notes why nothing came through.
func (s *Syncer) failed(err error) {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.cause = err
}

var errNoAnswer = errors.New("the object store does not answer")

// watchOver calls Stalled, until ctx ends.
func (s *Syncer) watchOver(ctx context.Context) {
	for s.pause(ctx, max(s.StallAfter/8, time.Millisecond)) == nil {
		now := s.Clock.Now()
		s.watch.mu.Lock()
		since, cause := now.Sub(s.watch.progress), s.watch.cause
		stalled := s.watch.pending && !s.watch.told && since >= s.StallAfter
		if stalled {
			s.watch.told, s.watch.stalled = true, s.watch.progress
		}
		s.watch.mu.Unlock()
		if !stalled {
			continue
		}
		if cause == nil {
			cause = errNoAnswer
		}
		s.Log.Warn("checkpoints are not shipped", "for", since, "cause", cause)
		if s.Stalled != nil {
			s.Stalled(since, cause)
		}
	}
}

// Run syncs until ctx ends, or until a later attempt has claimed the prefix, which it says by Notes and Stalled.
func (s *Syncer) Run(ctx context.Context) {
	watched, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { s.watchOver(watched) })
	defer watching.Wait()
	defer stop()
	pause := firstPause
	for ctx.Err() == nil {
		err := s.round(ctx)
		s.lastLook = s.Clock.Now()
		wait := max(s.Every, lookShare*s.lookTook)
		switch {
		case err == nil:
			pause = firstPause
		case ctx.Err() != nil:
			return
		case platform.Is(err, platform.Conflict):
			s.note(err.Error() + "; this attempt saves no more checkpoints")
			if s.Stalled != nil {
				s.Stalled(0, err)
			}
			return
		default:
			s.Log.Warn("checkpoints could not be shipped; it is tried again", "error", err)
			s.failed(err)
			wait, pause = pause, min(2*pause, longestPause)
		}
		_ = s.pause(ctx, wait) // the loop sees the end of ctx
	}
}

// round is one look at the folder and what follows from it.
func (s *Syncer) round(ctx context.Context) error {
	before := s.number
	if err := s.generate(ctx); err != nil {
		return err
	}
	s.dropHalfway(ctx)
	if s.last == nil || s.last.Term != s.term {
		return nil // nothing of ours is there
	}
	if s.number != before || len(s.stale) > 0 || s.Clock.Now().Sub(s.audited) >= auditEvery {
		// What cannot be tidied now is garbage for a while, no danger.
		if err := s.tidy(ctx); err != nil {
			return s.harmless(err)
		}
	}
	return s.harmless(s.publish(ctx, false))
}

// harmless lets only Conflict through: another attempt has taken over.
func (s *Syncer) harmless(err error) error {
	if err == nil || platform.Is(err, platform.Conflict) {
		return err
	}
	s.Log.Info("tidying below the checkpoint location is put off", "error", err)
	return nil
}

// Freeze notes which files are open for writing. The agent calls it just before it kills the user's processes: what is open
// then is torn, and Final does not ship it. It may be called while Run runs.
func (s *Syncer) Freeze() {
	if s.OpenForWrite == nil {
		return
	}
	open, err := s.OpenForWrite()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.Log.Warn("which checkpoint files are open for writing is not known", "error", err)
		s.frozen = nil // what was open at an earlier call tells nothing of now
		return
	}
	if open == nil {
		open = map[Inode]bool{}
	}
	s.frozen = &ending{torn: open}
}

// Final ships what is left after the user's processes have ended, until ctx ends, and gives the last whole generation; an error
// means that it is not all. killed says that the processes were killed: what they had open for writing is torn, and its last
// whole version stays. When time allows, it also brings the flat objects up to date; that this was cut short is no error. It may
// be called again after an error.
func (s *Syncer) Final(ctx context.Context, killed bool) (Generation, error) {
	s.hurry.Store(true)
	s.mu.Lock()
	s.ending = &ending{killed: killed, lastLook: s.lastLook, at: s.Clock.Now()}
	if killed && s.frozen != nil {
		s.ending.torn = s.frozen.torn
	}
	s.mu.Unlock()
	pause := firstPause
	for {
		err := s.generate(ctx)
		if err == nil {
			break
		}
		if ctx.Err() == nil && platform.Is(err, platform.Unavailable) {
			s.Log.Warn("the last checkpoints could not be shipped; it is tried again", "error", err)
			_ = s.pause(ctx, pause) // the next line sees the end of ctx
		}
		if ctx.Err() != nil {
			return s.newest, platform.Errorf(platform.Unavailable, string(s.Prefix), "the last checkpoints could not be shipped in time: %w", errors.Join(context.Cause(ctx), err))
		}
		if !platform.Is(err, platform.Unavailable) {
			return s.newest, err
		}
		pause = min(2*pause, longestPause)
	}
	s.dropHalfway(ctx)
	if err := s.publishAll(ctx); err != nil {
		if platform.Is(err, platform.Conflict) {
			return s.newest, err
		}
		s.Log.Info("the flat checkpoint objects are not all up to date", "error", err)
	}
	return s.newest, nil
}
