package agent

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/stint-ml/stint/platform"
)

// sourceParameter is the hyperparameter by which script mode names the tarball of its source.
const sourceParameter = "sagemaker_submit_directory"

// fetchSource unpacks the source of script mode into /opt/ml/code, when the job has one in S3.
func (a *agent) fetchSource(ctx context.Context) error {
	value := a.spec.HyperParameters[sourceParameter]
	var quoted string // SDK 2 writes every value as JSON
	if json.Unmarshal([]byte(value), &quoted) == nil {
		value = quoted
	}
	if !strings.HasPrefix(value, "s3://") {
		return nil
	}
	uri := platform.URI(value)
	folder := filepath.Join(a.Root, codeFolder)
	err := a.fetchArchive(ctx, uri, folder)
	switch {
	case platform.Is(err, platform.NotFound):
		return clientError(value, "the source %s (hyperparameter %s) does not exist; upload it again: %w", uri, sourceParameter, err)
	case platform.Is(err, platform.Denied):
		return clientError(value, "the source %s (hyperparameter %s) may not be read by the job's role: %w", uri, sourceParameter, err)
	}
	return err
}

// fetchArchive unpacks an archive of the store into a folder of its own, which belongs to the user.
func (a *agent) fetchArchive(ctx context.Context, uri platform.URI, folder string) error {
	return a.store.try(ctx, func(blobs platform.Blobs) error {
		if err := os.RemoveAll(folder); err != nil {
			return diskError(folder, err)
		}
		if err := a.owned(folder); err != nil {
			return err
		}
		in, err := blobs.Open(ctx, uri, 0, -1)
		if err != nil {
			return err
		}
		defer in.Close()
		return a.unpack(uri, body{in, uri}, folder)
	})
}

// unpack writes the members of a gzipped tar archive below folder. Nothing leaves the folder: names are taken relative to it
// through os.Root, and links that point out of it are refused.
func (a *agent) unpack(uri platform.URI, in io.Reader, folder string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return diskError(folder, err)
	}
	defer root.Close()
	bad := func(err error) error {
		if platform.KindOf(err) != platform.Internal {
			return err
		}
		if err := diskError(folder, err); platform.KindOf(err) != platform.Internal {
			return err
		}
		return clientError(string(uri), "%s is not a usable .tar.gz archive: %w", uri, err)
	}
	unzipped, err := gzip.NewReader(in)
	if err != nil {
		return bad(err)
	}
	archive := tar.NewReader(unzipped)
	for {
		member, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return bad(err)
		}
		if err := a.unpackMember(root, member, archive); err != nil {
			return bad(err)
		}
	}
}

func (a *agent) unpackMember(root *os.Root, member *tar.Header, content io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+member.Name), "/")
	if name == "" {
		return nil
	}
	if strings.Contains("/"+member.Name+"/", "/../") || strings.HasPrefix(member.Name, "/") {
		return fmt.Errorf("its member %q leads outside of it", member.Name)
	}
	if err := a.unpackParents(root, name); err != nil {
		return err
	}
	mode := fs.FileMode(member.Mode) & 0o777
	var err error
	switch member.Typeflag {
	case tar.TypeDir:
		if err = root.Mkdir(name, mode|0o700); errors.Is(err, os.ErrExist) {
			err = nil
		}
	case tar.TypeReg:
		err = writeMember(root, name, mode, content)
	case tar.TypeSymlink:
		err = linkMember(root, name, member.Linkname)
	case tar.TypeLink:
		err = root.Link(strings.TrimPrefix(path.Clean("/"+member.Linkname), "/"), name)
	default:
		return nil // devices, pipes and extended headers are no source
	}
	if err == nil && a.User != nil {
		err = root.Lchown(name, a.User.UID, a.User.GID)
	}
	return err
}

// unpackParents makes the folders above name that the archive does not list.
func (a *agent) unpackParents(root *os.Root, name string) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		err := root.Mkdir(name[:i], 0o755)
		if err == nil && a.User != nil {
			err = root.Lchown(name[:i], a.User.UID, a.User.GID)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

func writeMember(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // a later member replaces an earlier one
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode|0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, content); err != nil {
		return err
	}
	return file.Close()
}

// linkMember makes a symbolic link that stays inside.
func linkMember(root *os.Root, name, target string) error {
	if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return fmt.Errorf("its link %q points to %q, outside of it", name, target)
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return root.Symlink(target, name)
}
