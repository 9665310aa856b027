package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/platform"
)

const (
	smallWorkers = 48       // small objects fetched at once: most of their time is waiting for the store
	largeWorkers = 2        // large objects fetched at once: each is fetched in parallel ranges already
	largeBytes   = 16 << 20 // from which an object is large
	copyBytes    = 128 << 10
)

// fetch brings the channels and the source of script mode into place.
func (a *agent) fetch(ctx context.Context) error {
	channels, err := a.plan(ctx)
	if err != nil {
		return err
	}
	if err := a.checkRoom(channels); err != nil {
		return err
	}
	if err := a.fetchSource(ctx); err != nil {
		return err
	}
	f := &fetcher{agent: a, top: filepath.Join(a.Root, dataFolder), made: map[string]bool{}, buffers: sync.Pool{New: func() any { return new([copyBytes]byte) }}}
	var total int64
	for _, ch := range channels {
		for _, o := range ch.objects {
			total += o.blob.Size
		}
	}
	defer a.progress(platform.PhaseDownloading, "Downloading input data", &f.done, total)()
	return f.fetch(ctx, channels)
}

// checkRoom refuses a job whose inputs do not fit the disk before anything is fetched.
func (a *agent) checkRoom(channels []channel) error {
	var need int64
	for _, ch := range channels {
		for _, o := range ch.objects {
			need += o.blob.Size
		}
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(a.Root, &disk); err != nil {
		return diskError(a.Root, err)
	}
	if free := int64(disk.Bavail) * disk.Bsize; need > free {
		return clientError(a.Root, "the input data has %d bytes (%s), but the disk has only %d bytes (%s) free; use less data or free space on the machine",
			need, bytesText(need), free, bytesText(free))
	}
	return nil
}

// fetcher puts objects on disk.
type fetcher struct {
	*agent
	top     string       // a folder that is there, with all objects below it
	done    atomic.Int64 // bytes
	buffers sync.Pool

	mu   sync.Mutex
	made map[string]bool // folders
}

func (f *fetcher) fetch(ctx context.Context, channels []channel) error {
	var all []task
	for _, ch := range channels {
		tasks, err := f.tasks(filepath.Join(f.Root, dataFolder, ch.name), ch.objects)
		if err != nil {
			return err
		}
		all = append(all, tasks...)
	}
	return f.do(ctx, all)
}

// fetchInto puts objects below one folder.
func (f *fetcher) fetchInto(ctx context.Context, folder string, objects []object) error {
	tasks, err := f.tasks(folder, objects)
	if err != nil {
		return err
	}
	return f.do(ctx, tasks)
}

// task is an object to be fetched.
type task struct {
	large bool
	get   func(context.Context) error
}

// tasks are what it takes to have objects below a folder, which is made.
func (f *fetcher) tasks(base string, objects []object) (tasks []task, err error) {
	for _, o := range objects {
		tasks = append(tasks, task{o.blob.Size >= largeBytes, func(ctx context.Context) error { return f.get(ctx, base, o) }})
	}
	return tasks, f.folder(base)
}

// do fetches few large objects and many small ones at once.
func (f *fetcher) do(ctx context.Context, tasks []task) error {
	var large, small []func(context.Context) error
	for _, t := range tasks {
		if t.large {
			large = append(large, t.get)
		} else {
			small = append(small, t.get)
		}
	}
	both, shared := errgroup.WithContext(ctx)
	both.Go(func() error { return together(shared, largeWorkers, large) })
	both.Go(func() error { return together(shared, smallWorkers, small) })
	return both.Wait()
}

// together does all tasks, so many at once, up to the first failure.
func together(ctx context.Context, workers int, tasks []func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, task := range tasks {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return task(ctx) })
	}
	return group.Wait()
}

// get puts one object on disk.
func (f *fetcher) get(ctx context.Context, base string, o object) error {
	target := filepath.Join(base, o.path)
	if strings.HasSuffix(o.path, "/") {
		return f.folder(target)
	}
	if err := f.folder(filepath.Dir(target)); err != nil {
		return err
	}
	// O_EXCL: two keys that mean one file, such as a//b and a/b, must not overwrite each other in silence.
	file, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	switch {
	case errors.Is(err, syscall.EEXIST), errors.Is(err, syscall.EISDIR):
		return clientError(string(o.blob.URI), "two S3 objects of the channel would be stored as %s; the second is %s", target, o.blob.URI)
	case err != nil:
		return diskError(target, err)
	}
	defer file.Close()
	if f.User != nil {
		if err := file.Chown(f.User.UID, f.User.GID); err != nil {
			return diskError(target, err)
		}
	}
	err = f.store.try(ctx, func(blobs platform.Blobs) error { return f.copy(ctx, blobs, o.blob, file) })
	switch {
	case platform.Is(err, platform.NotFound), platform.Is(err, platform.Denied):
		return clientError(string(o.blob.URI), "the S3 object %s was listed but cannot be read: %w", o.blob.URI, err)
	case err != nil && ctx.Err() == nil && platform.KindOf(err) == platform.Internal:
		return diskError(target, err)
	case err != nil:
		return err
	}
	return diskError(target, file.Close())
}

// copy brings an object into a file, from the start.
func (f *fetcher) copy(ctx context.Context, blobs platform.Blobs, blob platform.BlobInfo, file *os.File) error {
	counted := &counter{file: file, done: &f.done}
	err := func() error {
		if blob.Size >= largeBytes {
			return blobs.Download(ctx, blob, counted)
		}
		if blob.Size == 0 {
			return nil
		}
		in, err := blobs.Open(ctx, blob.URI, 0, -1)
		if err != nil {
			return err
		}
		defer in.Close()
		buffer := f.buffers.Get().(*[copyBytes]byte)
		defer f.buffers.Put(buffer)
		_, err = io.CopyBuffer(struct{ io.Writer }{counted}, body{in, blob.URI}, buffer[:])
		return err
	}()
	if err == nil {
		return nil
	}
	f.done.Add(-counted.own.Load())
	if cut := file.Truncate(0); cut != nil {
		return cut
	}
	if _, seek := file.Seek(0, io.SeekStart); seek != nil {
		return seek
	}
	return err
}

// folder makes a folder and what is above it, owned by the user, once.
func (f *fetcher) folder(path string) error {
	path = filepath.Clean(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, dir := range upTo(f.top, path) {
		if f.made[dir] {
			continue
		}
		err := os.Mkdir(dir, 0o755)
		switch {
		case errors.Is(err, os.ErrExist):
			if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
				return clientError(dir, "%s would have to be a file and a folder: the channel has an S3 object of that name and objects below it", dir)
			}
		case errors.Is(err, syscall.ENOTDIR):
			return clientError(dir, "%s would have to be a file and a folder: the channel has an S3 object of that name and objects below it", filepath.Dir(dir))
		case err != nil:
			return diskError(dir, err)
		}
		if err := f.own(dir); err != nil {
			return err
		}
		f.made[dir] = true
	}
	return nil
}

// upTo lists the folders below base on the way to path, from the top.
func upTo(base, path string) []string {
	var dirs []string
	for d := path; d != base && len(d) > len(base); d = filepath.Dir(d) {
		dirs = append([]string{d}, dirs...)
	}
	return dirs
}

// counter counts what is written to a file.
type counter struct {
	file *os.File
	done *atomic.Int64 // of all files
	own  atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.file.Write(p)
	c.add(n)
	return n, err
}

func (c *counter) WriteAt(p []byte, at int64) (int, error) {
	n, err := c.file.WriteAt(p, at)
	c.add(n)
	return n, err
}

func (c *counter) add(n int) {
	c.done.Add(int64(n))
	c.own.Add(int64(n))
}

// progress reports how far a transfer is, once a second as long as it takes; a total of 0 is not known. The function it
// returns ends that.
func (a *agent) progress(phase platform.Phase, what string, done *atomic.Int64, total int64) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var said int64
		for {
			if wait(ctx, a.Clock, time.Second); ctx.Err() != nil {
				return
			}
			if now := done.Load(); now != said {
				said = now
				text := what + ": " + bytesText(now)
				if total > 0 {
					text += " of " + bytesText(total)
				}
				a.enter(phase, text)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
