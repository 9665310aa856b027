package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Remains are what the agent of an earlier attempt of the job left on this machine.
type Remains struct {
	Dir   string    // what was its Config.Dir
	Root  string    // what was its Config.Root
	Ended time.Time // when it was last known to live; it died then, or a moment later
}

const (
	// salvageSettle is for how long a file must have been left alone when its writer died, to count as whole. It is longer than
	// while the writer lives, when it can be seen whether the file is open.
	salvageSettle = 3 * time.Second
	salvageDraft  = ".stint-salvage-" // begins the name of a file that is being taken over
	salvageStep   = 64 << 20          // bytes copied between looks at whether it is still wanted
)

// salvage takes over checkpoints that an earlier attempt wrote and could not bring to the store before it was killed. set is
// what was restored. That there is nothing to be had, or that it cannot be had, is no failure of the job.
func (a *agent) salvage(work context.Context, set platform.Checkpoint) {
	below := strings.TrimPrefix(a.keeper.folder, a.Root+"/")
	for _, r := range a.Previous {
		s := &salvager{agent: a, after: set.At, settled: r.Ended.Add(-salvageSettle)}
		err := s.begin(r, below)
		if err == nil {
			err = s.take(work)
		}
		s.close()
		switch {
		case errors.Is(err, os.ErrNotExist): // it never came so far
		case err != nil && work.Err() == nil:
			a.warn("checkpoints of the attempt before lie on this machine, but could not be taken over: " + err.Error())
		case s.files > 0:
			a.enter(platform.PhaseDownloading, fmt.Sprintf("Took over newer checkpoints, %s, %s, that the attempt before left on this machine",
				filesText(s.files), bytesText(s.bytes)))
		}
	}
}

// salvager brings one earlier attempt's files into the folder of this one. Both are the user's, so neither is trusted: no link
// is followed out of them.
type salvager struct {
	*agent
	from, into *os.Root
	after      time.Time // whatever is older is in what was restored, or was meant to be gone
	settled    time.Time // what was not touched after this is whole
	open       []uint64  // files that are torn, whatever else speaks for them
	ended      bool      // all others are whole: the programs were held while those were looked for
	said       statements

	left  []string  // folders and files that may be torn
	since time.Time // when the first of them was changed last; zero: there is none
	names []news    // what may be taken
	files int64
	bytes int64
}

// news is a file or link that is newer than the set, and whole.
type news struct {
	name    string
	changed time.Time
	known   bool // there is an older one in what was restored
	ordered bool // whatever was finished before it is known to be whole, too
}

func (s *salvager) begin(r Remains, below string) error {
	run, err := readRun(r.Dir)
	if err != nil {
		return err
	}
	if run.Began.After(s.after) {
		s.after = run.Began // before that, the files were being restored
	}
	if s.ended = run.Ended; run.Ended { // all others are whole
		s.settled, s.open = r.Ended.Add(salvageSettle), run.Open
	}
	s.said = readWitness(r.Dir)
	whole, err := os.OpenRoot(r.Root)
	if err != nil {
		return err
	}
	defer whole.Close()
	if s.from, err = whole.OpenRoot(below); err != nil {
		return err
	}
	s.into, err = os.OpenRoot(s.keeper.folder)
	return err
}

func (s *salvager) close() {
	for _, root := range []*os.Root{s.from, s.into} {
		if root != nil {
			root.Close()
		}
	}
}

// take takes what is newer and surely whole: all of it or, when something goes wrong on the way, nothing.
//
// A file that may be torn and is new is left, with the new folder that it lies in, and so is all that came after it and may
// point to it. When one that was there before was being written over, or came after what is left, nothing is taken at all: what
// else is new may belong together with what it was to become, or had been in between.
func (s *salvager) take(work context.Context) error {
	if err := fs.WalkDir(s.from.FS(), ".", s.judge); err != nil || len(s.names) == 0 {
		return err
	}
	if err := s.leaveLater(); err != nil {
		return err
	}
	drafts := map[string]string{}
	defer func() {
		for draft := range drafts {
			_ = s.into.Remove(draft)
		}
	}()
	var order []string
	for i, f := range s.names {
		name := f.name
		if s.isLeft(name) {
			continue
		}
		draft := path.Join(path.Dir(name), fmt.Sprint(salvageDraft, i))
		drafts[draft] = name
		if err := s.copy(work, name, draft); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		order = append(order, draft)
	}
	for _, draft := range order {
		if err := s.into.Rename(draft, drafts[draft]); err != nil {
			return fmt.Errorf("%s: %w", drafts[draft], err)
		}
		delete(drafts, draft)
		s.files++
	}
	return nil
}

// leaveLater drops what was changed when something had been changed that may not be whole, or after. What a witness saw closed
// stays: it saw everything in order, so nothing that it did not see closed can have been finished before.
func (s *salvager) leaveLater() error {
	if s.since.IsZero() {
		return nil
	}
	var kept []news
	for _, f := range s.names {
		switch {
		case f.ordered || f.changed.Before(s.since):
			kept = append(kept, f)
		case f.known:
			return fmt.Errorf("%s: %w", f.name, errOverwritten)
		}
	}
	s.names = kept
	return nil
}

// errOverwritten says that a file was being written over when its writer died.
var errOverwritten = errors.New("it was being written over, or came after what is not whole, so all files are as they were in the last whole set")

// judge decides about one name.
func (s *salvager) judge(name string, entry fs.DirEntry, err error) error {
	if err != nil || entry.IsDir() || strings.HasPrefix(path.Base(name), salvageDraft) {
		return err
	}
	info, err := s.from.Lstat(name)
	if err != nil {
		return err
	}
	there, err := s.into.Lstat(name)
	known := err == nil
	switch {
	case !s.isNews(info) || known && !info.ModTime().After(there.ModTime()):
	case s.isWhole(name, info):
		s.names = append(s.names, news{name, changeTime(info), known, s.ended || s.said.closed(info)})
	case !known:
		s.leave(name, changeTime(info))
	case !s.grew(name, info.Size(), there.Size()):
		return fmt.Errorf("%s: %w", name, errOverwritten)
	}
	return nil
}

// leave notes a new file that may be torn.
func (s *salvager) leave(name string, changed time.Time) {
	s.left = append(s.left, s.newFolder(name))
	if !s.said.draft[name] && (s.since.IsZero() || changed.Before(s.since)) {
		s.since = changed
	}
}

// isNews reports whether a file or link is later than all that was restored.
func (s *salvager) isNews(info os.FileInfo) bool {
	kind := info.Mode().Type()
	return (kind == 0 || kind == fs.ModeSymlink) && changeTime(info).After(s.after)
}

// isWhole reports whether nobody was writing a file when its writer died. What was changed after its content was, was renamed
// into its place, which programs do once a file is whole.
func (s *salvager) isWhole(name string, info os.FileInfo) bool {
	if info.Mode().Type() == fs.ModeSymlink {
		return true
	}
	if slices.Contains(s.open, fileNumber(info)) {
		return false
	}
	changed := changeTime(info)
	return changed.After(info.ModTime()) || !changed.After(s.settled) || s.said.speakFor(name, info)
}

// newFolder is the outermost folder above a name that was not there before, or the name itself.
func (s *salvager) newFolder(name string) string {
	found := name
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, err := s.into.Lstat(dir); err == nil {
			break
		}
		found = dir
	}
	return found
}

func (s *salvager) isLeft(name string) bool {
	for _, l := range s.left {
		if name == l || strings.HasPrefix(name, l+"/") {
			return true
		}
	}
	return false
}

// grew reports whether a file only got longer, as a log does: then the restored beginning of it harms nothing.
func (s *salvager) grew(name string, size, before int64) bool {
	if size < before {
		return false
	}
	now, err := s.from.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer now.Close()
	then, err := s.into.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer then.Close()
	x, y := make([]byte, copyBytes), make([]byte, copyBytes)
	for before > 0 {
		n := min(before, copyBytes)
		_, errX := io.ReadFull(now, x[:n])
		_, errY := io.ReadFull(then, y[:n])
		if errX != nil || errY != nil || !bytes.Equal(x[:n], y[:n]) {
			return false
		}
		before -= n
	}
	return true
}

// copy brings one file or link into this attempt's folder under the name of a draft.
func (s *salvager) copy(work context.Context, name, draft string) error {
	if err := s.folders(path.Dir(name)); err != nil {
		return err
	}
	info, err := s.from.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		target, err := s.from.Readlink(name)
		if err == nil {
			err = s.into.Symlink(target, draft)
		}
		return errors.Join(err, s.give(draft))
	}
	in, err := s.from.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := s.into.OpenFile(draft, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	for {
		n, err := io.CopyN(out, in, salvageStep)
		s.bytes += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err = errors.Join(err, work.Err()); err != nil {
			return diskError(filepath.Join(s.keeper.folder, draft), err)
		}
	}
	return errors.Join(out.Chmod(info.Mode().Perm()), s.give(draft), s.into.Chtimes(draft, info.ModTime(), info.ModTime()))
}

// folders makes the folders above a file.
func (s *salvager) folders(dir string) error {
	if dir == "." {
		return nil
	}
	if err := s.folders(path.Dir(dir)); err != nil {
		return err
	}
	err := s.into.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return errors.Join(err, s.give(dir))
}

// give gives what was made to the user.
func (s *salvager) give(name string) error {
	if s.User == nil {
		return nil
	}
	return s.into.Lchown(name, s.User.UID, s.User.GID)
}

// fileNumber tells files of one file system apart.
func fileNumber(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// changeTime is when anything about a file was changed last, its name included.
func changeTime(info os.FileInfo) time.Time {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.ModTime()
	}
	return time.Unix(st.Ctim.Unix())
}
