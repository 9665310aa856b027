package drivers

import (
	"crypto/sha256"
	"encoding/base64"

	"github.com/stint-ml/stint/platform"
)

// sumBytes is how much of a hash a page token carries.
const sumBytes = 8

// SealToken makes the page token of a place in the answer to a query: base64url of eight bytes of a hash over both, then
// the place. So a token that was damaged or comes with another query is refused, and nothing needs to be remembered. It
// holds no secret: who can make one up can as well ask for the page itself.
func SealToken(query, place []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(tokenSum(query, place), place...))
}

// OpenToken gives back the place; Invalid when the token was not sealed for this query. The place may still have been
// made up, so its reader must check it: BadToken is the error for that, too.
func OpenToken(query []byte, token string) (place []byte, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < sumBytes || string(tokenSum(query, raw[sumBytes:])) != string(raw[:sumBytes]) {
		return nil, BadToken(token)
	}
	return raw[sumBytes:], nil
}

// BadToken is the error of a token that does not belong to the query.
func BadToken(token string) error {
	return platform.Errorf(platform.Invalid, token, "the page token %q is not one of this list; ask for the first page again with the same filters", token)
}

func tokenSum(query, place []byte) []byte {
	h := sha256.New()
	h.Write(query)
	h.Write([]byte{0})
	h.Write(place)
	return h.Sum(nil)[:sumBytes]
}
