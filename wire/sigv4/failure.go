package sigv4

import (
	"net/http"

	"github.com/stint-ml/stint/wire"
)

// Reason says why a request was refused.
type Reason uint8

// The reasons, in the order in which they are looked for.
const (
	MissingAuthentication Reason = iota // no signature at all
	Malformed                           // a signature that cannot be read
	WrongScope                          // signed for another service, region, day or protocol
	Skewed                              // signed more than 15 minutes before or after now
	PresignExpired                      // a presigned URL past its time
	UnknownKey                          // no such access key
	InvalidToken                        // the session token is not the key's
	ExpiredToken                        // the session has ended
	UnsignedHeader                      // host or an x-amz-* header is not covered by the signature
	PayloadMismatch                     // the body is not the one that x-amz-content-sha256 declares
	SignatureMismatch                   // the signature is wrong
)

// Dialect selects the codes of a family of services: they word the same
// refusal differently, and clients compare the words.
type Dialect uint8

// The families.
const (
	JSON  Dialect = iota // JSON 1.0, JSON 1.1 and REST-JSON services
	Query                // Query services: sts, iam
	S3
)

// Failure is a refusal. Message is in AWS's words and holds nothing secret.
type Failure struct {
	Reason  Reason
	Message string
	// Canonical and StringToSign are what this server computed; set only for
	// SignatureMismatch. They belong in the log: comparing them with the
	// client's own finds a faulty signer at once.
	Canonical, StringToSign string
}

// Error implements error.
func (f *Failure) Error() string { return "signature refused: " + f.Message }

type rendering struct {
	status  int
	code    string
	message string // empty: the Failure's own
}

// renderings is the one table from a reason to what each family answers.
var renderings = map[Reason][3]rendering{
	MissingAuthentication: {
		{http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token"},
		{http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		{http.StatusForbidden, "AccessDenied", "Access Denied"},
	},
	Malformed: {
		{http.StatusBadRequest, "IncompleteSignatureException", ""},
		{http.StatusBadRequest, "IncompleteSignature", ""},
		{http.StatusBadRequest, "AuthorizationHeaderMalformed", ""},
	},
	WrongScope: {
		{http.StatusForbidden, "InvalidSignatureException", ""},
		{http.StatusForbidden, "SignatureDoesNotMatch", ""},
		{http.StatusBadRequest, "AuthorizationHeaderMalformed", ""},
	},
	Skewed: {
		{http.StatusForbidden, "InvalidSignatureException", ""},
		{http.StatusForbidden, "SignatureDoesNotMatch", ""},
		{http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."},
	},
	PresignExpired: {
		{http.StatusForbidden, "InvalidSignatureException", ""},
		{http.StatusForbidden, "SignatureDoesNotMatch", ""},
		{http.StatusForbidden, "AccessDenied", "Request has expired"},
	},
	UnknownKey: {
		{http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid."},
		{http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid."},
		{http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."},
	},
	InvalidToken: {
		{http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid."},
		{http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid."},
		{http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid."},
	},
	ExpiredToken: {
		{http.StatusForbidden, "ExpiredTokenException", "The security token included in the request is expired"},
		{http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired"},
		{http.StatusBadRequest, "ExpiredToken", "The provided token has expired."},
	},
	UnsignedHeader: {
		{http.StatusForbidden, "InvalidSignatureException", ""},
		{http.StatusForbidden, "SignatureDoesNotMatch", ""},
		{http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed"},
	},
	PayloadMismatch: {
		{http.StatusForbidden, "InvalidSignatureException", ""},
		{http.StatusForbidden, "SignatureDoesNotMatch", ""},
		{http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."},
	},
	SignatureMismatch: {
		{http.StatusForbidden, "InvalidSignatureException", ""},
		{http.StatusForbidden, "SignatureDoesNotMatch", ""},
		{http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method."},
	},
}

// Render gives the refusal the code, status and words of a family.
func (f *Failure) Render(dialect Dialect) *wire.Error {
	as := renderings[f.Reason][dialect]
	message := as.message
	if message == "" {
		message = f.Message
	}
	return &wire.Error{Status: as.status, Code: as.code, Message: message, Fault: wire.Sender}
}
