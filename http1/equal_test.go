package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stint-ml/stint/http1"
)

// told is what a client understands of an answer.
type told struct {
	status  int
	header  http.Header
	body    string
	length  int64
	coding  string
	closing bool
	failure string
}

// hear reads an answer.
func hear(t *testing.T, from *bufio.Reader) told {
	t.Helper()
	r, err := http.ReadResponse(from, &http.Request{Method: http.MethodPost})
	if err != nil {
		return told{failure: err.Error()}
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	heard := told{status: r.StatusCode, header: maps.Clone(r.Header), body: string(body), length: r.ContentLength, coding: strings.Join(r.TransferEncoding, ","), closing: r.Close}
	if err != nil {
		heard.failure = err.Error()
	}
	if _, err := http.ParseTime(heard.header.Get("Date")); err != nil && r.StatusCode < 400 {
		t.Errorf("the date is %q", heard.header.Get("Date"))
	}
	heard.header.Del("Date")
	return heard
}

// isShort tells a handler which way its request came.
func isShort(r *http.Request) bool {
	_, short := r.Body.(*http1.Body)
	return short
}

// answers are ways to answer, by path.
var answers = map[string]http.HandlerFunc{
	"echo": func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "the body: "+err.Error(), http.StatusBadRequest)
			return
		}
		w.Header()["X-Asked"] = []string{r.Method, r.RequestURI, r.URL.Path, r.URL.RawQuery, r.Host, r.Proto, fmt.Sprint(r.ContentLength), fmt.Sprint(len(r.Header)), r.Header.Get("x-mine")}
		_, _ = w.Write(body)
	},
	"nothing": func(http.ResponseWriter, *http.Request) {},
	"status": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(http.StatusOK)
	},
	"none": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	"json": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	},
	"newline": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Lines", "a\r\nX-Evil: b") },
	"length": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "12345")
	},
	"more": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "123456") // which is refused
	},
	"less": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "1")
	},
	"large": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("large"), 100_000)) },
	"pieces": func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "piece %d,", i)
			_ = http.NewResponseController(w).Flush()
		}
	},
	"flushed": func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
	"sized": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "300000")
		for range 3 {
			_, _ = w.Write(make([]byte, 100_000))
		}
	},
	"closing": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "bye")
	},
	"panic": func(http.ResponseWriter, *http.Request) { panic("of the handler") },
	"abort": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	},
}

func answer(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/short/")
	name, _, _ = strings.Cut(name, "/")
	answers[name](w, r)
}

// A client must not be able to tell which way its request went.
func TestTheShortWayAnswersAsNetHTTPDoes(t *testing.T) {
	t.Parallel()
	var short atomic.Int64
	_, ours := serve(t, "/short/", func(w http.ResponseWriter, r *http.Request) {
		if isShort(r) {
			short.Add(1)
		}
		answer(w, r)
	})
	_, theirs := serve(t, "", answer)
	requests := map[string]string{
		"query":     post("/short/echo/a%20b?c=d%2Fe&f", "", "X-Mine", "1"),
		"body":      post("/short/echo", "the body", "x-mine", "größe", "Connection", "Keep-Alive"),
		"full body": post("/short/echo", strings.Repeat("b", 64<<10)),
	}
	for name := range answers {
		requests[name] = post("/short/"+name, "body")
	}
	for name, request := range requests {
		heard := map[string][]told{}
		for _, address := range []string{ours, theirs} {
			c := dial(t, address)
			from := bufio.NewReader(c)
			for range 2 {
				_, _ = io.WriteString(c, request) // the second one of a connection that has ended may fail
				heard[address] = append(heard[address], hear(t, from))
			}
		}
		for i, got := range heard[ours] {
			want := heard[theirs][i]
			if got.failure != "" && want.failure != "" { // a connection that has ended, however the system words it
				got.failure, want.failure = "", ""
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, answer %d:\ngot  %.500s\nwant %.500s", name, i, fmt.Sprint(got), fmt.Sprint(want))
			}
		}
	}
	if n := short.Load(); n < int64(2*len(requests)-10) {
		t.Errorf("%d requests went the short way", n)
	}
}
