package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// view is what the job sees of the machine: its mount namespace.
//
// A screen is a folder whose content is exchanged. What was there stays open as a descriptor, through which single things
// are brought back to their place (show), or reached by this process alone (outside).
type view struct {
	closed  bool // the user's code is another user than the agent: folders that are closed to others bar its way
	own     *os.File
	screens []screen
	shown   []string
}

type screen struct {
	path     string
	original *os.File
}

// build exchanges everything. notes are what could not be had and can be done without.
func (v *view) build(dir string, boot bootstrap) (notes []string, err error) {
	// 1. Nothing mounted from here on reaches the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("leave the machine's mounts: %w", err)
	}
	if v.own, err = openPath(unix.AT_FDCWD, dir); err != nil {
		return nil, err
	}
	// 2. Only the job's own processes are seen.
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		notes = append(notes, fmt.Sprintf("jobs see the machine's processes (a private /proc is refused: %v)", err))
	}
	// 3. /opt/ml is the job's own; all else in /opt stays.
	if err := v.screenOpt(); err != nil {
		return nil, err
	}
	// 4. Private places for what is temporary.
	for _, path := range []string{"/tmp", "/var/tmp"} {
		if err := v.screen(path, func() error { return bind(v.inOwn(tmpName), path) }); err != nil {
			return nil, err
		}
	}
	if err := v.screen("/dev/shm", func() error { return tmpfs("/dev/shm", "mode=1777") }); err != nil {
		return nil, err
	}
	// 5. What jobs must not see, and what they must.
	for _, path := range append([]string{filepath.Dir(dir)}, boot.Hide...) {
		if err := v.hide(path); err != nil {
			return nil, err
		}
	}
	for _, path := range boot.Show {
		if err := v.show(path); err != nil {
			return nil, err
		}
	}
	// 6. The host's and the user's name.
	return append(notes, v.names(boot)...), nil
}

// screenOpt puts an empty file system on /opt, all its entries back, and the job's folder on /opt/ml.
func (v *view) screenOpt() error {
	parent := filepath.Dir(Root)
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("jobs need the folder %s on the machine (make it: mkdir %s): %w", parent, parent, err)
	}
	if err := v.screen(parent, func() error { return tmpfs(parent, "size=1m,mode=755") }); err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		if path == Root {
			continue
		}
		if e.Type()&os.ModeSymlink != 0 {
			target, err := os.Readlink(v.outside(path))
			if err == nil {
				err = os.Symlink(target, path)
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := v.show(path); err != nil {
			return err
		}
	}
	if err := os.Mkdir(Root, 0o755); err != nil {
		return err
	}
	return bind(v.inOwn(mlName), Root)
}

// screen opens what is at path and has it covered. A path that does not exist needs no cover.
func (v *view) screen(path string, cover func() error) error {
	original, err := openPath(unix.AT_FDCWD, path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := cover(); err != nil {
		original.Close()
		return fmt.Errorf("cover %s: %w", path, err)
	}
	v.screens = append(v.screens, screen{path: path, original: original})
	return nil
}

// hide covers a folder with an empty one.
func (v *view) hide(path string) error {
	path = filepath.Clean(path)
	return v.screen(path, func() error { return tmpfs(path, "size=1m,mode=755") })
}

// over gives the innermost screen that covers a path.
func (v *view) over(path string) (screen, bool) {
	var found screen
	for _, s := range v.screens {
		if within(path, s.path) && len(s.path) >= len(found.path) {
			found = s
		}
	}
	return found, found.path != ""
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// outside is the way to a path past its screen, for this process alone: /proc/self/fd is another process's own.
func (v *view) outside(path string) string {
	path = filepath.Clean(path)
	s, covered := v.over(path)
	if !covered {
		return path
	}
	return filepath.Join(fmt.Sprintf("/proc/self/fd/%d", s.original.Fd()), strings.TrimPrefix(path, s.path))
}

// inOwn is a path in the agent's own folder.
func (v *view) inOwn(name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", v.own.Fd(), name)
}

// show brings a file or folder back to its place, if it is covered, or if the user's code may not go there: then the folder
// that bars the way is covered, and nothing else in it is seen.
func (v *view) show(path string) error {
	path = filepath.Clean(path)
	for _, s := range v.shown {
		if within(path, s) {
			return nil
		}
	}
	if barrier := v.barrier(path); barrier != "" {
		if err := v.hide(barrier); err != nil {
			return err
		}
	}
	s, covered := v.over(path)
	if !covered {
		return nil
	}
	if path == s.path {
		return fmt.Errorf("%s is private to each job; it cannot be shown as a whole", path)
	}
	original, err := v.original(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer original.Close()
	if err := v.restore(original, path); err != nil {
		return err
	}
	v.shown = append(v.shown, path)
	return nil
}

// original opens what is at a covered path, past the screens, also where it is a link to another covered place.
func (v *view) original(path string) (*os.File, error) {
	for range longestChain {
		target, err := os.Readlink(v.outside(path))
		if err != nil { // not a link, or nothing there, which opening it tells
			return openPath(unix.AT_FDCWD, v.outside(path))
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = filepath.Clean(target)
	}
	return nil, &os.PathError{Op: "open", Path: path, Err: unix.ELOOP}
}

// restore mounts an original on its place.
func (v *view) restore(original *os.File, path string) error {
	info, err := original.Stat()
	if err != nil {
		return err
	}
	if err := place(path, info.IsDir()); err != nil {
		return err
	}
	return bind(fmt.Sprintf("/proc/self/fd/%d", original.Fd()), path)
}

// barrier is the first folder above path that bars the way of the user's code and is not covered yet.
func (v *view) barrier(path string) string {
	if _, covered := v.over(path); covered || !v.closed {
		return ""
	}
	at := "/"
	for _, element := range strings.Split(strings.TrimPrefix(filepath.Dir(path), "/"), "/") {
		at = filepath.Join(at, element)
		if info, err := os.Stat(at); err == nil && info.Mode()&0o001 == 0 {
			return at
		}
	}
	return ""
}

// place makes something to mount on.
func place(path string, folder bool) error {
	if folder {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// longestChain bounds how many links to a program are followed.
const longestChain = 20

// reveal shows a program with what belongs to it: the tree that its bin folder is in, and the same at every link on the way
// to the program itself, as a Python environment needs the Python it was made from.
func (v *view) reveal(program string) error {
	for range longestChain {
		program = filepath.Clean(program)
		tree := filepath.Dir(program)
		if filepath.Base(tree) == "bin" {
			tree = filepath.Dir(tree)
		}
		if s, covered := v.over(tree); covered && s.path == tree {
			tree = program
		}
		if tree != "/" {
			if err := v.show(tree); err != nil {
				return err
			}
		}
		target, err := os.Readlink(v.outside(program))
		if err != nil {
			return nil //nolint:nilerr // no link, or nothing there: who runs it will see
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(program), target)
		}
		program = target
	}
	return nil
}

// names has the machine's name resolve, and the user have one.
func (v *view) names(boot bootstrap) (notes []string) {
	changes := map[string]func(string) string{
		"/etc/hosts": func(s string) string { return "127.0.0.1\t" + boot.Spec.Host + "\n" + s },
	}
	if boot.UID >= 0 {
		changes["/etc/passwd"] = func(s string) string {
			return s + fmt.Sprintf("stint:x:%d:%d:a job of Stint:%s/home:/bin/sh\n", boot.UID, boot.GID, Root)
		}
		changes["/etc/group"] = func(s string) string { return s + fmt.Sprintf("stint:x:%d:\n", boot.GID) }
	}
	for path, change := range changes {
		if err := v.exchange(path, change); err != nil {
			notes = append(notes, fmt.Sprintf("%s is the machine's own: %v", path, err))
		}
	}
	return notes
}

// exchange puts a changed copy in the place of a file.
func (v *view) exchange(path string, change func(string) string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	copied := v.inOwn(filepath.Base(path))
	if err := os.WriteFile(copied, []byte(change(string(text))), 0o644); err != nil {
		return err
	}
	return bind(copied, path)
}

// openPath opens a place without needing rights to read it.
func openPath(at int, path string) (*os.File, error) {
	fd, err := unix.Openat(at, path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// bind shows at target what is at source, with what is mounted below it.
func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount on %s: %w", target, err)
	}
	return nil
}

func tmpfs(target, options string) error {
	return unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
}
