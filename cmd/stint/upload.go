package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	// Small files go many at a time, as each waits for the store's disk; large ones two, as each is cut into parallel parts that
	// wait in memory.
	parallelSmall = 16
	parallelLarge = 2
	largeFile     = 16 << 20

	drawEvery = 100 * time.Millisecond
)

// source is the code of a run.
type source struct {
	script       string // on this machine
	program      string // its path in the archive
	dir          string // the folder that goes along; empty: the script alone
	requirements string // becomes requirements.txt
}

// leftOut are folders that no code needs.
var leftOut = map[string]bool{".git": true, "__pycache__": true, ".ipynb_checkpoints": true}

// write packs the source as sourcedir.tar.gz.
func (s source) write(w io.Writer) error {
	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	files := [][2]string{{s.script, s.program}}
	if s.dir != "" {
		var err error
		if files, err = s.files(); err != nil {
			return err
		}
	}
	if s.requirements != "" {
		files = append(files, [2]string{s.requirements, "requirements.txt"})
	}
	for _, f := range files {
		if err := pack(archive, f[0], f[1]); err != nil {
			return fmt.Errorf("pack %s: %w", f[0], err)
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return zipped.Close()
}

// files lists what is in the folder, with the names in the archive. A requirements.txt gives way to the one that was named.
func (s source) files() ([][2]string, error) {
	var files [][2]string
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && leftOut[entry.Name()] {
			return fs.SkipDir
		}
		rel, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		if entry.IsDir() || s.requirements != "" && rel == "requirements.txt" {
			return nil
		}
		files = append(files, [2]string{path, filepath.ToSlash(rel)})
		return nil
	})
	return files, err
}

// pack adds one file. A link is stored as what it leads to, so that it may lead out of the folder.
func pack(archive *tar.Writer, name, as string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is not a regular file, so it cannot go along; copy what it stands for into the folder")
	}
	err = archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: as, Size: info.Size(), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(),
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(archive, file)
	return err
}

// item is one file on its way to the store.
type item struct {
	path string
	size int64
	uri  platform.URI
}

// upload sends source and data to below job and notes in the request where they are.
func (a *app) upload(ctx context.Context, blobs platform.Blobs, job platform.URI, t *trainingRun) error {
	// 1. See that all is there, before anything is sent.
	items := make([][]item, len(t.channels))
	for i, c := range t.channels {
		if c.local == "" {
			if err := somethingAt(ctx, blobs, c.uri); err != nil {
				return err
			}
			continue
		}
		var err error
		if items[i], err = listLocal(c.local, inputURI(job, c.name)); err != nil {
			return err
		}
	}
	// 2. The code.
	archive, size, err := t.source.archive()
	if err != nil {
		return err
	}
	defer os.Remove(archive) //nolint:errcheck // a leftover in the temporary folder harms nobody
	if err := a.send(ctx, blobs, "code", []item{{archive, size, sourceURI(job)}}); err != nil {
		return err
	}
	t.request.HyperParameters["sagemaker_submit_directory"] = string(sourceURI(job))
	// 3. The data.
	for i, c := range t.channels {
		if c.local != "" {
			if err := a.send(ctx, blobs, c.local, items[i]); err != nil {
				return err
			}
			c.uri = inputURI(job, c.name) + "/" // or the prefix would also mean its longer neighbours
		}
		t.request.InputDataConfig = append(t.request.InputDataConfig, sagemaker.Channel{
			ChannelName: new(c.name), DataSource: &sagemaker.DataSource{S3DataSource: &sagemaker.S3DataSource{
				S3DataType: new(sagemaker.S3DataTypeS3Prefix), S3Uri: new(string(c.uri)), S3DataDistributionType: new(sagemaker.S3DataDistributionFullyReplicated),
			}},
		})
	}
	return nil
}

// archive packs the source into a temporary file.
func (s source) archive() (name string, size int64, err error) {
	file, err := os.CreateTemp("", "stint-source-*.tar.gz")
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	if err := s.write(file); err != nil {
		_ = os.Remove(file.Name()) // as above
		return "", 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return "", 0, err
	}
	return file.Name(), info.Size(), nil
}

// somethingAt sees that there is data under a prefix, before a job waits for it.
func somethingAt(ctx context.Context, blobs platform.Blobs, prefix platform.URI) error {
	for _, err := range blobs.List(ctx, prefix) {
		return err
	}
	return fmt.Errorf("there is no object under %s; see: aws s3 ls %s", prefix, prefix)
}

// listLocal lists a file, or the files of a folder, with where each goes. Links are followed to files.
func listLocal(name string, to platform.URI) ([]item, error) {
	var items []item
	root, err := filepath.EvalSymlinks(name) // WalkDir does not follow one that it begins at
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file, so it cannot be uploaded; take it out of the folder or copy what it stands for", path)
		}
		rel, err := filepath.Rel(root, path)
		if rel == "." {
			rel = filepath.Base(name)
		}
		items = append(items, item{path, info.Size(), to + "/" + platform.URI(filepath.ToSlash(rel))})
		return err
	})
	if err == nil && len(items) == 0 {
		err = usage("--data %s holds no files", name)
	}
	return items, err
}

// send uploads files with a progress bar and says when they are there.
func (a *app) send(ctx context.Context, blobs platform.Blobs, what string, items []item) error {
	var total int64
	for _, it := range items {
		total += it.size
	}
	var sent atomic.Int64
	began := a.now()
	stop := a.animate(func(frame string) string { return a.uploadStatus(frame, what, sent.Load(), total, a.now().Sub(began)) })
	err := uploadAll(ctx, blobs, items, &sent)
	stop()
	if err != nil {
		return err
	}
	a.note("%s uploaded %s  %s", a.onErr.green("✓"), what,
		a.onErr.dim(fmt.Sprintf("%s, %s in %s", plural(len(items), "file"), bytesOf(total), duration(a.now().Sub(began)))))
	return nil
}

func (a *app) uploadStatus(frame, what string, sent, total int64, took time.Duration) string {
	percent, speed := int64(100), ""
	if total > 0 {
		percent = sent * 100 / total
	}
	if took > time.Second {
		speed = "  " + bytesOf(int64(float64(sent)/took.Seconds())) + "/s"
	}
	return fmt.Sprintf("%s uploading %s  %s %3d %%  %s", a.onErr.cyan(frame), what, a.onErr.cyan(bar(sent, total, 24)), percent,
		a.onErr.dim(bytesOf(sent)+" of "+bytesOf(total)+speed))
}

// animate redraws the status until the function it gives is called.
func (a *app) animate(draw func(frame string) string) (stop func()) {
	if !a.live {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(drawEvery)
		defer tick.Stop()
		for i := 0; ; i++ {
			a.setStatus(draw(spinner[i%len(spinner)]))
			select {
			case <-tick.C:
			case <-done:
				a.clearStatus()
				return
			}
		}
	}()
	return func() { close(done); <-gone }
}

var spinner = strings.Split("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "")

// uploadAll sends the small files and then the large ones.
func uploadAll(ctx context.Context, blobs platform.Blobs, items []item, sent *atomic.Int64) error {
	for _, pass := range []struct {
		large    bool
		parallel int
	}{{false, parallelSmall}, {true, parallelLarge}} {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(pass.parallel)
		for _, it := range items {
			if it.size >= largeFile != pass.large || ctx.Err() != nil {
				continue
			}
			group.Go(func() error { return uploadOne(ctx, blobs, it, sent) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func uploadOne(ctx context.Context, blobs platform.Blobs, it item, sent *atomic.Int64) error {
	file, err := os.Open(it.path)
	if err != nil {
		return err
	}
	defer file.Close()
	return blobs.Upload(ctx, it.uri, &countingFile{file, sent})
}

// countingFile counts what is read. It stays seekable, by which an upload learns its length.
type countingFile struct {
	*os.File
	count *atomic.Int64
}

func (f *countingFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.count.Add(int64(n))
	return n, err
}

// WriteTo hides the file's own, which would not be counted.
func (f *countingFile) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{f})
}

// connectFor connects to a server that knows an instance type, and to its object store.
func (a *app) connectFor(instance string) (*client.Client, *s3.Blobs, error) {
	c, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	if err := a.checkInstance(instance, c.Site); err != nil {
		return nil, nil, err
	}
	blobs, err := a.objects(c)
	return c, blobs, err
}
