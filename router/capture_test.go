package router

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/stint-ml/stint/drivers/blobs/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
)

// held is a store that can be held up, or be out of order.
type held struct {
	platform.Blobs
	mu      sync.Mutex
	fail    bool
	hold    chan struct{} // nil does not
	entered chan struct{}
}

func (h *held) Compose(ctx context.Context, u platform.URI, pieces iter.Seq2[platform.Piece, error], how platform.Composing) (platform.BlobInfo, error) {
	h.mu.Lock()
	fail, hold := h.fail, h.hold
	h.mu.Unlock()
	if hold != nil {
		h.entered <- struct{}{}
		<-hold
	}
	if fail {
		return platform.BlobInfo{}, errors.New("the bucket is away")
	}
	return h.Blobs.Compose(ctx, u, pieces, how)
}

// both is what most ask for.
var both = platform.Capture{
	Destination: "s3://kept/here/", Role: "the role", Percent: 100, Input: true, Output: true, CSV: []string{"text/csv"}, JSON: []string{"application/json"},
}

// line is a captured invocation as a reader sees it.
type line struct {
	CaptureData struct {
		Input  *payload `json:"endpointInput"`
		Output *payload `json:"endpointOutput"`
	} `json:"captureData"`
}

type payload struct {
	Type     string `json:"observedContentType"`
	Mode     string `json:"mode"`
	Data     string `json:"data"`
	Encoding string `json:"encoding"`
}

// captured is a router before one container, with a store and a log.
func captured(t *testing.T, c platform.Capture, f http.HandlerFunc) (r *Router, k *clock, store *held, log *bytes.Buffer) {
	t.Helper()
	k, store, log = newClock(), &held{Blobs: memory.New("kept"), entered: make(chan struct{}, 100)}, &bytes.Buffer{}
	r = New(Config{
		Metrics: telemetry.New(k), Clock: k, Log: slog.New(slog.NewTextHandler(log, nil)),
		Blobs: func(role platform.ARN) (platform.Blobs, error) {
			if role != "the role" {
				return nil, fmt.Errorf("%q writes", role)
			}
			return store, nil
		},
	})
	t.Cleanup(r.Stop)
	r.Set("e", platform.Route{Variants: []platform.RouteVariant{{Name: "v", Weight: 1, Targets: []platform.Target{container(t, f)}, Capture: &c}}})
	return r, k, store, log
}

// files are what is in the store.
func files(t *testing.T, store platform.Blobs) map[platform.URI]string {
	t.Helper()
	out := map[platform.URI]string{}
	for b, err := range store.List(t.Context(), "s3://kept/here") {
		if err != nil {
			t.Fatal(err)
		}
		in, err := store.Open(t.Context(), b.URI, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		out[b.URI] = string(text)
	}
	return out
}

// linesOf are the lines of all files.
func linesOf(t *testing.T, store platform.Blobs) (all []line) {
	t.Helper()
	for _, text := range files(t, store) {
		if !strings.HasSuffix(text, "\n") {
			t.Errorf("a file ends with %q", text)
		}
		for one := range strings.Lines(text) {
			var l line
			if err := json.Unmarshal([]byte(one), &l); err != nil {
				t.Fatalf("%v: %s", err, one)
			}
			all = append(all, l)
		}
	}
	return all
}

func doubles(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(append(body, body...))
}

func TestALineIsAsTheDeveloperGuideShowsIt(t *testing.T) {
	t.Parallel()
	r, _, store, _ := captured(t, both, doubles)
	ask(t, r, platform.Invocation{Body: []byte("1,<é>"), Header: http.Header{
		"Content-Type": {"text/csv"}, "X-Amzn-Sagemaker-Inference-Id": {"the one"}, "X-Amzn-Sagemaker-Custom-Attributes": {"trace=1"},
	}})
	if found := files(t, store); len(found) != 0 {
		t.Errorf("written while the caller waited: %v", found)
	}
	r.Stop()
	r.Stop()
	name := regexp.MustCompile(`^s3://kept/here/e/v/2026/03/01/12/00-30-000-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.jsonl$`)
	id := regexp.MustCompile(`"eventId":"[0-9a-f-]{36}"`)
	const want = `{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"1,<é>","encoding":"CSV"},` +
		`"endpointOutput":{"observedContentType":"application/json; charset=utf-8","mode":"OUTPUT","data":"1,<é>1,<é>","encoding":"JSON"}},` +
		`"eventMetadata":{"eventId":"…","customAttributes":["trace=1"],"inferenceId":"the one","inferenceTime":"2026-03-01T12:00:30Z"},"eventVersion":"0"}` + "\n"
	found := files(t, store)
	for file, text := range found {
		if text = id.ReplaceAllString(text, `"eventId":"…"`); !name.MatchString(string(file)) || text != want {
			t.Errorf("%s holds\n%s", file, text)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d files", len(found))
	}
}

func TestWhatIsNoTextIsEncoded(t *testing.T) {
	t.Parallel()
	r, _, store, _ := captured(t, both, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		w.Header().Set("Content-Type", q.Header.Get("Content-Type"))
		_, _ = w.Write(body)
	})
	want := map[string]string{}
	for _, c := range []struct{ kind, data, encoding string }{
		{"TEXT/CSV ; header=present", "1,2", "CSV"}, {"application/json", `{"a": 1}`, "JSON"}, {"application/x-npy", "\x93NUMPY", "BASE64"},
		{"text/csv", "\xff\xfe", "BASE64"}, {"", "bare", "BASE64"}, {"text/plain", "", "BASE64"},
	} {
		h := http.Header{}
		if c.kind != "" {
			h.Set("Content-Type", c.kind)
		}
		ask(t, r, platform.Invocation{Body: []byte(c.data), Header: h})
		data := c.data
		if c.encoding == "BASE64" {
			data = base64.StdEncoding.EncodeToString([]byte(data))
		}
		want[c.kind+" "+data] = c.encoding
	}
	r.Stop()
	for _, l := range linesOf(t, store) {
		p := l.CaptureData.Input
		if key := p.Type + " " + p.Data; want[key] != p.Encoding {
			t.Errorf("%+v", p)
		} else {
			delete(want, key)
		}
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestOnlyWhatIsAskedForIsCaptured(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ input, output bool }{"input": {true, false}, "output": {false, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			half := both
			half.Input, half.Output = c.input, c.output
			r, _, store, _ := captured(t, half, func(w http.ResponseWriter, q *http.Request) {
				if q.Header.Get("Accept") == "trouble" {
					w.WriteHeader(http.StatusInternalServerError)
				}
				doubles(w, q)
			})
			ask(t, r, platform.Invocation{Body: []byte("x")})
			ask(t, r, platform.Invocation{Body: []byte("x"), Header: http.Header{"Accept": {"trouble"}}}) // errors are no data
			left, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Body: []byte("x")})
			if err != nil {
				t.Fatal(err)
			}
			left.Body.Close() // nobody has read it
			r.Stop()
			all := linesOf(t, store)
			if len(all) != 1 || (all[0].CaptureData.Input != nil) != c.input || (all[0].CaptureData.Output != nil) != c.output {
				t.Errorf("%+v", all)
			}
		})
	}
}

// 3,000 draws at 30 %: the bounds are eight standard deviations away.
func TestTheSampleHasItsShare(t *testing.T) {
	t.Parallel()
	c := &capturing{Capture: &platform.Capture{Percent: 30}}
	n := 0
	for range 3000 {
		if c.sampled() {
			n++
		}
	}
	if n < 700 || n > 1100 {
		t.Errorf("%d of 3,000 at 30 %%", n)
	}
	if (*capturing)(nil).sampled() {
		t.Error("captured without being asked")
	}
}

func TestEachHourHasItsFolder(t *testing.T) {
	t.Parallel()
	r, k, store, _ := captured(t, both, doubles)
	for range 3 {
		ask(t, r, platform.Invocation{Body: []byte("x")})
		k.advance(30 * time.Minute)
	}
	k.ticks <- k.Now()
	until(t, "both files", func() bool { return len(files(t, store)) == 2 })
	for file, text := range files(t, store) {
		first := strings.Contains(string(file), "/2026/03/01/12/00-30-000-") && strings.Count(text, "\n") == 2
		second := strings.Contains(string(file), "/2026/03/01/13/00-30-000-") && strings.Count(text, "\n") == 1
		if !first && !second {
			t.Errorf("%s holds\n%s", file, text)
		}
	}
}

// A store that hangs, and then fails, never makes a caller wait; what it cannot take is dropped, counted and told of.
func TestAStoreThatCannotFollowSlowsNobodyDown(t *testing.T) {
	t.Parallel()
	r, k, store, log := captured(t, both, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		fmt.Fprint(w, "yes")
	})
	store.hold = make(chan struct{})
	ask(t, r, platform.Invocation{Body: []byte("first")})
	k.ticks <- k.Now()
	<-store.entered
	long := make([]byte, captureEach)
	for range 2 * captureQueue / captureEach {
		ask(t, r, platform.Invocation{Body: long})
	}
	ask(t, r, platform.Invocation{Body: append(long, 'x')})
	tape := r.endpoints["e"].variants[0].capturing.tape
	tape.mu.Lock()
	if waiting := tape.waiting + tape.saving; waiting > captureQueue || tape.lost < captureQueue/captureEach || tape.long != 1 {
		t.Errorf("%d bytes wait, %d lost, %d too long", waiting, tape.lost, tape.long)
	}
	tape.mu.Unlock()
	close(store.hold)
	store.mu.Lock()
	store.hold, store.fail = nil, true
	store.mu.Unlock()
	r.Stop()
	if said := log.String(); !strings.Contains(said, "the bucket is away") || !strings.Contains(said, "some invocations were not captured") || !strings.Contains(said, "too_long=1") {
		t.Error(said)
	}
}

// Lines go on to the same place, or to another one, as the route says; what waits is written whatever becomes of the route.
func TestCaptureFollowsTheRoute(t *testing.T) {
	t.Parallel()
	r, k, store, _ := captured(t, both, doubles)
	route := r.endpoints["e"].route
	ask(t, r, platform.Invocation{Body: []byte("old")})
	off := route
	off.Variants = []platform.RouteVariant{route.Variants[0]}
	off.Variants[0].Capture = nil
	r.Set("e", off)
	ask(t, r, platform.Invocation{Body: []byte("off")})
	k.ticks <- k.Now()
	until(t, "the file", func() bool { return len(files(t, store)) == 1 })
	if len(r.recorder.tapes) != 0 {
		t.Error("what is off is remembered")
	}
	r.Set("e", route)
	ask(t, r, platform.Invocation{Body: []byte("new")})
	r.Remove("e")
	r.Stop()
	if all := linesOf(t, store); len(all) != 2 {
		t.Errorf("%+v", all)
	}
}

// A file has what came until it was worth its cost; memory that served once serves again, and not beyond the traffic.
func TestLinesComeTogetherInLargeFiles(t *testing.T) {
	t.Parallel()
	r, k, store, _ := captured(t, both, doubles)
	tape := r.endpoints["e"].variants[0].capturing.tape
	line := append(bytes.Repeat([]byte("x"), 64<<10-1), '\n')
	put := func(lines int) {
		for range lines {
			tape.put(line, k.Now())
		}
	}
	store.hold = make(chan struct{})
	put(captureFile / len(line))
	<-store.entered
	put(1) // what waits while a file is written waits for others, too
	close(store.hold)
	store.mu.Lock()
	store.hold = nil
	store.mu.Unlock()
	until(t, "the first file", func() bool { return len(files(t, store)) == 1 })
	put(captureFile/len(line) - 1)
	until(t, "the second file", func() bool { return len(files(t, store)) == 2 })
	for file, text := range files(t, store) {
		if len(text) != captureFile {
			t.Errorf("%s has %d bytes", file, len(text))
		}
	}
	put(1)
	k.ticks <- k.Now()
	until(t, "the rest", func() bool { return len(files(t, store)) == 3 })
	until(t, "the memory to be let go of", func() bool {
		select {
		case k.ticks <- k.Now():
		default:
		}
		tape.mu.Lock()
		defer tape.mu.Unlock()
		return !tape.writing && len(tape.spare) == 0 && tape.waiting+tape.saving == 0
	})
}

func TestEveryTextIsAJSONString(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z\x00-\x1f"\\]{0,20}`))).Draw(t, "texts"), "")
		var back string
		if err := json.Unmarshal(appendText(nil, []byte(text)), &back); err != nil || back != text {
			t.Fatalf("%q comes back as %q: %v", text, back, err)
		}
	})
}

// discard is a store that keeps nothing.
type discard struct{ platform.Blobs }

func (discard) Compose(_ context.Context, u platform.URI, pieces iter.Seq2[platform.Piece, error], _ platform.Composing) (platform.BlobInfo, error) {
	for _, err := range pieces {
		if err != nil {
			return platform.BlobInfo{}, err
		}
	}
	return platform.BlobInfo{URI: u}, nil
}

// processorTime is what this process has used: the writer and the collection of garbage are in it, other work on the machine is not.
func processorTime(b *testing.B) int64 {
	b.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

// What capture costs a request of 1 KB that is answered with 1 KB, all but the store.
func BenchmarkCapture(b *testing.B) {
	sentence := []byte(`{"instances": ["` + strings.Repeat("What is the answer? ", 50) + `"]}`)
	quoted := bytes.Repeat([]byte(`{"a": 1.25},`), 85)
	for _, c := range []struct {
		name, kind string
		body       []byte
	}{{"text", "application/json", sentence}, {"json", "application/json", quoted}, {"base64", "application/x-npy", sentence}} {
		b.Run(c.name, func(b *testing.B) {
			r := New(Config{
				Metrics: telemetry.New(platform.SystemClock{}), Clock: platform.SystemClock{}, Log: slog.New(slog.DiscardHandler),
				Blobs: func(platform.ARN) (platform.Blobs, error) { return discard{}, nil },
			})
			defer r.Stop()
			capturing := r.recorder.capturing("e", platform.RouteVariant{Name: "v", Capture: &both})
			header := map[string][]string{"Content-Type": {c.kind}}
			in := &platform.Invocation{Body: c.body, Header: header}
			b.ReportAllocs()
			before := processorTime(b)
			for b.Loop() {
				t := capturing.take()
				t.note(c.body)
				t.end(in, header, r.clock.Now())
			}
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// A request that is not drawn costs a draw.
func BenchmarkNotSampled(b *testing.B) {
	c := &capturing{Capture: &platform.Capture{Percent: 0}}
	b.ReportAllocs()
	for b.Loop() {
		if c.sampled() {
			b.Fatal("drawn")
		}
	}
}
