package platform

import (
	"context"
	"io"
	"iter"
	"strings"
)

// URI is an S3 location: s3://bucket/key. A key may be empty.
type URI string

// Split gives bucket and key; it fails with Invalid unless the URI is s3://bucket[/key].
func (u URI) Split() (bucket, key string, err error) {
	rest, ok := strings.CutPrefix(string(u), "s3://")
	bucket, key, _ = strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return "", "", Errorf(Invalid, string(u), "%q is not an S3 URI; it should look like s3://bucket/prefix", string(u))
	}
	return bucket, key, nil
}

// Join appends path elements to the key, with one slash between.
func (u URI) Join(elements ...string) URI {
	s := strings.TrimSuffix(string(u), "/")
	for _, e := range elements {
		s += "/" + strings.Trim(e, "/")
	}
	return URI(s)
}

// BlobInfo describes one object.
type BlobInfo struct {
	URI  URI
	Size int64
	ETag string
}

// Blobs is object storage as one principal sees it. Every method is safe for concurrent use; transient faults are retried
// inside with back-off until ctx ends or about a minute has passed, then Unavailable. NotFound names the bucket or the key;
// Denied says what was refused.
type Blobs interface {
	Stat(ctx context.Context, u URI) (BlobInfo, error)
	// List walks the objects under a key prefix in key order. The sequence ends after its first error.
	List(ctx context.Context, prefix URI) iter.Seq2[BlobInfo, error]
	// Open reads length bytes from offset; length < 0 reads to the end.
	Open(ctx context.Context, u URI, offset, length int64) (io.ReadCloser, error)
	// Download writes the whole object to w, large ones in parallel ranges.
	Download(ctx context.Context, b BlobInfo, w io.WriterAt) error
	// Upload stores what r gives as one object, large ones as multipart; the object appears whole or not at all.
	// A reader that also is an io.Seeker lets a failed part be sent again.
	Upload(ctx context.Context, u URI, r io.Reader) error
	Delete(ctx context.Context, u URI) error
}
