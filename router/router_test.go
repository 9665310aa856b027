package router

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
)

// container is a server that answers as f does; it gives its address.
func container(t *testing.T, f http.HandlerFunc) platform.Target {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return platform.Target{Agent: platform.AgentID(s.URL), Address: strings.TrimPrefix(s.URL, "http://")}
}

// says answers every invocation with a word.
func says(word string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, word) }
}

func open(t testing.TB, variants ...platform.RouteVariant) *Router {
	t.Helper()
	r := New(Config{Metrics: telemetry.New(platform.SystemClock{}), Clock: platform.SystemClock{}, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(r.Stop)
	r.Set("e", platform.Route{Variants: variants})
	return r
}

// ask invokes and reads the answer to its end.
func ask(t *testing.T, r *Router, in platform.Invocation) (variant, text string) {
	t.Helper()
	in.Endpoint = "e"
	a, err := r.Invoke(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.Variant, string(body)
}

func TestTheContainerGetsWhatTheCallerSent(t *testing.T) {
	t.Parallel()
	r := open(t, platform.RouteVariant{Name: "v", Weight: 1, Targets: []platform.Target{container(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		w.Header().Set("Content-Type", "text/x-answer")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %q %d", q.Method, q.URL.Path, q.Header.Get("Content-Type"), body, q.ContentLength)
	})}})
	a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Header: http.Header{"Content-Type": {"text/csv"}}, Body: []byte("1,2")})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil || string(body) != `POST /invocations text/csv "1,2" 3` || a.Status != http.StatusTeapot || http.Header(a.Header).Get("Content-Type") != "text/x-answer" {
		t.Errorf("%d %v %s: %v", a.Status, a.Header, body, err)
	}
}

func TestVariantsShareByWeightUnlessOneIsNamed(t *testing.T) {
	t.Parallel()
	r := open(t,
		platform.RouteVariant{Name: "a", Weight: 3, Targets: []platform.Target{container(t, says("a"))}},
		platform.RouteVariant{Name: "b", Weight: 1, Targets: []platform.Target{container(t, says("b"))}},
		platform.RouteVariant{Name: "off", Weight: 0, Targets: []platform.Target{container(t, says("off"))}},
		platform.RouteVariant{Name: "empty", Weight: 100})
	count := map[string]int{}
	for range 400 {
		variant, text := ask(t, r, platform.Invocation{})
		if variant != text {
			t.Fatalf("%s answers for %s", text, variant)
		}
		count[variant]++
	}
	if count["a"] < 240 || count["a"] > 360 || count["a"]+count["b"] != 400 {
		t.Errorf("the shares are %v", count)
	}
	if v, _ := ask(t, r, platform.Invocation{Variant: "off"}); v != "off" {
		t.Errorf("%s answers for the one named", v)
	}
	for variant, kind := range map[string]platform.ErrorKind{"none": platform.Invalid, "empty": platform.Unavailable} {
		if a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Variant: variant}); !platform.Is(err, kind) {
			t.Errorf("variant %s: %v %v", variant, a, err)
		}
	}
	r.Set("coming", platform.Route{})
	for _, name := range []string{"other", "coming"} {
		if a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: name}); !platform.Is(err, platform.NotFound) {
			t.Errorf("an endpoint that is %s: %v %v", name, a, err)
		}
	}
}

// The busy container gets nothing while another one is free, and callers beyond the bound are turned away at once.
func TestTheLeastLoadedIsChosenAndNoneIsOverloaded(t *testing.T) {
	t.Parallel()
	const perTarget = 40
	var held atomic.Int64
	release, holding := make(chan struct{}), make(chan struct{}, perTarget)
	slow := container(t, func(w http.ResponseWriter, _ *http.Request) {
		held.Add(1)
		holding <- struct{}{}
		<-release
		fmt.Fprint(w, "slow")
	})
	r := open(t, platform.RouteVariant{Name: "v", Weight: 1, Targets: []platform.Target{slow}})
	r.perTarget = perTarget
	var callers sync.WaitGroup
	for range perTarget {
		callers.Go(func() { ask(t, r, platform.Invocation{}) })
	}
	for range perTarget {
		<-holding
	}
	if a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e"}); !errors.Is(err, platform.ErrBusy) {
		t.Errorf("one more than the bound: %v %v", a, err)
	}
	// The route changes; what is under way keeps counting.
	r.Set("e", platform.Route{Variants: []platform.RouteVariant{{Name: "v", Weight: 1, Targets: []platform.Target{slow, container(t, says("fast"))}}}})
	for range 20 {
		if _, text := ask(t, r, platform.Invocation{}); text != "fast" {
			t.Fatalf("%s answers while it is overloaded", text)
		}
	}
	close(release)
	callers.Wait()
	if held.Load() != perTarget {
		t.Errorf("%d invocations reached the slow container", held.Load())
	}
	if busy := r.endpoints["e"].variants[0].targets[0].busy.Load(); busy != 0 {
		t.Errorf("%d invocations are counted when all have ended", busy)
	}
}

// A container that cannot be reached has seen nothing, so another may answer; one that broke off may have done the work.
func TestOnlyWhatWasNeverSeenIsTriedElsewhere(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := platform.Target{Agent: "dead", Address: gone.Addr().String()}
	gone.Close()
	r := open(t, platform.RouteVariant{Name: "v", Weight: 1, Targets: []platform.Target{dead, container(t, says("alive"))}})
	for range 10 {
		if _, text := ask(t, r, platform.Invocation{}); text != "alive" {
			t.Fatalf("%q answers", text)
		}
	}
	var seen atomic.Int64
	breaks := func(w http.ResponseWriter, _ *http.Request) {
		seen.Add(1)
		connection, _, _ := http.NewResponseController(w).Hijack()
		connection.Close()
	}
	r.Set("e", platform.Route{Variants: []platform.RouteVariant{{Name: "v", Weight: 1, Targets: []platform.Target{container(t, breaks), container(t, breaks)}}}})
	if a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Body: []byte("x")}); err == nil || platform.Is(err, platform.Unavailable) {
		t.Errorf("a container that broke off: %v %v", a, err)
	}
	if seen.Load() != 1 {
		t.Errorf("the invocation was seen %d times", seen.Load())
	}
}

// An answer streams: its beginning is there before its end is written.
func TestAnswersStream(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	r := open(t, platform.RouteVariant{Name: "v", Weight: 1, Targets: []platform.Target{container(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "first ")
		_ = http.NewResponseController(w).Flush()
		<-more
		fmt.Fprint(w, "second")
	})}})
	a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	begin := make([]byte, 6)
	if _, err := io.ReadFull(a.Body, begin); err != nil || string(begin) != "first " {
		t.Fatalf("%q %v", begin, err)
	}
	close(more)
	if rest, err := io.ReadAll(a.Body); err != nil || string(rest) != "second" {
		t.Errorf("%q %v", rest, err)
	}
}
