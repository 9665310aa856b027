package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"
)

// These properties hold our verifier against the signer of the AWS SDK for Go:
// whatever it signs verifies, and one changed byte is refused.

func hexString(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:]) }

type signedCall struct {
	request *http.Request // as the client built it
	body    []byte
	token   string
	expect  Expect
}

var (
	segments = rapid.StringMatching(`[a-zA-Z0-9 %+~_é視&=;:@!$'()*,.-]{1,12}`).Filter(func(s string) bool { return s != "." && s != ".." })
	texts    = rapid.StringMatching(`[a-zA-Z0-9 %+~_é視&=/?;:@!$'()*,.-]{0,20}`)
	values   = rapid.StringMatching(`[!-~]([ -~]{0,30}[!-~])?`)
)

// drawCall draws a request that the SDK has not signed yet. The SDK signs the
// path as it stands, so the path has nothing that servers clean away.
func drawCall(t *rapid.T) signedCall {
	s3 := rapid.Bool().Draw(t, "s3")
	call := signedCall{expect: Expect{Service: "sagemaker", Regions: []string{"eu-west-1"}}}
	if s3 {
		call.expect.Service, call.expect.S3 = "s3", true
	}
	path := "/" + strings.Join(rapid.SliceOfN(segments, 0, 4).Draw(t, "path"), "/")
	if path != "/" && rapid.Bool().Draw(t, "slash") {
		path += "/"
	}
	query := url.Values{}
	for _, name := range rapid.SliceOfN(texts.Filter(func(s string) bool { return s != "" }), 0, 4).Draw(t, "names") {
		for _, value := range rapid.SliceOfN(texts, 1, 3).Draw(t, "values") {
			query.Add(name, value)
		}
	}
	call.body = []byte(rapid.String().Draw(t, "body"))
	method := rapid.SampledFrom([]string{"GET", "POST", "PUT", "DELETE", "HEAD"}).Draw(t, "method")
	target := url.URL{Scheme: "http", Host: "localhost:8080", Path: path, RawQuery: query.Encode()}
	if s3 { // its clients leave nothing bare that the signature escapes
		target.RawPath = string(appendEncodedPath(nil, path))
	}
	r, err := http.NewRequest(method, target.String(), bytes.NewReader(call.body))
	if err != nil {
		t.Fatal(err)
	}
	for i, value := range rapid.SliceOfN(values, 0, 4).Draw(t, "headers") {
		r.Header.Set(rapid.SampledFrom([]string{"X-Amz-Meta-", "X-Amzn-SageMaker-", "If-Match-"}).Draw(t, "prefix")+strconv.Itoa(i), value)
	}
	if rapid.Bool().Draw(t, "session") {
		call.token = rapid.StringMatching(`[A-Za-z0-9+/=]{1,60}`).Draw(t, "token")
	}
	call.request = r
	return call
}

func (c *signedCall) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: testKey.AccessKeyID, SecretAccessKey: testKey.SecretAccessKey, SessionToken: c.token}
}

func (c *signedCall) options() func(*v4.SignerOptions) {
	return func(o *v4.SignerOptions) { o.DisableURIPathEscaping = c.expect.S3 }
}

func (c *signedCall) signHeader(t *rapid.T) {
	hash := hexString(sha256.Sum256(c.body))
	if c.expect.S3 {
		c.request.Header.Set("X-Amz-Content-Sha256", hash)
	}
	err := v4.NewSigner().SignHTTP(context.Background(), c.credentials(), c.request, hash, c.expect.Service, "eu-west-1", testNow, c.options())
	if err != nil {
		t.Fatal(err)
	}
}

// presign returns the call as whoever holds the URL would make it.
func (c *signedCall) presign(t *rapid.T, lifetime time.Duration) {
	query := c.request.URL.Query()
	query.Set("X-Amz-Expires", strconv.Itoa(int(lifetime.Seconds())))
	c.request.URL.RawQuery = query.Encode()
	hash := unsignedPayload
	if !c.expect.S3 {
		hash = hexString(sha256.Sum256(c.body))
	}
	signed, headers, err := v4.NewSigner().PresignHTTP(context.Background(), c.credentials(), c.request, hash, c.expect.Service, "eu-west-1", testNow, c.options())
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(c.request.Method, signed, bytes.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range headers {
		if name != "Host" && name != "Content-Length" {
			r.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	c.request = r
}

// onWire is the request as it leaves the client.
func (c *signedCall) onWire(t *rapid.T) []byte {
	var raw bytes.Buffer
	if err := c.request.Write(&raw); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

// verifyRaw parses and verifies as our server does; a request that cannot be
// parsed is refused before it gets to us.
func (c *signedCall) verifyRaw(raw []byte, now time.Time) error {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	_, err = testVerifier(now, Secret{Key: testKey.SecretAccessKey, SessionToken: c.token}).Verify(r, body, c.expect)
	return err
}

func TestWhatTheSDKSignsVerifies(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		call := drawCall(t)
		call.signHeader(t)
		raw := call.onWire(t)
		if err := call.verifyRaw(raw, testNow); err != nil {
			failRapid(t, err, raw)
		}
	})
}

func TestWhatTheSDKPresignsVerifiesUntilItExpires(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		call := drawCall(t)
		lifetime := time.Duration(rapid.IntRange(1, 604800).Draw(t, "lifetime")) * time.Second
		call.presign(t, lifetime)
		raw := call.onWire(t)
		if err := call.verifyRaw(raw, testNow.Add(lifetime)); err != nil {
			failRapid(t, err, raw)
		}
		if err := call.verifyRaw(raw, testNow.Add(lifetime+time.Second)); err == nil {
			t.Fatal("an expired URL was accepted")
		}
		if err := call.verifyRaw(raw, testNow.Add(-maxSkew-time.Second)); err == nil {
			t.Fatal("a URL from the future was accepted")
		}
	})
}

func failRapid(t *rapid.T, err error, raw []byte) {
	var failure *Failure
	if errors.As(err, &failure) {
		t.Fatalf("%v\ncanonical:\n%s\nrequest:\n%q", err, failure.Canonical, raw)
	}
	t.Fatalf("%v\nrequest:\n%q", err, raw)
}

func TestOneChangedByteIsRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		call := drawCall(t)
		call.signHeader(t)
		raw := call.onWire(t)
		places := signedBytes(raw)
		at := rapid.SampledFrom(places).Draw(t, "at")
		tampered := slices.Clone(raw)
		// Neither letter makes or completes a percent escape, so no change of
		// one byte spells the same request in another way.
		tampered[at] = 'w'
		if raw[at] == 'w' {
			tampered[at] = 'y'
		}
		if err := call.verifyRaw(tampered, testNow); err == nil {
			t.Fatalf("byte %d was changed unnoticed\nbefore %q\n after %q", at, raw, tampered)
		}
	})
}

// signedBytes returns where the bytes lie that a signature protects: method,
// path, query, values of signed headers, signature and body.
func signedBytes(raw []byte) []int {
	var places []int
	span := func(from, to int) {
		for i := from; i < to; i++ {
			places = append(places, i)
		}
	}
	lineEnd := bytes.Index(raw, []byte("\r\n"))
	target := bytes.IndexByte(raw, ' ') + 1
	span(0, target-1)
	span(target+1, bytes.LastIndexByte(raw[:lineEnd], ' ')) // not the first slash: without it there is no request
	headEnd := bytes.Index(raw, []byte("\r\n\r\n"))
	for at := lineEnd + 2; at < headEnd+2; {
		end := at + bytes.Index(raw[at:], []byte("\r\n"))
		name, _, _ := strings.Cut(string(raw[at:end]), ": ")
		switch {
		case name == "Authorization":
			span(end-64, end)
		case name != "User-Agent" && name != "Content-Length" && name != "Transfer-Encoding":
			span(at+len(name)+2, end)
		}
		at = end + 2
	}
	span(headEnd+4, len(raw))
	return places
}

// Our own signer, through the same wire, must satisfy the verifier too; it is
// what the command line and the agent use.
func TestWhatWeSignVerifies(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		call := drawCall(t)
		credentials := testKey
		credentials.SessionToken = call.token
		for range 2 { // signing anew, as a retry does, is fine
			if err := Sign(call.request, credentials, "eu-west-1", call.expect.Service, testNow); err != nil {
				t.Fatal(err)
			}
		}
		raw := call.onWire(t)
		if err := call.verifyRaw(raw, testNow); err != nil {
			failRapid(t, err, raw)
		}
	})
}

func TestSignNeedsABodyItCanRead(t *testing.T) {
	t.Parallel()
	for service, want := range map[string]bool{"sagemaker": false, "s3": true} {
		r, err := http.NewRequest(http.MethodPut, "http://localhost/b/k", io.MultiReader(strings.NewReader("x")))
		if err != nil {
			t.Fatal(err)
		}
		if err := Sign(r, testKey, "eu-west-1", service, testNow); (err == nil) != want {
			t.Errorf("%s: %v", service, err)
		}
		if want && r.Header.Get("X-Amz-Content-Sha256") != unsignedPayload {
			t.Errorf("%s: payload hash %q", service, r.Header.Get("X-Amz-Content-Sha256"))
		}
	}
}
