package async_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/control/async"
	objects "github.com/stint-ml/stint/drivers/blobs/memory"
	"github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

var born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// hasty is a clock that goes a hundred times as fast as time does.
type hasty struct{ began time.Time }

func (c hasty) Now() time.Time { return born.Add(100 * time.Since(c.began)) }

func (hasty) After(d time.Duration) (<-chan time.Time, func()) {
	return platform.SystemClock{}.After(d / 100)
}

// life is how long a process lives: so many calls to the world outside, and the last one may have its effect or not.
type life struct {
	mu    sync.Mutex
	left  int // negative: for ever
	after bool
}

func (l *life) dead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left == 0
}

var errDead = platform.Errorf(platform.Unavailable, "", "the process is dead")

// call does something in the world outside, unless the process dies before it, or did already.
func (l *life) call(do func() error) error {
	l.mu.Lock()
	if l.left == 0 {
		l.mu.Unlock()
		return errDead
	}
	l.left--
	last := l.left == 0
	l.mu.Unlock()
	if !last {
		return do()
	}
	if l.after {
		_ = do() // nobody is left to know
	}
	return errDead
}

// The ports of a process that may die.
type (
	mortalStore struct {
		platform.Store
		*life
	}
	mortalBlobs struct {
		platform.Blobs
		*life
	}
)

func (s mortalStore) Get(ctx context.Context, k platform.Key) (r platform.Record, err error) {
	err = s.call(func() (err error) { r, err = s.Store.Get(ctx, k); return err })
	return r, err
}

func (s mortalStore) Commit(ctx context.Context, tx platform.Tx) error {
	return s.call(func() error { return s.Store.Commit(ctx, tx) })
}

func (b mortalBlobs) Upload(ctx context.Context, u platform.URI, r io.Reader) error {
	return b.call(func() error { return b.Blobs.Upload(ctx, u, r) })
}

func (b mortalBlobs) Open(ctx context.Context, u platform.URI, offset, length int64) (body io.ReadCloser, err error) {
	err = b.call(func() (err error) { body, err = b.Blobs.Open(ctx, u, offset, length); return err })
	return body, err
}

func (b mortalBlobs) Stat(ctx context.Context, u platform.URI) (i platform.BlobInfo, err error) {
	err = b.call(func() (err error) { i, err = b.Blobs.Stat(ctx, u); return err })
	return i, err
}

// world is what outlives the processes.
type world struct {
	tb      testing.TB
	store   platform.Store
	blobs   platform.Blobs
	metrics *telemetry.Telemetry
	clock   platform.Clock

	mu     sync.Mutex
	inside int
	most   int      // at containers at once
	asked  []string // bodies, in order
	again  []string // bodies that were asked though there was an answer
	broken map[string]int
	answer func(ctx context.Context, in platform.Invocation) (*platform.Answer, error) // nil: what the body says
}

func newWorld(tb testing.TB, clock platform.Clock) *world {
	return &world{tb: tb, store: memory.New(), blobs: objects.New("b"), metrics: telemetry.New(clock), clock: clock, broken: map[string]int{}}
}

// process is a controller with a life.
func (w *world) process(t interface{ TempDir() string }, l *life) *async.Controller {
	return async.New(async.Config{
		Store: mortalStore{w.store, l}, Invoker: invoker{w, l}, Metrics: w.metrics, Clock: w.clock, Site: platform.Site{Region: "r"},
		Blobs: func(role platform.ARN) (platform.Blobs, error) { return mortalBlobs{w.blobs, l}, nil },
		Dir:   t.TempDir(), Log: slog.New(slog.DiscardHandler),
	})
}

type invoker struct {
	*world
	*life
}

// Invoke is a container: it answers its body, or does what that says.
func (i invoker) Invoke(ctx context.Context, in platform.Invocation) (a *platform.Answer, err error) {
	w, body := i.world, string(in.Body)
	if in.Spool != nil {
		all, err := io.ReadAll(io.NewSectionReader(in.Spool, 0, in.Spool.Size()))
		if err != nil {
			return nil, err
		}
		body = string(all)
	}
	w.enter(ctx, body)
	defer func() {
		w.mu.Lock()
		w.inside--
		w.mu.Unlock()
	}()
	if w.answer != nil {
		return w.answer(ctx, in)
	}
	<-time.After(time.Millisecond) // so long the container works
	err = i.call(func() error {
		a, err = w.says(body)
		return err
	})
	return a, err
}

func (w *world) enter(ctx context.Context, body string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inside++
	w.most = max(w.most, w.inside)
	w.asked = append(w.asked, body)
	for _, end := range []string{".out", "-error.out"} {
		if _, err := w.blobs.Stat(ctx, platform.URI("s3://b/"+body+end)); err == nil {
			w.again = append(w.again, body)
		}
	}
}

// says is what a container answers to a body: KIND-NUMBER.
func (w *world) says(body string) (*platform.Answer, error) {
	status := 200
	switch kind, _, _ := strings.Cut(body, "-"); kind {
	case "wrong":
		status = 500
	case "late":
		return nil, platform.ErrTooLate
	case "away":
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.broken[body]++; w.broken[body] < 3 {
			return nil, platform.Errorf(platform.Unavailable, "", "no container is there")
		}
	case "breaks":
		return nil, io.ErrUnexpectedEOF
	case "dies", "tarries": // one of several containers, in whose place the instance answers
		refused := map[string]string{"dies": platform.RefusedBroken, "tarries": platform.RefusedLate}[kind]
		h := map[string][]string{platform.RefusedHeader: {refused}, platform.ContainerHeader: {"second"}}
		return &platform.Answer{Status: 502, Header: h, Body: io.NopCloser(strings.NewReader("in its place"))}, nil
	}
	return &platform.Answer{Status: status, Header: map[string][]string{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader("answer to " + body))}, nil
}

// endpoint writes an asynchronous endpoint down with as many instances; each may have so many invocations.
func (w *world) endpoint(instances int, each int32) {
	name, done, failed := "e", "arn:aws:sns:r:1:done", "arn:aws:sns:r:1:failed"
	d := &platform.Deployment{
		Variants: []platform.Variant{{Name: "v", Desired: instances}},
		Async: &sagemaker.AsyncInferenceConfig{
			ClientConfig: &sagemaker.AsyncInferenceClientConfig{MaxConcurrentInvocationsPerInstance: &each},
			OutputConfig: &sagemaker.AsyncInferenceOutputConfig{NotificationConfig: &sagemaker.AsyncInferenceNotificationConfig{
				SuccessTopic: &done, ErrorTopic: &failed, IncludeInferenceResponseIn: []sagemaker.AsyncNotificationTopicTypes{"SUCCESS_NOTIFICATION_TOPIC"},
			}},
		},
	}
	for i := range instances {
		d.Variants[0].Replicas = append(d.Variants[0].Replicas, platform.Replica{Number: i + 1, Ready: born})
	}
	e := &platform.Endpoint{Spec: sagemaker.CreateEndpointInput{EndpointName: &name}, Status: platform.EndpointStatus{
		Origin: platform.Origin{Created: born}, State: platform.EndpointInService, Serving: d,
	}}
	was, err := w.store.Get(context.Background(), platform.Key{Kind: platform.KindEndpoint, Name: name})
	if err != nil && !platform.Is(err, platform.NotFound) {
		w.tb.Fatal(err)
	}
	rec, err := e.Record(platform.Record{Revision: was.Revision}, born)
	if err == nil {
		err = w.store.Commit(context.Background(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
	}
	if err != nil {
		w.tb.Fatal(err)
	}
}

// ask lets an invocation in, as the API does; its body is its name. What is not in the call is in the object store.
func (w *world) ask(body string, inline bool, change ...func(*platform.AsyncInvocation)) {
	in := &platform.AsyncInvocation{
		ID: body, Endpoint: "e", Of: born, InferenceID: "for " + body, Arrived: w.clock.Now(), TTL: platform.DefaultRequestTTL, Timeout: 60,
		Output: platform.URI("s3://b/" + body + ".out"), Failure: platform.URI("s3://b/" + body + "-error.out"),
	}
	var err error
	if inline {
		in.Body = []byte(body)
	} else {
		in.Input = platform.URI("s3://b/in/" + body)
		err = w.blobs.Upload(context.Background(), in.Input, strings.NewReader(body))
	}
	for _, f := range change {
		f(in)
	}
	rec, failed := in.Record()
	if err = errors.Join(err, failed); err == nil {
		err = w.store.Commit(context.Background(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
	}
	if err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) count(kind platform.Kind) int {
	p, err := w.store.List(context.Background(), platform.Query{Kind: kind})
	if err != nil {
		w.tb.Fatal(err)
	}
	return len(p.Records)
}

// object is an object's content, empty when it is not there.
func (w *world) object(u platform.URI) string {
	body, err := w.blobs.Open(context.Background(), u, 0, -1)
	if err != nil {
		return ""
	}
	content, err := io.ReadAll(body)
	if err != nil {
		w.tb.Fatal(err)
	}
	return string(content)
}

// eventually waits until a condition holds.
func eventually(tb interface{ Fatalf(string, ...any) }, what string, holds func() bool) {
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}

var forEver = func() *life { return &life{left: -1} }

// Whenever the process dies, and before or after whatever it was doing: every invocation ends once, with an answer or a failure, is
// told of once, and reaches a container again only while it has no result.
func TestCrashesLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	kinds := []string{"right", "wrong", "late", "away", "breaks", "dies", "tarries", "missing"}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, hasty{time.Now()})
		instances, each := rapid.IntRange(1, 2).Draw(rt, "instances"), rapid.IntRange(1, 3).Draw(rt, "each")
		w.endpoint(instances, int32(each))
		var asked []string
		enqueue := func() {
			for range rapid.IntRange(0, 6).Draw(rt, "asked") {
				kind := rapid.SampledFrom(kinds).Draw(rt, "kind")
				body := fmt.Sprintf("%s-%d", kind, len(asked))
				asked = append(asked, body)
				w.ask(body, kind != "missing" && rapid.Bool().Draw(rt, "inline"), func(in *platform.AsyncInvocation) {
					if kind == "missing" {
						in.Input = "s3://b/nothing"
					}
				})
			}
		}
		// 1. Some lives that end badly.
		for range rapid.IntRange(0, 4).Draw(rt, "deaths") {
			enqueue()
			l := &life{left: rapid.IntRange(1, 60).Draw(rt, "calls"), after: rapid.Bool().Draw(rt, "after")}
			c := w.process(t, l)
			if err := c.Start(context.Background()); err == nil {
				enqueue()
				eventually(rt, "the death of the process, or the end of its work", func() bool { return l.dead() || w.count(platform.KindAsyncInvocation) == 0 })
			}
			c.Stop()
		}
		// 2. One that does not.
		enqueue()
		c := w.process(t, forEver())
		if err := c.Start(context.Background()); err != nil {
			rt.Fatal(err)
		}
		eventually(rt, "the queue to be empty", func() bool { return w.count(platform.KindAsyncInvocation) == 0 })
		c.Stop()
		// 3. What is to be seen of it.
		if len(w.again) > 0 {
			rt.Fatalf("%q were asked though they had a result", w.again)
		}
		if w.most > instances*each {
			rt.Fatalf("containers had %d at once", w.most)
		}
		checkEnds(rt, w, asked)
	})
}

// checkEnds sees that every invocation has one end, and that it is told of.
func checkEnds(t *rapid.T, w *world, asked []string) {
	if n := w.count(platform.KindNotification); n != len(asked) {
		t.Fatalf("%d notifications of %d invocations", n, len(asked))
	}
	for _, body := range asked {
		answer, failure := w.object(platform.URI("s3://b/"+body+".out")), w.object(platform.URI("s3://b/"+body+"-error.out"))
		rec, err := w.store.Get(context.Background(), platform.Key{Kind: platform.KindNotification, Name: body})
		if err != nil {
			t.Fatal(err)
		}
		n, err := platform.ReadNotification(rec)
		if err != nil {
			t.Fatal(err)
		}
		status, fits := ends(body, answer, failure)
		if !fits {
			t.Fatalf("%s: answer %q, failure %q", body, answer, failure)
		}
		if !strings.Contains(n.Message, `"invocationStatus":"`+status+`"`) || !strings.Contains(n.Message, `"inferenceId":"for `+body+`"`) {
			t.Fatalf("%s is told of as %s", body, n.Message)
		}
	}
}

// ends is how an invocation should end, and whether its objects say so.
func ends(body, answer, failure string) (status string, fits bool) {
	switch kind, _, _ := strings.Cut(body, "-"); kind {
	case "right", "away":
		return "Completed", answer == "answer to "+body && failure == ""
	case "wrong":
		return "Failed", answer == "" && failure == "answer to "+body
	default:
		words := map[string]string{
			"late": "timed out", "tarries": "timed out", "breaks": "ended the connection", "dies": "ended the connection", "missing": "could not be downloaded",
		}[kind]
		return "Failed", answer == "" && strings.Contains(failure, words) && json.Valid([]byte(failure))
	}
}

func TestAnEndpointThatIsGoneOwesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hasty{time.Now()})
	w.endpoint(0, 1)
	w.ask("right-older", true, func(in *platform.AsyncInvocation) { in.Of = born.Add(-time.Hour) })
	for i := range 700 {
		w.ask(fmt.Sprintf("right-%d", i), true)
	}
	c := w.process(t, forEver())
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	eventually(t, "the older endpoint's to be dropped", func() bool { return w.count(platform.KindAsyncInvocation) == 700 })
	rec, err := w.store.Get(t.Context(), platform.Key{Kind: platform.KindEndpoint, Name: "e"})
	if err == nil {
		err = w.store.Commit(t.Context(), platform.Tx{Deletes: []platform.Delete{{Key: rec.Key, Revision: rec.Revision}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all to be dropped", func() bool { return w.count(platform.KindAsyncInvocation) == 0 })
	if len(w.asked) > 0 || w.count(platform.KindNotification) > 0 {
		t.Errorf("%q were asked", w.asked)
	}
}

func TestALargeInputIsNotHeldInMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hasty{time.Now()})
	w.endpoint(1, 1)
	long := strings.Repeat("0123456789abcdef", 1<<16)
	w.answer = func(_ context.Context, in platform.Invocation) (*platform.Answer, error) {
		if in.Spool == nil || in.Spool.Size() != int64(len(long)) || len(in.Body) != 0 || in.Limit != time.Minute || !in.Async {
			t.Errorf("the container is asked %d bytes, within %v", len(in.Body), in.Limit)
		}
		return &platform.Answer{Status: 200, Body: io.NopCloser(io.NewSectionReader(in.Spool, 0, in.Spool.Size()))}, nil
	}
	w.ask("right-1", false, func(in *platform.AsyncInvocation) { in.Input = "s3://b/long" })
	if err := w.blobs.Upload(t.Context(), "s3://b/long", bytes.NewReader([]byte(long))); err != nil {
		t.Fatal(err)
	}
	c := w.process(t, forEver())
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	eventually(t, "the answer", func() bool { return w.count(platform.KindAsyncInvocation) == 0 })
	if w.object("s3://b/right-1.out") != long {
		t.Error("the answer is another one")
	}
}
