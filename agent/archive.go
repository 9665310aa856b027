package agent

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/stint-ml/stint/platform"
)

// tree is a folder of the user's that is to be uploaded. Its content is the user's, so no path in it is trusted: it is read
// through os.Root, which follows no link out of Config.Root. The user's processes have ended, so nothing changes any more.
type tree struct {
	agent  *agent
	root   *os.Root // Config.Root
	folder string   // below it
	files  []file
	bytes  int64
}

// file is a file, folder or link below a tree.
type file struct {
	name string // below the tree's folder
	from string // below Config.Root: where the content is
	info fs.FileInfo
	link string // target of a link that is kept
}

// openTree lists what is below a folder, in lexical order. A folder that is missing is empty.
func (a *agent) openTree(folder string) (*tree, error) {
	root, err := os.OpenRoot(a.Root)
	if err != nil {
		return nil, diskError(a.Root, err)
	}
	t := &tree{agent: a, root: root, folder: folder}
	err = fs.WalkDir(root.FS(), folder, func(name string, _ fs.DirEntry, err error) error {
		if err == nil && name == folder {
			return nil
		}
		if err == nil {
			return t.list(name)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if errors.Is(err, os.ErrPermission) && root.Chmod(name, 0o700) == nil {
			return t.listAgain(name)
		}
		return platform.Errorf(platform.Invalid, name, "cannot read %s: %w", filepath.Join(a.Root, name), err)
	})
	if err != nil {
		root.Close()
		return nil, err
	}
	return t, nil
}

// listAgain lists a folder that was closed to its own user, as can be when the agent is no superuser.
func (t *tree) listAgain(folder string) error {
	return fs.WalkDir(t.root.FS(), folder, func(name string, _ fs.DirEntry, err error) error {
		if err != nil || name == folder {
			return err
		}
		return t.list(name)
	})
}

// list adds one name. Sockets, pipes and devices are left out, as nothing could be made of them elsewhere.
func (t *tree) list(name string) error {
	info, err := t.root.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return platform.Errorf(platform.Invalid, name, "cannot read %s: %w", filepath.Join(t.agent.Root, name), err)
	}
	below := strings.TrimPrefix(name, t.folder+"/")
	switch {
	case info.IsDir():
		t.files = append(t.files, file{name: below, info: info})
	case info.Mode().IsRegular():
		t.files = append(t.files, file{name: below, from: name, info: info})
		t.bytes += info.Size()
	case info.Mode()&fs.ModeSymlink != 0:
		return t.listLink(name, below, info)
	default:
		t.agent.warn("not uploaded, as it is no file: " + filepath.Join(t.agent.Root, name))
	}
	return nil
}

// listLink keeps a link that stays inside the tree. One that leads to a file elsewhere in /opt/ml, such as a checkpoint, is
// replaced by the file, which would be lost otherwise. Any other is kept as it is, with a warning.
func (t *tree) listLink(name, below string, info fs.FileInfo) error {
	target, err := t.root.Readlink(name)
	if err != nil {
		return platform.Errorf(platform.Invalid, name, "cannot read %s: %w", filepath.Join(t.agent.Root, name), err)
	}
	to, inRoot := path.Join(path.Dir(name), target), true
	if path.IsAbs(target) {
		to, inRoot = strings.CutPrefix(path.Clean(target), path.Clean(t.agent.Root)+"/")
	}
	inside := to == t.folder || strings.HasPrefix(to, t.folder+"/")
	if inside && !path.IsAbs(target) {
		t.files = append(t.files, file{name: below, info: info, link: target})
		return nil
	}
	if inRoot && filepath.IsLocal(to) {
		if real, err := t.root.Stat(to); err == nil && real.Mode().IsRegular() {
			t.files = append(t.files, file{name: below, from: to, info: real})
			t.bytes += real.Size()
			return nil
		}
	}
	t.agent.warn("uploaded as a link, which will lead nowhere: " + filepath.Join(t.agent.Root, name) + " -> " + target)
	t.files = append(t.files, file{name: below, info: info, link: target})
	return nil
}

func (t *tree) close() { t.root.Close() }

// empty reports whether there is nothing to upload.
func (t *tree) empty() bool { return len(t.files) == 0 }

// open opens a file's content. One that its user made unreadable is made readable.
func (t *tree) open(f file) (*os.File, error) {
	in, err := t.root.OpenFile(f.from, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrPermission) && t.root.Chmod(f.from, 0o600) == nil {
		in, err = t.root.OpenFile(f.from, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	return in, err
}

// archive writes the tree as a tar archive, its content at the archive's root. done counts the bytes read.
func (t *tree) archive(ctx context.Context, out io.Writer, done *atomic.Int64) error {
	buffered := bufio.NewWriterSize(out, blockBytes)
	archive := tar.NewWriter(buffered)
	buffer := make([]byte, blockBytes)
	for _, f := range t.files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := t.member(ctx, archive, f, buffer, done); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

func (t *tree) member(ctx context.Context, archive *tar.Writer, f file, buffer []byte, done *atomic.Int64) error {
	header, err := tar.FileInfoHeader(f.info, f.link)
	if err != nil {
		return platform.Errorf(platform.Internal, f.name, "archive %s: %w", f.name, err)
	}
	header.Name = f.name
	if f.info.IsDir() {
		header.Name += "/"
	}
	// Whose the files are here means nothing elsewhere.
	header.Uid, header.Gid, header.Uname, header.Gname, header.Format = 0, 0, "", "", tar.FormatUnknown
	if f.from == "" {
		return archive.WriteHeader(header)
	}
	in, err := t.open(f)
	if errors.Is(err, os.ErrNotExist) {
		t.agent.warn("not uploaded, as it is gone: " + filepath.Join(t.agent.Root, f.from))
		return nil
	}
	if err != nil {
		return platform.Errorf(platform.Invalid, f.from, "cannot read %s: %w", filepath.Join(t.agent.Root, f.from), err)
	}
	defer in.Close()
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{archive}, &cancelled{ctx, io.LimitReader(onlyReader{in}, header.Size), done}, buffer)
	if err != nil {
		return err
	}
	if n < header.Size {
		return platform.Errorf(platform.Invalid, f.from, "%s became shorter while it was read", filepath.Join(t.agent.Root, f.from))
	}
	return nil
}

// onlyWriter and onlyReader hide the shortcuts of io.Copy, which would leave the large buffer unused.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

// cancelled is a reader that ends with its context, and counts.
type cancelled struct {
	ctx  context.Context
	in   io.Reader
	done *atomic.Int64
}

func (c *cancelled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.in.Read(p)
	c.done.Add(int64(n))
	return n, err
}
