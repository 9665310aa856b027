// Package memory is platform.Blobs in memory, for tests and the simulation. It keeps S3's rules (buckets must exist, keys
// are opaque, an object appears whole or not at all) but no limits, and loses all at its end.
package memory

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/stint-ml/stint/platform"
)

// Blobs is a store with the buckets that it was made with.
type Blobs struct {
	// Fault is asked before every call, by the method's name; an error is returned to the caller as it is. Nil never
	// fails. It must be set before the first call.
	Fault func(method string, u platform.URI) error
	// MinPiece replaces platform.MinPiece, if set, for tests that would move much data otherwise. It must be set before the
	// first call.
	MinPiece int

	mu      sync.RWMutex
	buckets map[string]map[string]blob
}

type blob struct {
	data  []byte // never changed
	etag  string
	media string // type
}

// typed is an object that is read.
type typed struct {
	*bytes.Reader
	media string
}

// ContentType is platform.Typed's.
func (t typed) ContentType() string { return t.media }

// Close does nothing.
func (typed) Close() error { return nil }

var _ platform.Blobs = (*Blobs)(nil)

// New makes a store with empty buckets.
func New(buckets ...string) *Blobs {
	b := &Blobs{buckets: map[string]map[string]blob{}}
	for _, name := range buckets {
		b.buckets[name] = map[string]blob{}
	}
	return b
}

// enter is the beginning of every method.
func (b *Blobs) enter(ctx context.Context, method string, u platform.URI, wantKey bool) (bucket, key string, err error) {
	if ctx.Err() != nil {
		return "", "", &platform.Error{Kind: platform.Unavailable, Resource: string(u), Message: context.Cause(ctx).Error(), Cause: ctx.Err()}
	}
	if b.Fault != nil {
		if err := b.Fault(method, u); err != nil {
			return "", "", err
		}
	}
	bucket, key, err = u.Split()
	if err == nil && wantKey && key == "" {
		err = platform.Errorf(platform.Invalid, string(u), "%q names a bucket, not an object; it should look like s3://bucket/key", string(u))
	}
	return bucket, key, err
}

func (b *Blobs) bucket(name string, u platform.URI) (map[string]blob, error) {
	objects, ok := b.buckets[name]
	if !ok {
		return nil, platform.Errorf(platform.NotFound, string(u), "the bucket of %s does not exist: create s3://%s first", u, name)
	}
	return objects, nil
}

func (b *Blobs) find(ctx context.Context, method string, u platform.URI) (blob, error) {
	bucket, key, err := b.enter(ctx, method, u, true)
	if err != nil {
		return blob{}, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	objects, err := b.bucket(bucket, u)
	if err != nil {
		return blob{}, err
	}
	found, ok := objects[key]
	if !ok {
		return blob{}, platform.Errorf(platform.NotFound, string(u), "%s does not exist", u)
	}
	return found, nil
}

// Stat describes one object.
func (b *Blobs) Stat(ctx context.Context, u platform.URI) (platform.BlobInfo, error) {
	o, err := b.find(ctx, "Stat", u)
	if err != nil {
		return platform.BlobInfo{}, err
	}
	return platform.BlobInfo{URI: u, Size: int64(len(o.data)), ETag: o.etag}, nil
}

// List walks the objects that were there when it began.
func (b *Blobs) List(ctx context.Context, prefix platform.URI) iter.Seq2[platform.BlobInfo, error] {
	return func(yield func(platform.BlobInfo, error) bool) {
		infos, err := b.list(ctx, prefix)
		if err != nil {
			yield(platform.BlobInfo{}, err)
			return
		}
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (b *Blobs) list(ctx context.Context, prefix platform.URI) ([]platform.BlobInfo, error) {
	bucket, start, err := b.enter(ctx, "List", prefix, false)
	if err != nil {
		return nil, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	objects, err := b.bucket(bucket, prefix)
	if err != nil {
		return nil, err
	}
	var infos []platform.BlobInfo
	for key, o := range objects {
		if strings.HasPrefix(key, start) {
			infos = append(infos, platform.BlobInfo{URI: platform.URI("s3://" + bucket + "/" + key), Size: int64(len(o.data)), ETag: o.etag})
		}
	}
	slices.SortFunc(infos, func(x, y platform.BlobInfo) int { return strings.Compare(string(x.URI), string(y.URI)) })
	return infos, nil
}

// Open reads a stretch of an object as it is now.
func (b *Blobs) Open(ctx context.Context, u platform.URI, offset, length int64) (io.ReadCloser, error) {
	o, err := b.find(ctx, "Open", u)
	if err != nil {
		return nil, err
	}
	data := o.data[min(offset, int64(len(o.data))):]
	if length >= 0 {
		data = data[:min(length, int64(len(data)))]
	}
	return typed{bytes.NewReader(data), o.media}, nil
}

// Download writes the whole object.
func (b *Blobs) Download(ctx context.Context, info platform.BlobInfo, w io.WriterAt) error {
	o, err := b.find(ctx, "Download", info.URI)
	if err != nil {
		return err
	}
	if info.ETag != "" && info.ETag != o.etag {
		return platform.Errorf(platform.Conflict, string(info.URI), "%s: the object was replaced while it was read", info.URI)
	}
	_, err = w.WriteAt(o.data, 0)
	return err
}

// Upload stores all that r gives.
func (b *Blobs) Upload(ctx context.Context, u platform.URI, r io.Reader) error {
	bucket, key, err := b.enter(ctx, "Upload", u, true)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return platform.Errorf(platform.Internal, string(u), "read what is to be stored at %s: %w", u, err)
	}
	o := blob{data: data, etag: etag(data)}
	if t, ok := r.(platform.Typed); ok {
		o.media = t.ContentType()
	}
	return b.put(bucket, key, o, u, false)
}

func (b *Blobs) put(bucket, key string, o blob, u platform.URI, onlyNew bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	objects, err := b.bucket(bucket, u)
	if err != nil {
		return err
	}
	if _, there := objects[key]; there && onlyNew {
		return platform.Errorf(platform.AlreadyExists, string(u), "%s exists already", u)
	}
	objects[key] = o
	return nil
}

func etag(data []byte) string {
	sum := md5.Sum(data)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// Compose joins the pieces. What a broken call had is not remembered: sending again costs nothing here.
func (b *Blobs) Compose(ctx context.Context, u platform.URI, pieces iter.Seq2[platform.Piece, error], how platform.Composing) (platform.BlobInfo, error) {
	bucket, key, err := b.enter(ctx, "Compose", u, true)
	if err != nil {
		return platform.BlobInfo{}, err
	}
	least := b.MinPiece
	if least == 0 {
		least = platform.MinPiece
	}
	data, last := []byte{}, least
	for p, err := range pieces {
		if err == nil && how.Fresh && p.Data == nil {
			err = platform.Errorf(platform.Invalid, string(u), "a piece of %s is a stretch of another object, and there should be none", u)
		}
		if err == nil {
			var stretch []byte
			stretch, err = b.piece(ctx, p, u, last >= least)
			data, last = append(data, stretch...), len(stretch)
			if p.Sent != nil {
				p.Sent()
			}
		}
		if err != nil {
			return platform.BlobInfo{}, err
		}
	}
	if err := b.put(bucket, key, blob{data: data, etag: etag(data)}, u, how.New); err != nil {
		return platform.BlobInfo{}, err
	}
	return platform.BlobInfo{URI: u, Size: int64(len(data)), ETag: etag(data)}, nil
}

func (b *Blobs) piece(ctx context.Context, p platform.Piece, u platform.URI, longBefore bool) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, &platform.Error{Kind: platform.Unavailable, Resource: string(u), Message: context.Cause(ctx).Error(), Cause: ctx.Err()}
	}
	if !longBefore {
		return nil, platform.Errorf(platform.Invalid, string(u), "a piece of %s that is not the last is too short", u)
	}
	if p.Data != nil {
		return p.Data, nil
	}
	o, err := b.find(ctx, "Copy", p.From.URI)
	if err != nil {
		return nil, err
	}
	if p.From.ETag != "" && p.From.ETag != o.etag {
		return nil, platform.Errorf(platform.Conflict, string(p.From.URI), "%s: the object was replaced", p.From.URI)
	}
	if p.Offset < 0 || p.Length < 0 || p.Offset+p.Length > int64(len(o.data)) {
		return nil, platform.Errorf(platform.Invalid, string(p.From.URI), "%s has %d bytes: not %d from %d", p.From.URI, len(o.data), p.Length, p.Offset)
	}
	return o.data[p.Offset : p.Offset+p.Length], nil
}

// Delete removes an object; that it is not there is success.
func (b *Blobs) Delete(ctx context.Context, u platform.URI) error {
	bucket, key, err := b.enter(ctx, "Delete", u, true)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	objects, err := b.bucket(bucket, u)
	if err != nil {
		return err
	}
	delete(objects, key)
	return nil
}
