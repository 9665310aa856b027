package sigv2_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/sigv2"
)

const (
	secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	token  = "token/with+what=base64&has 1"
)

var now = time.Unix(1700000000, 0)

// recorded gives the URLs that botocore made; see testdata/presign.py.
func recorded(t testing.TB) []*http.Request {
	t.Helper()
	text, err := os.ReadFile("testdata/botocore.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []*http.Request
	for line := range strings.Lines(string(text)) {
		if method, target, found := strings.Cut(strings.TrimSpace(line), "\t"); found {
			all = append(all, request(t, method, target))
		}
	}
	if len(all) < 200 {
		t.Fatalf("%d URLs are few", len(all))
	}
	return all
}

func request(t interface{ Fatal(...any) }, method, target string) *http.Request {
	r, err := http.NewRequest(method, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestURLsOfBotocoreAreTaken(t *testing.T) {
	t.Parallel()
	for _, r := range recorded(t) {
		before := r.URL.String()
		if !sigv2.Claimed(r.URL.RawQuery) {
			t.Errorf("%s is not seen", before)
		}
		c, err := sigv2.Read(r, now)
		if err != nil || !c.SignedWith(secret) || c.SignedWith(secret+"x") {
			t.Errorf("%s %s: %+v, %v", r.Method, before, c, err)
			continue
		}
		if want := map[string]string{"AKIDEXAMPLE": "", "ASIAEXAMPLE": token}[c.AccessKeyID]; c.SessionToken != want || r.Header.Get("X-Amz-Security-Token") != want {
			t.Errorf("%s: the token is %q, the headers %v", before, c.SessionToken, r.Header)
		}
		if sigv2.Claimed(r.URL.RawQuery) || strings.Contains(strings.ToLower(r.URL.RawQuery), "x-amz-") {
			t.Errorf("%s becomes %s", before, r.URL)
		}
	}
}

// Whoever has a URL may send its headers or leave them to the URL.
func TestHeadersOfTheQueryMayBeSent(t *testing.T) {
	t.Parallel()
	for _, r := range recorded(t) {
		for name, values := range r.URL.Query() {
			if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") || strings.HasPrefix(lower, "content-") {
				r.Header[http.CanonicalHeaderKey(name)] = values
			}
		}
		before := maps.Clone(r.Header)
		c, err := sigv2.Read(r, now)
		if err != nil || !c.SignedWith(secret) || !maps.EqualFunc(before, r.Header, slices.Equal) {
			t.Errorf("%s: %v, headers %v, before %v", r.URL, err, r.Header, before)
		}
	}
}

func TestHeadersComeOutOfTheQuery(t *testing.T) {
	t.Parallel()
	r := request(t, "PUT", "http://h/b/k?partNumber=1&Content-Type=text%2Fplain&x-amz-meta-A=+b%2Bc+&x-amz-sdk-checksum-algorithm=CRC32&x-id=PutObject"+
		"&AWSAccessKeyId=A&Signature=s&Expires=1700000000")
	c, err := sigv2.Read(r, now)
	if err != nil {
		t.Fatal(err)
	}
	want := "PUT\n\ntext/plain\n1700000000\nx-amz-meta-a:b+c\nx-amz-sdk-checksum-algorithm:CRC32\n/b/k?partNumber=1"
	if c.StringToSign != want {
		t.Errorf("got  %q\nwant %q", c.StringToSign, want)
	}
	// The checksum is one that only the signer's SDK would have sent.
	if headers := (http.Header{"Content-Type": {"text/plain"}, "X-Amz-Meta-A": {" b+c "}}); !maps.EqualFunc(r.Header, headers, slices.Equal) || r.URL.RawQuery != "partNumber=1&x-id=PutObject" {
		t.Errorf("%s with %v", r.URL, r.Header)
	}
}

// Signers disagree on whether a bucket's path ends in a slash.
func TestABucketMayBeSignedWithOrWithoutItsSlash(t *testing.T) {
	t.Parallel()
	for _, resource := range []string{"/b/?acl&response-content-type=a/b", "/b?acl&response-content-type=a/b"} {
		signature := url.QueryEscape(sign("GET\n\n\n1700000000\n" + resource))
		c, err := sigv2.Read(request(t, "GET", "http://h/b?acl&response-content-type=a/b&AWSAccessKeyId=A&Expires=1700000000&Signature="+signature), now)
		if err != nil || !c.SignedWith(secret) {
			t.Errorf("%s: %+v, %v", resource, c, err)
		}
	}
}

func sign(text string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// changes are ways to make another request of a signed one; each reports whether it could.
var changes = map[string]func(t *rapid.T, r *http.Request, query url.Values) bool{
	"method": func(t *rapid.T, r *http.Request, _ url.Values) bool {
		before := r.Method
		r.Method = rapid.SampledFrom([]string{"GET", "PUT", "DELETE", "HEAD", "POST"}).Draw(t, "method")
		return r.Method != before
	},
	"path": func(t *rapid.T, r *http.Request, _ url.Values) bool {
		r.URL.Path, r.URL.RawPath = r.URL.Path+rapid.StringMatching(`[a-z/]{0,3}[a-z]`).Draw(t, "more"), ""
		return true
	},
	"expires": func(t *rapid.T, _ *http.Request, query url.Values) bool {
		query.Set("Expires", strconv.Itoa(rapid.IntRange(1800000000, 1900000000).Draw(t, "expires")))
		return true
	},
	"signature": func(t *rapid.T, _ *http.Request, query url.Values) bool {
		query.Set("Signature", base64.StdEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "signature")))
		return true
	},
	"header": func(t *rapid.T, r *http.Request, _ url.Values) bool {
		r.Header.Set("X-Amz-"+rapid.StringMatching(`[a-z]{4,9}`).Draw(t, "header"), "x")
		return true
	},
	"resource": func(t *rapid.T, _ *http.Request, query url.Values) bool {
		name := rapid.SampledFrom([]string{"acl", "policy", "delete", "uploads", "versioning"}).Draw(t, "resource")
		had := query.Has(name)
		query.Set(name, "")
		return !had
	},
	"what is unknown": func(t *rapid.T, _ *http.Request, query url.Values) bool {
		query.Set(rapid.StringMatching(`[a-z]{3,4}[A-Z][a-z]+`).Draw(t, "parameter"), "")
		return true
	},
	"a parameter": func(t *rapid.T, _ *http.Request, query url.Values) bool {
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(query)), func(n string) bool {
			return !strings.HasPrefix(n, "x-amz-") && !strings.HasPrefix(n, "content-") && !strings.HasPrefix(n, "response-") && n != "uploadId" && n != "partNumber"
		})
		if len(names) == 0 {
			return false
		}
		if name := rapid.SampledFrom(names).Draw(t, "parameter"); rapid.Bool().Draw(t, "drop") {
			query.Del(name)
		} else {
			query.Set(name, query.Get(name)+"x")
		}
		return true
	},
}

// Changing what is signed never leaves the signature right, and what is not signed cannot mean another operation.
func TestWhatIsSignedCannotBeChanged(t *testing.T) {
	t.Parallel()
	all := recorded(t)
	rapid.Check(t, func(t *rapid.T) {
		original := rapid.SampledFrom(all).Draw(t, "URL")
		r := request(t, original.Method, original.URL.String())
		query := r.URL.Query()
		if !changes[rapid.SampledFrom(slices.Sorted(maps.Keys(changes))).Draw(t, "change")](t, r, query) {
			t.Skip("not changed")
		}
		r.URL.RawQuery = query.Encode()
		if c, err := sigv2.Read(r, now); err == nil && c.SignedWith(secret) {
			t.Fatalf("%s %s is taken, with %v", r.Method, r.URL, r.Header)
		}
	})
}

func TestBadClaimsAreRefusedInS3sWords(t *testing.T) {
	t.Parallel()
	const all = "AWSAccessKeyId=A&Signature=s&Expires=1700000000"
	for query, want := range map[string]string{
		"AWSAccessKeyId=A":                             "AccessDenied: Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
		"Signature=s&Expires=1700000000":               "AccessDenied: Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
		"AWSAccessKeyId=A&Signature=s&Expires=":        "AccessDenied: Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
		"AWSAccessKeyId=A&Signature=s&Expires=soon":    "AccessDenied: Invalid date (should be seconds since epoch): soon",
		"AWSAccessKeyId=A&Signature=s&Expires=1e400":   "AccessDenied: Invalid date (should be seconds since epoch): 1e400",
		"AWSAccessKeyId=A&Signature=s&Expires=-1":      "AccessDenied: Request has expired",
		"AWSAccessKeyId=A&Signature=s&Expires=1699999": "AccessDenied: Request has expired",
		all + "&encryption=":                           "AccessDenied: A signature of version 2 does not cover the query parameter 'encryption'. Sign the URL with version 4.",
		all + "&x-amz-a=1%0d%0aHost:+x":                `InvalidArgument: The query parameter "x-amz-a" cannot be a header.`,
		all + "&x-amz-a:b=1":                           `InvalidArgument: The query parameter "x-amz-a:b" cannot be a header.`,
		all + "&a=%zz":                                 "InvalidURI: Couldn't parse the specified URI.",
		all + "&prefix=a":                              "",
	} {
		r := request(t, "GET", "http://h/b")
		r.URL.RawQuery = query
		_, err := sigv2.Read(r, now)
		var refused *wire.Error
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", query, err)
		case want != "" && (!errors.As(err, &refused) || err.Error() != want || r.URL.RawQuery != query):
			t.Errorf("%s: %v, now %s", query, err, r.URL)
		}
	}
	if sigv2.Claimed("X-Amz-Expires=60&X-Amz-Signature=s") || sigv2.Claimed("list-type=2&prefix=Expires=&X-Expires=1") || sigv2.Claimed("") {
		t.Error("a URL that has no signature of version 2 is taken for one that has")
	}
}

// Whatever a query is, reading it ends in a claim or a refusal, and a right signature is found right.
func FuzzRead(f *testing.F) {
	for _, r := range recorded(f)[:40] {
		f.Add(r.Method, r.URL.EscapedPath(), r.URL.RawQuery)
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		u := &url.URL{Path: "/" + path, RawQuery: query}
		c, err := sigv2.Read(&http.Request{Method: method, URL: u, Header: http.Header{}}, now)
		if err != nil {
			var refused *wire.Error
			if !errors.As(err, &refused) || refused.Status/100 != 4 {
				t.Errorf("%q: %v", query, err)
			}
			return
		}
		if c.Signature = sign(c.StringToSign); !c.SignedWith(secret) || c.SignedWith("S") {
			t.Errorf("%q: a right signature is refused or a wrong one taken", query)
		}
	})
}
