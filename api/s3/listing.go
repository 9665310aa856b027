package s3

import (
	"context"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/valyala/fasthttp"
	"github.com/versity/versitygw/s3response"
)

// The gateway ignores encoding-type=url, which boto3 always asks for, as XML cannot hold every character that a key can.
// The answers are encoded here; page tokens, which clients only repeat, are made opaque for the same reason.

// ListObjectsV2 lists one page.
func (d *durable) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input) (s3response.ListObjectsV2Result, error) {
	if in.ContinuationToken != nil {
		after, err := base64.RawURLEncoding.DecodeString(*in.ContinuationToken)
		if err == nil {
			in.ContinuationToken = stringPtr(string(after))
		}
	}
	asked := d.usePlainPrefix(ctx, *in.Bucket, &in.Prefix)
	out, err := d.Posix.ListObjectsV2(ctx, in)
	if err != nil {
		return out, err
	}
	asked.restore(out.Contents, out.CommonPrefixes, &out.Prefix)
	out.ContinuationToken = encodeToken(out.ContinuationToken)
	out.NextContinuationToken = encodeToken(out.NextContinuationToken)
	if wantsURLEncoding(ctx) {
		out.EncodingType = types.EncodingTypeUrl
		encodeKeys(out.Contents, out.CommonPrefixes, out.Prefix, out.Delimiter, out.StartAfter)
	}
	return out, nil
}

// ListObjects lists one page, the old way.
func (d *durable) ListObjects(ctx context.Context, in *s3.ListObjectsInput) (s3response.ListObjectsResult, error) {
	asked := d.usePlainPrefix(ctx, *in.Bucket, &in.Prefix)
	out, err := d.Posix.ListObjects(ctx, in)
	if err != nil {
		return out, err
	}
	asked.restore(out.Contents, out.CommonPrefixes, &out.Prefix)
	if wantsURLEncoding(ctx) {
		out.EncodingType = types.EncodingTypeUrl
		encodeKeys(out.Contents, out.CommonPrefixes, out.Prefix, out.Delimiter, out.Marker, out.NextMarker)
	}
	return out, nil
}

// ListObjectVersions lists one page; there is one version of each object.
func (d *durable) ListObjectVersions(ctx context.Context, in *s3.ListObjectVersionsInput) (s3response.ListVersionsResult, error) {
	out, err := d.Posix.ListObjectVersions(ctx, in)
	if err == nil && wantsURLEncoding(ctx) {
		out.EncodingType = types.EncodingTypeUrl
		encodeKeys(nil, out.CommonPrefixes, out.Prefix, out.Delimiter, out.KeyMarker, out.NextKeyMarker)
		for i := range out.Versions {
			encode(out.Versions[i].Key)
		}
	}
	return out, err
}

// ListMultipartUploads lists the uploads under way.
func (d *durable) ListMultipartUploads(ctx context.Context, in *s3.ListMultipartUploadsInput) (s3response.ListMultipartUploadsResult, error) {
	out, err := d.Posix.ListMultipartUploads(ctx, in)
	if err == nil && wantsURLEncoding(ctx) {
		out.EncodingType = string(types.EncodingTypeUrl)
		for _, s := range []*string{&out.Prefix, &out.Delimiter, &out.KeyMarker, &out.NextKeyMarker} {
			encode(s)
		}
		for i := range out.Uploads {
			encode(&out.Uploads[i].Key)
		}
		for i := range out.CommonPrefixes {
			encode(&out.CommonPrefixes[i].Prefix)
		}
	}
	return out, err
}

// askedPrefix is a prefix that a client gave with needless slashes, and the one that files have. The client finds the
// objects below the prefix under keys that begin as it asked, which it can then get.
type askedPrefix struct{ asked, plain string }

func (d *durable) usePlainPrefix(ctx context.Context, bucket string, prefix **string) askedPrefix {
	if *prefix == nil {
		return askedPrefix{}
	}
	p := askedPrefix{**prefix, plainPrefix(**prefix)}
	if p.asked != p.plain {
		// A bucket policy may hang on the prefix, and the gateway judged the one that was asked for.
		if _, err := d.GetBucketPolicy(ctx, bucket); err == nil {
			p.plain = p.asked
		}
	}
	*prefix = &p.plain
	return p
}

func (p askedPrefix) restore(objects []s3response.Object, prefixes []types.CommonPrefix, prefix **string) {
	if p.asked == p.plain {
		return
	}
	*prefix = stringPtr(p.asked)
	for i := range objects {
		objects[i].Key = stringPtr(p.asked + strings.TrimPrefix(*objects[i].Key, p.plain))
	}
	for i := range prefixes {
		prefixes[i].Prefix = stringPtr(p.asked + strings.TrimPrefix(*prefixes[i].Prefix, p.plain))
	}
}

// wantsURLEncoding reads the request's query: the gateway hands its request down as the context.
func wantsURLEncoding(ctx context.Context) bool {
	request, ok := ctx.(*fasthttp.RequestCtx)
	return ok && string(request.QueryArgs().Peek("encoding-type")) == string(types.EncodingTypeUrl)
}

func encodeKeys(objects []s3response.Object, prefixes []types.CommonPrefix, others ...*string) {
	for i := range objects {
		encode(objects[i].Key)
	}
	for i := range prefixes {
		encode(prefixes[i].Prefix)
	}
	for _, s := range others {
		encode(s)
	}
}

// encode replaces s by its form in a URL, slashes kept, as S3 does.
func encode(s *string) {
	if s != nil {
		*s = strings.ReplaceAll(url.QueryEscape(*s), "%2F", "/")
	}
}

func encodeToken(s *string) *string {
	if s == nil || *s == "" {
		return nil
	}
	return stringPtr(base64.RawURLEncoding.EncodeToString([]byte(*s)))
}

func stringPtr(s string) *string { return &s }
