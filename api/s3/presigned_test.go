package s3_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// presigned makes URLs of signature version 2, as "Query string request authentication alternative" in S3's guide describes.
type presigned struct {
	id, secret, token string
	expires           time.Time
	contentType       string
	headers           []string // of the query: "x-amz-meta-a:b", in order
}

func (p presigned) url(method, endpoint, path, query string) string {
	values, _ := url.ParseQuery(query)
	if p.token != "" {
		p.headers = append(slices.Clone(p.headers), "x-amz-security-token:"+p.token)
	}
	text := fmt.Sprintf("%s\n\n%s\n%d\n", method, p.contentType, p.expires.Unix())
	for _, h := range p.headers {
		name, value, _ := strings.Cut(h, ":")
		values.Set(name, value)
		text += h + "\n"
	}
	if text += path; query != "" {
		text += "?" + query
	}
	mac := hmac.New(sha1.New, []byte(p.secret))
	mac.Write([]byte(text))
	values.Set("AWSAccessKeyId", p.id)
	values.Set("Expires", fmt.Sprint(p.expires.Unix()))
	values.Set("Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return endpoint + path + "?" + values.Encode()
}

// answer is what came of a call.
type answer struct {
	*http.Response
	text string
}

// failure is the status and the code of a refusal, "" for none.
func (a answer) failure() string {
	var e struct{ Code string }
	if a.StatusCode < 300 {
		return ""
	}
	if err := xml.Unmarshal([]byte(a.text), &e); err != nil {
		return a.Status + " " + a.text
	}
	return fmt.Sprintf("%d %s", a.StatusCode, e.Code)
}

// call sends a request as somebody would who has nothing but a URL.
func call(t *testing.T, method, target, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res, string(text)}
}

func allow(action, resource string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":%q,"Resource":%q}}`, action, resource)
}

func asUser(policies ...string) presigned {
	id := iam.add(name("AKIA"), account{principal: user("presigner", policies...)})
	return presigned{id: id, secret: "secret-of-" + id, expires: time.Now().Add(time.Hour)}
}

func TestURLsOfVersion2(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	put(t, asRoot(), bucket, "sp ace+ü", "hello")
	for _, endpoint := range []string{store.Endpoint(), shared.URL} {
		p := asUser(allow("s3:*", "*"))
		path := "/" + bucket + "/sp%20ace%2B%C3%BC"
		for what, c := range map[string]struct {
			got    answer
			status int
			text   string
		}{
			"get":  {call(t, "GET", p.url("GET", endpoint, path, ""), ""), 200, "hello"},
			"part": {call(t, "GET", p.url("GET", endpoint, path, ""), "", "Range", "bytes=1-2"), 206, "el"},
			"head": {call(t, "HEAD", p.url("HEAD", endpoint, path, ""), ""), 200, ""},
			"list": {call(t, "GET", p.url("GET", endpoint, "/"+bucket+"/", "")+"&list-type=2&prefix=sp", ""), 200, "<KeyCount>1</KeyCount>"},
			"none": {call(t, "GET", p.url("GET", endpoint, "/"+bucket+"/none", ""), ""), 404, "<Code>NoSuchKey</Code>"},
		} {
			if c.got.StatusCode != c.status || !strings.Contains(c.got.text, c.text) {
				t.Errorf("%s: %s %s", what, c.got.Status, c.got.text)
			}
		}
		if a := call(t, "GET", p.url("GET", endpoint, path, "response-content-type=text/x"), ""); a.Header.Get("Content-Type") != "text/x" || a.text != "hello" {
			t.Errorf("get as text/x: %s %v", a.Status, a.Header)
		}
	}
}

// The headers that the signer wanted need not be sent.
func TestURLsOfVersion2Write(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	big := strings.Repeat("0123456789abcdef", 1<<17)
	for i, endpoint := range []string{store.Endpoint(), shared.URL} {
		p := asUser(allow("s3:*", "*"))
		p.contentType, p.headers = "text/csv", []string{"x-amz-meta-who:me", "x-amz-sdk-checksum-algorithm:CRC32"}
		if a := call(t, "PUT", p.url("PUT", endpoint, "/"+bucket+"/new", ""), big, "Content-Type", "text/csv"); a.failure() != "" {
			t.Errorf("put: %s %s", a.Status, a.text)
		}
		head, err := asRoot().HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: new("new")})
		if err != nil || *head.ContentLength != int64(len(big)) || *head.ContentType != "text/csv" || head.Metadata["who"] != "me" {
			t.Errorf("what was put: %+v, %v", head, err)
		}
		p.contentType, p.headers = "", []string{"x-amz-copy-source:" + bucket + "/new"}
		if a := call(t, "PUT", p.url("PUT", endpoint, fmt.Sprintf("/%s/copy%d", bucket, i), ""), ""); a.failure() != "" || !strings.Contains(a.text, "CopyObjectResult") {
			t.Errorf("copy: %s %s", a.Status, a.text)
		}
		p.headers = nil
		if a := call(t, "DELETE", p.url("DELETE", endpoint, "/"+bucket+"/new", ""), ""); a.StatusCode != 204 {
			t.Errorf("delete: %s %s", a.Status, a.text)
		}
	}
}

// A browser asks before it uses a URL of another site, by another method than the one that was signed.
func TestABrowserMayAskAboutAURLOfVersion2(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	_, err := asRoot().PutBucketCors(t.Context(), &awss3.PutBucketCorsInput{Bucket: &bucket, CORSConfiguration: &types.CORSConfiguration{
		CORSRules: []types.CORSRule{{AllowedMethods: []string{"PUT"}, AllowedOrigins: []string{"https://page.example"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	target := asUser(allow("s3:*", "*")).url("PUT", shared.URL, "/"+bucket+"/k", "")
	a := call(t, "OPTIONS", target, "", "Origin", "https://page.example", "Access-Control-Request-Method", "PUT")
	if a.failure() != "" || a.Header.Get("Access-Control-Allow-Origin") != "https://page.example" {
		t.Errorf("asked: %s %v %s", a.Status, a.Header, a.text)
	}
	a = call(t, "PUT", target, "x", "Origin", "https://page.example")
	if a.failure() != "" || a.Header.Get("Access-Control-Allow-Origin") != "https://page.example" {
		t.Errorf("used: %s %v %s", a.Status, a.Header, a.text)
	}
}

func TestURLsOfVersion2InParts(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	begun, err := asRoot().CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: new("k")})
	if err != nil {
		t.Fatal(err)
	}
	p, path, query := asUser(allow("s3:*", "*")), "/"+bucket+"/k", "partNumber=1&uploadId="+*begun.UploadId
	part := call(t, "PUT", p.url("PUT", shared.URL, path, query), "part")
	if part.failure() != "" {
		t.Fatalf("upload a part: %s %s", part.Status, part.text)
	}
	parts := `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>` + part.Header.Get("ETag") + `</ETag></Part></CompleteMultipartUpload>`
	if a := call(t, "POST", p.url("POST", shared.URL, path, "uploadId="+*begun.UploadId), parts); a.failure() != "" {
		t.Fatalf("complete: %s %s", a.Status, a.text)
	}
	if got := get(t, asRoot(), bucket, "k"); got != "part" {
		t.Errorf("got %q", got)
	}
}

// Whoever signed must be allowed, and a session's token counts as with version 4.
func TestURLsOfVersion2AreOfSomebody(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	put(t, asRoot(), bucket, "k", "hello")
	path := "/" + bucket + "/k"
	id := iam.add(name("ASIA"), account{token: "the+token/=", principal: root()})
	session := presigned{id: id, secret: "secret-of-" + id, token: "the+token/=", expires: time.Now().Add(time.Hour)}
	expired := iam.add(name("ASIA"), account{token: "t", expired: true, principal: root()})
	revoked := asUser(allow("s3:*", "*"))
	iam.revoke(revoked.id)
	change := func(p presigned, change func(*presigned)) presigned {
		change(&p)
		return p
	}
	for what, c := range map[string]struct {
		as   presigned
		want string
	}{
		"a reader":            {asUser(allow("s3:GetObject", "arn:aws:s3:::"+bucket+"/*")), ""},
		"no reader":           {asUser(allow("s3:PutObject", "*")), "403 AccessDenied"},
		"a session":           {session, ""},
		"without its token":   {change(session, func(p *presigned) { p.token = "" }), "400 InvalidToken"},
		"another token":       {change(session, func(p *presigned) { p.token = "x" }), "400 InvalidToken"},
		"a token too many":    {change(asUser(allow("s3:*", "*")), func(p *presigned) { p.token = "x" }), "400 InvalidToken"},
		"an ended session":    {presigned{id: expired, secret: "secret-of-" + expired, token: "t", expires: time.Now().Add(time.Hour)}, "400 ExpiredToken"},
		"a revoked key":       {revoked, "403 InvalidAccessKeyId"},
		"another's secret":    {change(asUser(allow("s3:*", "*")), func(p *presigned) { p.secret = "x" }), "403 SignatureDoesNotMatch"},
		"a minute ago":        {change(asUser(allow("s3:*", "*")), func(p *presigned) { p.expires = time.Now().Add(-time.Minute) }), "403 AccessDenied"},
		"the gateway's root":  {presigned{id: site.Account, secret: "", expires: time.Now().Add(time.Hour)}, "403 InvalidAccessKeyId"},
		"the gateway's guess": {presigned{id: site.Account, secret: "secret", expires: time.Now().Add(time.Hour)}, "403 InvalidAccessKeyId"},
	} {
		if a := call(t, "GET", c.as.url("GET", shared.URL, path, ""), ""); a.failure() != c.want || c.want == "" && a.text != "hello" {
			t.Errorf("%s: got %q, want %q: %s", what, a.failure(), c.want, a.text)
		}
	}
	reader := asUser(allow("s3:*", "*"))
	good := reader.url("GET", shared.URL, path, "")
	for what, c := range map[string]struct{ method, url, want string }{
		"another method":       {"DELETE", good, "403 SignatureDoesNotMatch"},
		"another object":       {"GET", strings.Replace(good, "/k?", "/other?", 1), "403 SignatureDoesNotMatch"},
		"another resource":     {"GET", good + "&acl", "403 SignatureDoesNotMatch"},
		"what is not signed":   {"GET", good + "&attributes", "403 AccessDenied"},
		"a header more":        {"GET", good + "&x-amz-expected-bucket-owner=1", "403 SignatureDoesNotMatch"},
		"a signature too few":  {"GET", strings.Replace(good, "Signature=", "Sig=", 1), "403 AccessDenied"},
		"an escape that's bad": {"GET", good + "&prefix=%zz", "400 InvalidURI"},
	} {
		if a := call(t, c.method, c.url, ""); a.failure() != c.want {
			t.Errorf("%s: got %q, want %q: %s", what, a.failure(), c.want, a.text)
		}
	}
	if a := call(t, "GET", good, "", "Authorization", "AWS4-HMAC-SHA256 x"); a.failure() != "400 InvalidArgument" {
		t.Errorf("signed twice: %s %s", a.Status, a.text)
	}
	if got := get(t, asRoot(), bucket, "k"); got != "hello" {
		t.Errorf("the object is now %q", got)
	}
}
