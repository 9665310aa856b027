package wire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
)

type requestIDKey struct{}

// NewRequestID returns a fresh random request id in UUID version 4 form, as
// AWS services answer in x-amzn-RequestId.
func NewRequestID() string {
	var id [16]byte
	// Read never fails: the runtime ends the process when the system has no
	// randomness, which is also when signing and ids would be worthless.
	_, _ = rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40 // version 4
	id[8] = id[8]&0x3f | 0x80 // RFC 9562 variant
	var text [36]byte
	hex.Encode(text[0:8], id[0:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// RequestID returns the id that Identify gave the call, or "" outside one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// WithRequestID returns a context that carries id. Identify does this for
// every HTTP call; background work that speaks for a call does it by hand.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// Identify gives each call a fresh request id, in the context and in the
// answer's x-amzn-RequestId and x-amz-request-id (clients of S3 read the
// second). An id sent by the client is not believed. A proxy behind Identify
// must set these headers rather than add to them.
func Identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := NewRequestID()
		// One backing array for both header values: this runs on every call.
		value := []string{id}
		w.Header()["X-Amzn-Requestid"] = value[:1:1]
		w.Header()["X-Amz-Request-Id"] = value[:1:1]
		next.ServeHTTP(w, r.WithContext(WithRequestID(r.Context(), id)))
	})
}
