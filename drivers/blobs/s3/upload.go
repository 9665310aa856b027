package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/platform"
)

const (
	// partSize is what one request of a large upload carries. Parts wait in memory, so that any can be sent again
	// whatever the reader: an upload holds at most parallelParts+1 of them.
	partSize      = 16 << 20
	parallelParts = 4
	// S3 takes at most maxParts parts. From growAfter parts on they grow, so that a stream of unknown length ends before
	// S3's limit for an object (5 TiB) does.
	maxParts  = 10000
	growAfter = 1000
	// abortWithin bounds the tidying after a failed upload.
	abortWithin = 10 * time.Second
)

// Upload stores what r gives. Each request carries a CRC-32 of its body, which the store verifies before it acknowledges.
//
// The AWS transfer manager was not taken: it computes SHA-256 and CRC of every part, counts attempts instead of time, and
// brings more code than is left here.
func (b *Blobs) Upload(ctx context.Context, u platform.URI, r io.Reader) error {
	if _, _, err := object(u); err != nil {
		return err
	}
	first, release, err := b.readFirst(r)
	if err != nil {
		return reading(u, err)
	}
	if len(first) < partSize {
		defer release()
		return b.put(ctx, u, first, typeOf(r))
	}
	return b.putParts(ctx, u, first, release, r)
}

// typeOf is the media type that a reader tells, nil when it tells none.
func typeOf(r io.Reader) *string {
	if t, ok := r.(platform.Typed); ok && t.ContentType() != "" {
		return aws.String(t.ContentType())
	}
	return nil
}

// readFirst reads up to one part. A reader that tells its length costs no more memory than that.
func (b *Blobs) readFirst(r io.Reader) (data []byte, release func(), err error) {
	if n, known := remaining(r); known && n < partSize {
		data = make([]byte, n+1) // one more, to see the end
		n, err := readFull(r, data)
		if err == nil && n == len(data) {
			err = errors.New("the reader grew while it was read")
		}
		return data[:n], func() {}, err
	}
	return b.readPart(r, partSize)
}

// remaining is how many bytes a seekable reader has left.
func remaining(r io.Reader) (int64, bool) {
	s, ok := r.(io.Seeker)
	if !ok {
		return 0, false
	}
	at, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, false
	}
	end, err := s.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, false
	}
	_, err = s.Seek(at, io.SeekStart)
	return max(end-at, 0), err == nil
}

// readPart reads size bytes, fewer at the reader's end.
func (b *Blobs) readPart(r io.Reader, size int) (data []byte, release func(), err error) {
	release = func() {}
	if size == partSize {
		buffer := b.parts.Get().(*[]byte)
		data, release = *buffer, func() { b.parts.Put(buffer) }
	} else {
		data = make([]byte, size)
	}
	n, err := readFull(r, data)
	return data[:n], release, err
}

// readFull fills data or reads to the reader's end.
func readFull(r io.Reader, data []byte) (int, error) {
	n, err := io.ReadFull(r, data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

func reading(u platform.URI, err error) error {
	return platform.Errorf(platform.Internal, string(u), "read what is to be stored at %s: %w", u, err)
}

func checksum(data []byte) *string {
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))))
}

func (b *Blobs) put(ctx context.Context, u platform.URI, data []byte, contentType *string) error {
	bucket, key, err := object(u)
	if err != nil {
		return err
	}
	sum := checksum(data)
	return b.retry(ctx, "s3:PutObject", u, func(ctx context.Context) error {
		_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: bucket, Key: key, Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))), ChecksumCRC32: sum, ContentType: contentType,
		})
		return err
	})
}

// putParts stores a large object. Whatever fails, the parts sent so far are given up, so that they cost no space.
func (b *Blobs) putParts(ctx context.Context, u platform.URI, first []byte, release func(), r io.Reader) error {
	bucket, key, err := object(u)
	if err != nil {
		return err
	}
	var created *s3.CreateMultipartUploadOutput
	err = b.retry(ctx, "s3:PutObject", u, func(ctx context.Context) (err error) {
		created, err = b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
			Bucket: bucket, Key: key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ContentType: typeOf(r),
		})
		return err
	})
	if err != nil {
		release()
		return err
	}
	upload := &multipart{b: b, u: u, bucket: bucket, key: key, id: created.UploadId}
	if err := upload.send(ctx, first, release, r); err != nil {
		upload.abort(ctx)
		return err
	}
	if err := upload.complete(ctx); err != nil {
		upload.abort(ctx)
		return err
	}
	return nil
}

// multipart is one upload under way.
type multipart struct {
	b           *Blobs
	u           platform.URI
	bucket, key *string
	id          *string
	parts       []*types.CompletedPart
}

// send reads parts one after the other and sends several at a time.
func (m *multipart) send(ctx context.Context, data []byte, release func(), r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelParts)
	for len(data) > 0 && groupCtx.Err() == nil {
		part := &types.CompletedPart{PartNumber: aws.Int32(int32(len(m.parts) + 1)), ChecksumCRC32: checksum(data)}
		m.parts = append(m.parts, part)
		body, done := data, release
		group.Go(func() error {
			defer done()
			return m.sendPart(groupCtx, part, body)
		})
		var err error
		data, release, err = m.b.readPart(r, partSizeOf(len(m.parts)+1))
		if err == nil && len(data) > 0 && len(m.parts) == maxParts {
			err = fmt.Errorf("more than the %d parts that an object can have", maxParts)
		}
		if err != nil {
			cancel()
			_ = group.Wait()
			return reading(m.u, err)
		}
	}
	release()
	return group.Wait()
}

func partSizeOf(number int) int { return partSize << ((number - 1) / growAfter) }

func (m *multipart) sendPart(ctx context.Context, part *types.CompletedPart, data []byte) error {
	return m.b.retry(ctx, "s3:PutObject", m.u, func(ctx context.Context) error {
		out, err := m.b.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: m.bucket, Key: m.key, UploadId: m.id, PartNumber: part.PartNumber,
			Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))), ChecksumCRC32: part.ChecksumCRC32,
		})
		if err == nil {
			part.ETag = out.ETag
		}
		return err
	})
}

// complete makes the object appear. The store may take long to join many parts.
func (m *multipart) complete(ctx context.Context) error {
	done := &types.CompletedMultipartUpload{}
	for _, part := range m.parts {
		done.Parts = append(done.Parts, *part)
	}
	return m.b.retry(ctx, "s3:PutObject", m.u, func(ctx context.Context) error {
		_, err := m.b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: m.bucket, Key: m.key, UploadId: m.id, MultipartUpload: done,
		}, m.b.waitLong)
		return err
	})
}

// abort gives the parts up, even when ctx has ended: that may be why.
func (m *multipart) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWithin)
	defer cancel()
	_, _ = m.b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: m.bucket, Key: m.key, UploadId: m.id})
}
