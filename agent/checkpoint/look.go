package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// sighting is a file, folder or link as it was when it was looked at.
type sighting struct {
	path     string
	inode    Inode
	size     int64
	modified int64 // nanoseconds since 1970, as all times here
	changed  int64 // of the inode: content, name, owner or mode
	mode     fs.FileMode
	link     string
	links    uint64 // names that the inode has
}

func (s *sighting) file() bool { return s.mode.IsRegular() }

// sameContent tells that nothing was written between two sightings, by what the file system says. A new name or mode is no
// new content.
func (s *sighting) sameContent(o *sighting) bool {
	return s.inode == o.inode && s.size == o.size && s.modified == o.modified && s.mode.Type() == o.mode.Type() && s.link == o.link
}

// same tells that nothing happened at all. What happens in a folder changes its times and size, and is seen by itself.
func (s *sighting) same(o *sighting) bool {
	return s.path == o.path && s.mode == o.mode && (s.mode.IsDir() || s.changed == o.changed && s.sameContent(o))
}

// moved tells that the file got its name, or its mode, after it was last written: writing sets both times to the same instant.
func (s *sighting) moved() bool { return s.changed > s.modified }

// view is all that is below the folder at one look, in order of paths. The user's processes go on meanwhile.
type view struct {
	all     []sighting
	skipped []string // what cannot be synced, with the reason
}

// look lists the folder. It follows no link: the folder is the user's, and so is whatever a link in it leads to.
func look(dir string) (*view, error) {
	fd, err := openBelow(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	v := &view{}
	if err := v.walk(fd, ""); err != nil {
		return nil, err
	}
	slices.SortFunc(v.all, func(a, b sighting) int { return strings.Compare(a.path, b.path) })
	return v, nil
}

// walk lists the folder fd, and closes it.
func (v *view) walk(fd int, prefix string) error {
	folder := os.NewFile(uintptr(fd), prefix)
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if prefix == "" && (name == bookkeeping || name == stagingFolder) {
			if name == bookkeeping {
				v.skipped = append(v.skipped, name+": the name is Stint's own in the store")
			}
			continue
		}
		if err := v.one(fd, name, prefix+name); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) one(folder int, name, path string) error {
	var st unix.Stat_t
	err := unix.Fstatat(folder, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	s := seen(path, &st)
	switch s.mode.Type() {
	case 0:
		v.all = append(v.all, s)
		return nil
	case fs.ModeSymlink:
		target := make([]byte, 4096)
		n, err := unix.Readlinkat(folder, name, target)
		if err != nil {
			return nil // gone, or something else by now: the next look will tell
		}
		s.link = string(target[:n])
		v.all = append(v.all, s)
		return nil
	case fs.ModeDir:
		v.all = append(v.all, s)
		fd, err := openBelow(folder, name, unix.O_RDONLY|unix.O_DIRECTORY)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			return nil
		case errors.Is(err, unix.EACCES):
			v.skipped = append(v.skipped, path+": the folder cannot be read")
			return nil
		case err != nil:
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		return v.walk(fd, path+"/")
	default:
		v.skipped = append(v.skipped, path+": it is no file")
		return nil
	}
}

func seen(path string, st *unix.Stat_t) sighting {
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	default:
		mode |= fs.ModeIrregular
	}
	return sighting{
		path: path, inode: Inode{Dev: uint64(st.Dev), Ino: st.Ino}, size: st.Size, mode: mode, //nolint:unconvert // Dev is narrower on other architectures
		modified: st.Mtim.Nano(), changed: st.Ctim.Nano(), links: uint64(st.Nlink), //nolint:unconvert // as above
	}
}

// openBelow opens a path step by step, following no link in it: any folder on the way may be the user's to replace.
func openBelow(at int, path string, flags int) (int, error) {
	const step = unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	if filepath.IsAbs(path) {
		root, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		defer unix.Close(root) //nolint:errcheck // a folder
		path = strings.TrimPrefix(filepath.Clean(path), "/")
		if path == "" {
			path = "."
		}
		at = root
	}
	for {
		name, rest, more := strings.Cut(path, "/")
		if !more {
			return unix.Openat(at, name, flags|step, 0)
		}
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|step, 0)
		if err != nil {
			return -1, err
		}
		defer unix.Close(next) //nolint:errcheck // a folder
		at, path = next, rest
	}
}

// open opens a file of the folder for reading, if it still is what was seen; errChanged if not.
func (s *Syncer) open(seenAs *sighting) (*os.File, error) {
	fd, err := openBelow(unix.AT_FDCWD, s.dir+"/"+seenAs.path, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, errChanged
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: seenAs.path, Err: err}
	}
	f := os.NewFile(uintptr(fd), seenAs.path)
	if now, err := sightingOf(f, seenAs.path); err != nil || !now.same(seenAs) {
		f.Close()
		return nil, errors.Join(errChanged, err)
	}
	return f, nil
}

func sightingOf(f *os.File, path string) (sighting, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return sighting{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return seen(path, &st), nil
}

var errChanged = errors.New("the file changed while it was read")
