package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stint-ml/stint/http1"
)

// serve starts a server whose short way is for /short/, or none.
func serve(t *testing.T, prefix string, handler http.HandlerFunc) (*http1.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http1.Server{
		Rest:   &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)},
		Prefix: prefix, Log: slog.New(slog.DiscardHandler),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serving ended with %v", err)
		}
	})
	return s, l.Addr().String()
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func send(t *testing.T, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// post is a plain request.
func post(path, body string, header ...string) string {
	head := "POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n"
	for i := 0; i < len(header); i += 2 {
		head += header[i] + ": " + header[i+1] + "\r\n"
	}
	return head + "\r\n" + body
}

// What is not plain is answered by net/http, also in the middle of a connection, which has lost nothing.
func TestWhatIsNotPlainGoesToNetHTTP(t *testing.T) {
	t.Parallel()
	_, address := serve(t, "/short/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%v %s %s %v", isShort(r), r.URL.Path, body, err)
	})
	const short = "true /short/x 1 <nil>"
	for request, want := range map[string]string{
		post("/long/x", "1"):                       "false /long/x 1 <nil>",
		post("/shorter/x", "1"):                    "false /shorter/x 1 <nil>",
		"GET /short/x HTTP/1.1\r\nHost: h\r\n\r\n": "false /short/x  <nil>",
		"POST /short/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n":     "false /short/x 1 <nil>",
		"POST /short/x HTTP/1.1\r\nHost: h\r\n\r\n":                                                      "false /short/x  <nil>",
		post("/short/x", "1", "Connection", "close"):                                                     "false /short/x 1 <nil>",
		post("/short/x", "1", "Upgrade", "websocket"):                                                    "false /short/x 1 <nil>",
		post("/short/x", "1", "X-Long", strings.Repeat("l", 9000)):                                       "false /short/x 1 <nil>",
		post("/short/x", strings.Repeat("1", 64<<10+1)):                                                  "false /short/x " + strings.Repeat("1", 64<<10+1) + " <nil>",
		"POST http://h/short/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1":                        "false /short/x 1 <nil>",
		"POST /short/x HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n1":      "false /short/x 1 <nil>",
		"POST /short/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1":           "false /short/x 1 <nil>",
		"POST /short/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1":           "400",
		"POST /short/x HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n1":                               "400",
		"POST /short/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: identity\r\n\r\n1": "501",
		"POST /short/x HTTP/1.1\r\nContent-Length: 1\r\n\r\n1":                                           "400",
		"POST /short/x HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 1\r\n\r\n1":                     "400",
		"POST /short/x HTTP/1.1\r\nHost: a b\r\nContent-Length: 1\r\n\r\n1":                              "400",
		"POST /short/x HTTP/1.1\r\nHost: h\r\nBad Name: 1\r\nContent-Length: 1\r\n\r\n1":                 "400",
		"POST /short/x HTTP/3.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1":                                "505",
		"POST /short/%zz HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1":                              "400",
		"\r\n\r\n": "400",
	} {
		c := dial(t, address)
		from := bufio.NewReader(c)
		for range 2 { // first two on the short way
			send(t, c, post("/short/x", "1"))
			if got := hear(t, from); got.body != short {
				t.Fatalf("a plain request is told %+v", got)
			}
		}
		send(t, c, request)
		got := hear(t, from)
		if got.body != want && fmt.Sprint(got.status) != want {
			t.Errorf("%.200q is told %d %.200q, want %.200q", request, got.status, got.body, want)
		}
		if got.status != 200 || got.closing {
			continue
		}
		send(t, c, post("/short/x", "1")) // and it goes on there
		if got := hear(t, from); got.body != "false /short/x 1 <nil>" {
			t.Errorf("after %.100q, a plain request is told %+v", request, got)
		}
	}
}

// A client that waits to be told to go on is told.
func TestAnUploadThatWaitsIsToldToContinue(t *testing.T) {
	t.Parallel()
	_, address := serve(t, "/short/", answer)
	c := dial(t, address)
	send(t, c, "POST /short/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
	from := bufio.NewReader(c)
	if line, err := from.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q %v", line, err)
	}
}

func TestBytesMayComeAsTheyLike(t *testing.T) {
	t.Parallel()
	_, address := serve(t, "/short/", answer)
	two := post("/short/echo", "first", "X-Mine", "1") + post("/short/echo", strings.Repeat("second", 5000)) + post("/short/nothing", "")
	// 1. All at once.
	c := dial(t, address)
	send(t, c, two)
	check := func(from *bufio.Reader) {
		t.Helper()
		for _, want := range []string{"first", strings.Repeat("second", 5000), ""} {
			if got := hear(t, from); got.status != 200 || got.body != want {
				t.Fatalf("%.300v, want %.30s", got, want)
			}
		}
	}
	check(bufio.NewReader(c))
	// 2. One at a time.
	if err := c.SetNoDelay(true); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{iotest.OneByteReader(strings.NewReader(two))})
		sent <- err
	}()
	check(bufio.NewReader(c))
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// A body that ends early is its handler's matter, and the last of its connection.
func TestABodyThatEndsEarly(t *testing.T) {
	t.Parallel()
	_, address := serve(t, "/short/", answer)
	c := dial(t, address)
	send(t, c, "POST /short/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n123")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(c)
	if got := hear(t, from); got.status != 400 || !strings.Contains(got.body, "unexpected EOF") {
		t.Errorf("%+v", got)
	}
	if _, err := from.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection goes on: %v", err)
	}
}

// A handler learns that its caller has left, and one that takes long, whose caller stays, loses nothing of what comes next.
func TestACallerWhoLeavesIsNoticed(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}, 10), make(chan error, 10)
	release := make(chan struct{})
	_, address := serve(t, "/short/", func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		select {
		case <-r.Context().Done():
			ended <- context.Cause(r.Context())
		case <-release:
			_, _ = fmt.Fprint(w, isShort(r), r.Context().Err())
		}
	})
	leaves := dial(t, address)
	send(t, leaves, post("/short/", "1"))
	<-began
	if err := leaves.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the context ends with %v", err)
	}
	// Meanwhile another one stays, and asks again before it has its answer.
	stays := dial(t, address)
	from := bufio.NewReader(stays)
	send(t, stays, post("/short/", "1"))
	<-began
	third := dial(t, address) // by its end, the one that stays is being watched
	send(t, third, post("/short/", "1"))
	<-began
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the context ends with %v", err)
	}
	send(t, stays, post("/short/", "2"))
	close(release)
	for range 2 {
		if got := hear(t, from); got.body != "true <nil>" {
			t.Errorf("who stays is told %+v", got)
		}
	}
}

func TestShutdownWaitsForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	began, release := make(chan struct{}), make(chan struct{})
	s, address := serve(t, "/short/", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/short/wait" {
			close(began)
			<-release
		}
	})
	idle, busy := dial(t, address), dial(t, address)
	fromIdle, fromBusy := bufio.NewReader(idle), bufio.NewReader(busy)
	send(t, idle, post("/short/", ""))
	if got := hear(t, fromIdle); got.status != 200 || got.closing {
		t.Fatalf("%+v", got)
	}
	send(t, busy, post("/short/wait", ""))
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	if _, err := fromIdle.ReadByte(); !errors.Is(err, io.EOF) { // the idle one is closed at once
		t.Fatal(err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("it has not waited: %v", err)
	default:
	}
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("it still listens")
	}
	close(release)
	if got := hear(t, fromBusy); got.status != 200 || !got.closing {
		t.Errorf("what was under way is told %+v", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownGivesUp(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	s, address := serve(t, "/short/", func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	c := dial(t, address)
	send(t, c, post("/short/", ""))
	<-began
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(over); !errors.Is(err, context.Canceled) {
		t.Errorf("shut down: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}

// Neither a client that says nothing nor one that says it slowly keeps a connection.
func TestSilentAndSlowClientsAreLetGo(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http1.Server{
		Rest:   &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 100 * time.Millisecond, IdleTimeout: 100 * time.Millisecond},
		Prefix: "/short/", Log: slog.New(slog.DiscardHandler),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	silent, slow := dial(t, l.Addr().String()), dial(t, l.Addr().String())
	send(t, slow, "POST /short/nothing HTTP/1.1\r\n")
	for _, c := range []net.Conn{silent, slow} {
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d %v", n, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func BenchmarkShortWay(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	for name, prefix := range map[string]string{"short": "/short/", "net-http": ""} {
		s := &http1.Server{Rest: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })}, Prefix: prefix, Log: slog.Default()}
		go s.Serve(l) //nolint:errcheck // it ends with the benchmark
		b.Run(name, func(b *testing.B) {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			request := []byte(post("/short/x", strings.Repeat("x", 1000)))
			reply := make([]byte, 1000)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				if n, err := c.Read(reply); err != nil || n < 20 {
					b.Fatal(n, err)
				}
			}
		})
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			b.Fatal(err)
		}
	}
	l.Close()
}
