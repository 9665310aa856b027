// Package s3 is platform.Blobs on any S3-compatible store, by the AWS SDK.
//
// What lives here: how objects are cut into parts and ranges, what is tried again and for how long, and what an S3 error
// means in platform's terms. It reads no configuration files or environment and asks no metadata service: all it needs
// is in Config, and making it does no I/O.
package s3

import (
	"context"
	"errors"
	"iter"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"github.com/stint-ml/stint/platform"
)

// Credentials sign requests. A zero Expires is never.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time
}

// Fixed is a source of credentials that never change.
func Fixed(c Credentials) func(context.Context) (Credentials, error) {
	return func(context.Context) (Credentials, error) { return c, nil }
}

// Config says where the store is and who asks.
type Config struct {
	Endpoint string // http://127.0.0.1:9000
	Region   string
	// Credentials is asked on first use, shortly before what it gave expires, and when the store calls it expired.
	Credentials func(context.Context) (Credentials, error)
	// Own says that it is Stint's own store, of which more can be asked than of others.
	Own bool
	// Dial connects to the store; nil goes where Endpoint says. It may lead elsewhere when the store has moved: then what is
	// under way goes on there, while requests still name the host of Endpoint.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// renewBefore is how long before their end credentials are renewed.
const renewBefore = 2 * time.Minute

// Blobs is a store as one principal sees it.
type Blobs struct {
	client  *s3.Client
	patient s3.HTTPClient // for calls whose answer may take minutes
	creds   *aws.CredentialsCache
	idle    func()
	own     bool
	parts   sync.Pool // *[]byte of partSize
	chunks  sync.Pool // *[]byte of copyChunk
}

var _ platform.Blobs = (*Blobs)(nil)

// New makes the driver. It fails on an endpoint that is no URL; whether a store answers there, the first call tells.
func New(config Config) (*Blobs, error) {
	endpoint, err := url.Parse(config.Endpoint)
	if err != nil || endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "" {
		return nil, platform.Errorf(platform.Invalid, config.Endpoint, "S3 endpoint %q is not a URL such as http://127.0.0.1:9000", config.Endpoint)
	}
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   256, // as many as callers work in parallel: a connection made anew costs more than a small object
		DisableCompression:    true,
		ReadBufferSize:        32 << 10,
		WriteBufferSize:       32 << 10,
	}
	slow := transport.Clone()
	slow.ResponseHeaderTimeout = 0
	b := &Blobs{
		own:     config.Own,
		patient: &http.Client{Transport: slow},
		idle:    func() { transport.CloseIdleConnections(); slow.CloseIdleConnections() },
		parts:   sync.Pool{New: func() any { p := make([]byte, partSize); return &p }},
		chunks:  sync.Pool{New: func() any { p := make([]byte, copyChunk); return &p }},
	}
	b.creds = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		c, err := config.Credentials(ctx)
		return aws.Credentials{
			AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
			CanExpire: !c.Expires.IsZero(), Expires: c.Expires,
		}, err
	}), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewBefore })
	options := s3.Options{
		BaseEndpoint:                aws.String(config.Endpoint),
		Region:                      config.Region,
		UsePathStyle:                true,
		Credentials:                 b.creds,
		HTTPClient:                  &http.Client{Transport: transport},
		Retryer:                     aws.NopRetryer{}, // see retry.go
		Logger:                      logging.Nop{},
		DisableS3ExpressSessionAuth: aws.Bool(true),
		// Uploads carry a CRC that we compute ourselves, see upload.go. Downloads are not checked again: what the store
		// keeps was verified when it came in, and TCP or TLS guards the way.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if endpoint.Scheme == "https" || isLoopback(endpoint.Hostname()) {
		// Nobody on the way can change the body, so its SHA-256 need not be signed: the CRC finds accidents.
		options.APIOptions = append(options.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
	b.client = s3.New(options)
	return b, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close drops idle connections. The driver may be used again.
func (b *Blobs) Close() error { b.idle(); return nil }

// object splits a URI that must name an object.
func object(u platform.URI) (bucket, key *string, err error) {
	bkt, k, err := u.Split()
	if err == nil && k == "" {
		err = platform.Errorf(platform.Invalid, string(u), "%q names a bucket, not an object; it should look like s3://bucket/key", string(u))
	}
	return &bkt, &k, err
}

// Stat describes one object.
func (b *Blobs) Stat(ctx context.Context, u platform.URI) (platform.BlobInfo, error) {
	bucket, key, err := object(u)
	if err != nil {
		return platform.BlobInfo{}, err
	}
	var out *s3.HeadObjectOutput
	err = b.retry(ctx, "s3:GetObject", u, func(ctx context.Context) error {
		out, err = b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key})
		return err
	})
	if err != nil {
		return platform.BlobInfo{}, b.explainAbsence(ctx, err, u)
	}
	return platform.BlobInfo{URI: u, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag)}, nil
}

// explainAbsence finds out whether it is the bucket that is not there: the answer to HEAD has no body to say so.
func (b *Blobs) explainAbsence(ctx context.Context, err error, u platform.URI) error {
	if !platform.Is(err, platform.NotFound) {
		return err
	}
	bucket, _, _ := u.Split()
	_, headErr := b.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	if classify(headErr, "s3:ListBucket", u).kind == platform.NotFound {
		return noSuchBucket(u, headErr)
	}
	return err
}

// List walks the objects under a prefix, a thousand a request.
func (b *Blobs) List(ctx context.Context, prefix platform.URI) iter.Seq2[platform.BlobInfo, error] {
	return func(yield func(platform.BlobInfo, error) bool) {
		bucket, key, err := prefix.Split()
		if err != nil {
			yield(platform.BlobInfo{}, err)
			return
		}
		in := &s3.ListObjectsV2Input{Bucket: &bucket, EncodingType: types.EncodingTypeUrl}
		if key != "" {
			in.Prefix = &key
		}
		for {
			var out *s3.ListObjectsV2Output
			err := b.retry(ctx, "s3:ListBucket", prefix, func(ctx context.Context) (err error) {
				out, err = b.client.ListObjectsV2(ctx, in)
				return err
			})
			if err != nil {
				yield(platform.BlobInfo{}, err)
				return
			}
			for i := range out.Contents {
				o := &out.Contents[i]
				info, err := listed(bucket, o, out.EncodingType)
				if !yield(info, err) || err != nil {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

// listed reads one entry. Keys come URL-encoded, as XML cannot hold every character that a key can.
func listed(bucket string, o *types.Object, encoding types.EncodingType) (platform.BlobInfo, error) {
	key := aws.ToString(o.Key)
	if encoding == types.EncodingTypeUrl {
		plain, err := url.QueryUnescape(key)
		if err != nil {
			return platform.BlobInfo{}, platform.Errorf(platform.Internal, key, "list s3://%s: key %q: %w", bucket, key, err)
		}
		key = plain
	}
	return platform.BlobInfo{URI: platform.URI("s3://" + bucket + "/" + key), Size: aws.ToInt64(o.Size), ETag: aws.ToString(o.ETag)}, nil
}

// Delete removes an object; that it is not there is success.
func (b *Blobs) Delete(ctx context.Context, u platform.URI) error {
	bucket, key, err := object(u)
	if err != nil {
		return err
	}
	return b.retry(ctx, "s3:DeleteObject", u, func(ctx context.Context) error {
		_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key})
		return err
	})
}

// waitLong makes a call wait for its answer as long as it takes.
func (b *Blobs) waitLong(o *s3.Options) { o.HTTPClient = b.patient }

var errChanged = errors.New("the object was replaced while it was read")
