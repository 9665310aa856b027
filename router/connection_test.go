package router

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/http1"
	"github.com/stint-ml/stint/platform"
)

// scripted is a container that does with each of its connections what a test says; the number counts them from 1.
func scripted(t testing.TB, serve func(number int, c net.Conn, r *bufio.Reader)) platform.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for number := 1; ; number++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(number, c, bufio.NewReader(c))
			}()
		}
	}()
	return platform.Target{Agent: "scripted", Address: l.Addr().String()}
}

// arrives reads one request.
func arrives(r *bufio.Reader) bool {
	q, err := http.ReadRequest(r)
	if err == nil {
		_, err = io.Copy(io.Discard, q.Body)
	}
	return err == nil
}

func single(t testing.TB, target platform.Target) *Router {
	t.Helper()
	return open(t, platform.RouteVariant{Name: "v", Weight: 1, Targets: []platform.Target{target}})
}

func TestConnectionsAreUsedAgainUnlessTheContainerEndsThem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string
		last   int // the connection that answers the third invocation
	}{
		"kept":             {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 1},
		"kept, in pieces":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", 1},
		"announced before": {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 1},
		"closed":           {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 3},
		"HTTP/1.0":         {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 3},
		"more than said":   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var last atomic.Int64
			r := single(t, scripted(t, func(number int, conn net.Conn, from *bufio.Reader) {
				for arrives(from) {
					last.Store(int64(number))
					fmt.Fprint(conn, c.answer)
				}
			}))
			for range 3 {
				if _, text := ask(t, r, platform.Invocation{Body: []byte("x")}); text != "hi" {
					t.Fatalf("%q answers", text)
				}
			}
			if int(last.Load()) != c.last {
				t.Errorf("the last invocation came over connection %d", last.Load())
			}
		})
	}
}

// A container that closes its idle connections without a word is asked again over a new one: it has seen nothing.
func TestAConnectionThatWasClosedWhileItIdledCostsNothing(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	closed := make(chan struct{}, 10)
	r := single(t, scripted(t, func(_ int, conn net.Conn, from *bufio.Reader) {
		if arrives(from) {
			seen.Add(1)
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
			conn.Close()
			closed <- struct{}{}
		}
	}))
	for range 5 {
		if _, text := ask(t, r, platform.Invocation{}); text != "hi" {
			t.Fatalf("%q answers", text)
		}
		<-closed
	}
	if seen.Load() != 5 {
		t.Errorf("%d invocations were seen", seen.Load())
	}
}

func TestAnswersThatAreNoneAreErrors(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":         "",
		"half a header":   "HTTP/1.1 200 OK\r\nContent-",
		"not HTTP":        "what?\r\n\r\n",
		"an endless head": "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-More: "+strings.Repeat("x", 1000)+"\r\n", 1200),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen atomic.Int64
			r := single(t, scripted(t, func(_ int, conn net.Conn, from *bufio.Reader) {
				if arrives(from) {
					seen.Add(1)
					fmt.Fprint(conn, text)
				}
			}))
			if a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e"}); err == nil || platform.Is(err, platform.Unavailable) || seen.Load() != 1 {
				t.Errorf("%v %v after %d", a, err, seen.Load())
			}
		})
	}
}

// A container need not read a long request to its end before it answers, or at all.
func TestALongRequestMayBeAnsweredBeforeItIsRead(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	r := single(t, scripted(t, func(number int, conn net.Conn, _ *bufio.Reader) {
		connections.Store(int64(number))
		_, _ = io.ReadFull(conn, make([]byte, 100))
		fmt.Fprint(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		_, _ = conn.Read(make([]byte, 1<<20)) // leaves the rest where it is until the router goes
		_, _ = io.Copy(io.Discard, conn)
	}))
	for range 2 {
		if _, text := ask(t, r, platform.Invocation{Body: make([]byte, 20<<20)}); text != "no" {
			t.Fatalf("%q answers", text)
		}
	}
	if connections.Load() != 2 {
		t.Errorf("a connection was used again on which the request had not been sent")
	}
}

func TestALongRequestArrivesWhole(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	r := single(t, container(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		fmt.Fprint(w, bytes.Equal(body, long), len(body))
	}))
	for _, in := range []platform.Invocation{{Body: long}, {Body: long}, {Spool: bytes.NewReader(long)}} {
		if _, text := ask(t, r, in); text != "true 16777216" {
			t.Errorf("%q", text)
		}
	}
}

func TestAnInvocationHasItsTimeAndNoMore(t *testing.T) {
	t.Parallel()
	for _, begins := range []bool{false, true} {
		r := single(t, container(t, func(w http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body)
			if begins {
				fmt.Fprint(w, "begin")
				_ = http.NewResponseController(w).Flush()
			}
			<-q.Context().Done()
		}))
		a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Limit: 200 * time.Millisecond})
		if begins && err == nil {
			_, err = io.ReadAll(a.Body)
			a.Body.Close()
		}
		if !errors.Is(err, platform.ErrTooLate) {
			t.Errorf("begun %v: %v", begins, err)
		}
	}
}

// A caller who leaves ends the container's work, whether it has begun to answer or not; so does one who is not interested in the rest.
func TestTheContainerHearsOfACallerWhoLeaves(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before the answer", "within it", "without its rest"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			heard, reached := make(chan struct{}), make(chan struct{})
			r := single(t, container(t, func(w http.ResponseWriter, q *http.Request) {
				_, _ = io.Copy(io.Discard, q.Body)
				if when != "before the answer" {
					fmt.Fprint(w, "begin")
					_ = http.NewResponseController(w).Flush()
				}
				close(reached)
				<-q.Context().Done()
				close(heard)
			}))
			if when == "before the answer" {
				go func() {
					<-reached
					leave()
				}()
				if a, err := r.Invoke(ctx, platform.Invocation{Endpoint: "e"}); !errors.Is(err, context.Canceled) {
					t.Errorf("%v %v", a, err)
				}
				<-heard
				return
			}
			a, err := r.Invoke(ctx, platform.Invocation{Endpoint: "e"})
			if err != nil {
				t.Fatal(err)
			}
			if when == "within it" {
				leave()
				if _, err := io.ReadAll(a.Body); !errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
			}
			a.Body.Close()
			<-heard
		})
	}
}

func TestIdleConnectionsAreClosedWithTheirRoute(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 1)
	target := scripted(t, func(_ int, conn net.Conn, from *bufio.Reader) {
		for arrives(from) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		}
		ended <- struct{}{}
	})
	r := single(t, target)
	for name, end := range map[string]func(){
		"another route": func() { r.Set("e", platform.Route{Variants: []platform.RouteVariant{{Name: "v", Weight: 1}}}) },
		"no route":      func() { r.Remove("e") },
	} {
		r.Set("e", platform.Route{Variants: []platform.RouteVariant{{Name: "v", Weight: 1, Targets: []platform.Target{target}}}})
		ask(t, r, platform.Invocation{})
		end()
		select {
		case <-ended:
		case <-time.After(60 * time.Second):
			t.Fatalf("%s: the connection is open", name)
		}
	}
}

// What has idled for too long goes; what was used lately stays.
func TestOldIdleConnectionsAreSwept(t *testing.T) {
	t.Parallel()
	p := &pool{}
	for _, age := range []time.Duration{2 * idleConnection, 0} {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		p.idle = append(p.idle, &connection{Client: &http1.Client{Conn: ours}, since: time.Now().Add(-age)})
	}
	old, fresh := p.idle[0], p.idle[1]
	p.sweep()
	if len(p.idle) != 1 || p.idle[0] != fresh || !p.sweeping {
		t.Errorf("%d are left", len(p.idle))
	}
	if _, err := old.Write([]byte("x")); err == nil {
		t.Error("the old one is open")
	}
}

// BenchmarkInvoke is an invocation through the router, at a container that does nothing but answer.
func BenchmarkInvoke(b *testing.B) {
	r := single(b, scripted(b, func(_ int, conn net.Conn, from *bufio.Reader) {
		answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"answer\": 0.25}")
		for {
			held, err := from.Peek(1)
			if err == nil {
				held, err = from.Peek(from.Buffered()) // all of it came at once
			}
			if err == nil {
				_, err = from.Discard(len(held))
			}
			if err == nil {
				_, err = conn.Write(answer)
			}
			if err != nil {
				return
			}
		}
	}))
	in := platform.Invocation{Endpoint: "e", Header: map[string][]string{"Content-Type": {"application/json"}, "Accept": {"*/*"}}, Body: []byte("{\"question\": 1}")}
	ctx, leave := context.WithCancel(b.Context())
	defer leave()
	into := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		a, err := r.Invoke(ctx, in)
		if err == nil {
			_, err = io.ReadFull(a.Body, into[:16])
			a.Body.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
