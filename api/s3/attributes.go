package s3

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
)

// partsAttribute is where the backend records the parts of an object that was uploaded in parts.
const partsAttribute = "mp-metadata"

// attributes keeps what the backend knows of an object in extended attributes of its file. ext4 has about 4 KB for all of
// them, which the backend's list of parts exceeds from some hundred parts on: an upload of a few GB would fail. Here the
// list is written as runs of equal sizes, and left out where even that is too long: only reading single parts by number
// needs it.
type attributes struct{ meta.XattrMeta }

const maxPartsAttribute = 1 << 10

type partRuns struct {
	UploadID string     `json:"uploadId"`
	Runs     [][2]int64 `json:"runs"` // size, count
}

// StoreAttribute replaces one attribute.
func (a attributes) StoreAttribute(f *os.File, bucket, object, name string, value []byte) error {
	if name == partsAttribute {
		var err error
		if value, err = packParts(value); err != nil || len(value) > maxPartsAttribute {
			return err
		}
	}
	return a.XattrMeta.StoreAttribute(f, bucket, object, name, value)
}

// RetrieveAttribute reads one attribute.
func (a attributes) RetrieveAttribute(f *os.File, bucket, object, name string) ([]byte, error) {
	value, err := a.XattrMeta.RetrieveAttribute(f, bucket, object, name)
	if err != nil || name != partsAttribute {
		return value, err
	}
	return unpackParts(value)
}

func packParts(value []byte) ([]byte, error) {
	parts, err := backend.UnmarshalMpUploadMetadata(value, false)
	if err != nil {
		return nil, err
	}
	packed := partRuns{UploadID: parts.UploadID}
	var before int64
	for _, end := range parts.Parts {
		size := end - before
		before = end
		if last := len(packed.Runs) - 1; last >= 0 && packed.Runs[last][0] == size {
			packed.Runs[last][1]++
			continue
		}
		packed.Runs = append(packed.Runs, [2]int64{size, 1})
	}
	return json.Marshal(packed)
}

func unpackParts(value []byte) ([]byte, error) {
	var packed partRuns
	if err := json.Unmarshal(value, &packed); err != nil {
		return nil, fmt.Errorf("list of parts: %w", err)
	}
	parts := backend.MpUploadMetadata{UploadID: packed.UploadID}
	var end int64
	for _, run := range packed.Runs {
		for range run[1] {
			end += run[0]
			parts.Parts = append(parts.Parts, end)
		}
	}
	return backend.MarshalMpUploadMetadata(parts, false)
}
