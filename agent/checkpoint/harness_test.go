package checkpoint_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent/checkpoint"
	"github.com/stint-ml/stint/drivers/blobs/memory"
	"github.com/stint-ml/stint/platform"
)

const (
	chunk  = 64
	prefix = platform.URI("s3://bucket/job/checkpoints")
)

// hastyClock is time in which every wait is over at once.
type hastyClock struct {
	mu     sync.Mutex
	now    time.Time
	onWait func() // what happens meanwhile
}

func (c *hastyClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *hastyClock) After(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	meanwhile := c.onWait
	c.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d > 0 {
		c.now = c.now.Add(d)
	}
	fired := make(chan time.Time, 1)
	fired <- c.now
	return fired, func() {}
}

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// bundle is a store and what a test knows of its syncers.
type bundle struct {
	t     tester
	temp  func() string
	mem   *memory.Blobs
	store *flaky
	clock *hastyClock

	mu        sync.Mutex
	notes     []string
	committed []checkpoint.Generation
	ticks     int64
}

func newBundle(t testing.TB) *bundle { return newBundleFor(t, t.TempDir) }

func newBundleFor(t tester, temp func() string) *bundle {
	mem := memory.New("bucket")
	mem.MinPiece = 1
	return &bundle{t: t, temp: temp, mem: mem, store: &flaky{Blobs: mem}, clock: &hastyClock{now: time.Unix(1_700_000_000, 0)}}
}

// host is a syncer with its folder.
type host struct {
	*bundle
	*checkpoint.Syncer
	dir string
}

func (b *bundle) config(name string, epoch int64) checkpoint.Config {
	return checkpoint.Config{
		Dir: filepath.Join(b.temp(), "checkpoints"), State: b.temp(), Prefix: prefix, Host: name, Job: "arn:job", Epoch: epoch,
		Blobs: func() platform.Blobs { return b.store }, Clock: b.clock,
		Notes: func(n string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.notes = append(b.notes, n)
		},
		Committed: func(g checkpoint.Generation) { b.committed = append(b.committed, g) },
	}
}

func (b *bundle) open(cfg checkpoint.Config) *host {
	b.t.Helper()
	s, err := checkpoint.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	return &host{b, s.Small(chunk), cfg.Dir}
}

// start is a fresh attempt of a host, restored.
func (b *bundle) start(name string, epoch int64) *host {
	b.t.Helper()
	h := b.open(b.config(name, epoch))
	h.restore()
	return h
}

func (h *host) restore() checkpoint.Restored {
	h.t.Helper()
	r, err := h.Restore(context.Background())
	if err != nil {
		h.t.Fatalf("restore: %v", err)
	}
	return r
}

func (h *host) round() {
	h.t.Helper()
	if err := h.Round(context.Background()); err != nil {
		h.t.Fatalf("round: %v", err)
	}
}

func (h *host) final(killed bool) checkpoint.Generation {
	h.t.Helper()
	g, err := h.Final(context.Background(), killed)
	if err != nil {
		h.t.Fatalf("final: %v", err)
	}
	return g
}

func must(t tester, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

// write writes a file as a training does, in place.
func (h *host) write(name string, data string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path(name), []byte(data), 0o644); err != nil {
		h.t.Fatal(err)
	}
	h.touch(name)
}

// touch gives the file a time of its own: two writes within one tick of the kernel are told apart in life by the settle time.
func (h *host) touch(name string) {
	h.t.Helper()
	h.ticks++
	at := time.Unix(1_600_000_000, 0).Add(time.Duration(h.ticks) * time.Millisecond)
	if err := os.Chtimes(h.path(name), at, at); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) remove(name string) {
	h.t.Helper()
	if err := os.RemoveAll(h.path(name)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) rename(from, to string) {
	h.t.Helper()
	if err := os.Rename(h.path(from), h.path(to)); err != nil {
		h.t.Fatal(err)
	}
}

// tree is all that is in a folder: content, modes, times and links by path.
func tree(t tester, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case d.IsDir():
			all[name] = "folder " + info.Mode().String()
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			all[name] = "link to " + target
			return err
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			all[name] = fmt.Sprintf("%s %d %s", info.Mode(), info.ModTime().UnixNano(), data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func equalTrees(t tester, what string, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for name := range maps.Keys(want) {
		if got[name] != want[name] {
			t.Errorf("%s: %s is %.60q, want %.60q", what, name, got[name], want[name])
		}
	}
	for name := range maps.Keys(got) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s should not be there", what, name)
		}
	}
}

// objects are the keys and contents below the prefix.
func (b *bundle) objects() map[string]string {
	b.t.Helper()
	all := map[string]string{}
	for info, err := range b.mem.List(context.Background(), prefix+"/") {
		if err != nil {
			b.t.Fatal(err)
		}
		r, err := b.mem.Open(context.Background(), info.URI, 0, -1)
		if err != nil {
			b.t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			b.t.Fatal(err)
		}
		all[strings.TrimPrefix(string(info.URI), string(prefix)+"/")] = string(data)
	}
	return all
}

// flats are the objects that a user sees as files.
func (b *bundle) flats() map[string]string {
	all := b.objects()
	maps.DeleteFunc(all, func(key, _ string) bool { return strings.HasPrefix(key, ".stint/") })
	return all
}

// kept are the keys below a folder of a host's bookkeeping.
func (b *bundle) kept(host, folder string) []string {
	var keys []string
	for key := range b.objects() {
		if strings.HasPrefix(key, ".stint/"+host+"/"+folder+"/") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (b *bundle) put(key, data string) {
	b.t.Helper()
	if err := b.mem.Upload(context.Background(), prefix+platform.URI("/"+key), strings.NewReader(data)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) said(words string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.notes, func(n string) bool { return strings.Contains(n, words) })
}

// forge writes a manifest that is newer than all others and names a path.
func (b *bundle) forge(path string) {
	b.t.Helper()
	var doc bytes.Buffer
	w := gzip.NewWriter(&doc)
	fmt.Fprintf(w, `{"format":1,"generation":99,"term":99,"host":"algo-1","files":[{"path":%q,"kind":"link","link":"x"}]}`, path)
	if err := w.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.put(".stint/algo-1/manifests/0000000099-000000000099", doc.String())
}

func noise(seed uint64, n int) string {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(data)
	return string(data)
}

// flaky is a store that counts requests and bytes, and can die at one of them, before or after it was carried out.
type flaky struct {
	platform.Blobs

	mu       sync.Mutex
	requests int
	shipped  int
	dieAt    int  // 0: never
	after    bool // the answer to the last request is lost
	dead     bool
	before   func(method string, u platform.URI) error
	onPiece  func() // of a file
	damaged  []platform.URI
}

var errDead = platform.Errorf(platform.Unavailable, "", "the store is away")

// enter counts a request, and tells whether it is carried out and whether it is answered.
func (f *flaky) enter(method string, u platform.URI) (do bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before != nil {
		if err := f.before(method, u); err != nil {
			return false, err
		}
	}
	if f.dead {
		return false, errDead
	}
	f.requests++
	if f.requests == f.dieAt {
		f.dead = true
		return f.after, errDead
	}
	return true, nil
}

func (f *flaky) Stat(ctx context.Context, u platform.URI) (platform.BlobInfo, error) {
	if _, err := f.enter("Stat", u); err != nil {
		return platform.BlobInfo{}, err
	}
	return f.Blobs.Stat(ctx, u)
}

func (f *flaky) List(ctx context.Context, u platform.URI) iter.Seq2[platform.BlobInfo, error] {
	if _, err := f.enter("List", u); err != nil {
		return func(yield func(platform.BlobInfo, error) bool) { yield(platform.BlobInfo{}, err) }
	}
	return f.Blobs.List(ctx, u)
}

func (f *flaky) Open(ctx context.Context, u platform.URI, offset, length int64) (io.ReadCloser, error) {
	if _, err := f.enter("Open", u); err != nil {
		return nil, err
	}
	r, err := f.Blobs.Open(ctx, u, offset, length)
	if err == nil && slices.Contains(f.damaged, u) {
		r = damage{r}
	}
	return r, err
}

func (f *flaky) Download(ctx context.Context, b platform.BlobInfo, w io.WriterAt) error {
	if _, err := f.enter("Download", b.URI); err != nil {
		return err
	}
	return f.Blobs.Download(ctx, b, w)
}

func (f *flaky) Upload(ctx context.Context, u platform.URI, r io.Reader) error {
	do, err := f.enter("Upload", u)
	if do {
		err = cmpErr(f.Blobs.Upload(ctx, u, r), err)
	}
	return err
}

func (f *flaky) Compose(ctx context.Context, u platform.URI, pieces iter.Seq2[platform.Piece, error], how platform.Composing) (platform.BlobInfo, error) {
	do, err := f.enter("Compose", u)
	if !do {
		return platform.BlobInfo{}, err
	}
	ours := strings.Contains(string(u), "/.stint/") && !strings.Contains(string(u), "/objects/")
	info, done := f.Blobs.Compose(ctx, u, func(yield func(platform.Piece, error) bool) {
		for p, err := range pieces {
			f.mu.Lock()
			if !ours {
				f.shipped += len(p.Data)
				if f.onPiece != nil {
					f.onPiece()
				}
			}
			f.mu.Unlock()
			if !yield(p, err) {
				return
			}
		}
	}, how)
	if err = cmpErr(done, err); err != nil {
		return platform.BlobInfo{}, err
	}
	return info, nil
}

func (f *flaky) Delete(ctx context.Context, u platform.URI) error {
	do, err := f.enter("Delete", u)
	if do {
		err = cmpErr(f.Blobs.Delete(ctx, u), err)
	}
	return err
}

func cmpErr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// takeShipped gives the bytes of files shipped since it was asked last.
func (f *flaky) takeShipped() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.shipped
	f.shipped = 0
	return n
}
