package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Credentials are what a client signs with.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // "" for a long-term key
}

// Sign adds the Authorization header, and the x-amz-* headers it covers, to a
// request that is about to be sent. It signs host, content-type and every
// x-amz-* header; a request signed before is signed anew. The body must be
// absent, or offer GetBody as http.NewRequest arranges for bytes, strings and
// buffers. For service "s3" any other body is sent unsigned, unless the caller
// has put its hash in x-amz-content-sha256.
func Sign(r *http.Request, credentials Credentials, region, service string, now time.Time) error {
	date := now.UTC().Format(dateLayout)
	scope := Scope{AccessKey: credentials.AccessKeyID, Date: date[:8], Region: region, Service: service}
	s3 := service == "s3"

	hash, err := hashBody(r, s3)
	if err != nil {
		return err
	}
	r.Header.Set("X-Amz-Date", date)
	if s3 {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	r.Header.Del("X-Amz-Security-Token")
	if credentials.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", credentials.SessionToken)
	}

	m := message{
		method:        r.Method,
		path:          wirePath(r),
		singleEncoded: s3,
		rawQuery:      r.URL.RawQuery,
		header:        r.Header,
		host:          r.Host,
		signedHeaders: []string{"host"},
		payloadHash:   hash,
	}
	if s3 {
		m.path = r.URL.Path
	}
	if m.method == "" {
		m.method = http.MethodGet
	}
	if m.host == "" {
		m.host = r.URL.Host
	}
	for name := range r.Header {
		if name == "Content-Type" || strings.HasPrefix(name, "X-Amz-") {
			m.signedHeaders = append(m.signedHeaders, strings.ToLower(name))
		}
	}
	slices.Sort(m.signedHeaders)

	s := scratchPool.Get().(*scratch)
	defer s.release()
	if err := s.canonicalise(&m); err != nil {
		return err
	}
	canonical := len(s.text)
	s.appendStringToSign(date, &scope)
	key := deriveKey(credentials.SecretAccessKey, &scope)
	signature := mac(key[:], s.text[canonical:])
	r.Header.Set("Authorization", algorithm+
		" Credential="+strings.Join([]string{scope.AccessKey, scope.Date, region, service, terminator}, "/")+
		", SignedHeaders="+strings.Join(m.signedHeaders, ";")+
		", Signature="+hex.EncodeToString(signature[:]))
	return nil
}

// hashBody returns the payload hash to sign, leaving the body unread.
func hashBody(r *http.Request, s3 bool) (string, error) {
	if declared := r.Header.Get("X-Amz-Content-Sha256"); declared != "" {
		return declared, nil
	}
	hash := sha256.New()
	switch {
	case r.Body == nil || r.Body == http.NoBody:
	case r.GetBody != nil:
		body, err := r.GetBody()
		if err != nil {
			return "", err
		}
		defer body.Close()
		if _, err := io.Copy(hash, body); err != nil {
			return "", err
		}
	case s3:
		return unsignedPayload, nil
	default:
		return "", errors.New("sign: the body cannot be read twice: give the request a GetBody")
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
