package models

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

// fake is a container that speaks the contract, and the store that its models come from.
type fake struct {
	t      *testing.T
	server *httptest.Server
	// givenUp: whoever asked for models asks no more, and takes away what they were to be loaded from.
	givenUp atomic.Bool

	mu       sync.Mutex
	archives map[platform.URI]string // ETags
	stats    map[platform.URI]int
	fetches  map[platform.URI]int
	broken   map[platform.URI]error // instead of an archive
	sizes    map[string]int64       // memory by names of models; others have one
	room     int64                  // above which loading is answered with 507; 0: unbounded
	loaded   map[string]string      // ids to names
	peak     int                    // most models that were loaded at once
	loads    []string               // in order
	unloads  []string
	figures  []platform.Datum

	onLoad  func(name string) (status int) // 0: as usual
	onFetch func(ctx context.Context) error
	handle  http.HandlerFunc // of invocations
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		t: t, archives: map[platform.URI]string{}, stats: map[platform.URI]int{}, fetches: map[platform.URI]int{}, broken: map[platform.URI]error{},
		sizes: map[string]int64{}, loaded: map[string]string{},
		onLoad: func(string) int { return 0 }, onFetch: func(context.Context) error { return nil },
	}
	f.handle = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s says %s", r.Header.Get(platform.TargetModelHeader), body)
	}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

// has puts an archive into the store.
func (f *fake) has(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		f.archives[platform.URI("s3://b/models/"+name)] += "x"
	}
}

// open opens a front before the container, and gives its URL.
func (f *fake) open(memory int64, change func(*agent.ModelSource)) string {
	f.t.Helper()
	source := agent.ModelSource{
		Container: strings.TrimPrefix(f.server.URL, "http://"), Prefix: "s3://b/models/", Folder: f.t.TempDir(), Memory: memory, Cached: true,
		Clock: platform.SystemClock{}, Log: slog.New(slog.DiscardHandler), Stat: f.stat, Fetch: f.fetch,
		Report: func(data []platform.Datum) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.figures = append(f.figures, data...)
		},
	}
	if change != nil {
		change(&source)
	}
	front, err := New(source)
	if err != nil {
		f.t.Fatal(err)
	}
	s := httptest.NewServer(front.(http.Handler))
	f.t.Cleanup(s.Close)
	f.t.Cleanup(front.Close)
	return s.URL
}

func (f *fake) stat(_ context.Context, uri platform.URI) (platform.BlobInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats[uri]++
	if f.archives[uri] == "" {
		return platform.BlobInfo{}, platform.Errorf(platform.NotFound, string(uri), "no")
	}
	return platform.BlobInfo{URI: uri, ETag: f.archives[uri], Size: 1}, nil
}

func (f *fake) fetch(ctx context.Context, uri platform.URI, folder string) error {
	f.mu.Lock()
	f.fetches[uri]++
	err := f.broken[uri]
	f.mu.Unlock()
	if err == nil {
		err = f.onFetch(ctx)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "weights"), []byte(uri), 0o644)
}

// ServeHTTP is the contract.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, invoke := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/models/"), "/invoke")
	switch {
	case r.URL.Path == "/models" && r.Method == http.MethodPost:
		f.load(w, r)
	case invoke && r.Method == http.MethodPost:
		f.mu.Lock()
		_, known := f.loaded[id]
		f.mu.Unlock()
		if !known {
			http.Error(w, "no such model", http.StatusNotFound)
			return
		}
		f.handle(w, r)
	default:
		f.one(w, r, id)
	}
}

func (f *fake) load(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Name string `json:"model_name"`
		URL  string `json:"url"`
	}
	name := r.Header.Get(platform.TargetModelHeader)
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Header.Get("Content-Type") != "application/json" {
		f.t.Errorf("the container is asked to load %v: %v", r.Header, err)
	}
	if weights, err := os.ReadFile(filepath.Join(asked.URL, "weights")); err != nil || !strings.HasSuffix(string(weights), "/"+strings.TrimPrefix(name, "/")) {
		if !f.givenUp.Load() {
			f.t.Errorf("%s is to be loaded from %s, which holds %q: %v", name, asked.URL, weights, err)
		}
	}
	status := f.onLoad(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loads = append(f.loads, name)
	switch {
	case status == 0 && f.loaded[asked.Name] != "":
		status = http.StatusConflict
	case status == 0 && f.room > 0 && f.used()+f.size(name) > f.room:
		status = http.StatusInsufficientStorage
	case status == 0:
		status = http.StatusOK
		f.loaded[asked.Name] = name
		f.peak = max(f.peak, len(f.loaded))
	}
	w.Header().Set("Content-Type", "text/x-reason")
	w.WriteHeader(status)
	fmt.Fprintf(w, "load: %d", status)
}

func (f *fake) size(name string) int64 {
	if size := f.sizes[name]; size != 0 {
		return size
	}
	return 1 << 20
}

func (f *fake) used() (sum int64) {
	for _, name := range f.loaded {
		sum += f.size(name)
	}
	return sum
}

func (f *fake) one(w http.ResponseWriter, r *http.Request, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := f.loaded[id]
	switch {
	case name == "":
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		f.unloads = append(f.unloads, name)
		delete(f.loaded, id)
	default:
		fmt.Fprintf(w, `{"modelName": %q, "memoryBytes": %d}`, id, f.size(name))
	}
}

// reply is what a caller gets.
type reply struct {
	status  int
	refused string
	text    string
	err     error
}

// ask invokes a model.
func ask(url, name, body string) reply {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/invocations", strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	request.Header.Set(platform.TargetModelHeader, name)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header.Get(platform.RefusedHeader), string(text), err}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// sees looks at the container as it is.
func (f *fake) sees(look func() bool) func() bool {
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return look()
	}
}
