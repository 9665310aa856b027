package checkpoint

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"github.com/stint-ml/stint/platform"
)

const (
	manifestFormat = 1
	// manifestLimit bounds a manifest, which is read whole: about two million files.
	manifestLimit = 512 << 20
	// bookkeeping is the folder of our own below the prefix; the same name in the user's folder is not synced.
	bookkeeping = ".stint"
)

// The kinds of entry, besides a plain file.
const (
	folderKind = "folder"
	linkKind   = "link"
)

// digest is an XXH3 of 128 bits. It finds what changed and what was damaged, both by accident. Whoever could forge an object could
// write a manifest that fits it, so a cryptographic hash would guard no better, and cost more than all else that moves the bytes.
type digest [16]byte

func digestOf(data []byte) digest { return xxh3.Hash128(data).Bytes() }

// MarshalText writes base64.
func (d digest) MarshalText() ([]byte, error) {
	return base64.RawStdEncoding.AppendEncode(nil, d[:]), nil
}

// UnmarshalText reads it.
func (d *digest) UnmarshalText(text []byte) error {
	raw, err := base64.RawStdEncoding.DecodeString(string(text))
	if err == nil && len(raw) != len(d) {
		err = fmt.Errorf("a checksum has %d bytes, not %d", len(d), len(raw))
	}
	copy(d[:], raw)
	return err
}

// content is what a file holds, and the object that holds it. It is never changed once it is in use.
type content struct {
	Key    string   `json:"key"` // below the prefix
	ETag   string   `json:"etag"`
	Size   int64    `json:"size"`
	Chunk  int64    `json:"chunk"` // bytes that each sum is of, but the last
	Chunks []digest `json:"xxh3"`  // of each chunk; an empty file has none
}

// id names the bytes, wherever they are.
func (c *content) id() digest {
	h := xxh3.New()
	_ = binary.Write(h, binary.BigEndian, []int64{c.Size, c.Chunk}) // a hash takes everything
	for _, d := range c.Chunks {
		_, _ = h.Write(d[:])
	}
	return h.Sum128().Bytes()
}

// valid tells whether the numbers fit each other.
func (c *content) valid() bool {
	return c.Key != "" && c.Size >= 0 && c.Chunk > 0 && int64(len(c.Chunks)) == (c.Size+c.Chunk-1)/c.Chunk
}

// entry is one file, folder or link of a generation.
type entry struct {
	Path     string `json:"path,omitempty"`
	Raw      []byte `json:"raw,omitempty"` // the path, when it is not UTF-8
	Kind     string `json:"kind,omitempty"`
	Mode     uint32 `json:"mode,omitempty"`    // permissions
	Modified int64  `json:"mtimeNs,omitempty"` // nanoseconds since 1970
	Link     string `json:"link,omitempty"`    // target of a link
	*content
	Flat   bool `json:"flat,omitempty"`   // the flat object of this path is this host's
	Behind bool `json:"behind,omitempty"` // the file was changing: this is its last whole version
}

// UnmarshalJSON reads an entry: JSON itself would not make the content.
func (e *entry) UnmarshalJSON(doc []byte) error {
	type plain entry
	p := plain{content: &content{}}
	err := json.Unmarshal(doc, &p)
	*e = entry(p)
	return err
}

// byHand is a flat object that no host made.
type byHand struct {
	Path string `json:"path"`
	ETag string `json:"etag"`
}

// manifest is a generation in the store.
type manifest struct {
	Format int          `json:"format"`
	Number int64        `json:"generation"`
	Term   int64        `json:"term"`
	Epoch  int64        `json:"epoch"`
	Host   string       `json:"host"`
	Job    platform.ARN `json:"job"`
	At     time.Time    `json:"at"` // when the set was whole
	Files  []entry      `json:"files"`
	// Missing are files that never came to rest and have no whole version.
	Missing []string `json:"missing,omitempty"`
	// ByHand are files that were put below the prefix by hand and restored, Gone those of them that the user's code has removed.
	ByHand []byHand `json:"byHand,omitempty"`
	Gone   []byHand `json:"gone,omitempty"`
}

// encode writes JSON, compressed: the hashes do not shrink, but all around them does.
func encode(doc any) ([]byte, error) {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // the level is good
	err := json.NewEncoder(w).Encode(doc)
	if closed := w.Close(); err == nil {
		err = closed
	}
	return b.Bytes(), err
}

func decode(r io.Reader, into any) error {
	plain, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	limited := &io.LimitedReader{R: plain, N: manifestLimit}
	if err := json.NewDecoder(limited).Decode(into); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, limited) // up to the checksum at the end
	return err
}

// check refuses a manifest that would lead out of the folder or cannot be restored. Anyone who may write to the prefix can
// have written it.
func (m *manifest) check() error {
	if m.Format != manifestFormat {
		return fmt.Errorf("it is of format %d; this version reads %d", m.Format, manifestFormat)
	}
	for i := range m.Files {
		e := &m.Files[i]
		if e.Raw != nil {
			e.Path = string(e.Raw)
		}
		if !syncable(e.Path) {
			return fmt.Errorf("it names the path %q", e.Path)
		}
		switch e.Kind {
		case "":
			if e.content == nil || !e.valid() {
				return fmt.Errorf("what it says of %q cannot be", e.Path)
			}
		case folderKind, linkKind:
			e.content = nil
		default:
			return fmt.Errorf("%q is of the kind %q", e.Path, e.Kind)
		}
	}
	return nil
}

// equal tells that two entries say the same; the same bytes may lie elsewhere.
func (e *entry) equal(o *entry) bool {
	if e.Path != o.Path || e.Kind != o.Kind || e.Mode != o.Mode || e.Modified != o.Modified || e.Link != o.Link || e.Behind != o.Behind {
		return false
	}
	return e.content == o.content || e.content != nil && o.content != nil && e.Size == o.Size && e.Chunk == o.Chunk && slices.Equal(e.Chunks, o.Chunks)
}

// generation is what a manifest tells of itself.
func (m *manifest) generation() Generation {
	g := Generation{Number: m.Number, Epoch: m.Epoch, Host: m.Host, At: m.At, Behind: slices.Clone(m.Missing)}
	for _, e := range m.Files {
		if e.content != nil {
			g.Files++
			g.Bytes += e.Size
		}
		if e.Behind {
			g.Behind = append(g.Behind, e.Path)
		}
	}
	return g
}

// syncable tells whether a path can be one of a file below the folder that is synced.
func syncable(path string) bool {
	if path == "." || !filepath.IsLocal(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return false
	}
	first, _, _ := strings.Cut(path, "/")
	return first != bookkeeping && first != stagingFolder
}

// flattable tells whether a path can be a key in the store. Others are kept below our own folder only.
func flattable(path string) bool {
	return utf8.ValidString(path) && fs.ValidPath(path) && len(path) <= 900
}
