package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"iter"
	"net/url"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/platform"
)

// copyPart is how much one request copies within the store: S3 takes up to 5 GiB, but several at a time are faster.
const copyPart = 512 << 20

// Compose stores pieces as one object: bytes that arrive as one piece as a plain object, all else in parts.
func (b *Blobs) Compose(ctx context.Context, u platform.URI, pieces iter.Seq2[platform.Piece, error], how platform.Composing) (platform.BlobInfo, error) {
	if _, _, err := object(u); err != nil {
		return platform.BlobInfo{}, err
	}
	next, stop := iter.Pull2(pieces)
	defer stop()
	var first []platform.Piece // up to two, to see whether there are several
	for len(first) < 2 {
		p, err, more := next()
		if err != nil {
			release(first...)
			b.giveUp(ctx, u, how.Begun)
			return platform.BlobInfo{}, err
		}
		if !more {
			break
		}
		first = append(first, p)
	}
	if len(first) == 0 || len(first) == 1 && first[0].Data != nil {
		b.giveUp(ctx, u, how.Begun)
		return b.composeWhole(ctx, u, first, how)
	}
	c := &composition{multipart: multipart{b: b, u: u}, begun: how.Begun, onlyNew: how.New, fresh: how.Fresh, next: next, ahead: first, ids: map[int32]string{}}
	return c.run(ctx)
}

// headerETag asks Stint's own store to derive an object's ETag from the checksum that it verifies anyway.
const headerETag = "X-Stint-Etag"

// giveUp ends an upload that broke off before and is not to go on.
func (b *Blobs) giveUp(ctx context.Context, u platform.URI, begun *platform.Begun) {
	if begun == nil || begun.Upload == "" {
		return
	}
	if bucket, key, err := object(u); err == nil {
		(&multipart{b: b, bucket: bucket, key: key, id: aws.String(begun.Upload)}).abort(ctx)
	}
	*begun = platform.Begun{}
}

func release(pieces ...platform.Piece) {
	for _, p := range pieces {
		if p.Sent != nil {
			p.Sent()
		}
	}
}

func (b *Blobs) composeWhole(ctx context.Context, u platform.URI, pieces []platform.Piece, how platform.Composing) (platform.BlobInfo, error) {
	defer release(pieces...)
	var data []byte
	if len(pieces) == 1 {
		data = pieces[0].Data
	}
	bucket, key, err := object(u)
	if err != nil {
		return platform.BlobInfo{}, err
	}
	in := s3.PutObjectInput{Bucket: bucket, Key: key, ContentLength: aws.Int64(int64(len(data)))}
	var options []func(*s3.Options)
	switch {
	case how.New:
		in.IfNoneMatch = aws.String("*")
	case how.Opaque && b.own:
		sum := xxh3.Hash128(data).Bytes()
		in.ChecksumXXHASH128 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
		options = append(options, s3.WithAPIOptions(smithyhttp.SetHeaderValue(headerETag, "checksum")))
	}
	if in.ChecksumXXHASH128 == nil {
		in.ChecksumCRC32 = checksum(data)
	}
	info, tries := platform.BlobInfo{URI: u, Size: int64(len(data))}, 0
	err = b.retry(ctx, "s3:PutObject", u, func(ctx context.Context) error {
		tries++
		in.Body = bytes.NewReader(data)
		out, err := b.client.PutObject(ctx, &in, options...)
		if err == nil {
			info.ETag = aws.ToString(out.ETag)
		}
		return err
	})
	if how.New && platform.Is(err, platform.Conflict) {
		sum := md5.Sum(data)
		return b.madeByUs(ctx, info, tries, hex.EncodeToString(sum[:]))
	}
	return info, err
}

// madeByUs judges that an object exists already: it may be from an earlier try of ours, whose answer was lost. S3's usual ETag
// tells.
func (b *Blobs) madeByUs(ctx context.Context, info platform.BlobInfo, tries int, etag string) (platform.BlobInfo, error) {
	if tries > 1 {
		found, err := b.Stat(ctx, info.URI)
		if err == nil && strings.Trim(found.ETag, `"`) == etag {
			return found, nil
		}
	}
	return platform.BlobInfo{}, platform.Errorf(platform.AlreadyExists, string(info.URI), "%s exists already", info.URI)
}

// composition is an object that is put together from several pieces.
type composition struct {
	multipart
	onlyNew bool
	fresh   bool
	begun   *platform.Begun
	next    func() (platform.Piece, error, bool)
	ahead   []platform.Piece // pulled, but not sent yet

	mu    sync.Mutex
	ids   map[int32]string // of the parts that the store has, as platform.Piece.ID
	size  int64
	tries int
}

func (c *composition) run(ctx context.Context) (platform.BlobInfo, error) {
	defer func() { release(c.ahead...) }()
	var err error
	if c.bucket, c.key, err = object(c.u); err != nil {
		return platform.BlobInfo{}, err
	}
	if c.begun != nil && c.begun.Upload != "" {
		c.id = aws.String(c.begun.Upload)
	} else if err := c.create(ctx); err != nil {
		return platform.BlobInfo{}, err
	}
	info := platform.BlobInfo{URI: c.u}
	if err = c.send(ctx); err == nil {
		info.Size = c.size
		info.ETag, err = c.complete(ctx)
	}
	if err != nil && c.tries > 0 {
		info, err = c.judge(ctx, info, err)
	}
	if c.begun != nil && platform.Is(err, platform.Unavailable) {
		c.remember(err)
		return platform.BlobInfo{}, err
	}
	if c.begun != nil {
		*c.begun = platform.Begun{}
	}
	if err != nil {
		c.abort(ctx)
	}
	return info, err
}

// judge finds out what an error of the last step means, when an earlier try may have succeeded and lost its answer.
func (c *composition) judge(ctx context.Context, info platform.BlobInfo, err error) (platform.BlobInfo, error) {
	found, made := c.b.madeByUs(ctx, info, c.tries, c.usualETag())
	switch {
	case made == nil:
		return found, nil
	case c.onlyNew && platform.Is(err, platform.Conflict):
		return platform.BlobInfo{}, made
	default:
		return platform.BlobInfo{}, err
	}
}

// create begins the upload. It names a checksum algorithm only when there will be no copied parts, as those bring none or another
// one: parts at hand carry an MD5 instead, which costs more.
func (c *composition) create(ctx context.Context) error {
	in := &s3.CreateMultipartUploadInput{Bucket: c.bucket, Key: c.key}
	if c.fresh {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
	}
	return c.b.retry(ctx, "s3:PutObject", c.u, func(ctx context.Context) error {
		out, err := c.b.client.CreateMultipartUpload(ctx, in)
		if err == nil {
			c.id = out.UploadId
		}
		return err
	})
}

// remember keeps what the store has for the next call. An upload that the store does not know any more is not worth it.
func (c *composition) remember(cause error) {
	if strings.Contains(cause.Error(), "NoSuchUpload") {
		*c.begun = platform.Begun{}
		return
	}
	parts := map[int32]platform.BegunPart{}
	for _, p := range c.parts {
		if n := aws.ToInt32(p.PartNumber); c.ids[n] != "" {
			parts[n] = platform.BegunPart{ID: c.ids[n], ETag: aws.ToString(p.ETag), Checksum: aws.ToString(p.ChecksumCRC32)}
		}
	}
	*c.begun = platform.Begun{Upload: aws.ToString(c.id), Parts: parts}
}

// send sends or copies the pieces, several at a time.
func (c *composition) send(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelParts)
	for groupCtx.Err() == nil {
		p, more, err := c.pull()
		if err != nil || !more {
			return firstOf(err, group.Wait)
		}
		for _, p := range split(p) {
			part := &types.CompletedPart{PartNumber: aws.Int32(int32(len(c.parts) + 1))}
			if len(c.parts) == maxParts {
				release(p)
				return firstOf(platform.Errorf(platform.Invalid, string(c.u), "more than the %d parts that an object can have", maxParts), group.Wait)
			}
			c.parts = append(c.parts, part)
			c.size += max(p.Length, int64(len(p.Data)))
			group.Go(func() error {
				defer release(p)
				return c.part(groupCtx, part, p)
			})
		}
	}
	return group.Wait()
}

// firstOf waits, and prefers the error that ended the work to what followed from it.
func firstOf(err error, wait func() error) error {
	if waited := wait(); err == nil {
		return waited
	}
	return err
}

func (c *composition) pull() (p platform.Piece, more bool, err error) {
	if len(c.ahead) > 0 {
		p, c.ahead = c.ahead[0], c.ahead[1:]
		return p, true, nil
	}
	p, err, more = c.next()
	return p, more, err
}

// split cuts a long copy into equal stretches.
func split(p platform.Piece) []platform.Piece {
	if p.Data != nil || p.Length <= copyPart {
		return []platform.Piece{p}
	}
	n := (p.Length + copyPart - 1) / copyPart
	each := (p.Length + n - 1) / n
	var parts []platform.Piece
	for at := int64(0); at < p.Length; at += each {
		q := p
		q.ID, q.Offset, q.Length = "", p.Offset+at, min(each, p.Length-at)
		if p.ID != "" {
			q.ID = fmt.Sprintf("%s+%d", p.ID, at)
		}
		parts = append(parts, q)
	}
	return parts
}

func (c *composition) part(ctx context.Context, part *types.CompletedPart, p platform.Piece) error {
	n := *part.PartNumber
	if c.begun != nil {
		if had, ok := c.begun.Parts[n]; ok && had.ID == p.ID && p.ID != "" {
			part.ETag = aws.String(had.ETag)
			if had.Checksum != "" {
				part.ChecksumCRC32 = aws.String(had.Checksum)
			}
			c.has(n, p.ID)
			return nil
		}
	}
	if p.Data == nil && c.fresh {
		return platform.Errorf(platform.Invalid, string(c.u), "a piece of %s is a stretch of another object, and there should be none", c.u)
	}
	err := c.b.retry(ctx, "s3:PutObject", c.u, func(ctx context.Context) (err error) {
		if p.Data == nil {
			part.ETag, err = c.copyPart(ctx, n, p)
			return err
		}
		return c.sendData(ctx, part, p.Data)
	})
	if err == nil {
		c.has(n, p.ID)
	}
	return err
}

func (c *composition) sendData(ctx context.Context, part *types.CompletedPart, data []byte) error {
	in := &s3.UploadPartInput{
		Bucket: c.bucket, Key: c.key, UploadId: c.id, PartNumber: part.PartNumber, Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
	}
	if c.fresh {
		part.ChecksumCRC32 = checksum(data)
		in.ChecksumCRC32 = part.ChecksumCRC32
	} else {
		sum := md5.Sum(data)
		in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
	}
	out, err := c.b.client.UploadPart(ctx, in)
	if err == nil {
		part.ETag = out.ETag
	}
	return err
}

func (c *composition) has(part int32, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids[part] = id
}

func (c *composition) copyPart(ctx context.Context, number int32, p platform.Piece) (etag *string, err error) {
	bucket, key, err := object(p.From.URI)
	if err != nil {
		return nil, err
	}
	in := &s3.UploadPartCopyInput{
		Bucket: c.bucket, Key: c.key, UploadId: c.id, PartNumber: aws.Int32(number), CopySource: aws.String(copySource(*bucket, *key)),
	}
	if p.Length > 0 { // an empty range cannot be said; only an empty object has none
		in.CopySourceRange = aws.String(fmt.Sprintf("bytes=%d-%d", p.Offset, p.Offset+p.Length-1))
	}
	if p.From.ETag != "" {
		in.CopySourceIfMatch = aws.String(p.From.ETag)
	}
	out, err := c.b.client.UploadPartCopy(ctx, in, c.b.waitLong)
	if err != nil {
		return nil, err
	}
	return out.CopyPartResult.ETag, nil
}

// copySource writes an object's name as the header wants it: every character that means something in a URL or a form escaped,
// the slashes not.
func copySource(bucket, key string) string {
	return strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(bucket + "/" + key))
}

func (c *composition) complete(ctx context.Context) (etag string, err error) {
	done := &types.CompletedMultipartUpload{}
	for _, part := range c.parts {
		done.Parts = append(done.Parts, *part)
	}
	in := &s3.CompleteMultipartUploadInput{Bucket: c.bucket, Key: c.key, UploadId: c.id, MultipartUpload: done}
	if c.onlyNew {
		in.IfNoneMatch = aws.String("*")
	}
	err = c.b.retry(ctx, "s3:PutObject", c.u, func(ctx context.Context) error {
		c.tries++
		out, err := c.b.client.CompleteMultipartUpload(ctx, in, c.b.waitLong)
		if err == nil {
			etag = aws.ToString(out.ETag)
		}
		return err
	})
	return etag, err
}

// usualETag is what S3 calls an object of these parts, unless it is encrypted.
func (c *composition) usualETag() string {
	var sums []byte
	for _, part := range c.parts {
		sum, err := hex.DecodeString(strings.Trim(aws.ToString(part.ETag), `"`))
		if err != nil {
			return ""
		}
		sums = append(sums, sum...)
	}
	sum := md5.Sum(sums)
	return fmt.Sprintf("%s-%d", hex.EncodeToString(sum[:]), len(c.parts))
}
