package main

import (
	"context"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/agent/checkpoint"
	"github.com/stint-ml/stint/platform"
)

// syncer is what keeps an agent's checkpoints; the two do not know each other.
type syncer struct{ *checkpoint.Syncer }

func keepCheckpoints(f agent.CheckpointFolder) (agent.Checkpoints, error) {
	s, err := checkpoint.New(checkpoint.Config{
		Dir: f.Dir, State: f.State, Prefix: f.Plan.URI, Epoch: f.Plan.Epoch, Host: f.Host, Job: f.Job, Blobs: f.Blobs, Clock: f.Clock, Log: f.Log,
		Own: f.Own, Stalled: f.Stalled, Notes: f.Notes,
		Committed: func(g checkpoint.Generation) { f.Committed(setOf(g)) },
		OpenForWrite: func() (map[checkpoint.Inode]bool, error) {
			open := map[checkpoint.Inode]bool{}
			return open, f.OpenForWrite(func(dev, ino uint64) { open[checkpoint.Inode{Dev: dev, Ino: ino}] = true })
		},
	})
	return syncer{s}, err
}

// Restore implements agent.Checkpoints.
func (s syncer) Restore(ctx context.Context) (platform.Checkpoint, error) {
	r, err := s.Syncer.Restore(ctx)
	set := setOf(r.Generation)
	set.Files, set.Bytes = int64(r.Files), r.Bytes // of all hosts
	return set, err
}

// Final implements agent.Checkpoints.
func (s syncer) Final(ctx context.Context, killed bool) error {
	_, err := s.Syncer.Final(ctx, killed)
	return err
}

func setOf(g checkpoint.Generation) platform.Checkpoint {
	return platform.Checkpoint{Generation: g.Number, At: g.At, Files: int64(g.Files), Bytes: g.Bytes, Shipped: g.Shipped}
}
