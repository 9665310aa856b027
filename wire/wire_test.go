package wire_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stint-ml/stint/wire"
)

func TestRequestIDsAreUUIDsAndReachHandlerAndClient(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	handler := wire.Identify(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, wire.RequestID(r.Context()))
	}))
	for range 100 {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Amzn-RequestId", "chosen-by-the-client")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		id := answer.Body.String()
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("id %q is no fresh version 4 UUID", id)
		}
		seen[id] = true
		if answer.Header().Get("x-amzn-RequestId") != id || answer.Header().Get("x-amz-request-id") != id {
			t.Fatalf("headers %v do not carry %s", answer.Header(), id)
		}
	}
	if got := wire.RequestID(context.Background()); got != "" {
		t.Errorf("outside a call the id is %q", got)
	}
}

func TestErrorBlame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  wire.Error
		want wire.Fault
	}{
		{wire.Error{Status: 400}, wire.Sender},
		{wire.Error{Status: 503}, wire.Receiver},
		{wire.Error{Status: 424, Fault: wire.Receiver}, wire.Receiver},
	} {
		if got := c.err.Blame(); got != c.want {
			t.Errorf("%+v: blame %s, want %s", c.err, got, c.want)
		}
	}
}

func TestReadBody(t *testing.T) {
	t.Parallel()
	const limit = 1000
	for name, c := range map[string]struct {
		body     io.Reader
		declared int64
		code     string
		length   int
	}{
		"none":                       {nil, 0, "", 0},
		"at the limit":               {strings.NewReader(strings.Repeat("x", limit)), limit, "", limit},
		"at the limit, chunked":      {strings.NewReader(strings.Repeat("x", limit)), -1, "", limit},
		"declared above the limit":   {iotest.ErrReader(errors.New("must not be read")), limit + 1, "RequestEntityTooLarge", 0},
		"chunked above the limit":    {strings.NewReader(strings.Repeat("x", limit+1)), -1, "RequestEntityTooLarge", 0},
		"cut short":                  {io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(io.ErrUnexpectedEOF)), 10, "IncompleteBody", 0},
		"above an outer MaxBytes":    {http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("abcdef")), 3), 6, "RequestEntityTooLarge", 0},
		"arrives one byte at a time": {iotest.OneByteReader(strings.NewReader("abcdef")), 6, "", 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodPost, "/", c.body)
			r.ContentLength = c.declared
			body, err := wire.ReadBody(r, limit)
			var refused *wire.Error
			switch {
			case c.code == "" && (err != nil || len(body) != c.length):
				t.Errorf("got %d bytes and %v, want %d bytes", len(body), err, c.length)
			case c.code != "" && (!errors.As(err, &refused) || refused.Code != c.code):
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

func TestReadBodyDoesNotReserveWhatIsOnlyDeclared(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
	r.ContentLength = 1 << 30
	body, err := wire.ReadBody(r, 1<<30)
	if err != nil || string(body) != "{}" || cap(body) > 128<<10 {
		t.Errorf("got %q, %v with a capacity of %d bytes", body, err, cap(body))
	}
}

// lockedBuffer is a log that handlers write while the test reads.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func plainRender(w http.ResponseWriter, r *http.Request, e *wire.Error) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(e.Status)
	fmt.Fprintf(w, "%s %s", e.Code, wire.RequestID(r.Context()))
}

// answered is what a client got; err is set when the answer was cut.
type answered struct {
	status   int
	id, body string
	err      error
}

func get(url string) answered {
	answer, err := http.Get(url)
	if err != nil {
		return answered{err: err}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answered{answer.StatusCode, answer.Header.Get("X-Amzn-RequestId"), string(body), err}
}

// panicking serves a panic of each sort, and /fine.
func panicking(t *testing.T, log io.Writer) string {
	t.Helper()
	handler := http.NewServeMux()
	handler.HandleFunc("/fine", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	handler.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		panic("before any answer")
	})
	handler.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half an ans")
		_ = http.NewResponseController(w).Flush()
		panic("amid the answer")
	})
	handler.HandleFunc("/aborted", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	server := httptest.NewUnstartedServer(wire.Identify(wire.Recover(handler, slog.New(slog.NewJSONHandler(log, nil)), plainRender)))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

func TestPanicIsContainedToItsCall(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	url := panicking(t, &log)

	early := get(url + "/early")
	if early.err != nil || early.status != 500 || early.body != "InternalFailure "+early.id {
		t.Fatalf("early panic: %+v", early)
	}
	for _, part := range []string{early.id, "before any answer", "wire_test.go"} { // id, panic, stack
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %q: %s", part, log.String())
		}
	}
	if late := get(url + "/late"); late.err == nil {
		t.Errorf("a truncated answer passed for a whole one: %+v", late)
	}
	logged := log.String()
	if aborted := get(url + "/aborted"); aborted.err == nil {
		t.Errorf("http.ErrAbortHandler did not cut the connection: %+v", aborted)
	}
	if log.String() != logged {
		t.Error("http.ErrAbortHandler was logged as a fault")
	}
	if fine := get(url + "/fine"); fine.err != nil || fine.body != "fine" {
		t.Errorf("after the panics: %+v", fine)
	}
}

func TestRecoverKeepsWhatTheWriterCanDo(t *testing.T) {
	t.Parallel()
	handler := wire.Recover(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("ReadFrom is lost")
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack is lost: %v", err)
			return
		}
		defer conn.Close()
		_, _ = buffered.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		_ = buffered.Flush()
	}), slog.New(slog.DiscardHandler), plainRender)
	server := httptest.NewServer(handler)
	defer server.Close()
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); string(body) != "hi" {
		t.Errorf("got %q", body)
	}
}

func newServer(handler http.HandlerFunc) *wire.Server {
	return wire.NewServer(wire.ServerConfig{Addr: "127.0.0.1:0", Handler: handler, Log: slog.New(slog.DiscardHandler)})
}

func TestStopWithoutStart(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	idle := newServer(nil)
	for range 2 {
		if err := idle.Stop(ctx); err != nil {
			t.Errorf("stop without start: %v", err)
		}
	}
	if err := idle.Start(); err == nil {
		t.Error("start after stop succeeded")
	}
}

func TestServerServesFromStartToStop(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := newServer(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") })
	if server.Addr() != "" {
		t.Errorf("address %q before start", server.Addr())
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err == nil {
		t.Error("second start succeeded")
	}
	answer, err := http.Get("http://" + server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()

	taken := wire.NewServer(wire.ServerConfig{Addr: server.Addr(), Log: slog.New(slog.DiscardHandler)})
	if err := taken.Start(); err == nil {
		t.Error("two servers on one address")
	}
	for range 2 {
		if err := server.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	<-server.Done()
	if err := server.Err(); err != nil {
		t.Errorf("after a stop: %v", err)
	}
	if _, err := net.Dial("tcp", server.Addr()); err == nil {
		t.Error("the port is still open after stop")
	}
}

func TestStopWaitsForCallsUnderWay(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	server := newServer(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	answers := make(chan string, 1)
	go func() {
		answer, err := http.Get("http://" + server.Addr())
		if err != nil {
			answers <- err.Error()
			return
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		answers <- string(body)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- server.Stop(context.Background()) }()
	<-server.Done() // no longer accepting; the call is still under way
	select {
	case err := <-stopped:
		t.Fatalf("stop returned %v before the call ended", err)
	default:
	}
	close(release)
	if got := <-answers; got != "done" {
		t.Errorf("the call under way got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestStopCutsCallsWhenTimeIsUp(t *testing.T) {
	t.Parallel()
	entered, canceled := make(chan struct{}), make(chan struct{})
	server := newServer(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(canceled)
	})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		if answer, err := http.Get("http://" + server.Addr()); err == nil {
			_ = answer.Body.Close()
		}
	}()
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := server.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	<-canceled
}

func TestServerRefusesHugeHeaders(t *testing.T) {
	t.Parallel()
	server := newServer(func(http.ResponseWriter, *http.Request) {})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop(context.Background()) }()
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Big: %s\r\n\r\n", strings.Repeat("y", 128<<10))
	}()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s", answer.Status)
	}
}
