package agent

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/stint-ml/stint/platform"
)

// countingBlobs is the store, counting what is fetched.
type countingBlobs struct {
	platform.Blobs
	done *atomic.Int64
}

// Open implements platform.Blobs.
func (r countingBlobs) Open(ctx context.Context, u platform.URI, offset, length int64) (io.ReadCloser, error) {
	in, err := r.Blobs.Open(ctx, u, offset, length)
	if err != nil {
		return nil, err
	}
	return countingBody{in, r.done}, nil
}

type countingBody struct {
	io.ReadCloser
	done *atomic.Int64
}

// Read implements io.Reader.
func (c countingBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.done.Add(int64(n))
	return n, err
}

// Download implements platform.Blobs.
func (r countingBlobs) Download(ctx context.Context, b platform.BlobInfo, w io.WriterAt) error {
	return r.Blobs.Download(ctx, b, countingWriter{w, r.done})
}

type countingWriter struct {
	io.WriterAt
	done *atomic.Int64
}

// WriteAt implements io.WriterAt.
func (c countingWriter) WriteAt(p []byte, at int64) (int, error) {
	n, err := c.WriterAt.WriteAt(p, at)
	c.done.Add(int64(n))
	return n, err
}
