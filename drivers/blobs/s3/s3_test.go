package s3_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/aws/aws-sdk-go-v2/aws"

	server "github.com/stint-ml/stint/api/s3"
	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/drivers/blobs/blobstest"
	"github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/platform"
)

// The object store works in the process's working directory, so all tests share one; each has its own bucket.
var store *server.Server

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "stint-blobs-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err = server.New(server.Config{
		Addr: "127.0.0.1:0", Dir: dir, Accounts: everybody{}, Log: slog.New(slog.DiscardHandler),
		Site: platform.Site{Partition: "aws", Region: "us-east-1", Account: "123456789012"},
	})
	if err != nil {
		return 0, err
	}
	if err := store.Start(); err != nil {
		return 0, err
	}
	code = m.Run()
	return code, store.Stop(context.Background())
}

// everybody is IAM with two keys: root, and guest who may do nothing.
type everybody struct{}

func (everybody) Authenticate(_ context.Context, id string) (string, string, platform.Principal, error) {
	switch id {
	case "AKIAROOT":
		return "secret", "", platform.Principal{Kind: platform.RootPrincipal, ARN: "arn:aws:iam::123456789012:root"}, nil
	case "AKIAGUEST":
		return "secret", "", platform.Principal{Kind: platform.UserPrincipal, ARN: "arn:aws:iam::123456789012:user/guest", Name: "guest"}, nil
	default:
		return "", "", platform.Principal{}, platform.Errorf(platform.NotFound, id, "no such key")
	}
}

func (everybody) Decide(_ context.Context, p platform.Principal, _ string, _ platform.ARN, _ map[string][]string) (authorize.Decision, error) {
	if p.Kind == platform.RootPrincipal {
		return authorize.Decision{Outcome: authorize.Allowed}, nil
	}
	return authorize.Decision{}, nil
}

var buckets atomic.Int64

func newBucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", buckets.Add(1))
	client := awss3.New(awss3.Options{
		BaseEndpoint: aws.String(store.Endpoint()), Region: "us-east-1", UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAROOT", SecretAccessKey: "secret"}, nil
		}),
	})
	if _, err := client.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return name
}

func newBlobs(t testing.TB, endpoint, key string) *s3.Blobs {
	t.Helper()
	b, err := s3.New(s3.Config{Endpoint: endpoint, Region: "us-east-1", Own: true, Credentials: s3.Fixed(s3.Credentials{AccessKeyID: key, SecretAccessKey: "secret"})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestConformance(t *testing.T) {
	t.Parallel()
	blobstest.Run(t, func(t *testing.T) blobstest.Store {
		return blobstest.Store{Blobs: newBlobs(t, store.Endpoint(), "AKIAROOT"), Bucket: newBucket(t)}
	})
}

// Only Stint's own store is asked to do without an MD5: others need not know how. There, the checksum takes its place.
func TestOnlyTheOwnStoreDoesWithoutMD5(t *testing.T) {
	t.Parallel()
	own := newBlobs(t, store.Endpoint(), "AKIAROOT")
	other, err := s3.New(s3.Config{Endpoint: store.Endpoint(), Region: "us-east-1", Credentials: s3.Fixed(s3.Credentials{AccessKeyID: "AKIAROOT", SecretAccessKey: "secret"})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	u := platform.URI("s3://" + newBucket(t) + "/o")
	hello := func(yield func(platform.Piece, error) bool) { yield(platform.Piece{Data: []byte("hello")}, nil) }
	const md5, xxh128 = `"5d41402abc4b2a76b9719d911017c592"`, `"XXHASH128-tenBrQcbPn/Hec+qXlI4GA=="`
	for _, c := range []struct {
		blobs *s3.Blobs
		how   platform.Composing
		etag  string
	}{
		{own, platform.Composing{Opaque: true, New: true}, md5}, {own, platform.Composing{Opaque: true}, xxh128}, {own, platform.Composing{}, md5},
		{other, platform.Composing{Opaque: true}, md5},
	} {
		if info, err := c.blobs.Compose(t.Context(), u, hello, c.how); err != nil || info.ETag != c.etag {
			t.Errorf("%+v: %s, %v; want %s", c.how, info.ETag, err, c.etag)
		}
	}
}
