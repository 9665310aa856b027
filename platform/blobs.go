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
	// Open reads length bytes from offset; length < 0 reads to the end. The reader is Typed; it knows the object's type at once.
	Open(ctx context.Context, u URI, offset, length int64) (io.ReadCloser, error)
	// Download writes the whole object to w, large ones in parallel ranges.
	Download(ctx context.Context, b BlobInfo, w io.WriterAt) error
	// Upload stores what r gives as one object, large ones as multipart; the object appears whole or not at all.
	// A reader that also is an io.Seeker lets a failed part be sent again; one that is Typed says of what type the object is.
	Upload(ctx context.Context, u URI, r io.Reader) error
	// Compose stores the pieces, one after the other, as one object, which appears whole or not at all. An error among the
	// pieces ends it and is returned. It fails with Conflict when a piece's origin is not the object any more that the piece
	// names, and with NotFound when that is gone.
	Compose(ctx context.Context, u URI, pieces iter.Seq2[Piece, error], how Composing) (BlobInfo, error)
	Delete(ctx context.Context, u URI) error
}

// Typed is what knows the media type of its bytes; empty is not to know it.
type Typed interface{ ContentType() string }

// MinPiece is how many bytes every piece of a composed object must have, but the last.
const MinPiece = 5 << 20

// Piece is a stretch of an object to be composed: either bytes at hand, or a stretch of an object that the store has, which
// then does not pass through the caller.
type Piece struct {
	ID   string // pieces with equal IDs hold equal bytes; empty: nothing is known of that
	Data []byte // unchanged until Sent is called
	Sent func() // called once, from anywhere, when Data is not needed any more, whatever became of it; may be nil

	From           BlobInfo // when Data is nil; an empty ETag takes the object as it is
	Offset, Length int64    // of From
}

// Composing says how an object is composed.
type Composing struct {
	New   bool // AlreadyExists, and nothing is changed, when there is such an object
	Fresh bool // no piece comes from another object, which lets the store check the bytes for less; else Invalid
	// Opaque does without the MD5 of the bytes as the object's ETag, where a store can: it costs more than all else of a small
	// object. Another value that follows from the bytes takes its place. It means nothing of parts, nor with New.
	Opaque bool
	// Begun, if set, lets a call go on where one for the same object broke off with Unavailable: parts that it recognises by
	// their place and ID are not sent again. The caller keeps what it points to between the calls, and on disk if it wants;
	// it begins empty, and is empty again after any other end. Nothing is remembered of an object in a single piece.
	Begun *Begun
}

// Begun is an upload that broke off.
type Begun struct {
	Upload string              `json:"upload,omitempty"`
	Parts  map[int32]BegunPart `json:"parts,omitempty"`
}

// BegunPart is a part that the store has.
type BegunPart struct{ ID, ETag, Checksum string }
