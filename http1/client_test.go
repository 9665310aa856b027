package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

// answers are of all kinds, by what is told of them.
var answers = map[string]string{
	"plain":             "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 5\r\n\r\n0.25\n",
	"empty":             "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"two":               "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nb",
	"without a reason":  "HTTP/1.1 503\r\ncontent-length: 2\r\n\r\nno",
	"kept":              "HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\na",
	"closed":            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
	"closed, in a list": "HTTP/1.1 200 OK\r\nConnection: x, close\r\nContent-Length: 1\r\n\r\na",
	"HTTP/1.0":          "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
	"HTTP/1.0, kept":    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
	"until the end":     "HTTP/1.1 200 OK\r\nX: y\r\n\r\nall that comes",
	"in pieces":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
	"with a trailer":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n3\r\nabc\r\n0\r\nSum: 1\r\n\r\n",
	"pieces and length": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n",
	"announced":         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
	"no content":        "HTTP/1.1 204 No Content\r\n\r\n",
	"no content, long":  "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
	"not modified":      "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
	"switched":          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx",
	"two lengths":       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
	"lengths apart":     "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
	"no length":         "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
	"less than nothing": "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
	"more than nothing": "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
	"zeros":             "HTTP/1.1 200 OK\r\nContent-Length: 0000000000000000000000000000002\r\n\r\nab",
	"beyond any length": "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nab",
	"old caching":       "HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Length: 1\r\n\r\na",
	"folded":            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\na",
	"bare line feeds":   "HTTP/1.1 200 OK\nContent-Length: 1\n\na",
	"short status":      "HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\na",
	"long status":       "HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\na",
	"signed status":     "HTTP/1.1 +20 OK\r\nContent-Length: 1\r\n\r\na",
	"HTTP/2":            "HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\na",
	"not HTTP":          "what?\r\n\r\n",
}

// seen is all that there is to an answer.
type seen struct {
	Status int
	Header http.Header
	Length int64
	Closes bool
	Body   string
	Early  bool // the body ends before its time
}

// theirs reads all answers as net/http does.
func theirs(text []byte) (all []seen, failed bool) {
	r := bufio.NewReaderSize(bytes.NewReader(text), 1<<16)
	announced := false
	for {
		if _, err := r.Peek(1); err != nil {
			return all, announced
		}
		a, err := http.ReadResponse(r, asked) //nolint:bodyclose // there is nothing to close
		if err != nil {
			return all, true
		}
		if a.StatusCode >= 100 && a.StatusCode <= 199 && a.StatusCode != http.StatusSwitchingProtocols {
			announced = true
			continue
		}
		announced = false
		body, err := io.ReadAll(a.Body)
		all = append(all, seen{a.StatusCode, a.Header, a.ContentLength, a.Close || a.StatusCode == http.StatusSwitchingProtocols, string(body), err != nil})
		if err != nil || a.Close {
			return all, err != nil
		}
	}
}

// pieces is a connection from which comes what a reader gives.
type pieces struct {
	net.Conn
	io.Reader
}

func (p pieces) Read(b []byte) (int, error) { return p.Reader.Read(b) }

// ours reads all answers, and checks what does not depend on net/http.
func ours(t require, from io.Reader) (all []seen, failed bool) {
	c := newClient(pieces{nil, from}, 1<<16)
	for {
		var a Answer
		if err := c.Receive(&a); err != nil {
			if errors.Is(err, io.EOF) {
				t.Fatalf("an answer that does not come is no end: %v", err)
			}
			return all, !errors.Is(err, ErrNoAnswer)
		}
		one, ends := read(t, &a)
		all = append(all, one)
		if ends {
			return all, one.Early
		}
	}
}

// read reads the body of an answer; ends: no other comes.
func read(t require, a *Answer) (one seen, ends bool) {
	if !a.client.Answered() {
		t.Fatalf("it has not answered")
	}
	body, err := io.ReadAll(a)
	if a.Whole() != (err == nil) || a.Reusable() != (err == nil && !a.closes) {
		t.Fatalf("whole %v, reusable %v: %v", a.Whole(), a.Reusable(), err)
	}
	if n, err := a.Read(make([]byte, 1)); a.Whole() && (n != 0 || !errors.Is(err, io.EOF)) {
		t.Fatalf("behind the end comes %d, %v", n, err)
	}
	one = seen{a.Status, a.Header, a.Length, a.closes, string(body), err != nil}
	return one, err != nil || a.closes && a.Status != http.StatusSwitchingProtocols
}

// require is a test of any kind.
type require interface {
	Fatalf(format string, args ...any)
}

func compare(t require, text []byte, from io.Reader) {
	want, wantFailed := theirs(text)
	got, failed := ours(t, from)
	if !reflect.DeepEqual(got, want) || failed != wantFailed {
		t.Fatalf("%q\ngot  %+v, %v\nwant %+v, %v", text, got, failed, want, wantFailed)
	}
}

func TestAnswersAreReadAsNetHTTPReadsThem(t *testing.T) {
	t.Parallel()
	for name, text := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, []byte(text), strings.NewReader(text))
			compare(t, []byte(text), iotest.OneByteReader(strings.NewReader(text)))
		})
	}
}

// However the bytes come, and wherever they end, they are read as net/http reads them.
func TestAnswersMayComeInAnyPieces(t *testing.T) {
	t.Parallel()
	names := slices.Sorted(maps.Keys(answers))
	rapid.Check(t, func(t *rapid.T) {
		var text string
		for range rapid.IntRange(1, 3).Draw(t, "answers") {
			text += answers[rapid.SampledFrom(names).Draw(t, "answer")]
		}
		text = text[:rapid.IntRange(0, len(text)).Draw(t, "end")]
		var parts []io.Reader
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			parts, rest = append(parts, strings.NewReader(rest[:n])), rest[n:]
		}
		compare(t, []byte(text), io.MultiReader(parts...))
	})
}

func TestAnEarlyEndIsToldWhereverItIs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		answers["plain"], answers["announced"], answers["closed, in a list"], "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	} {
		for end := range len(strings.TrimSuffix(text, "\r\n\r\n")) { // the end of a last chunk net/http words otherwise
			c := newClient(pieces{nil, strings.NewReader(text[:end])}, 4096)
			var a Answer
			err := c.Receive(&a)
			if errors.Is(err, ErrNoAnswer) != (end == 0) {
				t.Fatalf("%q: %v", text[:end], err)
			}
			if err == nil {
				_, err = io.ReadAll(&a)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q: %v", text[:end], err)
			}
		}
	}
}

// FuzzReceive: whatever comes is read as net/http reads it.
func FuzzReceive(f *testing.F) {
	for _, text := range answers {
		f.Add([]byte(text), 7)
	}
	f.Fuzz(func(t *testing.T, text []byte, first int) {
		if len(text) > 1<<15 {
			return
		}
		first = max(0, min(first, len(text)))
		compare(t, text, io.MultiReader(bytes.NewReader(text[:first]), bytes.NewReader(text[first:])))
	})
}

func TestTheHeadOfAnAnswerHasABound(t *testing.T) {
	t.Parallel()
	c := newClient(pieces{nil, io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\n"), forever("X: y\r\n"))}, 4096)
	if err := c.Receive(&Answer{}); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Error(err)
	}
	c = newClient(pieces{nil, forever("HTTP/1.1 100 Continue\r\n\r\n")}, 4096)
	if err := c.Receive(&Answer{}); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("announced for ever: %v", err)
	}
}

// forever repeats a text.
func forever(text string) io.Reader { return &repeated{text, text} }

type repeated struct{ text, rest string }

func (r *repeated) Read(b []byte) (int, error) {
	if r.rest == "" {
		r.rest = r.text
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestAnAnswersHeaderIsUsedAgain(t *testing.T) {
	t.Parallel()
	c := newClient(pieces{nil, strings.NewReader("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")}, 4096)
	var a Answer
	if err := c.Receive(&a); err != nil || a.Header.Get("A") != "b" {
		t.Fatal(a, err)
	}
	if err := c.Receive(&a); err != nil || a.Header.Get("A") != "" || a.Header.Get("Content-Length") != "0" {
		t.Error(a, err)
	}
}

// pair is a client and what it is connected to.
func pair(t testing.TB) (*Client, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(near.(Socket), 8<<10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); far.Close() })
	return c, far
}

func TestAConnectionIsQuietUntilTheOtherEndIsNot(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(net.Conn){
		"a word": func(far net.Conn) { fmt.Fprint(far, "?") },
		"an end": func(far net.Conn) { far.Close() },
	} {
		c, far := pair(t)
		if !c.Quiet() {
			t.Errorf("before %s it is not quiet", name)
		}
		disturb(far)
		for until := time.Now().Add(10 * time.Second); c.Quiet(); time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("after %s it is quiet", name)
			}
		}
	}
}

func TestARequestOfWhichNothingWasTakenIsUnsent(t *testing.T) {
	t.Parallel()
	c, _ := pair(t)
	c.Interrupt()
	if err := c.Send([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ErrUnsent) {
		t.Errorf("interrupted: %v", err)
	}
	c.Close()
	if err := c.Send([]byte("x")); !errors.Is(err, ErrUnsent) {
		t.Errorf("closed: %v", err)
	}
}

func TestAnExchangeIsOverWhenItsRequestHasBeenSentToo(t *testing.T) {
	t.Parallel()
	c, far := pair(t)
	long := bytes.Repeat([]byte("x"), 32<<20)
	c.SendBeside(bytes.NewReader(long), []byte("head"), []byte("body"))
	fmt.Fprint(far, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
	var a Answer
	if err := c.Receive(&a); err != nil || a.Status != 413 || !a.Whole() || a.Reusable() {
		t.Fatalf("%+v: %v", a, err)
	}
	got := make([]byte, 8+len(long))
	if _, err := io.ReadFull(far, got); err != nil || string(got[:8]) != "headbody" || !bytes.Equal(got[8:], long) {
		t.Fatalf("it arrives otherwise: %v", err)
	}
	for until := time.Now().Add(10 * time.Second); !a.Reusable(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it is not over")
		}
	}
	if !a.Reusable() {
		t.Error("it is over but once")
	}
}

func TestAnInterruptEndsTheWaiting(t *testing.T) {
	t.Parallel()
	c, _ := pair(t)
	go c.Interrupt()
	if err := c.Receive(&Answer{}); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
}

// BenchmarkReceive reads an answer of which all has come: by the short way, and as net/http reads it.
func BenchmarkReceive(b *testing.B) {
	text := "HTTP/1.1 200 OK\r\nServer: stint\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"answer\": 0.25}"
	body := make([]byte, 64)
	b.Run("plain", func(b *testing.B) {
		c := newClient(pieces{nil, forever(text)}, len(text))
		b.ReportAllocs()
		for b.Loop() {
			var a Answer
			if err := c.Receive(&a); err != nil {
				b.Fatal(err)
			}
			if n, err := a.Read(body); n != 16 || !a.Reusable() {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		c := newClient(pieces{nil, forever(text)}, len(text))
		b.ReportAllocs()
		var a Answer
		for b.Loop() {
			if err := c.Receive(&a); err != nil {
				b.Fatal(err)
			}
			if n, err := a.Read(body); n != 16 || !a.Reusable() {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("net/http", func(b *testing.B) {
		r := bufio.NewReaderSize(forever(text), len(text))
		b.ReportAllocs()
		for b.Loop() {
			a, err := http.ReadResponse(r, asked) //nolint:bodyclose // there is nothing to close
			if err != nil {
				b.Fatal(err)
			}
			if n, err := a.Body.Read(body); n != 16 {
				b.Fatal(n, err)
			}
		}
	})
}
