package store

import (
	"encoding/binary"
	"fmt"
	"unique"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/platform"
)

// token seals the place of the last record given: what the list is sorted by, then its name.
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
	return drivers.SealToken(s.fingerprint(), append(place, last.name...))
}

// parse gives an entry with the fields that the order looks at.
func (s *selection) parse(token string) (*entry, error) {
	place, err := drivers.OpenToken(s.fingerprint(), token)
	if err != nil {
		return nil, err
	}
	last := &entry{}
	switch s.Sort {
	case platform.ByCreated, platform.ByModified:
		micro, n := binary.Varint(place)
		if n <= 0 {
			return nil, drivers.BadToken(token)
		}
		last.created, last.modified, place = micro, micro, place[n:]
	case platform.ByState:
		length, n := binary.Uvarint(place)
		if n <= 0 || length > uint64(len(place)-n) {
			return nil, drivers.BadToken(token)
		}
		last.state, place = unique.Make(string(place[n:n+int(length)])), place[n+int(length):]
	}
	last.name = string(place)
	return last, nil
}

// fingerprint covers what was asked for, but not the size of the page, which a reader may change.
func (s *selection) fingerprint() []byte {
	return fmt.Appendf(nil, "%q %q %q %q %d %d %d %d %q %t", s.Kind, s.Query.States, s.NamePrefix, s.contains,
		s.createdAfter, s.createdBefore, s.modifiedAfter, s.modifiedBefore, s.Sort, s.Descending)
}
