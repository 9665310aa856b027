package models

import (
	"container/list"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// keptBytes bounds the files that are kept of models that are not loaded, to be loaded again without being fetched.
const keptBytes = 10 << 30

// files are the unpacked models on disk. Those of models that are loaded, or are being loaded, are never touched.
type files struct {
	folder string
	free   func() int64 // bytes of the folder's disk

	mu       sync.Mutex
	known    map[string]*unpacked // by the models' names
	unused   *list.List           // of those that may go, the one that was used last first
	bytes    int64                // of the unused
	thrown   int                  // away, ever: names for what is being removed
	most     int64                // keptBytes
	removing sync.WaitGroup
}

// unpacked is one model's files.
type unpacked struct {
	name  string
	etag  string // of the archive that they are from
	bytes int64
	place *list.Element // in unused
}

func newFiles(folder string) *files {
	return &files{folder: folder, known: map[string]*unpacked{}, unused: list.New(), most: keptBytes, free: func() int64 {
		var disk syscall.Statfs_t
		if syscall.Statfs(folder, &disk) != nil {
			return 0
		}
		return int64(disk.Bavail) * disk.Bsize
	}}
}

// take claims a model's files, if they are of this archive.
func (f *files) take(name, etag string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.known[name]
	if u == nil {
		return false
	}
	f.claim(u)
	if u.etag != etag {
		delete(f.known, name) // they are about to be replaced
		return false
	}
	return true
}

// claim takes files out of the unused; the lock is held.
func (f *files) claim(u *unpacked) {
	if u.place != nil {
		f.unused.Remove(u.place)
		f.bytes -= u.bytes
		u.place = nil
	}
}

// put notes files that have been unpacked for a model that is being loaded.
func (f *files) put(name, etag string, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[name] = &unpacked{name: name, etag: etag, bytes: bytes}
}

// idle gives a model's files free to be removed.
func (f *files) idle(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.known[name]
	if u == nil || u.place != nil {
		return
	}
	u.place = f.unused.PushFront(u)
	f.bytes += u.bytes
	for f.bytes > f.most {
		gone := f.throw()
		f.removing.Go(func() { _ = os.RemoveAll(gone) }) // nobody needs it gone
	}
}

// throw moves the files that were not used the longest time out of the way, and gives where they are now; empty: there are
// none. The lock is held, and other models may be unpacked meanwhile, so the removing itself is the caller's.
func (f *files) throw() string {
	last := f.unused.Back()
	if last == nil {
		return ""
	}
	u := last.Value.(*unpacked)
	f.claim(u)
	delete(f.known, u.name)
	f.thrown++
	from, to := filepath.Join(f.folder, identity(u.name)), filepath.Join(f.folder, ".gone-"+strconv.Itoa(f.thrown))
	if os.Rename(from, to) != nil {
		return from
	}
	return to
}

// makeRoom removes unused files until the disk has so many bytes free, or nothing is left to remove.
func (f *files) makeRoom(need int64) {
	for f.free() < need {
		f.mu.Lock()
		gone := f.throw()
		f.mu.Unlock()
		if gone == "" || os.RemoveAll(gone) != nil {
			return
		}
	}
}

// treeBytes is how much the files below a folder hold.
func treeBytes(folder string) (sum int64) {
	_ = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be looked at does not count
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
