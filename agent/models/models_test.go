package models

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

const mib = 1 << 20

func TestAModelIsFetchedAndLoadedOnceForAllWhoAsk(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a.tar.gz")
	url := f.open(0, nil)
	var callers sync.WaitGroup
	for i := range 20 {
		callers.Go(func() {
			if got := ask(url, "a.tar.gz", fmt.Sprint(i)); got.text != fmt.Sprintf("a.tar.gz says %d", i) || got.status != 200 {
				t.Errorf("%+v", got)
			}
		})
	}
	callers.Wait()
	if n := f.fetches["s3://b/models/a.tar.gz"]; n != 1 || len(f.loads) != 1 {
		t.Errorf("it was fetched %d times and loaded as %v", n, f.loads)
	}
}

// Twenty models where there is memory for five: all answer, whoever asks, and memory stays bounded.
func TestModelsGoWhenMemoryEnds(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	url := f.open(100*mib/16, nil) // 80 % of it are five
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("m%d.tar.gz", i))
	}
	f.has(names...)
	for round := range 3 {
		for _, name := range names {
			if got := ask(url, name, "x"); got.text != name+" says x" {
				t.Fatalf("round %d: %+v", round, got)
			}
		}
	}
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for j := range 40 {
				name := names[(i*7+j*3)%len(names)]
				if got := ask(url, name, "x"); got.text != name+" says x" {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	callers.Wait()
	if f.peak != 5 {
		t.Errorf("at most %d models were loaded at once", f.peak)
	}
	for uri, n := range f.fetches {
		if n != 1 {
			t.Errorf("%s was fetched %d times although it has not changed", uri, n)
		}
	}
}

func TestTheModelGoesThatWasNotAskedForTheLongestTime(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a", "b", "c", "d")
	url := f.open(4*mib, nil) // 80 % of it are three
	for _, name := range []string{"a", "b", "c", "a", "d", "a", "c"} {
		ask(url, name, "")
	}
	if !slices.Equal(f.unloads, []string{"b"}) {
		t.Errorf("%v were unloaded", f.unloads)
	}
	ask(url, "b", "")
	if !slices.Equal(f.unloads, []string{"b", "d"}) {
		t.Errorf("%v were unloaded", f.unloads)
	}
}

func TestAModelWithRequestsUnderWayIsNotUnloaded(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("long", "next")
	release, begun := make(chan struct{}), make(chan struct{})
	usual := f.handle
	f.handle = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(platform.TargetModelHeader) == "long" {
			close(begun)
			<-release
		}
		usual(w, r)
	}
	url := f.open(3*mib/2, nil) // for one
	answers := make(chan reply, 2)
	go func() { answers <- ask(url, "long", "1") }()
	<-begun
	go func() { answers <- ask(url, "next", "2") }()
	eventually(t, "the next model to be fetched", f.sees(func() bool { return f.fetches["s3://b/models/next"] == 1 }))
	if len(f.unloads) != 0 || len(f.loads) != 1 {
		t.Errorf("unloaded %v, loaded %v", f.unloads, f.loads)
	}
	close(release)
	if first, second := <-answers, <-answers; first.text != "long says 1" || second.text != "next says 2" {
		t.Errorf("%+v, %+v", first, second)
	}
	if !slices.Equal(f.unloads, []string{"long"}) || f.peak != 1 {
		t.Errorf("unloaded %v, at most %d loaded", f.unloads, f.peak)
	}
}

// A container that does not tell what models use says with 507 that it is full.
func TestAContainerWithoutMemoryGetsSome(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a", "b", "c", "giant")
	f.room = 2 * mib
	f.sizes["giant"] = 3 * mib
	url := f.open(0, nil)
	for _, name := range []string{"a", "b", "c"} {
		if got := ask(url, name, "x"); got.text != name+" says x" {
			t.Fatalf("%+v", got)
		}
	}
	if !slices.Equal(f.unloads, []string{"a"}) {
		t.Errorf("%v were unloaded", f.unloads)
	}
	if got := ask(url, "giant", ""); got.status != http.StatusInsufficientStorage || got.refused != "" || got.text != "load: 507" {
		t.Errorf("a model too large for any room: %+v", got)
	}
	if got := ask(url, "a", "x"); got.text != "a says x" {
		t.Errorf("afterwards %+v", got)
	}
}

// A model that has grown makes others go, and not itself.
func TestModelsThatGrow(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a", "b", "c")
	url := f.open(11*mib, func(s *agent.ModelSource) { s.Clock = quick{short: lookEvery} })
	for _, name := range []string{"a", "b", "c"} {
		ask(url, name, "")
	}
	f.sees(func() bool { f.sizes["c"] = 7 * mib; return true })()
	ask(url, "c", "")
	eventually(t, "the oldest to go", f.sees(func() bool { return slices.Equal(f.unloads, []string{"a"}) }))
}

// quick is a clock by which one of the package's times is short. The others are as long as ever, or a busy machine would be too slow.
type quick struct {
	platform.SystemClock
	short time.Duration
}

func (q quick) After(d time.Duration) (<-chan time.Time, func()) {
	if d == q.short {
		d = 10 * time.Millisecond
	}
	return q.SystemClock.After(d)
}

func TestModelsThatAreNotToStay(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a")
	url := f.open(0, func(s *agent.ModelSource) { s.Cached = false })
	for i := range 3 {
		if got := ask(url, "a", "x"); got.text != "a says x" {
			t.Fatalf("%+v", got)
		}
		eventually(t, "it to be unloaded", f.sees(func() bool { return len(f.unloads) == i+1 }))
	}
	if f.fetches["s3://b/models/a"] != 1 {
		t.Errorf("it was fetched %d times", f.fetches["s3://b/models/a"])
	}
}

func TestAnArchiveThatWasReplacedIsFetchedWhenItsModelIsLoadedAnew(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a", "b")
	url := f.open(3*mib/2, nil) // for one
	ask(url, "a", "")
	f.has("a")
	ask(url, "a", "")
	if n := f.fetches["s3://b/models/a"]; n != 1 {
		t.Errorf("while it is loaded it is fetched: %d", n)
	}
	ask(url, "b", "")
	ask(url, "a", "")
	if n := f.fetches["s3://b/models/a"]; n != 2 {
		t.Errorf("it is fetched %d times", n)
	}
}

func TestWhyAModelCannotBeHad(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("torn", "away", "bad")
	f.broken["s3://b/models/torn"] = platform.Errorf(platform.Invalid, "", "it is not a usable .tar.gz archive")
	f.broken["s3://b/models/away"] = platform.Errorf(platform.Unavailable, "", "the store is away")
	f.onLoad = func(name string) int {
		if name == "bad" {
			return 500
		}
		return 0
	}
	url := f.open(0, nil)
	for name, want := range map[string]reply{
		"none": {status: 400, refused: platform.RefusedMissing, text: "Failed to download model data(bucket: b, key: models/none). Please ensure that there is an object located at the URL"},
		"torn": {status: 400, refused: platform.RefusedMissing, text: "Unable to extract model data archive: it is not a usable .tar.gz archive"},
		"away": {status: 503, refused: platform.RefusedAway, text: "s3://b/models/away cannot be fetched now: the store is away"},
		"bad":  {status: 500, text: "load: 500"},
	} {
		if got := ask(url, name, ""); got.status != want.status || got.refused != want.refused || !strings.HasPrefix(got.text, want.text) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	f.sees(func() bool { delete(f.broken, "s3://b/models/torn"); return true })()
	if got := ask(url, "torn", "x"); got.text != "torn says x" {
		t.Errorf("a fault that is mended: %+v", got)
	}
}

func TestAModelThatTakesLongIsNotReadyAndIsLoadedAllTheSame(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("slow")
	var gate = make(chan struct{})
	f.onFetch = func(context.Context) error { <-gate; return nil }
	url := f.open(0, func(s *agent.ModelSource) { s.Clock = quick{short: waitTime} })
	got := ask(url, "slow", "")
	if got.status != http.StatusTooManyRequests || got.refused != platform.RefusedUnready || !strings.HasPrefix(got.text, "Model slow is not ready for inference") {
		t.Errorf("%+v", got)
	}
	close(gate)
	eventually(t, "an answer", func() bool { return ask(url, "slow", "x").text == "slow says x" })
	if len(f.loads) != 1 || f.fetches["s3://b/models/slow"] != 1 {
		t.Errorf("it was fetched %d times and loaded %d times", f.fetches["s3://b/models/slow"], len(f.loads))
	}
}

func TestACallerWhoLeavesWhileItsModelIsLoadedLeavesItToOthers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a", "b")
	gate := make(chan struct{})
	f.onLoad = func(name string) int {
		if name == "a" {
			<-gate
		}
		return 0
	}
	tb := newTable(agent.ModelSource{
		Container: strings.TrimPrefix(f.server.URL, "http://"), Prefix: "s3://b/models", Folder: t.TempDir(), Memory: 3 * mib / 2, Cached: true,
		Clock: platform.SystemClock{}, Log: nopLog, Stat: f.stat, Fetch: f.fetch, Report: func([]platform.Datum) {},
	})
	t.Cleanup(tb.close)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := tb.acquire(ctx, "a")
		left <- err
	}()
	eventually(t, "the loading to begin", func() bool { tb.mu.Lock(); defer tb.mu.Unlock(); return tb.models["a"] != nil })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(gate)
	eventually(t, "the model to be idle", func() bool { return tb.ready("a") != nil })
	tb.release(tb.models["a"])
	m, err := tb.acquire(t.Context(), "b") // has to take its place
	if err != nil || m.busy != 1 || tb.models["a"] != nil {
		t.Errorf("%v %v", m, err)
	}
}

func TestAModelThatTheContainerHasLostIsLoadedAnew(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a")
	usual := f.handle
	var deaf atomic.Bool
	f.handle = func(w http.ResponseWriter, r *http.Request) {
		if deaf.Load() {
			http.Error(w, "the handler's own", http.StatusNotFound)
			return
		}
		usual(w, r)
	}
	url := f.open(0, nil)
	ask(url, "a", "")
	deaf.Store(true)
	if got := ask(url, "a", ""); got.status != 404 || got.refused != "" || !strings.HasPrefix(got.text, "the handler's own") {
		t.Errorf("a 404 of the model's: %+v", got)
	}
	deaf.Store(false)
	f.sees(func() bool { clear(f.loaded); return true })()
	if got := ask(url, "a", ""); got.status != 429 || got.refused != platform.RefusedUnready {
		t.Errorf("a model that is lost: %+v", got)
	}
	if got := ask(url, "a", "x"); got.text != "a says x" || len(f.loads) != 2 {
		t.Errorf("afterwards %+v, loaded %v", got, f.loads)
	}
}

func TestNoNameLeadsOutOfTheFolder(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for _, name := range []string{"../../etc/passwd", "/..", "a/b/c", strings.Repeat("n", platform.LongestTargetModel)} {
		f.has(strings.TrimPrefix(name, "/"))
		var folder string
		url := f.open(0, func(s *agent.ModelSource) {
			folder = s.Folder
			fetch := s.Fetch
			s.Fetch = func(ctx context.Context, uri platform.URI, to string) error {
				if !strings.HasPrefix(to, folder+"/"+identity(name)+"/") {
					t.Errorf("%s is unpacked to %s", name, to)
				}
				return fetch(ctx, uri, to)
			}
		})
		if got := ask(url, name, "x"); got.text != name+" says x" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	url := f.open(0, nil)
	if got := ask(url, strings.Repeat("n", platform.LongestTargetModel+1), ""); got.status != 400 {
		t.Errorf("a name too long: %+v", got)
	}
	if got := ask(url, "", ""); got.status != 400 {
		t.Errorf("no name: %+v", got)
	}
}

func TestFiguresAreReported(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a", "b")
	url := f.open(3*mib/2, func(s *agent.ModelSource) { s.Clock = quick{short: lookEvery} })
	for _, name := range []string{"a", "a", "a", "b"} {
		ask(url, name, "")
	}
	sums := func() map[string]platform.Datum {
		out := map[string]platform.Datum{}
		for _, d := range f.figures {
			if d.Dimensions != nil || d.Count == 0 {
				t.Fatalf("%+v", d)
			}
			sum := out[d.Namespace+" "+d.Name+" "+d.Unit]
			sum.Value, sum.Count, sum.Minimum = sum.Value+d.Value, sum.Count+d.Count, d.Minimum
			out[d.Namespace+" "+d.Name+" "+d.Unit] = sum
		}
		return out
	}
	eventually(t, "the figures", f.sees(func() bool {
		s := sums()
		hits := s["AWS/SageMaker ModelCacheHit None"]
		return hits.Value == 2 && hits.Count == 4 && s["AWS/SageMaker ModelLoadingWaitTime Microseconds"].Count == 2 &&
			s["AWS/SageMaker ModelDownloadingTime Microseconds"].Count == 2 && s["AWS/SageMaker ModelLoadingTime Microseconds"].Count == 2 &&
			s["AWS/SageMaker ModelUnloadingTime Microseconds"].Count == 1 && s["/aws/sagemaker/Endpoints LoadedModelCount None"].Minimum == 1
	}))
}

// An instance that ends does so while callers come: none of them begins anything that nobody waits for.
func TestNothingBeginsOnceItIsClosed(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var source agent.ModelSource
	f.open(0, func(s *agent.ModelSource) { source = *s })
	table := newTable(source)
	var callers sync.WaitGroup
	began := make(chan struct{}, 8)
	for i := range cap(began) {
		callers.Go(func() {
			began <- struct{}{}
			for j := range 200 {
				name := fmt.Sprintf("m%d-%d.tar.gz", i, j)
				f.has(name)
				if m, err := table.acquire(t.Context(), name); err == nil {
					table.release(m)
				}
			}
		})
	}
	<-began
	f.givenUp.Store(true)
	table.close()
	f.mu.Lock()
	seen := len(f.stats)
	f.mu.Unlock()
	callers.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.stats) != seen || len(table.models) > seen {
		t.Errorf("%d models were looked for when it was closed, and %d after", seen, len(f.stats))
	}
}
