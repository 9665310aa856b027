package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/platform"
)

// codeFolder is where a model archive keeps the program that serves it.
const codeFolder = "code"

// bringModel sees that the archive is in S3, with the script in it if there is one.
func (a *app) bringModel(ctx context.Context, c *client.Client, blobs platform.Blobs, d *deployment) error {
	if err := c.Healthy(ctx); err != nil {
		return err
	}
	archive := d.local
	if d.code != nil {
		packed, err := d.repack(ctx, blobs)
		if err != nil {
			return err
		}
		defer os.Remove(packed) //nolint:errcheck // a leftover in the temporary folder harms nobody
		archive = packed
	}
	if archive == "" {
		return somethingAt(ctx, blobs, d.model)
	}
	bucket := defaultBucket(c.Site)
	if err := c.EnsureBucket(ctx, bucket); err != nil {
		return err
	}
	info, err := os.Stat(archive)
	if err != nil {
		return err
	}
	d.model = platform.URI("s3://"+bucket).Join(d.name, "model.tar.gz")
	return a.send(ctx, blobs, "model", []item{{archive, info.Size(), d.model}})
}

// repack writes the archive anew with the script in its code folder, as the SageMaker SDK does, into a temporary file.
func (d *deployment) repack(ctx context.Context, blobs platform.Blobs) (name string, err error) {
	in, err := d.open(ctx, blobs)
	if err != nil {
		return "", err
	}
	defer in.Close()
	file, err := os.CreateTemp("", "stint-model-*.tar.gz")
	if err != nil {
		return "", err
	}
	err = d.code.addTo(in, file)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		_ = os.Remove(file.Name()) // the error that came first says more
		return "", fmt.Errorf("put the script into %s: %w", d.origin(), err)
	}
	return file.Name(), nil
}

// origin is the archive as the user named it.
func (d *deployment) origin() string {
	if d.local != "" {
		return d.local
	}
	return string(d.model)
}

func (d *deployment) open(ctx context.Context, blobs platform.Blobs) (io.ReadCloser, error) {
	if d.local != "" {
		return os.Open(d.local)
	}
	return blobs.Open(ctx, d.model, 0, -1)
}

// addTo copies a model.tar.gz but for its code folder, and adds the source as that.
func (s source) addTo(in io.Reader, out io.Writer) error {
	unzipped, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("it is not a .tar.gz: %w", err)
	}
	zipped := gzip.NewWriter(out)
	archive := tar.NewWriter(zipped)
	if err := copyModel(archive, tar.NewReader(unzipped)); err != nil {
		return err
	}
	files := [][2]string{{s.script, s.program}}
	if s.dir != "" {
		if files, err = s.files(); err != nil {
			return err
		}
	}
	if s.requirements != "" {
		files = append(files, [2]string{s.requirements, "requirements.txt"})
	}
	for _, f := range files {
		if err := pack(archive, f[0], path.Join(codeFolder, f[1])); err != nil {
			return fmt.Errorf("pack %s: %w", f[0], err)
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return zipped.Close()
}

// copyModel copies every member that is not code.
func copyModel(out *tar.Writer, in *tar.Reader) error {
	for {
		member, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is not a .tar.gz: %w", err)
		}
		if name := strings.TrimPrefix(path.Clean("/"+member.Name), "/"); name == codeFolder || strings.HasPrefix(name, codeFolder+"/") {
			continue
		}
		if err := out.WriteHeader(member); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil { //nolint:gosec // the user's own model, of whatever size
			return err
		}
	}
}
