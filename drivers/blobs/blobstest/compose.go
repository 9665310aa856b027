package blobstest

import (
	"bytes"
	"errors"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/stint-ml/stint/platform"
)

// sequence gives pieces and then, if it is set, an error.
func sequence(err error, pieces ...platform.Piece) iter.Seq2[platform.Piece, error] {
	return func(yield func(platform.Piece, error) bool) {
		for _, p := range pieces {
			if !yield(p, nil) {
				return
			}
		}
		if err != nil {
			yield(platform.Piece{}, err)
		}
	}
}

func compose(t *testing.T, s Store, key string, how platform.Composing, pieces ...platform.Piece) platform.BlobInfo {
	t.Helper()
	info, err := s.Blobs.Compose(t.Context(), s.uri(key), sequence(nil, pieces...), how)
	if err != nil {
		t.Fatalf("compose %s: %v", key, err)
	}
	if found := stat(t, s, key); found != info {
		t.Errorf("compose tells %+v, stat %+v", info, found)
	}
	return info
}

func composing(t *testing.T, s Store) {
	var sent atomic.Int64
	done := func() { sent.Add(1) }
	data := noise(23<<20, 11)
	for name, pieces := range map[string][]platform.Piece{
		"none":  nil,
		"one":   {{Data: data[:100], Sent: done}},
		"large": {{Data: data[:20<<20], Sent: done}},
		"some":  {{Data: data[:6<<20], Sent: done}, {Data: data[6<<20 : 11<<20], Sent: done}, {Data: data[11<<20 : 22<<20], Sent: done}, {Data: data[22<<20:], Sent: done}},
	} {
		sent.Store(0)
		var want []byte
		for _, p := range pieces {
			want = append(want, p.Data...)
		}
		info := compose(t, s, name, platform.Composing{Fresh: len(name) == 4}, pieces...)
		if info.Size != int64(len(want)) || !bytes.Equal(read(t, s, name, 0, -1), want) {
			t.Errorf("%s: reads something else; %+v", name, info)
		}
		if sent.Load() != int64(len(pieces)) {
			t.Errorf("%s: %d of %d pieces were given back", name, sent.Load(), len(pieces))
		}
	}
	compose(t, s, "some", platform.Composing{}, platform.Piece{Data: []byte("replaced")})
	if got := read(t, s, "some", 0, -1); string(got) != "replaced" {
		t.Errorf("after composing again: %d bytes", len(got))
	}
}

// What has no MD5 for its ETag is an object as any other.
func composingOpaque(t *testing.T, s Store) {
	opaque := platform.Composing{Opaque: true}
	data := noise(3<<20+5, 14)
	info := compose(t, s, "opaque", opaque, platform.Piece{Data: data})
	if !bytes.Equal(read(t, s, "opaque", 0, -1), data) || !bytes.Equal(read(t, s, "opaque", 1<<20, 9), data[1<<20:1<<20+9]) {
		t.Error("it reads something else")
	}
	for b, err := range s.Blobs.List(t.Context(), s.uri("opaque")) {
		if err != nil || b != info {
			t.Errorf("listed as %+v, composed as %+v: %v", b, info, err)
		}
	}
	if !bytes.Equal(download(t, s, info), data) {
		t.Error("it downloads as something else")
	}
	compose(t, s, "copy of it", platform.Composing{}, platform.Piece{From: info, Length: info.Size})
	if again := compose(t, s, "opaque", opaque, platform.Piece{Data: data}); again != info {
		t.Errorf("the same bytes are %+v, and were %+v", again, info)
	}
	data[7]++
	if other := compose(t, s, "opaque", opaque, platform.Piece{Data: data}); other.ETag == info.ETag || other.ETag == "" {
		t.Errorf("other bytes have the ETag %s, too", other.ETag)
	}
	wantKind(t, s.Blobs.Download(t.Context(), info, &discard{}), platform.Conflict)
}

func composingCopies(t *testing.T, s Store) {
	const mib = 1 << 20
	base, fresh := noise(40*mib+99, 12), noise(8*mib, 13)
	upload(t, s, "a+b c/ünï%", base) // in parts, and with a name that must be escaped
	whole := stat(t, s, "a+b c/ünï%")
	part := func(from, to int64) platform.Piece {
		return platform.Piece{From: whole, Offset: from, Length: to - from}
	}

	compose(t, s, "copy", platform.Composing{}, part(0, whole.Size))
	if !bytes.Equal(read(t, s, "copy", 0, -1), base) {
		t.Error("the copy is another")
	}
	compose(t, s, "mixed", platform.Composing{}, part(0, 16*mib), platform.Piece{Data: fresh}, part(24*mib, whole.Size))
	want := bytes.Clone(base)
	copy(want[16*mib:], fresh)
	if !bytes.Equal(read(t, s, "mixed", 0, -1), want) {
		t.Error("the mixture is another")
	}
	// Of a composed object, and with bytes at the end.
	mixed := stat(t, s, "mixed")
	compose(t, s, "longer", platform.Composing{New: true}, platform.Piece{From: mixed, Length: mixed.Size}, platform.Piece{Data: []byte("tail")})
	if !bytes.Equal(read(t, s, "longer", 0, -1), append(want, "tail"...)) {
		t.Error("the longer one is another")
	}
	upload(t, s, "small", []byte("small"))
	compose(t, s, "small copy", platform.Composing{}, platform.Piece{From: stat(t, s, "small"), Length: 5})
	if got := read(t, s, "small copy", 0, -1); string(got) != "small" {
		t.Errorf("the small copy is %q", got)
	}

	upload(t, s, "small", []byte("SMALL"))
	old := platform.BlobInfo{URI: s.uri("small"), Size: 5, ETag: stat(t, s, "small copy").ETag + "x"}
	_, err := s.Blobs.Compose(t.Context(), s.uri("c"), sequence(nil, platform.Piece{From: old, Length: 5}), platform.Composing{})
	wantKind(t, err, platform.Conflict)
	onlyFresh := platform.Composing{Fresh: true}
	_, err = s.Blobs.Compose(t.Context(), s.uri("c"), sequence(nil, platform.Piece{From: stat(t, s, "small"), Length: 5}), onlyFresh)
	wantKind(t, err, platform.Invalid)
	_, err = s.Blobs.Compose(t.Context(), s.uri("c"), sequence(nil, platform.Piece{From: platform.BlobInfo{URI: s.uri("nowhere")}, Length: 5}), platform.Composing{})
	wantKind(t, err, platform.NotFound)
	_, err = s.Blobs.Stat(t.Context(), s.uri("c"))
	wantKind(t, err, platform.NotFound)
}

func composingNew(t *testing.T, s Store) {
	piece := func(size int) []platform.Piece {
		p := []platform.Piece{{Data: noise(size, 14)}}
		if size > platform.MinPiece {
			p = append(p, platform.Piece{Data: []byte("end")})
		}
		return p
	}
	for _, size := range []int{10, 6 << 20} {
		compose(t, s, "new", platform.Composing{New: true}, piece(size)...)
		before := stat(t, s, "new")
		for _, again := range []int{11, 7 << 20} {
			_, err := s.Blobs.Compose(t.Context(), s.uri("new"), sequence(nil, piece(again)...), platform.Composing{New: true})
			wantKind(t, err, platform.AlreadyExists, string(s.uri("new")))
		}
		if after := stat(t, s, "new"); after != before {
			t.Errorf("it was %+v and is %+v", before, after)
		}
		if err := s.Blobs.Delete(t.Context(), s.uri("new")); err != nil {
			t.Fatal(err)
		}
	}
	// Of several at once, one makes it.
	var made atomic.Int64
	inParallel(t, 16, func(int) error {
		_, err := s.Blobs.Compose(t.Context(), s.uri("race"), sequence(nil, piece(1000)...), platform.Composing{New: true})
		if err == nil {
			made.Add(1)
		}
		if platform.Is(err, platform.AlreadyExists) {
			err = nil
		}
		return err
	})
	if made.Load() != 1 {
		t.Errorf("%d made it", made.Load())
	}
}

func composingFails(t *testing.T, s Store) {
	broken := errors.New("the disk broke")
	for _, size := range []int{0, 1000, 6 << 20} {
		var sent atomic.Int64
		pieces := []platform.Piece{{Data: noise(size, 15), Sent: func() { sent.Add(1) }}}
		if size > platform.MinPiece {
			pieces = append(pieces, pieces[0])
		}
		_, err := s.Blobs.Compose(t.Context(), s.uri("o"), sequence(broken, pieces...), platform.Composing{})
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v, want the error of the pieces", size, err)
		}
		if sent.Load() != int64(len(pieces)) {
			t.Errorf("after %d bytes: %d of %d pieces were given back", size, sent.Load(), len(pieces))
		}
		_, err = s.Blobs.Stat(t.Context(), s.uri("o"))
		wantKind(t, err, platform.NotFound)
	}
	short := sequence(nil, platform.Piece{Data: noise(1000, 16)}, platform.Piece{Data: noise(1000, 17)})
	if _, err := s.Blobs.Compose(t.Context(), s.uri("o"), short, platform.Composing{}); !platform.Is(err, platform.Invalid) {
		t.Errorf("a short piece before the last: %v", err)
	}
	_, err := s.Blobs.Compose(t.Context(), "s3://no-such-bucket-here/k", sequence(nil, platform.Piece{Data: []byte("x")}), platform.Composing{})
	wantKind(t, err, platform.NotFound, "bucket")
	_, err = s.Blobs.Compose(t.Context(), "s3://b", sequence(nil), platform.Composing{})
	wantKind(t, err, platform.Invalid)
}
