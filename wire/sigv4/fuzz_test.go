package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzVerify feeds whole requests, as hostile as they come, to the parser and
// the verifier: no panic, a typed refusal, and ParseScope agreeing with what
// Verify would have looked up. Nothing the fuzzer writes can verify, since it
// does not hold the secret.
func FuzzVerify(f *testing.F) {
	addRequests(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		now := checkScopeAgainstClaim(t, r)
		scope, _ := ParseScope(r)
		for _, s3 := range []bool{false, true} {
			verifier := NewVerifier(func() time.Time { return now }, func(context.Context, string) (Secret, error) {
				return Secret{Key: "unknown to the fuzzer"}, nil
			})
			_, err := verifier.Verify(r, body, Expect{Service: scope.Service, S3: s3})
			var failure *Failure
			if !errors.As(err, &failure) || failure.Message == "" || failure.Render(S3).Code == "" {
				t.Fatalf("got %v", err)
			}
		}
	})
}

// addRequests seeds f with every recorded and every published request.
func addRequests(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("../testdata/boto3/*.http")
	if err != nil || len(files) == 0 {
		f.Fatalf("found %d recordings, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, v := range readVectors(f) {
		var raw bytes.Buffer
		if err := v.inHeaderRequest(f).Write(&raw); err != nil {
			f.Fatal(err)
		}
		f.Add(raw.Bytes())
	}
}

// checkScopeAgainstClaim returns when the request says it was signed.
func checkScopeAgainstClaim(t *testing.T, r *http.Request) time.Time {
	t.Helper()
	scope, ok := ParseScope(r)
	c, err := readClaim(r)
	if err != nil {
		return testNow
	}
	if ok && scope != c.scope || !ok && c.terminator == terminator {
		t.Fatalf("ParseScope says %+v, %v, the claim %+v", scope, ok, c.scope)
	}
	return c.signedAt
}

// FuzzCanonicalQuery checks the canonical query against its definition.
func FuzzCanonicalQuery(f *testing.F) {
	for _, query := range []string{"", "a=b", "b&a=", "a=2&a=1", "a%20b=c+d", "Param-3=x&Param=y", "ሴ=bar", "%zz", "a=%4", "&&=&", "X-Amz-Signature=1&a=b", "a=b=c;d"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var s scratch
		once, err := s.appendQuery(nil, raw)
		if err != nil {
			return
		}
		if want := referenceQuery(raw); string(once) != want {
			t.Fatalf("%q: got %q, want %q", raw, once, want)
		}
	})
}

// referenceQuery is the definition, written with no care for speed.
func referenceQuery(raw string) string {
	var pairs [][2]string
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if pair == "" || name == "X-Amz-Signature" {
			continue
		}
		encoded := [2]string{}
		for i, part := range []string{name, value} {
			decoded, err := url.QueryUnescape(part)
			if err != nil {
				return "not decodable: " + part
			}
			encoded[i] = strings.ReplaceAll(url.QueryEscape(decoded), "+", "%20")
		}
		pairs = append(pairs, encoded)
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	var joined []string
	for _, pair := range pairs {
		joined = append(joined, pair[0]+"="+pair[1])
	}
	return strings.Join(joined, "&")
}

// FuzzCleanPath checks that cleaning ends in a path with nothing left to clean
// and never escapes the root.
func FuzzCleanPath(f *testing.F) {
	for _, path := range []string{"", "/", "//a/./b/../c/", "/..", "/a%2F..%2Fb", "/é x", "a", "../a"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		clean := string(appendCleanPath(nil, path))
		if !strings.HasPrefix(clean, "/") {
			t.Fatalf("%q became %q", path, clean)
		}
		for segment := range strings.SplitSeq(strings.Trim(clean, "/"), "/") {
			if clean != "/" && (segment == "" || segment == "." || segment == "..") {
				t.Fatalf("%q became %q", path, clean)
			}
		}
	})
}

func TestSignedHeaderLookUpAgreesWithNetHTTP(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "x-amz-date", "x-amzn-sagemaker-custom-attributes", "x--y", "-x", "te", strings.Repeat("long-", 30) + "name"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(name, "v")
		if got := headerValues(r.Header, name); len(got) != 1 {
			t.Errorf("%q was not found", name)
		}
	}
}
