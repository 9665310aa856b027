package sigv4

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxSkew is how far a client's clock may be from ours, both ways.
const maxSkew = 15 * time.Minute

// maxSignedHeaders bounds the work that an Authorization header can ask for.
const maxSignedHeaders = 128

// Secret is what a Lookup knows of an access key.
type Secret struct {
	Key          string    // the secret access key
	SessionToken string    // "" for a long-term key
	Expires      time.Time // end of the session; zero means never
	Owner        any       // returned in Caller untouched, to save a second look-up
}

// ErrUnknownKey is what a Lookup answers for an access key that does not exist
// or is not active.
var ErrUnknownKey = errors.New("unknown access key")

// Lookup finds the secret of an access key. It is called once for every call
// that is well formed and in time, concurrently, so it must be fast. An error
// other than ErrUnknownKey is a fault of ours and is returned by Verify as is.
type Lookup func(ctx context.Context, accessKeyID string) (Secret, error)

// Expect is what a signature must have been made for.
type Expect struct {
	Service string   // signing name the scope must hold
	Regions []string // any of these; empty accepts every region
	// S3 selects that service's rules: the path is encoded once and not
	// cleaned, and UNSIGNED-PAYLOAD is allowed.
	S3 bool
}

// Caller is who signed a request.
type Caller struct {
	Scope     Scope
	SignedAt  time.Time // by the client's clock
	Presigned bool
	Owner     any // from the Secret
}

// Verifier verifies signatures. It is safe for concurrent use.
type Verifier struct {
	now    func() time.Time
	lookup Lookup
	keys   keyCache
}

// NewVerifier returns a verifier that tells time by now and finds secrets by
// lookup.
func NewVerifier(now func() time.Time, lookup Lookup) *Verifier {
	return &Verifier{now: now, lookup: lookup}
}

// Verify says who signed r, whose whole body is body. A refusal is a *Failure;
// any other error came from the Lookup. Nothing of r is changed or read twice.
// Under S3 rules with an unsigned payload, body is not looked at.
func (v *Verifier) Verify(r *http.Request, body []byte, expect Expect) (Caller, error) {
	// 1. Read what the request claims.
	c, err := readClaim(r)
	if err != nil {
		return Caller{}, err
	}
	// 2. Refuse what was signed for something else, or for another time.
	if err := c.checkScope(&expect); err != nil {
		return Caller{}, err
	}
	if err := c.checkTime(v.now()); err != nil {
		return Caller{}, err
	}
	// 3. Find the secret, and check that the session is the key's and alive.
	secret, err := v.lookup(r.Context(), c.scope.AccessKey)
	if errors.Is(err, ErrUnknownKey) {
		return Caller{}, &Failure{Reason: UnknownKey, Message: "The security token included in the request is invalid."}
	}
	if err != nil {
		return Caller{}, fmt.Errorf("look up access key %q: %w", c.scope.AccessKey, err)
	}
	if err := c.checkSession(&secret, v.now()); err != nil {
		return Caller{}, err
	}
	// 4. Canonicalise the request as the client should have, and compare.
	s := scratchPool.Get().(*scratch)
	defer s.release()
	m, err := s.assemble(r, body, &c, expect.S3)
	if err != nil {
		return Caller{}, err
	}
	if err := s.canonicalise(&m); err != nil {
		return Caller{}, err
	}
	if err := v.compare(s, &c, secret.Key); err != nil {
		return Caller{}, err
	}
	return Caller{Scope: c.scope, SignedAt: c.signedAt, Presigned: c.presigned, Owner: secret.Owner}, nil
}

func (c *claim) checkScope(expect *Expect) error {
	var message string
	switch {
	case c.terminator != terminator:
		message = fmt.Sprintf("Credential should be scoped with a valid terminator: 'aws4_request', not '%s'.", c.terminator)
	case c.scope.Service != expect.Service:
		message = fmt.Sprintf("Credential should be scoped to correct service: '%s'.", expect.Service)
	case len(expect.Regions) > 0 && !slices.Contains(expect.Regions, c.scope.Region):
		message = fmt.Sprintf("Credential should be scoped to a valid region, not '%s'; expecting '%s'.", c.scope.Region, strings.Join(expect.Regions, "' or '"))
	case c.scope.Date != c.date[:8]:
		message = fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", c.scope.Date, c.date[:8], c.date)
	default:
		return nil
	}
	return &Failure{Reason: WrongScope, Message: message}
}

func (c *claim) checkTime(now time.Time) error {
	now = now.UTC()
	if c.signedAt.After(now.Add(maxSkew)) {
		return &Failure{Reason: Skewed, Message: fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 15 min.)",
			c.date, now.Add(maxSkew).Format(dateLayout), now.Format(dateLayout))}
	}
	reason, lifetime := Skewed, maxSkew
	if c.presigned {
		reason, lifetime = PresignExpired, c.lifetime
	}
	if c.signedAt.Before(now.Add(-lifetime)) {
		window := fmt.Sprintf("%d sec.", int(lifetime.Seconds()))
		if lifetime%time.Minute == 0 {
			window = fmt.Sprintf("%d min.", int(lifetime.Minutes()))
		}
		return &Failure{Reason: reason, Message: fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s)",
			c.date, now.Add(-lifetime).Format(dateLayout), now.Format(dateLayout), window)}
	}
	return nil
}

func (c *claim) checkSession(secret *Secret, now time.Time) error {
	if subtle.ConstantTimeCompare([]byte(c.token), []byte(secret.SessionToken)) != 1 {
		return &Failure{Reason: InvalidToken, Message: "The security token included in the request is invalid."}
	}
	if !secret.Expires.IsZero() && !now.Before(secret.Expires) {
		return &Failure{Reason: ExpiredToken, Message: "The security token included in the request is expired"}
	}
	return nil
}

// assemble collects what the signature must cover, after checking that it
// covers enough. The message borrows from s.
func (s *scratch) assemble(r *http.Request, body []byte, c *claim, s3 bool) (message, error) {
	m := message{
		method:        r.Method,
		path:          r.URL.Path,
		singleEncoded: s3,
		rawQuery:      r.URL.RawQuery,
		header:        r.Header,
		host:          r.Host,
		contentLength: r.ContentLength,
	}
	if !s3 {
		m.path = wirePath(r)
	}
	var err error
	if m.signedHeaders, err = s.splitSignedHeaders(c.signedHeaders); err != nil {
		return message{}, err
	}
	if !slices.Contains(m.signedHeaders, "host") {
		return message{}, &Failure{Reason: UnsignedHeader, Message: "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."}
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && !slices.ContainsFunc(m.signedHeaders, func(signed string) bool { return strings.EqualFold(signed, name) }) {
			return message{}, &Failure{Reason: UnsignedHeader, Message: fmt.Sprintf("'%s' must be a 'SignedHeader' in the AWS Authorization.", strings.ToLower(name))}
		}
	}
	m.payloadHash, err = s.payloadHash(r, body, c, s3)
	return m, err
}

// splitSignedHeaders demands lower case and strict order, which the format
// prescribes and which leaves no room for a name that is signed twice.
func (s *scratch) splitSignedHeaders(list string) ([]string, error) {
	s.names = s.names[:0]
	for rest, more := list, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ";")
		last := ""
		if len(s.names) > 0 {
			last = s.names[len(s.names)-1]
		}
		if name <= last || strings.ContainsFunc(name, notInHeaderName) {
			return nil, malformed("SignedHeaders must be lower-case header names in ascending order, separated by semicolons, got '%s'.", list)
		}
		if len(s.names) == maxSignedHeaders {
			return nil, malformed("At most %d headers may be signed.", maxSignedHeaders)
		}
		s.names = append(s.names, name)
	}
	return s.names, nil
}

func notInHeaderName(c rune) bool {
	return c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || c == ':' || c == ','
}

// payloadHash returns what the last line of the canonical request must be,
// having checked a declared hash against the body.
func (s *scratch) payloadHash(r *http.Request, body []byte, c *claim, s3 bool) (string, error) {
	declared := first(r.Header["X-Amz-Content-Sha256"])
	if declared == "" && c.presigned {
		declared = queryValue(r.URL.RawQuery, "X-Amz-Content-Sha256")
		if declared == "" && s3 {
			declared = unsignedPayload
		}
	}
	if declared == unsignedPayload && s3 {
		return unsignedPayload, nil
	}
	sum := sha256.Sum256(body)
	hex.Encode(s.hash[:], sum[:])
	if declared == "" {
		return string(s.hash[:]), nil
	}
	if declared != string(s.hash[:]) {
		return "", &Failure{Reason: PayloadMismatch, Message: fmt.Sprintf("The provided 'x-amz-content-sha256' header does not match what was computed: '%s' != '%s'.", declared, s.hash[:])}
	}
	return declared, nil
}

// compare computes the signature over s.text and compares it with the claim's.
func (v *Verifier) compare(s *scratch, c *claim, secret string) error {
	key, cached := v.keys.get(&c.scope, secret)
	if !cached {
		key = newSigner(deriveKey(secret, &c.scope))
	}
	canonical := len(s.text)
	s.appendStringToSign(c.date, &c.scope)
	want := key.mac(s.text[canonical:])

	hex.Encode(s.hash[:], want[:])
	s.arena = append(s.arena[:0], c.signature...)
	if subtle.ConstantTimeCompare(s.arena, s.hash[:]) != 1 {
		return &Failure{
			Reason:       SignatureMismatch,
			Message:      "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
			Canonical:    string(s.text[:canonical]),
			StringToSign: string(s.text[canonical:]),
		}
	}
	if !cached {
		v.keys.put(&c.scope, secret, key)
	}
	return nil
}

// appendStringToSign adds the string to sign after the canonical request that
// s.text holds.
func (s *scratch) appendStringToSign(date string, scope *Scope) {
	sum := sha256.Sum256(s.text)
	text := append(s.text, algorithm+"\n"...)
	text = append(text, date...)
	text = append(text, '\n')
	text = append(text, scope.Date...)
	text = append(text, '/')
	text = append(text, scope.Region...)
	text = append(text, '/')
	text = append(text, scope.Service...)
	text = append(text, "/"+terminator+"\n"...)
	s.text = hex.AppendEncode(text, sum[:])
}
