package checkpoint

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/platform"
)

// destination is the object that a file goes to.
type destination struct {
	key   string
	flat  bool
	begun *platform.Begun
}

// halfway is an upload that broke off, to go on when the file is still the same.
type halfway struct {
	sighting
	to destination
}

// flatState is what is known of the flat object of a path: that there is one, or that there cannot be one.
type flatState struct {
	etag string
	mine bool // this host made it, or nobody did, and may replace it
	// shared objects are brought up to date for people, but no generation relies on them: another host may do the same.
	shared bool
	from   string // the key that it was copied from last
}

// intent is a document that names flat objects which were about to be made.
type intent struct {
	stamp
	paths []string
}

// destination chooses the flat object for the first version of a path, and an object of our own for later ones.
func (s *Syncer) destination(w *work) destination {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.halfway[w.path]; ok {
		if h.same(&w.sighting) || w.grew && h.inode == w.inode && h.size == w.size {
			return h.to
		}
	}
	if _, taken := s.flats[w.path]; !taken && s.intended[w.path] {
		return destination{key: w.path, flat: true, begun: &platform.Begun{}}
	}
	s.serial++
	to := destination{key: s.stamped(objectsFolder, s.serial).key, begun: &platform.Begun{}}
	s.made[to.key] = true // whether it will be or not: the answer may be lost
	return to
}

// settleBegun remembers an upload that broke off, and forgets one that ended.
func (s *Syncer) settleBegun(w *work, to destination) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to.begun.Upload == "" {
		delete(s.halfway, w.path)
		return
	}
	s.halfway[w.path] = halfway{w.sighting, to}
}

// dropHalfway gives up the uploads that broke off of files that are no more what they were, so that they cost no space.
func (s *Syncer) dropHalfway(ctx context.Context) {
	for path, h := range s.halfway {
		if f := s.files[path]; f != nil && f.content == nil && f.inode == h.inode && f.size >= h.size {
			continue
		}
		_, _ = s.Blobs().Compose(ctx, s.uri(h.to.key), func(yield func(platform.Piece, error) bool) {
			yield(platform.Piece{}, errChanged)
		}, platform.Composing{Begun: h.to.begun}) // it fails, as it should
		delete(s.halfway, path)
	}
}

// flatTaken judges that the flat object of a path could not be made: it is another host's, or one of ours of which the answer was
// lost, or the store cannot keep such a key beside others.
func (s *Syncer) flatTaken(ctx context.Context, path string, why error) error {
	state := flatState{}
	if platform.Is(why, platform.AlreadyExists) {
		c, err := s.list(ctx, bookkeeping+"/")
		if err != nil {
			return err
		}
		if len(c.lanes) == 1 {
			info, err := s.Blobs().Stat(ctx, s.uri(path))
			if err != nil && !platform.Is(err, platform.NotFound) {
				return err
			}
			state = flatState{etag: info.ETag, mine: true}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flats[path] = state
	if state.mine {
		s.made[path] = true
	}
	return nil
}

// keep takes note of an object that was made.
func (s *Syncer) keep(w *work, to destination, c *content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made[to.key] = true
	if to.flat {
		s.flats[w.path] = flatState{etag: c.ETag, mine: true}
	}
	s.journal.add(c)
}

// pooled finds what a syncer that was killed had shipped already and not committed: it is not shipped again.
func (s *Syncer) pooled(ctx context.Context, f *os.File, w *work) *content {
	if len(s.pool[w.size]) == 0 || w.grew {
		return nil
	}
	c := &content{Size: w.size, Chunk: s.chunk}
	b, err := s.memory.get(ctx, int(min(w.size, s.chunk)))
	if err != nil {
		return nil
	}
	defer b.drop(1)
	for at := int64(0); at < w.size; at += s.chunk {
		chunk := b.data[:min(s.chunk, w.size-at)]
		if _, err := f.ReadAt(chunk, at); err != nil {
			return nil
		}
		c.Chunks = append(c.Chunks, digestOf(chunk))
	}
	if now, err := sightingOf(f, w.path); err != nil || !now.same(&w.sighting) {
		return nil
	}
	for _, had := range s.pool[w.size] {
		if had.Chunk == s.chunk && had.id() == c.id() {
			return had
		}
	}
	return nil
}

// journal is what was shipped since the last commit, on disk. It need not survive a power failure: then more is shipped again.
type journal struct {
	path string
	out  *bufio.Writer
	file *os.File
}

const journalFile = "shipped"

// load reads what an earlier syncer in the same folder had shipped.
func (j *journal) load() (had []*content) {
	f, err := os.Open(j.path)
	if err != nil {
		return nil
	}
	defer f.Close()
	d := json.NewDecoder(f)
	for {
		c := &content{}
		if err := d.Decode(c); err != nil || !c.valid() {
			return had // what follows was torn
		}
		had = append(had, c)
	}
}

func (j *journal) add(c *content) {
	if j.out == nil {
		return
	}
	if line, err := json.Marshal(c); err == nil {
		_, _ = j.out.Write(append(line, '\n')) // what is not written is shipped again
		_ = j.out.Flush()
	}
}

// reset begins anew: all that was shipped is named by a manifest now.
func (j *journal) reset(had []*content) error {
	j.close()
	if err := os.MkdirAll(filepath.Dir(j.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	j.file, j.out = f, bufio.NewWriter(f)
	for _, c := range had {
		j.add(c)
	}
	return nil
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.out = nil, nil
}

// limiter is a bucket of bytes that fills with time.
type limiter struct {
	syncer *Syncer
	debt   time.Time // until when what was taken is paid for
}

// take waits until n more bytes may be shipped. A second's worth may be taken at once.
func (l *limiter) take(ctx context.Context, n int) error {
	s := l.syncer
	if s.Bandwidth <= 0 || s.hurry.Load() {
		return nil
	}
	s.mu.Lock()
	now := s.Clock.Now()
	if l.debt.Before(now) {
		l.debt = now
	}
	wait := l.debt.Sub(now) - time.Second
	l.debt = l.debt.Add(time.Duration(float64(n) / float64(s.Bandwidth) * float64(time.Second)))
	s.mu.Unlock()
	return s.pause(ctx, wait)
}

// pause waits for d, or fails when ctx ends.
func (s *Syncer) pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	fired, stop := s.Clock.After(d)
	defer stop()
	select {
	case <-fired:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The priorities of the threads that read and hash while the training runs.
const (
	niceness   = 10
	ioprioIdle = 3 << 13 // IOPRIO_CLASS_IDLE
	ioprioWho  = 1       // IOPRIO_WHO_PROCESS, of which 0 is the calling thread
)

// yieldProcessor makes the calling goroutine's thread stand back behind the training, until the goroutine ends and the thread
// with it. Where the kernel refuses, it goes on as it is.
func (s *Syncer) yieldProcessor() {
	if s.hurry.Load() {
		return
	}
	runtime.LockOSThread() // never unlocked: the traits are the thread's
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceness)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWho, 0, ioprioIdle)
}

// note says something once.
func (s *Syncer) note(message string) {
	s.mu.Lock()
	said := s.said[message]
	s.said[message] = true
	s.mu.Unlock()
	if said {
		return
	}
	s.Log.Warn(message)
	if s.Notes != nil {
		s.Notes(message)
	}
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
