package store

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"unique"

	"github.com/stint-ml/stint/platform"
)

// A page token is base64url of: the place of the last record given (what the list is sorted by, then its name) and, before
// that, eight bytes of a hash over this place and every field of the query. So a token that was damaged or comes with
// another query is refused, and nothing needs to be remembered. It holds no secret: who can make one up can as well
// ask for the page itself.
const sumBytes = 8

func (s *selection) token(last *entry) string {
	var place []byte
	switch s.Sort {
	case platform.ByCreated:
		place = binary.AppendVarint(place, last.created)
	case platform.ByModified:
		place = binary.AppendVarint(place, last.modified)
	case platform.ByState:
		place = binary.AppendUvarint(place, uint64(len(last.state.Value())))
		place = append(place, last.state.Value()...)
	}
	place = append(place, last.name...)
	return base64.RawURLEncoding.EncodeToString(append(s.sum(place), place...))
}

// parse gives an entry with the fields that the order looks at.
func (s *selection) parse(token string) (*entry, error) {
	bad := platform.Errorf(platform.Invalid, token, "the page token %q is not one of this list; ask for the first page again with the same filters", token)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < sumBytes || string(s.sum(raw[sumBytes:])) != string(raw[:sumBytes]) {
		return nil, bad
	}
	place, last := raw[sumBytes:], &entry{}
	switch s.Sort {
	case platform.ByCreated, platform.ByModified:
		micro, n := binary.Varint(place)
		if n <= 0 {
			return nil, bad
		}
		last.created, last.modified, place = micro, micro, place[n:]
	case platform.ByState:
		length, n := binary.Uvarint(place)
		if n <= 0 || length > uint64(len(place)-n) {
			return nil, bad
		}
		last.state, place = unique.Make(string(place[n:n+int(length)])), place[n+int(length):]
	}
	last.name = string(place)
	return last, nil
}

// sum covers what was asked for, but not the size of the page, which a reader may change.
func (s *selection) sum(place []byte) []byte {
	q := fmt.Appendf(nil, "%q %q %q %q %d %d %d %d %q %t ", s.Kind, s.Query.States, s.NamePrefix, s.contains,
		s.createdAfter, s.createdBefore, s.modifiedAfter, s.modifiedBefore, s.Sort, s.Descending)
	sum := sha256.Sum256(append(q, place...))
	return sum[:sumBytes]
}
