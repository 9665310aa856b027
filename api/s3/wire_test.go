package s3_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// send signs and sends a PUT that no SDK would make.
func send(t *testing.T, url, payloadHash, body string, headers map[string]string) (int, string) {
	t.Helper()
	id := iam.add(name("AKIA"), account{principal: root()})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	req.Header.Set("X-Amz-Content-Sha256", payloadHash)
	creds := aws.Credentials{AccessKeyID: id, SecretAccessKey: "secret-of-" + id}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(t.Context(), creds, req, payloadHash, "s3", site.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

func crc(data string) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(data))))
}

// What boto3 sends over TLS: chunks and a trailing checksum.
func TestTrailingChecksums(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	first, second := strings.Repeat("hello ", 2000), "world"
	for _, endpoint := range []string{store.Endpoint(), shared.URL} {
		for sum, want := range map[string]int{crc(first + second): 200, crc(first): 400} {
			body := fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n", len(first), first, len(second), second, sum)
			status, answer := send(t, endpoint+"/"+bucket+"/k", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", body, map[string]string{
				"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": strconv.Itoa(len(first + second)), "X-Amz-Trailer": "x-amz-checksum-crc32",
			})
			if status != want {
				t.Errorf("%d %s, want %d", status, answer, want)
			}
		}
	}
	if got := get(t, asRoot(), bucket, "k"); got != first+second {
		t.Errorf("stored %d bytes", len(got))
	}
}

// A body that does not have the hash that was signed is refused, whichever hash.
func TestDamagedBodiesAreRefused(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	for _, c := range []struct {
		hash    string
		headers map[string]string
	}{
		{strings.Repeat("0", 64), nil},
		{"UNSIGNED-PAYLOAD", map[string]string{"X-Amz-Checksum-Crc32": crc("other")}},
		{"UNSIGNED-PAYLOAD", map[string]string{"Content-MD5": base64.StdEncoding.EncodeToString(make([]byte, 16))}},
	} {
		if status, answer := send(t, store.Endpoint()+"/"+bucket+"/k", c.hash, "hello", c.headers); status != 400 {
			t.Errorf("%v: %d %s", c, status, answer)
		}
		_, err := asRoot().HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: aws.String("k")})
		wantCode(t, "after a damaged body", err, "NotFound")
	}
}

func TestChecksumMode(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	c := asRoot()
	_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: &bucket, Key: aws.String("k"), Body: strings.NewReader("hello"), ChecksumCRC32: aws.String(crc("hello")),
		ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: aws.String("arn:aws:kms:us-east-1:123456789012:key/k"), // the SageMaker SDK sends these
	})
	if err != nil {
		t.Fatal(err)
	}
	head, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: aws.String("k"), ChecksumMode: types.ChecksumModeEnabled})
	if err != nil || aws.ToString(head.ChecksumCRC32) != crc("hello") {
		t.Errorf("head: %v, %v", head, err)
	}
}

func TestBucketsOfOneOwner(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	c := asRoot()
	_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket})
	wantCode(t, "create again in us-east-1", err, "")
	_, err = c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String(name("bucket-")), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}})
	wantCode(t, "create elsewhere", err, "InvalidLocationConstraint")
	_, err = c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String("Not_A_Bucket")})
	wantCode(t, "a bad name", err, "InvalidBucketName")
	_, err = c.HeadBucket(t.Context(), &awss3.HeadBucketInput{Bucket: aws.String("no-such-bucket")})
	wantCode(t, "head of none", err, "NotFound")
	put(t, c, bucket, "k", "x")
	_, err = c.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &bucket})
	wantCode(t, "delete with objects", err, "BucketNotEmpty")
	out, err := c.ListBuckets(t.Context(), nil)
	if err != nil || aws.ToString(out.Owner.ID) != site.Account || !slices.ContainsFunc(out.Buckets, func(b types.Bucket) bool { return *b.Name == bucket }) {
		t.Errorf("list: %+v, %v", out, err)
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	c := asRoot()
	keys := []string{"a b/1", "a b/2", "a+b", "a-b", "a/1", "a/2/3", "a0", "z&<é>"}
	for _, key := range keys {
		put(t, c, bucket, key, key)
	}
	var paged []string
	pages := awss3.NewListObjectsV2Paginator(c, &awss3.ListObjectsV2Input{Bucket: &bucket, MaxKeys: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			paged = append(paged, *o.Key)
		}
	}
	if !slices.Equal(paged, keys) {
		t.Errorf("by pages: %q", paged)
	}
	after, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, StartAfter: aws.String("a/1")})
	if err != nil || len(after.Contents) != 3 {
		t.Errorf("start after: %v, %v", after, err)
	}
}

func TestEncodedListing(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	c := asRoot()
	for _, key := range []string{"a b/1", "a+b", "a-b", "a/1", "a0", "z&<é>"} {
		put(t, c, bucket, key, key)
	}
	out, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, Delimiter: aws.String("/"), EncodingType: types.EncodingTypeUrl})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range out.Contents {
		got = append(got, *o.Key)
	}
	for _, p := range out.CommonPrefixes {
		got = append(got, *p.Prefix)
	}
	if want := []string{"a%2Bb", "a-b", "a0", "z%26%3C%C3%A9%3E", "a+b/", "a/"}; !slices.Equal(got, want) || out.EncodingType != types.EncodingTypeUrl {
		t.Errorf("encoded: %q %q", got, out.EncodingType)
	}
}

// Keys that clients make by joining paths carelessly are the objects that were meant, and their listing fits.
func TestNeedlessSlashes(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	c := asRoot()
	put(t, c, bucket, "data//train/x", "1")
	if got := get(t, c, bucket, "data/train/x"); got != "1" {
		t.Errorf("got %q", got)
	}
	for _, prefix := range []string{"data/", "data//", "/data/", "data//train//"} {
		out, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
		if err != nil || len(out.Contents) != 1 || !strings.HasPrefix(*out.Contents[0].Key, prefix) || *out.Prefix != prefix {
			t.Errorf("prefix %q: %+v, %v", prefix, out, err)
			continue
		}
		if got := get(t, c, bucket, *out.Contents[0].Key); got != "1" {
			t.Errorf("prefix %q lists %q, which reads %q", prefix, *out.Contents[0].Key, got)
		}
	}
}

// Objects are files: what they cannot be is refused in words, not mixed up.
func TestKeysThatFilesCannotBe(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	c := asRoot()
	put(t, c, bucket, "a", "1")
	put(t, c, bucket, "d/b", "1")
	for key, want := range map[string]string{
		"a/b": "ObjectParentIsFile", "d": "ExistingObjectIsDirectory", ".": "InvalidArgument", "x/../y": "InvalidArgument",
		".sgwtmp/x": "InvalidArgument", strings.Repeat("x", 256): "KeyTooLongError",
	} {
		_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("x")})
		wantCode(t, "put "+key, err, want)
		if want != "InvalidArgument" && want != "KeyTooLongError" && !strings.Contains(err.Error(), key) {
			t.Errorf("%v does not name %q", err, key)
		}
	}
	_, err := c.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("a/b")})
	wantCode(t, "parts below an object", err, "ObjectParentIsFile")
	_, err = c.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("d/")})
	wantCode(t, "delete of a folder that is no object", err, "")
	put(t, c, bucket, "folder/", "")
	if got := get(t, c, bucket, "folder/"); got != "" {
		t.Errorf("a folder marker reads %q", got)
	}
}

func TestPresigned(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	c := as(account{token: "to/k+en=", principal: root()})
	key := aws.String("a b+c/é")
	signer := awss3.NewPresignClient(c)
	w, err := signer.PresignPutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	r, err := signer.PresignGetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	visit := func(method, url, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(answer)
	}
	if status, answer := visit("PUT", w.URL, "content"); status != 200 {
		t.Errorf("put: %d %s", status, answer)
	}
	if status, answer := visit("GET", r.URL, ""); status != 200 || answer != "content" {
		t.Errorf("get: %d %s", status, answer)
	}
	for what, url := range map[string]string{
		"another key":   strings.Replace(r.URL, "a%20b", "a%20c", 1),
		"another token": strings.Replace(r.URL, "X-Amz-Security-Token=to", "X-Amz-Security-Token=ta", 1),
	} {
		if status, _ := visit("GET", url, ""); url == r.URL || status != 403 && status != 400 {
			t.Errorf("%s: %d", what, status)
		}
	}
}

// uploadParts sends n parts of five MiB and completes nothing.
func uploadParts(t *testing.T, c *awss3.Client, bucket, key string, n int) *awss3.CompleteMultipartUploadInput {
	t.Helper()
	created, err := c.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	done := &awss3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: created.UploadId, MultipartUpload: &types.CompletedMultipartUpload{}}
	for i := range n {
		part, err := c.UploadPart(t.Context(), &awss3.UploadPartInput{
			Bucket: &bucket, Key: &key, UploadId: created.UploadId, PartNumber: aws.Int32(int32(i + 1)), Body: bytes.NewReader(bytes.Repeat([]byte{byte('a' + i)}, 5<<20)),
		})
		if err != nil {
			t.Fatal(err)
		}
		done.MultipartUpload.Parts = append(done.MultipartUpload.Parts, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32})
	}
	return done
}

// A client that lost the answer asks again, even while the first call works: each success means that the object is there.
func TestCompletingTwice(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	c := asRoot()
	done := uploadParts(t, c, bucket, "k", 20)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := c.CompleteMultipartUpload(ctx, done); err != nil {
				t.Error(err)
				return
			}
			if head, err := c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &bucket, Key: aws.String("k")}); err != nil || *head.ContentLength != 100<<20 {
				t.Errorf("after success: %v, %v", head, err)
			}
		})
	}
	wg.Wait()
	part, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String("k"), PartNumber: aws.Int32(3)})
	if err != nil {
		t.Fatal(err)
	}
	defer part.Body.Close()
	if body, _ := io.ReadAll(part.Body); len(body) != 5<<20 || body[0] != 'c' {
		t.Errorf("part 3 has %d bytes of %q", len(body), body[:1])
	}
}
