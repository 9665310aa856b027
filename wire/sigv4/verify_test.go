package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// parseRequest reads a request as a server does, and its whole body.
func parseRequest(t testing.TB, raw []byte) (*http.Request, []byte) {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, body
}

func TestRequestsRecordedFromBoto3Verify(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../testdata/boto3/*.http")
	if err != nil || len(files) < 12 {
		t.Fatalf("found %d recordings, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			verifyRecording(t, file)
		})
	}
}

func verifyRecording(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, body := parseRequest(t, raw)
	scope, ok := ParseScope(r)
	if !ok || scope.AccessKey != vectorKey || scope.Region != "us-east-1" {
		t.Fatalf("scope %+v, %v", scope, ok)
	}
	service, _, _ := strings.Cut(filepath.Base(file), "-")
	if service == "runtime" {
		service = "sagemaker" // its signing name
	}
	c, err := readClaim(r)
	if err != nil {
		t.Fatal(err)
	}
	verifier := NewVerifier(func() time.Time { return c.signedAt.Add(30 * time.Second) }, func(context.Context, string) (Secret, error) {
		return Secret{Key: vectorSecret, SessionToken: c.token}, nil
	})
	expect := Expect{Service: service, Regions: []string{"us-east-1"}, S3: service == "s3"}
	if _, err := verifier.Verify(r, body, expect); err != nil {
		reportFailure(t, file, err)
	}
	if _, err := verifier.Verify(r, append(body, 'x'), expect); err == nil && !(c.presigned && expect.S3) {
		t.Error("a longer body was accepted")
	}
}

var (
	testNow    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	testKey    = Credentials{AccessKeyID: "AKIATEST", SecretAccessKey: "secret/key"}
	testTarget = Expect{Service: "sagemaker", Regions: []string{"eu-west-1"}}
)

const testBody = `{"TrainingJobName":"digits"}`

func signedRequest(t testing.TB) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://localhost:8080/", strings.NewReader(testBody))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "SageMaker.DescribeTrainingJob")
	resign(t, r, testKey)
	return r
}

func resign(t testing.TB, r *http.Request, credentials Credentials) {
	t.Helper()
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(testBody)), nil }
	if err := Sign(r, credentials, "eu-west-1", "sagemaker", testNow); err != nil {
		t.Fatal(err)
	}
}

func testVerifier(now time.Time, secret Secret) *Verifier {
	return NewVerifier(func() time.Time { return now }, func(_ context.Context, id string) (Secret, error) {
		if id != testKey.AccessKeyID {
			return Secret{}, ErrUnknownKey
		}
		return secret, nil
	})
}

// edit replaces text in the Authorization header.
func edit(old, replacement string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, replacement, 1))
	}
}

// refusal is a request that is to be refused, and how.
type refusal struct {
	change func(*http.Request)
	now    time.Duration // after signing
	secret Secret
	reason Reason
	json   string // code and words for JSON services
	query  string // code for Query services
	s3     string
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const expired = "Signature expired: 20260301T120000Z is now earlier than 20260301T120001Z (20260301T121501Z - 15 min.)"
	for name, c := range map[string]refusal{
		"no signature":    {change: func(r *http.Request) { r.Header.Del("Authorization") }, reason: MissingAuthentication, json: "MissingAuthenticationTokenException: Missing Authentication Token", query: "MissingAuthenticationToken", s3: "AccessDenied"},
		"other algorithm": {change: edit(algorithm, "AWS4-ECDSA-P256-SHA256"), reason: Malformed, json: "IncompleteSignatureException: Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'.", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"basic":           {change: func(r *http.Request) { r.SetBasicAuth("a", "b") }, reason: Malformed, json: "IncompleteSignatureException: Unsupported AWS 'algorithm': 'Basic'.", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"nothing but the algorithm": {change: func(r *http.Request) { r.Header.Set("Authorization", algorithm); r.Header.Del("X-Amz-Date") }, reason: Malformed,
			json:  "IncompleteSignatureException: Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
			query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"short credential":  {change: edit("/aws4_request", ""), reason: Malformed, json: "IncompleteSignatureException: Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKIATEST/20260301/eu-west-1/sagemaker'", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"long credential":   {change: edit("/aws4_request", "/aws4_request/x"), reason: Malformed, json: "IncompleteSignatureException: Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKIATEST/20260301/eu-west-1/sagemaker/aws4_request/x'", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"bad date":          {change: func(r *http.Request) { r.Header.Set("X-Amz-Date", "2026-03-01") }, reason: Malformed, json: "IncompleteSignatureException: Date must be in ISO-8601 'basic format'. Got '2026-03-01'. See http://en.wikipedia.org/wiki/ISO_8601", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"fractional date":   {change: func(r *http.Request) { r.Header.Set("X-Amz-Date", "20260301T120000.5Z") }, reason: Malformed, json: "IncompleteSignatureException: Date must be in", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"repeated key":      {change: edit("Signature=", "Signature=00, Signature="), reason: Malformed, json: "IncompleteSignatureException: ", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"two headers":       {change: func(r *http.Request) { r.Header.Add("Authorization", "x") }, reason: Malformed, json: "IncompleteSignatureException: Only one", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"header and query":  {change: func(r *http.Request) { r.URL.RawQuery = "X-Amz-Algorithm=" + algorithm }, reason: Malformed, json: "IncompleteSignatureException: Only one auth mechanism", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"upper-case names":  {change: edit("host;", "Host;"), reason: Malformed, json: "IncompleteSignatureException: SignedHeaders must be", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"unsorted names":    {change: edit("content-type;host;", "host;content-type;"), reason: Malformed, json: "IncompleteSignatureException: SignedHeaders must be", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"broken query":      {change: func(r *http.Request) { r.URL.RawQuery = "a=%zz" }, reason: Malformed, json: "IncompleteSignatureException: The query-string parameter 'a=%zz'", query: "IncompleteSignature", s3: "AuthorizationHeaderMalformed"},
		"other service":     {change: edit("/sagemaker/", "/s3/"), reason: WrongScope, json: "InvalidSignatureException: Credential should be scoped to correct service: 'sagemaker'.", query: "SignatureDoesNotMatch", s3: "AuthorizationHeaderMalformed"},
		"other region":      {change: edit("/eu-west-1/", "/mars-1/"), reason: WrongScope, json: "InvalidSignatureException: Credential should be scoped to a valid region, not 'mars-1'; expecting 'eu-west-1'.", query: "SignatureDoesNotMatch", s3: "AuthorizationHeaderMalformed"},
		"other terminator":  {change: edit("/aws4_request", "/aws5_request"), reason: WrongScope, json: "InvalidSignatureException: Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.", query: "SignatureDoesNotMatch", s3: "AuthorizationHeaderMalformed"},
		"other day":         {change: edit("/20260301/", "/20260228/"), reason: WrongScope, json: "InvalidSignatureException: Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260228' != '20260301', from '20260301T120000Z'.", query: "SignatureDoesNotMatch", s3: "AuthorizationHeaderMalformed"},
		"expired":           {now: 15*time.Minute + time.Second, reason: Skewed, json: "InvalidSignatureException: " + expired, query: "SignatureDoesNotMatch", s3: "RequestTimeTooSkewed"},
		"from the future":   {now: -15*time.Minute - time.Second, reason: Skewed, json: "InvalidSignatureException: Signature not yet current: 20260301T120000Z is still later than 20260301T115959Z (20260301T114459Z + 15 min.)", query: "SignatureDoesNotMatch", s3: "RequestTimeTooSkewed"},
		"unknown key":       {change: edit("=AKIATEST/", "=AKIANONE/"), reason: UnknownKey, json: "UnrecognizedClientException: The security token included in the request is invalid.", query: "InvalidClientTokenId", s3: "InvalidAccessKeyId"},
		"token not ours":    {change: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "t") }, reason: InvalidToken, json: "UnrecognizedClientException: ", query: "InvalidClientTokenId", s3: "InvalidToken"},
		"token missing":     {secret: Secret{Key: testKey.SecretAccessKey, SessionToken: "t"}, reason: InvalidToken, json: "UnrecognizedClientException: ", query: "InvalidClientTokenId", s3: "InvalidToken"},
		"session over":      {secret: Secret{Key: testKey.SecretAccessKey, Expires: testNow}, reason: ExpiredToken, json: "ExpiredTokenException: The security token included in the request is expired", query: "ExpiredToken", s3: "ExpiredToken"},
		"host not signed":   {change: edit("host;", ""), reason: UnsignedHeader, json: "InvalidSignatureException: 'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.", query: "SignatureDoesNotMatch", s3: "AccessDenied"},
		"target not signed": {change: edit(";x-amz-target", ""), reason: UnsignedHeader, json: "InvalidSignatureException: 'x-amz-target' must be a 'SignedHeader' in the AWS Authorization.", query: "SignatureDoesNotMatch", s3: "AccessDenied"},
		"header added":      {change: func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "b") }, reason: UnsignedHeader, json: "InvalidSignatureException: 'x-amz-meta-a' must be", query: "SignatureDoesNotMatch", s3: "AccessDenied"},
		"header removed":    {change: func(r *http.Request) { r.Header.Del("Content-Type") }, reason: SignatureMismatch, json: "InvalidSignatureException: The signed header 'content-type' is not in the request.", query: "SignatureDoesNotMatch", s3: "SignatureDoesNotMatch"},
		"other secret":      {secret: Secret{Key: "another"}, reason: SignatureMismatch, json: "InvalidSignatureException: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.", query: "SignatureDoesNotMatch", s3: "SignatureDoesNotMatch"},
		"short signature": {change: func(r *http.Request) {
			r.Header.Set("Authorization", strings.TrimRight(r.Header.Get("Authorization"), "0123456789abcdef")+"00")
		}, reason: SignatureMismatch, json: "InvalidSignatureException: ", query: "SignatureDoesNotMatch", s3: "SignatureDoesNotMatch"},
		"declared hash": {change: func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", strings.Repeat("0", 64))
			resign(t, r, testKey)
		}, reason: PayloadMismatch, json: "InvalidSignatureException: The provided 'x-amz-content-sha256' header does not match", query: "SignatureDoesNotMatch", s3: "XAmzContentSHA256Mismatch"},
		"unsigned payload outside s3": {change: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", unsignedPayload); resign(t, r, testKey) }, reason: PayloadMismatch, json: "InvalidSignatureException: ", query: "SignatureDoesNotMatch", s3: "XAmzContentSHA256Mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := signedRequest(t)
			if c.change != nil {
				c.change(r)
			}
			secret := c.secret
			if secret.Key == "" {
				secret.Key = testKey.SecretAccessKey
			}
			_, err := testVerifier(testNow.Add(c.now), secret).Verify(r, []byte(testBody), testTarget)
			var failure *Failure
			if !errors.As(err, &failure) || failure.Reason != c.reason {
				t.Fatalf("got %v, want reason %d", err, c.reason)
			}
			as := failure.Render(JSON)
			if !strings.HasPrefix(as.Error(), c.json) {
				t.Errorf("JSON: got %q, want %q", as, c.json)
			}
			if want := map[bool]int{true: 400, false: 403}[c.reason == Malformed]; as.Status != want {
				t.Errorf("JSON: status %d, want %d", as.Status, want)
			}
			if got := failure.Render(Query).Code; got != c.query {
				t.Errorf("Query: got %s, want %s", got, c.query)
			}
			if got := failure.Render(S3).Code; got != c.s3 {
				t.Errorf("S3: got %s, want %s", got, c.s3)
			}
			if strings.Contains(err.Error(), testKey.SecretAccessKey) {
				t.Error("the secret is in the error")
			}
		})
	}
}

func TestCallerAndBounds(t *testing.T) {
	t.Parallel()
	owner := &struct{ name string }{"alice"}
	session := testKey
	session.SessionToken = "t/o+k=n"
	secret := Secret{Key: session.SecretAccessKey, SessionToken: session.SessionToken, Expires: testNow.Add(time.Hour), Owner: owner}
	r := signedRequest(t)
	resign(t, r, session)
	for _, age := range []time.Duration{-15 * time.Minute, 0, 15 * time.Minute} { // both ends are inside
		caller, err := testVerifier(testNow.Add(age), secret).Verify(r, []byte(testBody), testTarget)
		want := Caller{Scope: Scope{AccessKey: "AKIATEST", Date: "20260301", Region: "eu-west-1", Service: "sagemaker"}, SignedAt: testNow, Owner: owner}
		if err != nil || caller != want {
			t.Errorf("age %s: %+v, %v", age, caller, err)
		}
	}
	// Without Regions any region will do; sts and iam are called so.
	if _, err := testVerifier(testNow, secret).Verify(r, []byte(testBody), Expect{Service: "sagemaker"}); err != nil {
		t.Error(err)
	}
}

func TestDateHeaderStandsInForXAmzDate(t *testing.T) {
	t.Parallel()
	r := signedRequest(t)
	r.Header.Del("X-Amz-Date")
	r.Header.Set("Date", testNow.Format(http.TimeFormat))
	m := message{method: r.Method, path: "/", header: r.Header, host: r.Host, signedHeaders: []string{"content-type", "date", "host", "x-amz-target"}}
	s := &scratch{}
	var err error
	if m.payloadHash, err = s.payloadHash(r, []byte(testBody), &claim{}, false); err != nil {
		t.Fatal(err)
	}
	if err := s.canonicalise(&m); err != nil {
		t.Fatal(err)
	}
	canonical := len(s.text)
	scope, _ := ParseScope(r)
	s.appendStringToSign(testNow.Format(dateLayout), &scope)
	key := deriveKey(testKey.SecretAccessKey, &scope)
	edit(";x-amz-date", "")(r)
	edit("content-type;host", "content-type;date;host")(r)
	authorization, _, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	signature := mac(key[:], s.text[canonical:])
	r.Header.Set("Authorization", authorization+"Signature="+hexString(signature))
	if _, err := testVerifier(testNow, Secret{Key: testKey.SecretAccessKey}).Verify(r, []byte(testBody), testTarget); err != nil {
		reportFailure(t, "Date header", err)
	}
}

func TestLookupFaultIsNotARefusal(t *testing.T) {
	t.Parallel()
	broken := errors.New("store is away")
	verifier := NewVerifier(func() time.Time { return testNow }, func(context.Context, string) (Secret, error) { return Secret{}, broken })
	_, err := verifier.Verify(signedRequest(t), []byte(testBody), testTarget)
	var failure *Failure
	if !errors.Is(err, broken) || errors.As(err, &failure) {
		t.Errorf("got %v", err)
	}
}

// A derived key in the cache must die with the secret it came from.
func TestRotatedSecretIsNotServedFromTheCache(t *testing.T) {
	t.Parallel()
	secret := Secret{Key: testKey.SecretAccessKey}
	verifier := NewVerifier(func() time.Time { return testNow }, func(context.Context, string) (Secret, error) { return secret, nil })
	r := signedRequest(t)
	for range 2 {
		if _, err := verifier.Verify(r, []byte(testBody), testTarget); err != nil {
			t.Fatal(err)
		}
	}
	secret.Key = "rotated"
	if _, err := verifier.Verify(r, []byte(testBody), testTarget); err == nil {
		t.Error("the former secret still verifies")
	}
}

func TestKeyCacheIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	var cache keyCache
	used := Scope{AccessKey: "used"}
	first := newSigner(signingKey{1})
	cache.put(&used, "s", first)
	for i := range 10 * keysPerGeneration {
		cache.put(&Scope{AccessKey: string(rune('a' + i%26)), Date: strings.Repeat("d", i%997), Region: string(rune(i))}, "s", newSigner(signingKey{2}))
		if key, ok := cache.get(&used, "s"); !ok || key != first {
			t.Fatalf("a key in use was forgotten after %d others", i)
		}
	}
	if n := len(cache.young) + len(cache.old); n > 2*keysPerGeneration {
		t.Errorf("the cache holds %d keys", n)
	}
	if _, ok := cache.get(&used, "other secret"); ok {
		t.Error("a key was served for another secret")
	}
}

func TestParseScope(t *testing.T) {
	t.Parallel()
	const good = "AKIA/20260301/eu-west-1/sts/aws4_request"
	for header, ok := range map[string]bool{
		algorithm + " Credential=" + good + ", SignedHeaders=host, Signature=00": true,
		algorithm + " SignedHeaders=host,Signature=00,Credential=" + good:        true,
		algorithm + " Credential=" + good + "/more, SignedHeaders=host":          false,
		algorithm + " Credential=AKIA//eu-west-1/sts/aws4_request":               false,
		"Bearer Credential=" + good:                                              false,
		"":                                                                       false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/?X-Amz-Credential=ignored", nil)
		r.Header.Set("Authorization", header)
		if scope, got := ParseScope(r); got != ok || ok && scope != (Scope{"AKIA", "20260301", "eu-west-1", "sts"}) {
			t.Errorf("%q: %+v, %v", header, scope, got)
		}
	}
	presigned := httptest.NewRequest(http.MethodGet, "/?a=b&X-Amz-Credential="+strings.ReplaceAll(good, "/", "%2F"), nil)
	if scope, ok := ParseScope(presigned); !ok || scope.Service != "sts" {
		t.Errorf("presigned: %+v, %v", scope, ok)
	}
	if _, ok := ParseScope(httptest.NewRequest(http.MethodGet, "/", nil)); ok {
		t.Error("a scope was found in nothing")
	}
}

func TestCleanPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"": "/", "/": "/", "//": "/", "/.": "/", "/..": "/", "/../..": "/", "/a": "/a", "/a/": "/a/", "//a///b//": "/a/b/",
		"/a/../b": "/b", "/a/b/..": "/a", "/a/b/../": "/a/", "/a/./b": "/a/b", "/...": "/...", "/a%2Fb": "/a%252Fb", "/é": "/%C3%A9",
	} {
		if got := string(appendCleanPath(nil, path)); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}
