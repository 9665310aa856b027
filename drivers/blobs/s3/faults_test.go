package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/platform"
)

// between puts a handler in front of the store that may answer itself; it returns false to let a call through.
func between(t *testing.T, interfere func(w http.ResponseWriter, r *http.Request) bool) (endpoint string) {
	t.Helper()
	target, err := url.Parse(store.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !interfere(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return front.URL
}

func refuse(w http.ResponseWriter, status int, code string) bool {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code><Message>because</Message></Error>")
	return true
}

// cut sends what may be the beginning of an answer and drops the connection.
func cut(w http.ResponseWriter) bool {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
	return true
}

func TestTransientFaultsAreTriedAgain(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	var calls atomic.Int64
	endpoint := between(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch calls.Add(1) % 4 {
		case 1:
			return refuse(w, http.StatusServiceUnavailable, "SlowDown")
		case 2:
			return cut(w)
		case 3:
			return refuse(w, http.StatusBadRequest, "RequestTimeout")
		default:
			return false
		}
	})
	b := newBlobs(t, endpoint, "AKIAROOT")
	u := platform.URI("s3://" + bucket + "/o")
	data := bytes.Repeat([]byte("0123456789abcdef"), 20<<16) // 20 MiB: in parts
	if err := b.Upload(t.Context(), u, struct{ io.Reader }{bytes.NewReader(data)}); err != nil {
		t.Fatal(err)
	}
	r, err := b.Open(t.Context(), u, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestBrokenStreamsGoOn(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	u := platform.URI("s3://" + bucket + "/o")
	data := bytes.Repeat([]byte("0123456789abcdef"), 40<<16) // 40 MiB
	if err := newBlobs(t, store.Endpoint(), "AKIAROOT").Upload(t.Context(), u, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	var gets atomic.Int64
	endpoint := between(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || gets.Add(1) > 6 {
			return false
		}
		// Give an eighth of what was asked, then break off.
		var start, end int64 = 0, int64(len(data))
		if spec := r.Header.Get("Range"); spec != "" {
			bounds := strings.Split(strings.TrimPrefix(spec, "bytes="), "-")
			start = number(bounds[0])
			if bounds[1] != "" {
				end = number(bounds[1]) + 1
			}
		}
		w.Header().Set("Content-Length", itoa(end-start))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[start : start+(end-start)/8])
		w.(http.Flusher).Flush()
		return cut(w)
	})
	b := newBlobs(t, endpoint, "AKIAROOT")
	r, err := b.Open(t.Context(), u, 3, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data[3:]) {
		t.Errorf("read %d bytes of %d, %v", len(got), len(data)-3, err)
	}
	if gets.Load() < 7 {
		t.Errorf("%d requests: nothing was broken", gets.Load())
	}
	gets.Store(0)
	whole := &memoryFile{data: make([]byte, len(data))}
	if err := b.Download(t.Context(), platform.BlobInfo{URI: u, Size: int64(len(data))}, whole); err != nil || !bytes.Equal(whole.data, data) {
		t.Errorf("download: %v", err)
	}
}

func TestRefusalsAreDenied(t *testing.T) {
	t.Parallel()
	b := newBlobs(t, store.Endpoint(), "AKIAGUEST")
	u := platform.URI("s3://" + newBucket(t) + "/o")
	_, err := b.Open(t.Context(), u, 0, -1)
	for _, e := range []error{err, b.Upload(t.Context(), u, strings.NewReader("x"))} {
		if !platform.Is(e, platform.Denied) || !strings.Contains(e.Error(), string(u)) || !strings.Contains(e.Error(), "s3:") {
			t.Errorf("got %v (%v), want Denied with the action and the URI", e, platform.KindOf(e))
		}
	}
}

func TestUnavailableWhenTimeIsUp(t *testing.T) {
	t.Parallel()
	b := newBlobs(t, between(t, func(w http.ResponseWriter, _ *http.Request) bool { return cut(w) }), "AKIAROOT")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := b.Stat(ctx, "s3://bucket/o")
	if !platform.Is(err, platform.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v (%v)", err, platform.KindOf(err))
	}
}

// Credentials that the store calls expired are renewed once, at once.
func TestExpiredCredentialsAreRenewed(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	var asked atomic.Int64
	endpoint := between(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.Header.Get("Authorization"), "ASIAOLD") {
			return refuse(w, http.StatusBadRequest, "ExpiredToken")
		}
		return false
	})
	b, err := s3.New(s3.Config{Endpoint: endpoint, Region: "us-east-1", Credentials: func(context.Context) (s3.Credentials, error) {
		if asked.Add(1) == 1 {
			return s3.Credentials{AccessKeyID: "ASIAOLD", SecretAccessKey: "x", SessionToken: "y", Expires: time.Now().Add(time.Hour)}, nil
		}
		return s3.Credentials{AccessKeyID: "AKIAROOT", SecretAccessKey: "secret"}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Upload(t.Context(), platform.URI("s3://"+bucket+"/o"), strings.NewReader("x")); err != nil {
		t.Error(err)
	}
	if asked.Load() != 2 {
		t.Errorf("asked %d times for credentials, want 2", asked.Load())
	}
}

// The store must be able to tell that a body was damaged, for single objects and for parts.
func TestBodiesCarryChecksums(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	var checked, bare atomic.Int64
	endpoint := between(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			if r.Header.Get("X-Amz-Checksum-Crc32") != "" && r.Header.Get("X-Amz-Content-Sha256") == "UNSIGNED-PAYLOAD" {
				checked.Add(1)
			} else {
				bare.Add(1)
			}
		}
		return false
	})
	b := newBlobs(t, endpoint, "AKIAROOT")
	for _, size := range []int{0, 10, 40 << 20} {
		if err := b.Upload(t.Context(), platform.URI("s3://"+bucket+"/o"), bytes.NewReader(make([]byte, size))); err != nil {
			t.Fatal(err)
		}
	}
	if checked.Load() != 5 || bare.Load() != 0 {
		t.Errorf("%d bodies with a CRC and without SHA-256, %d otherwise; want 5 and 0", checked.Load(), bare.Load())
	}
}

// A body that was damaged on the way is sent again.
func TestDamagedBodiesAreSentAgain(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	var damaged atomic.Int64
	endpoint := between(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && damaged.Add(1) <= 2 {
			body, _ := io.ReadAll(r.Body)
			body[len(body)/2] ^= 1
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return false
	})
	b := newBlobs(t, endpoint, "AKIAROOT")
	u := platform.URI("s3://" + bucket + "/o")
	if err := b.Upload(t.Context(), u, strings.NewReader("precious")); err != nil {
		t.Fatal(err)
	}
	r, err := b.Open(t.Context(), u, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, _ := io.ReadAll(r); string(got) != "precious" || damaged.Load() != 3 {
		t.Errorf("stored %q after %d attempts", got, damaged.Load())
	}
}

// A failed upload leaves no parts behind.
func TestFailedUploadsAreAborted(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	var aborted atomic.Int64
	endpoint := between(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete && r.URL.Query().Has("uploadId") {
			aborted.Add(1)
		}
		if r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == "2" {
			_, _ = io.Copy(io.Discard, r.Body) // or the client may hear of a broken connection before it hears the answer
			return refuse(w, http.StatusForbidden, "AccessDenied")
		}
		return false
	})
	err := newBlobs(t, endpoint, "AKIAROOT").Upload(t.Context(), platform.URI("s3://"+bucket+"/o"), bytes.NewReader(make([]byte, 50<<20)))
	if !platform.Is(err, platform.Denied) || aborted.Load() != 1 {
		t.Errorf("got %v, aborted %d times", err, aborted.Load())
	}
}

func TestBadEndpoints(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"", "127.0.0.1:9000", "ftp://x", "http://", "://"} {
		if _, err := s3.New(s3.Config{Endpoint: endpoint, Region: "us-east-1", Credentials: s3.Fixed(s3.Credentials{})}); !platform.Is(err, platform.Invalid) {
			t.Errorf("endpoint %q: %v", endpoint, err)
		}
	}
}

type memoryFile struct{ data []byte }

func (m *memoryFile) WriteAt(p []byte, at int64) (int, error) { return copy(m.data[at:], p), nil }

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// breaking is a store that does not take a third part while it is away.
type breaking struct {
	*s3.Blobs
	u    platform.URI
	away atomic.Bool
	sent atomic.Int64 // parts
	lock sync.Mutex   // of the next
	nums []string     // of the parts that were sent
	gone atomic.Int64 // uploads that were given up
	data []byte       // of each of three pieces
}

func newBreaking(t *testing.T) *breaking {
	b := &breaking{u: platform.URI("s3://" + newBucket(t) + "/o"), data: bytes.Repeat([]byte("0123456789abcdef"), 6<<16)} // 6 MiB
	b.Blobs = newBlobs(t, between(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete && r.URL.Query().Has("uploadId") {
			b.gone.Add(1)
		}
		if !r.URL.Query().Has("partNumber") {
			return false
		}
		if b.away.Load() && r.URL.Query().Get("partNumber") == "3" {
			return cut(w)
		}
		b.lock.Lock()
		b.nums = append(b.nums, r.URL.Query().Get("partNumber"))
		b.lock.Unlock()
		b.sent.Add(1)
		return false
	}), "AKIAROOT")
	return b
}

func (b *breaking) pieces(yield func(platform.Piece, error) bool) {
	for _, id := range []string{"a", "b", "c"} {
		if !yield(platform.Piece{ID: id, Data: b.data}, nil) {
			return
		}
	}
}

// breakOff gives what is left of a composition.
func (b *breaking) breakOff(t *testing.T) *platform.Begun {
	t.Helper()
	b.away.Store(true)
	defer b.away.Store(false)
	begun := &platform.Begun{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for b.sent.Load() < 2 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := b.Compose(ctx, b.u, b.pieces, platform.Composing{Begun: begun})
	if !platform.Is(err, platform.Unavailable) || begun.Upload == "" || len(begun.Parts) > 2 {
		t.Fatalf("got %v, %+v; want Unavailable and two parts", err, begun)
	}
	b.sent.Store(0)
	return begun
}

// A composition that broke off goes on with the parts that the store has.
func TestComposingGoesOn(t *testing.T) {
	t.Parallel()
	b := newBreaking(t)
	begun := b.breakOff(t)
	has := slices.Collect(maps.Keys(begun.Parts))
	b.lock.Lock()
	b.nums = nil
	b.lock.Unlock()
	info, err := b.Compose(t.Context(), b.u, b.pieces, platform.Composing{Begun: begun})
	if err != nil || info.Size != 3*int64(len(b.data)) || begun.Upload != "" {
		t.Errorf("got %+v, %v, left %+v", info, err, begun)
	}
	b.lock.Lock()
	defer b.lock.Unlock()
	for _, n := range has {
		if slices.Contains(b.nums, itoa(int64(n))) {
			t.Errorf("part %d was sent again, though the store had it; sent were %v", n, b.nums)
		}
	}
}

// One that is not to go on is given up, and costs no space.
func TestComposingIsGivenUp(t *testing.T) {
	t.Parallel()
	b := newBreaking(t)
	begun := b.breakOff(t)
	enough := errors.New("enough")
	_, err := b.Compose(t.Context(), b.u, func(yield func(platform.Piece, error) bool) { yield(platform.Piece{}, enough) }, platform.Composing{Begun: begun})
	if !errors.Is(err, enough) || begun.Upload != "" || b.gone.Load() != 1 {
		t.Errorf("got %v, left %+v, gave up %d", err, begun, b.gone.Load())
	}
	// One that the store does not know is forgotten.
	begun.Upload = "forgotten"
	if _, err := b.Compose(t.Context(), b.u, b.pieces, platform.Composing{Begun: begun}); !platform.Is(err, platform.Unavailable) || begun.Upload != "" {
		t.Errorf("got %v, left %+v", err, begun)
	}
}

// An answer that is lost is no reason to take one's own object for another's.
func TestComposingNewWithALostAnswer(t *testing.T) {
	t.Parallel()
	bucket := newBucket(t)
	var lost atomic.Int64
	target, err := url.Parse(store.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	endpoint := between(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-None-Match") == "" || lost.Add(1) > 1 {
			return false
		}
		forward.ServeHTTP(httptest.NewRecorder(), r)
		return cut(w)
	})
	b := newBlobs(t, endpoint, "AKIAROOT")
	data := bytes.Repeat([]byte("0123456789abcdef"), 6<<16)
	for name, pieces := range map[string][]platform.Piece{"whole": {{Data: data}}, "parts": {{Data: data}, {Data: data}}} {
		lost.Store(0)
		sequence := func(yield func(platform.Piece, error) bool) {
			for _, p := range pieces {
				if !yield(p, nil) {
					return
				}
			}
		}
		if _, err := b.Compose(t.Context(), platform.URI("s3://"+bucket+"/"+name), sequence, platform.Composing{New: true}); err != nil || lost.Load() < 2 {
			t.Errorf("%s: %v after %d tries", name, err, lost.Load())
		}
	}
}
