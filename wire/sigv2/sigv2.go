// Package sigv2 reads presigned URLs of S3's first signature, which AWS calls version 2: boto3 and the AWS CLI version 1 make
// them by default in us-east-1. The format is that of "Authenticating requests using the REST API" and its "Query string
// request authentication alternative" in the S3 user guide.
//
// What is signed is the method, the resource, the time of expiry, Content-MD5, Content-Type and every x-amz-* header. Signers
// put those headers into the query too, as whoever uses the URL may not know of them; a header that is sent beats its name in
// the query. Unlike version 4, query parameters that are not part of the resource are not signed.
//
// Only URLs are read here: headers and forms of version 2 are not, and whose a key is, is the caller's business.
package sigv2

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stint-ml/stint/wire"
)

// The parameters that make a URL a presigned one.
const (
	accessKeyParameter = "AWSAccessKeyId"
	expiresParameter   = "Expires"
	signatureParameter = "Signature"
)

const tokenHeader = "X-Amz-Security-Token"

// algorithmHeader names the checksum that a signer's SDK would have computed, had it had the body. Whoever has it need not.
const algorithmHeader = "X-Amz-Sdk-Checksum-Algorithm"

// resource are the parameters that name a resource, and are signed. The list is botocore's; S3's guide has most of it.
var resource = set(
	"accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle", "location", "logging", "metrics",
	"notification", "object-lock", "partNumber", "policy", "replication", "requestPayment", "restore", "select", "select-type", "storageClass",
	"tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website", "response-cache-control",
	"response-content-disposition", "response-content-encoding", "response-content-language", "response-content-type", "response-expires",
)

// harmless are parameters that are not signed and only page through a list, or say what SDKs say for their own sake.
var harmless = set(
	"continuation-token", "delimiter", "encoding-type", "fetch-owner", "key-marker", "list-type", "marker", "max-keys", "max-parts",
	"max-uploads", "part-number-marker", "prefix", "start-after", "upload-id-marker", "version-id-marker", "x-id",
)

func set(names ...string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, n := range names {
		s[n] = true
	}
	return s
}

// Claim is what a presigned URL says of itself.
type Claim struct {
	AccessKeyID  string
	SessionToken string // "" for a long-term key
	Expires      time.Time
	Signature    string // as it came
	StringToSign string // what it must be the signature of

	// alternative is set for a URL that names a bucket without a slash after it: the guide and most signers sign /bucket/, and
	// some sign what they send.
	alternative string
}

// Claimed reports whether a request's URL is presigned with this version, well or badly.
func Claimed(rawQuery string) bool {
	for _, name := range []string{accessKeyParameter, expiresParameter, signatureParameter} {
		if strings.HasPrefix(rawQuery, name+"=") || strings.Contains(rawQuery, "&"+name+"=") {
			return true
		}
	}
	return false
}

// Read reads the claim of a presigned request, and turns the request into the one it stands for: without the signature, and
// with the headers that were in the query. Every error is a *wire.Error in S3's words, and leaves the request as it was.
func Read(r *http.Request, now time.Time) (*Claim, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &wire.Error{Status: http.StatusBadRequest, Code: "InvalidURI", Message: "Couldn't parse the specified URI."}
	}
	c, err := claimOf(query, now)
	if err != nil {
		return nil, err
	}
	rest, headers, err := divide(query)
	if err != nil {
		return nil, err
	}
	for name := range headers {
		if sent := r.Header[name]; len(sent) > 0 {
			headers[name] = sent
		}
	}
	effective := maps.Clone(r.Header)
	maps.Copy(effective, headers)
	c.SessionToken = effective.Get(tokenHeader)
	path := r.URL.EscapedPath()
	c.StringToSign = stringToSign(r.Method, path, rest, effective, query.Get(expiresParameter))
	if len(path) > 1 && strings.LastIndexByte(path, '/') == 0 {
		c.alternative = c.StringToSign
		c.StringToSign = stringToSign(r.Method, path+"/", rest, effective, query.Get(expiresParameter))
	}
	if r.Header[algorithmHeader] == nil {
		delete(effective, algorithmHeader)
	}
	r.Header, r.URL.RawQuery = effective, rest.Encode()
	return c, nil
}

// claimOf reads the parameters that every presigned URL has.
func claimOf(query url.Values, now time.Time) (*Claim, error) {
	c := &Claim{AccessKeyID: query.Get(accessKeyParameter), Signature: query.Get(signatureParameter)}
	if c.AccessKeyID == "" || c.Signature == "" || query.Get(expiresParameter) == "" {
		return nil, denied("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
	}
	// A plus sign in base64 that somebody forgot to encode reads as a space.
	c.Signature = strings.ReplaceAll(c.Signature, " ", "+")
	expires, err := strconv.ParseInt(query.Get(expiresParameter), 10, 64)
	if err != nil {
		return nil, denied(fmt.Sprintf("Invalid date (should be seconds since epoch): %.40s", query.Get(expiresParameter)))
	}
	if c.Expires = time.Unix(expires, 0); now.After(c.Expires) {
		return nil, denied("Request has expired")
	}
	return c, nil
}

// divide takes the signature's parameters out of a query, and those that stand for headers. It refuses what the signature does
// not cover and what could mean another operation than the one that was signed.
func divide(query url.Values) (rest url.Values, headers http.Header, err error) {
	rest, headers = url.Values{}, http.Header{}
	for name, values := range query {
		lower := strings.ToLower(name)
		switch {
		case name == accessKeyParameter || name == expiresParameter || name == signatureParameter:
		case strings.HasPrefix(lower, "x-amz-") || lower == "content-type" || lower == "content-md5":
			if !fitsHeader(lower, values) {
				return nil, nil, &wire.Error{Status: http.StatusBadRequest, Code: "InvalidArgument", Message: fmt.Sprintf("The query parameter %.40q cannot be a header.", name)}
			}
			headers[http.CanonicalHeaderKey(name)] = append(headers[http.CanonicalHeaderKey(name)], values...)
		case resource[name] || harmless[name]:
			rest[name] = values
		default:
			return nil, nil, denied(fmt.Sprintf("A signature of version 2 does not cover the query parameter '%.40s'. Sign the URL with version 4.", name))
		}
	}
	return rest, headers, nil
}

// fitsHeader reports whether a lower-case name and its values can stand in a header without ending it.
func fitsHeader(name string, values []string) bool {
	unfit := func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && r != '_' && r != '.'
	}
	control := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	return !strings.ContainsFunc(name, unfit) && !slices.ContainsFunc(values, func(v string) bool { return strings.ContainsFunc(v, control) })
}

// stringToSign is what the signature is made over.
func stringToSign(method, path string, query url.Values, headers http.Header, expires string) string {
	var b strings.Builder
	for _, line := range []string{method, strings.TrimSpace(headers.Get("Content-Md5")), strings.TrimSpace(headers.Get("Content-Type")), expires} {
		b.WriteString(line + "\n")
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if !strings.HasPrefix(name, "X-Amz-") {
			continue
		}
		trimmed := make([]string, len(headers[name]))
		for i, v := range headers[name] {
			trimmed[i] = strings.TrimSpace(v)
		}
		b.WriteString(strings.ToLower(name) + ":" + strings.Join(trimmed, ",") + "\n")
	}
	b.WriteString(path)
	separator := "?"
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !resource[name] {
			continue
		}
		for _, value := range query[name] {
			b.WriteString(separator + name)
			if value != "" {
				b.WriteString("=" + value)
			}
			separator = "&"
		}
	}
	return b.String()
}

// SignedWith reports whether the claim was signed with this secret.
func (c *Claim) SignedWith(secret string) bool {
	return signs(c.Signature, secret, c.StringToSign) || c.alternative != "" && signs(c.Signature, secret, c.alternative)
}

func signs(signature, secret, text string) bool {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(text))
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return subtle.ConstantTimeCompare([]byte(want), []byte(signature)) == 1
}

func denied(message string) error {
	return &wire.Error{Status: http.StatusForbidden, Code: "AccessDenied", Message: message}
}
