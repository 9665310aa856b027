package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/agent/checkpoint"
	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/platform"
)

const (
	smallWorkers = 16
	largeWorkers = 2
	largeBytes   = 16 << 20
)

// place is a prefix of its own.
func (b *bench) place() platform.URI {
	b.serial++
	return platform.URI(fmt.Sprintf("s3://checkpoints/run-%d", b.serial))
}

func (b *bench) syncer(dir string, at platform.URI, committed func(checkpoint.Generation)) (*checkpoint.Syncer, error) {
	state, err := os.MkdirTemp(b.work, "state-")
	if err != nil {
		return nil, err
	}
	return checkpoint.New(checkpoint.Config{
		Dir: dir, Prefix: at, Host: "algo-1", Job: "arn:aws:sagemaker:us-east-1:000000000000:training-job/bench", Epoch: 1, State: state,
		Blobs: func() platform.Blobs { return b.blobs }, Every: time.Second, Committed: committed,
		Notes: func(n string) { b.report.Note("%s", n) },
	})
}

// timed runs what is measured, from an idle disk.
func timed(do func() error) (time.Duration, error) {
	unix.Sync()
	began := time.Now()
	err := do()
	return time.Since(began), err
}

// profiled is timed with a profile, where one is wanted.
func (b *bench) profiled(what string, do func() error) (took time.Duration, err error) {
	if b.profile == "" {
		return timed(do)
	}
	out, err := os.Create(filepath.Join(b.profile, fmt.Sprintf("%s-%d.pprof", what, b.serial)))
	if err != nil {
		return 0, err
	}
	defer out.Close()
	if err := pprof.StartCPUProfile(out); err != nil {
		return 0, err
	}
	defer pprof.StopCPUProfile()
	return timed(do)
}

// measure moves a folder there and back, some rounds long.
func (b *bench) measure(ctx context.Context, f folder, change bool) error {
	fmt.Printf("==> %s: making %s\n", f.name, f)
	source := filepath.Join(b.work, "source")
	if err := f.write(source); err != nil {
		return err
	}
	defer os.RemoveAll(source) //nolint:errcheck // the whole folder goes at the end
	var up, plainUp, awsUp, down, plainDown, awsDown rig.Durations
	for i := range b.rounds {
		fmt.Printf("==> %s: round %d of %d\n", f.name, i+1, b.rounds)
		for _, step := range []struct {
			into *rig.Durations
			do   func() (time.Duration, error)
		}{
			{&up, func() (time.Duration, error) { return b.sync(ctx, source) }},
			{&down, func() (time.Duration, error) { return b.restore(ctx, source) }},
			{&plainUp, func() (time.Duration, error) { return b.plainUp(ctx, source) }},
			{&plainDown, func() (time.Duration, error) { return b.plainDown(ctx) }},
			{&awsUp, func() (time.Duration, error) {
				at := string(b.place()) + "/"
				return timed(func() error { return b.aws3(ctx, "cp", "--only-show-errors", "--recursive", source, at) })
			}},
			{&awsDown, func() (time.Duration, error) {
				return timed(func() error {
					return b.aws3(ctx, "cp", "--only-show-errors", "--recursive", b.here(), filepath.Join(b.work, "back"))
				})
			}},
		} {
			took, err := step.do()
			if err != nil {
				return err
			}
			*step.into = append(*step.into, took)
			if err := os.RemoveAll(filepath.Join(b.work, "back")); err != nil {
				return err
			}
		}
		if err := b.aws3(ctx, "rm", "--quiet", "--recursive", "s3://checkpoints/"); err != nil {
			return err
		}
	}
	b.row("new data", f, up, plainUp, awsUp)
	b.row("restore", f, down, plainDown, awsDown)
	if !change {
		return nil
	}
	return b.change(ctx, f, source)
}

// here is the place that was used last.
func (b *bench) here() string { return fmt.Sprintf("s3://checkpoints/run-%d/", b.serial) }

// sync ships a folder of new data, until the generation is whole.
func (b *bench) sync(ctx context.Context, source string) (time.Duration, error) {
	s, err := b.syncer(source, b.place(), nil)
	if err != nil {
		return 0, err
	}
	if _, err := s.Restore(ctx); err != nil {
		return 0, err
	}
	return b.profiled("sync", func() error {
		_, err := s.Final(ctx, false)
		return err
	})
}

// restore brings back what sync shipped.
func (b *bench) restore(ctx context.Context, source string) (time.Duration, error) {
	back := filepath.Join(b.work, "back")
	s, err := b.syncer(back, platform.URI(b.here()), nil)
	if err != nil {
		return 0, err
	}
	took, err := b.profiled("restore", func() error {
		_, err := s.Restore(ctx)
		return err
	})
	return took, errors.Join(err, same(source, back))
}

// plainUp is the same files by the same driver, and nothing else.
func (b *bench) plainUp(ctx context.Context, source string) (time.Duration, error) {
	at := b.place()
	return timed(func() error {
		return b.together(ctx, func(small, large *errgroup.Group) error {
			return each(source, func(name string) error {
				group := small
				if info, err := os.Stat(filepath.Join(source, name)); err == nil && info.Size() > largeBytes {
					group = large
				}
				group.Go(func() error {
					in, err := os.Open(filepath.Join(source, name))
					if err != nil {
						return err
					}
					defer in.Close()
					return b.blobs.Upload(ctx, platform.URI(string(at)+"/"+name), in)
				})
				return nil
			})
		})
	})
}

func (b *bench) plainDown(ctx context.Context) (time.Duration, error) {
	at := platform.URI(b.here())
	return timed(func() error {
		return b.together(ctx, func(small, large *errgroup.Group) error {
			for info, err := range b.blobs.List(ctx, at) {
				if err != nil {
					return err
				}
				path := filepath.Join(b.work, "back", string(info.URI[len(at):]))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					return err
				}
				group := small
				if info.Size > largeBytes {
					group = large
				}
				group.Go(func() error {
					out, err := os.Create(path)
					if err != nil {
						return err
					}
					defer out.Close()
					return b.blobs.Download(ctx, info, out)
				})
			}
			return nil
		})
	})
}

func (b *bench) together(ctx context.Context, add func(small, large *errgroup.Group) error) error {
	small, _ := errgroup.WithContext(ctx)
	large, _ := errgroup.WithContext(ctx)
	small.SetLimit(smallWorkers)
	large.SetLimit(largeWorkers)
	return errors.Join(add(small, large), small.Wait(), large.Wait())
}

// change changes one percent of a folder that was shipped, and counts what is sent for it.
func (b *bench) change(ctx context.Context, f folder, source string) error {
	s, err := b.syncer(source, b.place(), nil)
	if err != nil {
		return err
	}
	if _, err := s.Restore(ctx); err != nil {
		return err
	}
	if _, err := s.Final(ctx, false); err != nil {
		return err
	}
	if err := f.change(source); err != nil {
		return err
	}
	b.sent.Store(0)
	var g checkpoint.Generation
	took, err := timed(func() error {
		g, err = s.Final(ctx, false)
		return err
	})
	if err != nil {
		return err
	}
	sent := b.sent.Load()
	share := float64(sent) / float64(f.total())
	held := share <= 0.02
	b.report.Row("1 % changed, "+f.name+", "+f.String(), "≤ 2 % shipped",
		fmt.Sprintf("%.2f %% (%.1f MiB over the network, %.1f MiB of them file content) in %.2f s", 100*share, float64(sent)/(1<<20), float64(g.Shipped)/(1<<20), took.Seconds()), "", &held)
	back := filepath.Join(b.work, "back")
	if _, err := b.restore(ctx, source); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(back), b.aws3(ctx, "rm", "--quiet", "--recursive", "s3://checkpoints/"))
}

// slowdown trains with and without sync, in turn.
func (b *bench) slowdown(ctx context.Context) error {
	data := filepath.Join(b.work, "data")
	chance := folder{files: 1, bytes: 512 << 20}
	if err := chance.write(data); err != nil {
		return err
	}
	var alone, synced rig.Durations
	generations := 0
	for i := range 2 * b.rounds {
		fmt.Printf("==> training: round %d of %d\n", i+1, 2*b.rounds)
		took, err := b.trainOnce(ctx, chance.path(data, 0), nil)
		if err != nil {
			return err
		}
		alone = append(alone, took)
		if took, err = b.trainOnce(ctx, chance.path(data, 0), &generations); err != nil {
			return err
		}
		synced = append(synced, took)
	}
	without, with := alone.Percentile(50), synced.Percentile(50)
	slower := with.Seconds()/without.Seconds() - 1
	held := slower < 0.02
	b.report.Row("training slowed while synced", "< 2 %", fmt.Sprintf("%.2f %%: %.2f s", 100*slower, with.Seconds()), fmt.Sprintf("without sync %.2f s", without.Seconds()), &held)
	b.report.Details["training"] = map[string]any{"alone_ms": alone.Summary(), "synced_ms": synced.Summary(), "generations": generations}
	b.report.Note("the training: %d steps of one thread, each with 1 MiB read at random from a file of 512 MiB and a product of two matrices, and 4 checkpoints of %d MiB renamed into place; %d generations were shipped in %d runs. The store's own work is on the same machine",
		b.steps, b.checkpoint>>20, generations, 2*b.rounds)
	return nil
}

func (b *bench) trainOnce(ctx context.Context, data string, generations *int) (time.Duration, error) {
	dir, err := os.MkdirTemp(b.work, "train-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the whole folder goes at the end
	unix.Sync()
	if generations == nil {
		return training(ctx, dir, data, b.steps, b.checkpoint)
	}
	s, err := b.syncer(dir, b.place(), func(checkpoint.Generation) { *generations++ })
	if err != nil {
		return 0, err
	}
	if _, err := s.Restore(ctx); err != nil {
		return 0, err
	}
	syncing, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(syncing)
	}()
	took, err := training(ctx, dir, data, b.steps, b.checkpoint)
	stop()
	<-ended
	return took, errors.Join(err, b.aws3(ctx, "rm", "--quiet", "--recursive", "s3://checkpoints/"))
}
