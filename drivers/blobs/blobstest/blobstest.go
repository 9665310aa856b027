// Package blobstest is what every platform.Blobs must do, as tests that run on any of them.
package blobstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stint-ml/stint/platform"
)

// Store is a store to test, with an empty bucket for one test.
type Store struct {
	Blobs  platform.Blobs
	Bucket string
}

func (s Store) uri(key string) platform.URI { return platform.URI("s3://" + s.Bucket + "/" + key) }

// large is a size that every driver cuts into parts and ranges.
const large = 70<<20 + 12345

// Run runs the suite. fresh is called once for each test and may be called in parallel.
func Run(t *testing.T, fresh func(t *testing.T) Store) {
	tests := map[string]func(*testing.T, Store){
		"round trip":            roundTrip,
		"large objects":         largeObjects,
		"ranges":                ranges,
		"replacing":             replacing,
		"listing":               listing,
		"listing many":          listingMany,
		"listing in part":       listingInPart,
		"keys":                  keys,
		"deleting":              deleting,
		"absence":               absence,
		"bad locations":         badLocations,
		"failing readers":       failingReaders,
		"cancelling":            cancelling,
		"replaced while read":   replacedWhileRead,
		"many at once":          manyAtOnce,
		"readers without Seek":  plainReaders,
		"readers in the middle": middleReaders,
		"types":                 mediaTypes,
		"composing":             composing,
		"composing of copies":   composingCopies,
		"composing opaquely":    composingOpaque,
		"composing new objects": composingNew,
		"composing that fails":  composingFails,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t))
		})
	}
}

func noise(n int, seed uint64) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}).Read(data)
	return data
}

func upload(t *testing.T, s Store, key string, data []byte) {
	t.Helper()
	if err := s.Blobs.Upload(t.Context(), s.uri(key), bytes.NewReader(data)); err != nil {
		t.Fatalf("upload %s: %v", key, err)
	}
}

func stat(t *testing.T, s Store, key string) platform.BlobInfo {
	t.Helper()
	info, err := s.Blobs.Stat(t.Context(), s.uri(key))
	if err != nil {
		t.Fatalf("stat %s: %v", key, err)
	}
	return info
}

func read(t *testing.T, s Store, key string, offset, length int64) []byte {
	t.Helper()
	r, err := s.Blobs.Open(t.Context(), s.uri(key), offset, length)
	if err != nil {
		t.Fatalf("open %s: %v", key, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return data
}

func download(t *testing.T, s Store, info platform.BlobInfo) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "download"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.Blobs.Download(t.Context(), info, f); err != nil {
		t.Fatalf("download %s: %v", info.URI, err)
	}
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func wantKind(t *testing.T, err error, kind platform.ErrorKind, words ...string) {
	t.Helper()
	if !platform.Is(err, kind) {
		t.Errorf("got %v (%v), want %v", err, platform.KindOf(err), kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func roundTrip(t *testing.T, s Store) {
	for _, size := range []int{0, 1, 16 << 10, 5 << 20} {
		data := noise(size, uint64(size))
		upload(t, s, "o", data)
		info := stat(t, s, "o")
		if info.Size != int64(size) || info.ETag == "" || info.URI != s.uri("o") {
			t.Errorf("stat after %d bytes: %+v", size, info)
		}
		if got := download(t, s, info); !bytes.Equal(got, data) {
			t.Errorf("downloaded %d bytes, not the %d stored", len(got), size)
		}
		if got := read(t, s, "o", 0, -1); !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, not the %d stored", len(got), size)
		}
	}
}

func largeObjects(t *testing.T, s Store) {
	data := noise(large, 1)
	upload(t, s, "large", data)
	info := stat(t, s, "large")
	if info.Size != large {
		t.Fatalf("size %d, want %d", info.Size, large)
	}
	if !bytes.Equal(download(t, s, info), data) {
		t.Error("downloaded something else")
	}
	if !bytes.Equal(read(t, s, "large", 0, -1), data) {
		t.Error("read something else")
	}
}

func ranges(t *testing.T, s Store) {
	data := noise(100<<10, 2)
	upload(t, s, "o", data)
	n := int64(len(data))
	for _, c := range []struct{ offset, length, want int64 }{
		{0, 10, 10}, {10, 1, 1}, {5, 0, 0}, {n - 1, 1, 1}, {n - 1, 100, 1}, {7, -1, n - 7}, {0, n, n}, {n, -1, 0}, {n, 5, 0}, {n + 9, 5, 0},
	} {
		got := read(t, s, "o", c.offset, c.length)
		start := min(c.offset, n)
		if !bytes.Equal(got, data[start:start+c.want]) {
			t.Errorf("from %d, %d bytes: got %d, want %d", c.offset, c.length, len(got), c.want)
		}
	}
}

func replacing(t *testing.T, s Store) {
	upload(t, s, "o", []byte("one"))
	first := stat(t, s, "o")
	upload(t, s, "o", []byte("two and more"))
	second := stat(t, s, "o")
	if first.ETag == second.ETag {
		t.Error("the ETag did not change with the content")
	}
	if got := read(t, s, "o", 0, -1); string(got) != "two and more" {
		t.Errorf("read %q", got)
	}
}

func list(t *testing.T, s Store, prefix string) (names []string) {
	t.Helper()
	for info, err := range s.Blobs.List(t.Context(), s.uri(prefix)) {
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		names = append(names, strings.TrimPrefix(string(info.URI), string(s.uri(""))))
	}
	return names
}

func listing(t *testing.T, s Store) {
	if got := list(t, s, ""); len(got) != 0 {
		t.Errorf("an empty bucket lists %q", got)
	}
	for i, key := range []string{"b/2", "a", "b/10", "b/1", "bb", "c/d/e", "c-d", "c.d", "c0"} {
		upload(t, s, key, noise(i*10, 3))
	}
	for prefix, want := range map[string][]string{
		"":    {"a", "b/1", "b/10", "b/2", "bb", "c-d", "c.d", "c/d/e", "c0"},
		"b":   {"b/1", "b/10", "b/2", "bb"},
		"b/":  {"b/1", "b/10", "b/2"},
		"b/1": {"b/1", "b/10"},
		"x":   nil,
		"c/d": {"c/d/e"},
	} {
		if got := list(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("prefix %q lists %q, want %q", prefix, got, want)
		}
	}
	for info, err := range s.Blobs.List(t.Context(), s.uri("b/10")) {
		if err != nil || info.Size != 20 || info.ETag != stat(t, s, "b/10").ETag {
			t.Errorf("listed %+v, %v; stat %+v", info, err, stat(t, s, "b/10"))
		}
	}
}

// listingMany crosses the border between two pages.
func listingMany(t *testing.T, s Store) {
	var want []string
	for i := range 1100 {
		want = append(want, fmt.Sprintf("many/%04d", i))
	}
	inParallel(t, len(want), func(i int) error {
		return s.Blobs.Upload(t.Context(), s.uri(want[i]), strings.NewReader("x"))
	})
	if got := list(t, s, "many/"); !slices.Equal(got, want) {
		t.Errorf("listed %d keys, want %d in order", len(got), len(want))
	}
}

func listingInPart(t *testing.T, s Store) {
	for _, key := range []string{"a", "b", "c"} {
		upload(t, s, key, nil)
	}
	seen := 0
	for _, err := range s.Blobs.List(t.Context(), s.uri("")) {
		if err != nil {
			t.Error(err)
		}
		seen++
		break
	}
	if seen != 1 {
		t.Errorf("saw %d", seen)
	}
}

func keys(t *testing.T, s Store) {
	all := []string{
		"plain", "with space", "a+b", "a=b&c", "per%20cent", "100%", "ünïcode/日本語", "semi;colon", "quote'\"", "tilde~", "paren(s)", "a?b#c",
		"deep/er/and/deeper", "dots...", ".hidden", "under_score-dash", "@at:colon,comma!", "emoji😀", "back\\slash", "<xml>&amp;", "tail/",
	}
	for _, key := range all {
		if strings.HasSuffix(key, "/") {
			upload(t, s, key, nil) // a folder marker is empty everywhere
			continue
		}
		data := []byte("content of " + key)
		upload(t, s, key, data)
		if got := read(t, s, key, 0, -1); !bytes.Equal(got, data) {
			t.Errorf("key %q reads %q", key, got)
		}
		if got := download(t, s, stat(t, s, key)); !bytes.Equal(got, data) {
			t.Errorf("key %q downloads %q", key, got)
		}
	}
	want := slices.Sorted(slices.Values(all))
	if got := list(t, s, ""); !slices.Equal(got, want) {
		t.Errorf("listed %q\nwant   %q", got, want)
	}
	for _, key := range all {
		if err := s.Blobs.Delete(t.Context(), s.uri(key)); err != nil {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	if got := list(t, s, ""); len(got) != 0 {
		t.Errorf("left after deleting all: %q", got)
	}
}

func deleting(t *testing.T, s Store) {
	upload(t, s, "o", []byte("x"))
	for range 2 { // the second time there is nothing, which is success
		if err := s.Blobs.Delete(t.Context(), s.uri("o")); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	_, err := s.Blobs.Stat(t.Context(), s.uri("o"))
	wantKind(t, err, platform.NotFound)
}

func absence(t *testing.T, s Store) {
	ctx := t.Context()
	missing, elsewhere := s.uri("no/such/key"), platform.URI("s3://no-such-bucket-here/key")
	for u, words := range map[platform.URI][]string{missing: {string(missing)}, elsewhere: {string(elsewhere), "bucket"}} {
		_, err := s.Blobs.Stat(ctx, u)
		wantKind(t, err, platform.NotFound, words...)
		_, err = s.Blobs.Open(ctx, u, 0, -1)
		wantKind(t, err, platform.NotFound, words...)
		err = s.Blobs.Download(ctx, platform.BlobInfo{URI: u, Size: 10}, &discard{})
		wantKind(t, err, platform.NotFound, words...)
	}
	wantKind(t, s.Blobs.Upload(ctx, elsewhere, strings.NewReader("x")), platform.NotFound, string(elsewhere), "bucket")
	wantKind(t, s.Blobs.Delete(ctx, elsewhere), platform.NotFound, "bucket")
	count := 0
	for _, err := range s.Blobs.List(ctx, elsewhere) {
		wantKind(t, err, platform.NotFound, "bucket")
		count++
	}
	if count != 1 {
		t.Errorf("listing a missing bucket yields %d times, want one error", count)
	}
}

func badLocations(t *testing.T, s Store) {
	ctx := t.Context()
	for _, u := range []platform.URI{"", "http://x/y", "s3://", "s3:///key", platform.URI("s3://" + s.Bucket), s.uri("")} {
		_, err := s.Blobs.Stat(ctx, u)
		wantKind(t, err, platform.Invalid)
		_, err = s.Blobs.Open(ctx, u, 0, -1)
		wantKind(t, err, platform.Invalid)
		wantKind(t, s.Blobs.Upload(ctx, u, strings.NewReader("x")), platform.Invalid)
		wantKind(t, s.Blobs.Delete(ctx, u), platform.Invalid)
	}
	for _, err := range s.Blobs.List(ctx, "nonsense") {
		wantKind(t, err, platform.Invalid)
	}
}

// failingReaders end early with an error: nothing may appear, neither of a small object nor of a large one.
func failingReaders(t *testing.T, s Store) {
	broken := errors.New("the disk broke")
	for _, size := range []int{0, 1000, large} {
		err := s.Blobs.Upload(t.Context(), s.uri("o"), io.MultiReader(bytes.NewReader(noise(size, 4)), &failing{broken}))
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v, want the reader's error", size, err)
		}
		_, err = s.Blobs.Stat(t.Context(), s.uri("o"))
		wantKind(t, err, platform.NotFound)
	}
}

func cancelling(t *testing.T, s Store) {
	upload(t, s, "o", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Blobs.Stat(ctx, s.uri("o"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("stat: %v", err)
	}
	if err := s.Blobs.Upload(ctx, s.uri("p"), strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("upload: %v", err)
	}
	for _, err := range s.Blobs.List(ctx, s.uri("")) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v", err)
		}
	}
}

func replacedWhileRead(t *testing.T, s Store) {
	upload(t, s, "o", noise(1000, 5))
	before := stat(t, s, "o")
	upload(t, s, "o", noise(1000, 6))
	wantKind(t, s.Blobs.Download(t.Context(), before, &discard{}), platform.Conflict, string(s.uri("o")))
}

func manyAtOnce(t *testing.T, s Store) {
	inParallel(t, 200, func(i int) error {
		u, data := s.uri(fmt.Sprintf("dir%d/%d", i%7, i)), noise(i*100, uint64(i))
		if err := s.Blobs.Upload(t.Context(), u, bytes.NewReader(data)); err != nil {
			return err
		}
		r, err := s.Blobs.Open(t.Context(), u, 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, data) {
			err = fmt.Errorf("%s holds something else", u)
		}
		return err
	})
}

func plainReaders(t *testing.T, s Store) {
	for _, size := range []int{0, 1000, large} {
		data := noise(size, 7)
		if err := s.Blobs.Upload(t.Context(), s.uri("o"), struct{ io.Reader }{bytes.NewReader(data)}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, s, "o", 0, -1), data) {
			t.Errorf("%d bytes: read something else", size)
		}
	}
}

// middleReaders were read from before: an upload begins where they stand.
func middleReaders(t *testing.T, s Store) {
	r := strings.NewReader("headbody")
	if _, err := io.CopyN(io.Discard, r, 4); err != nil {
		t.Fatal(err)
	}
	if err := s.Blobs.Upload(t.Context(), s.uri("o"), r); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, "o", 0, -1); string(got) != "body" {
		t.Errorf("stored %q", got)
	}
}

func inParallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	work := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range work {
				if err := do(i); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

type discard struct{}

func (*discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// typedReader tells the type of its bytes.
type typedReader struct{ *bytes.Reader }

func (typedReader) ContentType() string { return "text/csv" }

// mediaTypes are kept, of small objects and of those in parts.
func mediaTypes(t *testing.T, s Store) {
	for _, size := range []int{3, large} {
		if err := s.Blobs.Upload(t.Context(), s.uri("o"), typedReader{bytes.NewReader(noise(size, 7))}); err != nil {
			t.Fatal(err)
		}
		for _, length := range []int64{-1, 2} {
			r, err := s.Blobs.Open(t.Context(), s.uri("o"), 0, length)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.(platform.Typed).ContentType(); got != "text/csv" {
				t.Errorf("%d bytes are of type %q", size, got)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
