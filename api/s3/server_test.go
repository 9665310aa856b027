package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/stint-ml/stint/api/s3"
)

// A process can run one store, so all tests share this one. Each has buckets and access keys of its own.
var (
	store  *s3.Server
	iam    = &accounts{}
	shared *httptest.Server // the shared port
	data   string
)

func TestMain(m *testing.M) {
	if os.Getenv(crashDir) != "" {
		fmt.Fprintln(os.Stderr, serveUntilKilled())
		os.Exit(1)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func config(dir string) s3.Config {
	return s3.Config{Addr: "127.0.0.1:0", Dir: dir, Site: site, Accounts: iam, Log: slog.New(slog.DiscardHandler)}
}

func run(m *testing.M) (code int, err error) {
	if data, err = os.MkdirTemp("", "stint-s3-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	// First a life of its own, to see that a store can follow another in one process.
	first, err := s3.New(config(filepath.Join(data, "first")))
	if err != nil {
		return 0, err
	}
	if err := errors.Join(first.Start(), first.Stop(context.Background()), first.Stop(context.Background())); err != nil {
		return 0, fmt.Errorf("start, stop, stop: %w", err)
	}
	if err := first.Start(); err == nil {
		return 0, errors.New("a stopped store started again")
	}
	if store, err = s3.New(config(filepath.Join(data, "second"))); err != nil {
		return 0, err
	}
	if err := store.Start(); err != nil {
		return 0, err
	}
	shared = httptest.NewServer(store.Handler())
	code = m.Run()
	shared.Close()
	return code, errors.Join(store.Stop(context.Background()), store.Err())
}

var counter atomic.Int64

// name makes names that no other test uses.
func name(prefix string) string { return fmt.Sprintf("%s%d", prefix, counter.Add(1)) }

// as makes a client for a new access key.
func as(k account) *awss3.Client {
	id := name("AKIA")
	if k.token != "" {
		id = name("ASIA")
	}
	iam.add(id, k)
	return client(store.Endpoint(), id, "secret-of-"+id, k.token)
}

func client(endpoint, id, secret, token string) *awss3.Client {
	return awss3.New(awss3.Options{
		BaseEndpoint: &endpoint, Region: site.Region, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
		}),
	})
}

func asRoot() *awss3.Client { return as(account{principal: root()}) }

func newBucket(t testing.TB) string {
	t.Helper()
	bucket := name("bucket-")
	if _, err := asRoot().CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	return bucket
}

func put(t testing.TB, c *awss3.Client, bucket, key, body string) {
	t.Helper()
	_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(t testing.TB, c *awss3.Client, bucket, key string) string {
	t.Helper()
	out, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	return string(body)
}

// code is the S3 error code of an error, "" for none.
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	default:
		return err.Error()
	}
}

func wantCode(t testing.TB, what string, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("%s: got %q (%v), want %q", what, got, err, want)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(*s3.Config){
		"a relative folder": func(c *s3.Config) { c.Dir = "data" },
		"no port":           func(c *s3.Config) { c.Addr = "127.0.0.1" },
		"no accounts":       func(c *s3.Config) { c.Accounts = nil },
		"no region":         func(c *s3.Config) { c.Site.Region = "" },
	} {
		c := config("/nowhere")
		spoil(&c)
		if _, err := s3.New(c); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func TestOneStoreAProcess(t *testing.T) {
	t.Parallel()
	second, err := s3.New(config(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err == nil || !strings.Contains(err.Error(), "another one runs") {
		t.Errorf("a second store: %v", err)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Errorf("stop without start: %v", err)
	}
	rec := httptest.NewRecorder()
	second.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/bucket/key", nil))
	if rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), "<Code>ServiceUnavailable</Code>") {
		t.Errorf("the proxy of a store that does not run answers %d %s", rec.Code, rec.Body)
	}
	if err := store.Start(); err == nil {
		t.Error("started twice")
	}
}

// What is kept is not for the users that jobs run as.
func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	put(t, asRoot(), bucket, "folder/file", "x")
	for _, path := range []string{"", bucket, bucket + "/folder", bucket + "/folder/file"} {
		info, err := os.Stat(filepath.Join(data, "second", "objects", path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q has mode %v", path, info.Mode())
		}
	}
}

// Both ports give the same store, and the proxy neither breaks signatures nor changes bytes.
func TestBothPorts(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	id := iam.add(name("AKIA"), account{principal: root()})
	direct, proxied := client(store.Endpoint(), id, "secret-of-"+id, ""), client(shared.URL, id, "secret-of-"+id, "")
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB, over the SDK's threshold for Expect: 100-continue
	for i, key := range []string{"plain", "sp ace+plus=eq&amp%25", "ünï/日本", "a//b", "q?x#y"} {
		writer, reader := direct, proxied
		if i%2 == 0 {
			writer, reader = proxied, direct
		}
		if _, err := writer.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(big)}); err != nil {
			t.Fatalf("put %q: %v", key, err)
		}
		if got := get(t, reader, bucket, key); got != string(big) {
			t.Errorf("%q: got %d bytes", key, len(got))
		}
	}
	_, err := proxied.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String("none")})
	wantCode(t, "missing key by proxy", err, "NoSuchKey")
}
