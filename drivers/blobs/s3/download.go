package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/platform"
)

const (
	// rangeSize is what one request of a large download fetches, by one of parallelRanges workers.
	rangeSize      = 32 << 20
	parallelRanges = 4
	copyChunk      = 256 << 10
)

// Open reads a stretch of an object. The reader goes on by itself after a broken connection; should the object have been
// replaced meanwhile, it fails with Conflict rather than mix two.
func (b *Blobs) Open(ctx context.Context, u platform.URI, offset, length int64) (io.ReadCloser, error) {
	if _, _, err := object(u); err != nil {
		return nil, err
	}
	r := &reader{b: b, ctx: ctx, u: u, offset: offset, left: length, tries: attempts{b: b, action: "s3:GetObject", u: u}}
	if length == 0 {
		return r, nil
	}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

// Download fetches a whole object, large ones in parallel ranges. Memory is bounded by a small buffer for each range.
func (b *Blobs) Download(ctx context.Context, info platform.BlobInfo, w io.WriterAt) error {
	if info.Size <= rangeSize {
		return b.downloadRange(ctx, info, w, 0, info.Size)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelRanges)
	for offset := int64(0); offset < info.Size && ctx.Err() == nil; offset += rangeSize {
		group.Go(func() error { return b.downloadRange(ctx, info, w, offset, min(rangeSize, info.Size-offset)) })
	}
	return group.Wait()
}

func (b *Blobs) downloadRange(ctx context.Context, info platform.BlobInfo, w io.WriterAt, offset, length int64) error {
	if length == 0 {
		return nil
	}
	r := &reader{b: b, ctx: ctx, u: info.URI, etag: info.ETag, offset: offset, left: length, tries: attempts{b: b, action: "s3:GetObject", u: info.URI}}
	if offset == 0 && length == info.Size {
		r.left = -1 // no Range header for the whole
	}
	defer func() { _ = r.Close() }() // what matters was read by then
	if err := r.connect(); err != nil {
		return err
	}
	buffer := b.chunks.Get().(*[]byte)
	defer b.chunks.Put(buffer)
	n, err := io.CopyBuffer(io.NewOffsetWriter(w, offset), r, *buffer)
	if err != nil {
		return err
	}
	if n != length {
		return platform.Errorf(platform.Conflict, string(info.URI), "%s has %d bytes, not the expected %d", info.URI, n, length)
	}
	return nil
}

// reader is one stretch of an object, over as many connections as it takes.
type reader struct {
	b      *Blobs
	ctx    context.Context
	u      platform.URI
	etag   string // of the object as first seen; empty before
	offset int64  // of the next byte
	left   int64  // bytes wanted still; negative: all there are
	body   io.ReadCloser
	media  string // type of the object
	tries  attempts
}

// ContentType is platform.Typed's.
func (r *reader) ContentType() string { return r.media }

// connect asks for what is left, again and again while that makes sense.
func (r *reader) connect() error {
	for {
		err := r.request()
		if err == nil {
			return nil
		}
		if err = r.tries.again(r.ctx, err); err != nil {
			return err
		}
	}
}

func (r *reader) request() error {
	bucket, key, err := r.u.Split()
	if err != nil {
		return err
	}
	in := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	switch {
	case r.left >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", r.offset, r.offset+r.left-1))
	case r.offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", r.offset))
	}
	if r.etag != "" {
		in.IfMatch = &r.etag
	}
	out, err := r.b.client.GetObject(r.ctx, in)
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "InvalidRange" {
		r.left = 0 // nothing there from offset on
		return nil
	}
	if err != nil {
		return err
	}
	r.body, r.etag, r.media = out.Body, aws.ToString(out.ETag), aws.ToString(out.ContentType)
	// A range that reaches beyond the end is cut by the store, so its answer says how much there is.
	if out.ContentLength != nil && *out.ContentLength >= 0 {
		r.left = *out.ContentLength
	}
	return nil
}

// Read reads on, over a new connection when the last one broke.
func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.left == 0 {
			return 0, io.EOF
		}
		if r.body == nil {
			if err := r.connect(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := r.body.Read(p)
		r.offset += int64(n)
		if r.left > 0 {
			r.left -= int64(n)
		}
		if n > 0 {
			r.tries.progress()
			return n, nil // an error will come again
		}
		if err == nil {
			continue
		}
		if err == io.EOF && r.left < 0 {
			r.left = 0
			return 0, io.EOF
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		_ = r.body.Close()
		r.body = nil
		if err := r.tries.again(r.ctx, err); err != nil {
			return 0, err
		}
	}
}

// Close ends the stream.
func (r *reader) Close() error {
	r.left = 0
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
