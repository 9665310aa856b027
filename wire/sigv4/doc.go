// Package sigv4 says who signed a request: it verifies AWS Signature Version 4
// in the Authorization header and in presigned query strings, and signs the
// requests of our own command line and agent with the same canonicaliser.
//
// It knows nothing of users or policies: the caller looks up secrets and
// decides what a verified caller may do. It does not verify S3's chunked
// uploads (STREAMING-… payloads) or the asymmetric SigV4A.
//
// Format: "AWS Signature Version 4 for API requests" in the public IAM User
// Guide, and the signing vectors published with the AWS SDKs.
package sigv4

const (
	algorithm       = "AWS4-HMAC-SHA256"
	terminator      = "aws4_request"
	unsignedPayload = "UNSIGNED-PAYLOAD"
	// dateLayout is ISO 8601's basic form, the only one AWS accepts here.
	dateLayout = "20060102T150405Z"
)
