package agent

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// reassignTime bounds how long the control plane is asked where the object store is now.
const reassignTime = 5 * time.Second

// store is the object store as the job's role sees it. A store that is away is waited for, and asked for again where the
// control plane says that it is now: after a restart it may have another port, and the credentials may be new.
type store struct {
	config Config

	mu    sync.Mutex
	job   platform.Assignment
	blobs platform.Blobs
}

func newStore(cfg Config, job platform.Assignment) *store {
	return &store{config: cfg, job: job, blobs: cfg.Blobs(job.S3, job.Session, job.Site.Region)}
}

// current gives the store as it is known now.
func (s *store) current() platform.Blobs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs
}

// refresh asks the control plane where the store is now. When it does not answer, what is known stays.
func (s *store) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reassignTime)
	defer cancel()
	job, err := s.config.Link.Assignment(ctx, s.config.Token)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if job.S3 != s.job.S3 || job.Session != s.job.Session {
		s.job, s.blobs = job, s.config.Blobs(job.S3, job.Session, job.Site.Region)
	}
}

// try does an operation on the store, again and again while the store is away, until Patience has passed. The operation must
// begin anew each time.
func (s *store) try(ctx context.Context, operation func(platform.Blobs) error) error {
	giveUp := s.config.Clock.Now().Add(s.config.Patience)
	pause := firstPause
	for {
		err := operation(s.current())
		if !platform.Is(err, platform.Unavailable) || ctx.Err() != nil || s.config.Clock.Now().After(giveUp) {
			return err
		}
		s.config.Log.Warn("the object store is away", "error", err)
		wait(ctx, s.config.Clock, pause)
		pause = min(2*pause, 10*longestPause)
		s.refresh(ctx)
	}
}

// body is an object's content on its way. A fault of the way is told as such, not to be taken for one of the content or of
// the disk that it goes to.
type body struct {
	in  io.Reader
	uri platform.URI
}

func (b body) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && platform.KindOf(err) == platform.Internal {
		err = platform.Errorf(platform.Unavailable, string(b.uri), "%s broke off: %w", b.uri, err)
	}
	return n, err
}
