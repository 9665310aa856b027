package sigv4

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Scope is what a signature is good for.
type Scope struct {
	AccessKey string
	Date      string // YYYYMMDD, UTC
	Region    string
	Service   string // the signing name: "sagemaker", "sts", "monitoring"
}

// ParseScope reads the scope that a request claims, from its Authorization
// header or its presigned query, without believing it: enough to choose the
// service that will verify. ok is false when there is none or it is malformed.
func ParseScope(r *http.Request) (scope Scope, ok bool) {
	var credential string
	if header := r.Header["Authorization"]; len(header) > 0 {
		var err error
		if _, credential, err = parseAuthorization(header[0]); err != nil {
			return Scope{}, false
		}
	} else {
		credential = queryValue(r.URL.RawQuery, "X-Amz-Credential")
	}
	scope, end, err := parseCredential(credential)
	return scope, err == nil && end == terminator
}

// parseCredential splits "key/date/region/service/terminator".
func parseCredential(credential string) (scope Scope, end string, err error) {
	rest := credential
	var parts [4]string
	for i := range parts {
		part, after, found := strings.Cut(rest, "/")
		if !found || part == "" {
			return Scope{}, "", fiveElements(credential)
		}
		parts[i], rest = part, after
	}
	if rest == "" || strings.Contains(rest, "/") {
		return Scope{}, "", fiveElements(credential)
	}
	return Scope{AccessKey: parts[0], Date: parts[1], Region: parts[2], Service: parts[3]}, rest, nil
}

func fiveElements(credential string) error {
	return malformed("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", credential)
}

// claim is all that a request says about its signature, read but not believed.
type claim struct {
	scope         Scope
	terminator    string
	signedHeaders string
	signature     string
	date          string // dateLayout
	signedAt      time.Time
	token         string // session token, or ""
	presigned     bool
	lifetime      time.Duration // of a presigned URL
}

const (
	maxLifetime     = 7 * 24 * time.Hour
	defaultLifetime = 15 * time.Minute // when X-Amz-Expires is absent, as sts does
)

// readClaim reads the claim from the header or the query. Every error is a
// *Failure with MissingAuthentication or Malformed.
func readClaim(r *http.Request) (claim, error) {
	headers := r.Header["Authorization"]
	presigned := queryValue(r.URL.RawQuery, "X-Amz-Algorithm")
	switch {
	case len(headers) > 1:
		return claim{}, malformed("Only one 'Authorization' header is allowed, got %d.", len(headers))
	case len(headers) == 1 && presigned != "":
		return claim{}, malformed("Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header should be specified.")
	case len(headers) == 1:
		return readHeaderClaim(r, headers[0])
	case presigned != "":
		return readQueryClaim(r, presigned)
	default:
		return claim{}, &Failure{Reason: MissingAuthentication, Message: "Missing Authentication Token"}
	}
}

func readHeaderClaim(r *http.Request, authorization string) (claim, error) {
	c, credential, err := parseAuthorization(authorization)
	if err != nil {
		return claim{}, err
	}
	c.date = first(r.Header["X-Amz-Date"])
	if c.date == "" {
		c.date = isoFromHTTPDate(first(r.Header["Date"]))
	}
	c.token = first(r.Header["X-Amz-Security-Token"])

	if credential == "" || c.signature == "" || c.signedHeaders == "" || c.date == "" {
		return claim{}, missingFromHeader(c, credential)
	}
	err = c.interpret(credential)
	return c, err
}

// missingFromHeader names all that is missing at once, as AWS does.
func missingFromHeader(c claim, credential string) error {
	var missing []string
	for _, part := range []struct{ name, value string }{{"Credential", credential}, {"Signature", c.signature}, {"SignedHeaders", c.signedHeaders}} {
		if part.value == "" {
			missing = append(missing, "Authorization header requires '"+part.name+"' parameter.")
		}
	}
	if c.date == "" {
		missing = append(missing, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	return malformed("%s", strings.Join(missing, " "))
}

// parseAuthorization splits "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…,
// Signature=…", in any order; what is absent stays empty.
func parseAuthorization(authorization string) (c claim, credential string, err error) {
	name, rest, _ := strings.Cut(authorization, " ")
	if name != algorithm {
		return claim{}, "", malformed("Unsupported AWS 'algorithm': '%s'.", name)
	}
	for rest != "" {
		var field string
		field, rest, _ = strings.Cut(rest, ",")
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		var target *string
		switch key {
		case "Credential":
			target = &credential
		case "SignedHeaders":
			target = &c.signedHeaders
		case "Signature":
			target = &c.signature
		}
		if target == nil || *target != "" {
			return claim{}, "", malformed("'%s' not a valid key=value pair (missing equal-sign, unknown or repeated key) in Authorization header.", field)
		}
		*target = value
	}
	return c, credential, nil
}

func readQueryClaim(r *http.Request, name string) (claim, error) {
	if name != algorithm {
		return claim{}, malformed("Unsupported AWS 'algorithm': '%s'.", name)
	}
	query := r.URL.RawQuery
	c := claim{
		signedHeaders: queryValue(query, "X-Amz-SignedHeaders"),
		signature:     queryValue(query, "X-Amz-Signature"),
		date:          queryValue(query, "X-Amz-Date"),
		token:         queryValue(query, "X-Amz-Security-Token"),
		presigned:     true,
		lifetime:      defaultLifetime,
	}
	credential := queryValue(query, "X-Amz-Credential")
	if credential == "" || c.signature == "" || c.signedHeaders == "" || c.date == "" {
		return claim{}, missingFromQuery(c, credential)
	}
	if expires := queryValue(query, "X-Amz-Expires"); expires != "" {
		seconds, err := strconv.ParseUint(expires, 10, 32)
		switch {
		case err != nil:
			return claim{}, malformed("X-Amz-Expires must be a number of seconds, got '%s'.", expires)
		case time.Duration(seconds)*time.Second > maxLifetime:
			return claim{}, malformed("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds, got '%s'.", expires)
		}
		c.lifetime = time.Duration(seconds) * time.Second
	}
	err := c.interpret(credential)
	return c, err
}

func missingFromQuery(c claim, credential string) error {
	var missing []string
	for _, part := range []struct{ name, value string }{
		{"X-Amz-Credential", credential}, {"X-Amz-Signature", c.signature}, {"X-Amz-SignedHeaders", c.signedHeaders}, {"X-Amz-Date", c.date},
	} {
		if part.value == "" {
			missing = append(missing, "AWS query-string parameters must include '"+part.name+"'.")
		}
	}
	return malformed("%s Re-examine the query-string parameters.", strings.Join(missing, " "))
}

// interpret fills in what follows from the credential and the date.
func (c *claim) interpret(credential string) error {
	var err error
	if c.scope, c.terminator, err = parseCredential(credential); err != nil {
		return err
	}
	// Parse alone would also take fractions of a second.
	if c.signedAt, err = time.Parse(dateLayout, c.date); err != nil || len(c.date) != len(dateLayout) {
		return malformed("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", c.date)
	}
	return nil
}

func malformed(format string, args ...any) *Failure {
	return &Failure{Reason: Malformed, Message: fmt.Sprintf(format, args...)}
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// isoFromHTTPDate turns a Date header into the form that is signed; "" when it
// is absent or unreadable. A Date that is ISO 8601 already stays as it is.
func isoFromHTTPDate(date string) string {
	if t, err := http.ParseTime(date); err == nil {
		return t.UTC().Format(dateLayout)
	}
	return date
}

// queryValue returns the decoded first value of name in a raw query; "" when
// it is absent or cannot be decoded. Unlike url.ParseQuery it builds no map,
// and it allocates only for an escaped value.
func queryValue(raw, name string) string {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if len(pair) > len(name) && pair[len(name)] == '=' && pair[:len(name)] == name {
			value, err := url.QueryUnescape(pair[len(name)+1:])
			if err != nil {
				return ""
			}
			return value
		}
	}
	return ""
}
