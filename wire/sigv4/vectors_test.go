package sigv4

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	vectorKey    = "AKIDEXAMPLE"
	vectorSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	vectorDate   = "20150830T123600Z"
	vectorScope  = "20150830/us-east-1/service/aws4_request"
)

var vectorTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

// vector is one entry of testdata/vectors.txt.
type vector struct {
	name, method, target string
	headers              [][2]string
	body                 string
	token                string
	tokenUnsigned        bool
	uncleaned            bool
	signed               string
	inHeader, inQuery    string
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	file, err := os.Open("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var vectors []vector
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, rest, _ := strings.Cut(line, " ")
		if key == "vector" {
			vectors = append(vectors, vector{name: rest})
			continue
		}
		vectors[len(vectors)-1].set(t, key, rest)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return vectors
}

func (v *vector) set(t testing.TB, key, rest string) {
	t.Helper()
	switch key {
	case "request":
		v.method, v.target, _ = strings.Cut(rest, " ")
	case "header":
		name, err := strconv.QuotedPrefix(rest)
		if err != nil {
			t.Fatalf("%s: %v", rest, err)
		}
		v.headers = append(v.headers, [2]string{unquote(t, name), unquote(t, strings.TrimSpace(rest[len(name):]))})
	case "body":
		v.body = unquote(t, rest)
	case "token":
		token, how, _ := strings.Cut(rest, " ")
		v.token, v.tokenUnsigned = token, how == "unsigned"
	case "path":
		v.uncleaned = rest == "uncleaned"
	case "signed":
		v.signed = rest
	case "in-header":
		v.inHeader = rest
	case "in-query":
		v.inQuery = rest
	default:
		t.Fatalf("unknown line %q", key)
	}
}

func unquote(t testing.TB, s string) string {
	t.Helper()
	text, err := strconv.Unquote(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return text
}

// request parses the vector as a server would, with extra headers and query.
func (v *vector) request(t testing.TB, extra [][2]string, query string) *http.Request {
	t.Helper()
	target := v.target
	if query != "" {
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + query
	}
	path, rawQuery, _ := strings.Cut(target, "?")
	onWire := strings.ReplaceAll(target, " ", "%20") // a bare space cannot be parsed
	var text strings.Builder
	text.WriteString(v.method + " " + onWire + " HTTP/1.1\r\n")
	for _, h := range append(append([][2]string{}, v.headers...), extra...) {
		text.WriteString(h[0] + ":" + strings.ReplaceAll(h[1], "\n", "\r\n") + "\r\n")
	}
	text.WriteString("\r\n" + v.body)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text.String())))
	if err != nil {
		t.Fatalf("%s: %v\n%s", v.name, err, text.String())
	}
	if onWire != target {
		r.RequestURI, r.URL = target, &url.URL{Path: path, RawQuery: rawQuery}
	}
	return r
}

func (v *vector) inHeaderRequest(t testing.TB) *http.Request {
	extra := [][2]string{{"X-Amz-Date", vectorDate}}
	if v.body != "" {
		sum := sha256.Sum256([]byte(v.body))
		extra = append(extra, [2]string{"x-amz-content-sha256", hex.EncodeToString(sum[:])})
	}
	if v.token != "" {
		extra = append(extra, [2]string{"X-Amz-Security-Token", v.token})
	}
	extra = append(extra, [2]string{"Authorization", algorithm + " Credential=" + vectorKey + "/" + vectorScope +
		", SignedHeaders=" + v.signed + ", Signature=" + v.inHeader})
	return v.request(t, extra, "")
}

func (v *vector) inQueryRequest(t testing.TB) *http.Request {
	var signed []string
	for name := range strings.SplitSeq(v.signed, ";") {
		if !strings.HasPrefix(name, "x-amz-") {
			signed = append(signed, name)
		}
	}
	query := "X-Amz-Algorithm=" + algorithm +
		"&X-Amz-Credential=" + url.QueryEscape(vectorKey+"/"+vectorScope) +
		"&X-Amz-Date=" + vectorDate +
		"&X-Amz-SignedHeaders=" + url.QueryEscape(strings.Join(signed, ";")) +
		"&X-Amz-Expires=3600"
	if v.token != "" {
		query += "&X-Amz-Security-Token=" + url.QueryEscape(v.token)
	}
	return v.request(t, nil, query+"&X-Amz-Signature="+v.inQuery)
}

func vectorVerifier(token string) *Verifier {
	return NewVerifier(func() time.Time { return vectorTime }, func(_ context.Context, id string) (Secret, error) {
		if id != vectorKey {
			return Secret{}, ErrUnknownKey
		}
		return Secret{Key: vectorSecret, SessionToken: token}, nil
	})
}

func TestPublishedVectorsVerify(t *testing.T) {
	t.Parallel()
	vectors := readVectors(t)
	if len(vectors) != 38 {
		t.Fatalf("read %d vectors, want 38", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			expect := Expect{Service: "service", Regions: []string{"us-east-1"}, S3: v.uncleaned}
			requests := map[string]*http.Request{"in header": v.inHeaderRequest(t)}
			if !v.uncleaned { // a presigned s3 query leaves the payload unsigned
				requests["in query"] = v.inQueryRequest(t)
			}
			for form, r := range requests {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				caller, err := vectorVerifier(v.token).Verify(r, body, expect)
				if v.tokenUnsigned {
					// Stricter than the vector: we leave no x-amz-* member unsigned.
					if err == nil {
						t.Errorf("%s: an unsigned session token was accepted", form)
					}
					continue
				}
				if err != nil {
					reportFailure(t, form, err)
					continue
				}
				if caller.Scope.AccessKey != vectorKey || caller.Presigned != (form == "in query") || !caller.SignedAt.Equal(vectorTime) {
					t.Errorf("%s: caller %+v", form, caller)
				}
			}
		})
	}
}

func reportFailure(t *testing.T, form string, err error) {
	t.Helper()
	var failure *Failure
	if errors.As(err, &failure) {
		t.Errorf("%s: %v\ncanonical request:\n%s\nstring to sign:\n%s", form, err, failure.Canonical, failure.StringToSign)
		return
	}
	t.Errorf("%s: %v", form, err)
}

// Sign covers fewer headers than some vectors; where it covers the same ones
// it must come to the published signature.
func TestSignMakesThePublishedSignature(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, v := range readVectors(t) {
		if strings.Contains(v.signed, "my-header") || strings.Contains(v.signed, "content-length") || v.tokenUnsigned || v.uncleaned {
			continue
		}
		r := v.request(t, nil, "")
		credentials := Credentials{AccessKeyID: vectorKey, SecretAccessKey: vectorSecret, SessionToken: v.token}
		if err := Sign(r, credentials, "us-east-1", "service", vectorTime); err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		want := v.inHeaderRequest(t).Header.Get("Authorization")
		if got := r.Header.Get("Authorization"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", v.name, got, want)
		}
		compared++
	}
	if compared < 15 {
		t.Errorf("only %d vectors compared", compared)
	}
}
