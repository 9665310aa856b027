package http1_test

import (
	"bufio"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/stint-ml/stint/http1"
)

const plainHead = "POST /endpoints/e/invocations HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\namz-sdk-request: attempt=1\r\n" +
	"X-Two: a\r\nx-two:b\r\nEmpty:\r\nSpaces:   s p   \r\nUtf: größe\r\n\r\n"

func TestAPlainHeadIsReadAsNetHTTPReadsIt(t *testing.T) {
	t.Parallel()
	head := []byte(plainHead + "body")
	n := http1.HeadLength(head)
	if n != len(plainHead) || http1.HeadLength(head[:n-1]) != 0 {
		t.Fatalf("the head has %d bytes, want %d", n, len(plainHead))
	}
	got := http.Header{}
	start, plain := http1.ParseHead(head[:n], got)
	if !plain || start != "POST /endpoints/e/invocations HTTP/1.1" {
		t.Fatalf("%q, %v", start, plain)
	}
	clear(head) // nothing may refer to it
	if want := theirs(t, plainHead); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// theirs is the header as net/http reads it. It keeps the Host elsewhere.
func theirs(t *testing.T, head string) http.Header {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		t.Fatal(err)
	}
	h := maps.Clone(r.Header)
	h["Host"] = []string{r.Host}
	return h
}

func TestAHeadThatIsNotPlainIsLeftToNetHTTP(t *testing.T) {
	t.Parallel()
	for _, fields := range []string{
		"A: b\r\n folded\r\n", "A : b\r\n", ": b\r\n", "A\r\n", "A: b\n", "A: b\nB: c\r\n", "A: b\rc\r\n", "A: b\x00\r\n", "A: \tb\r\n",
		"Ä: b\r\n", "A(: b\r\n", "A: b\x7f\r\n",
	} {
		if start, plain := http1.ParseHead([]byte("GET / HTTP/1.1\r\n"+fields+"\r\n"), http.Header{}); plain {
			t.Errorf("%q is taken for plain: %q", fields, start)
		}
	}
	if _, plain := http1.ParseHead([]byte("GET /\x01 HTTP/1.1\r\nA: b\r\n\r\n"), http.Header{}); plain {
		t.Error("a start line with a control character is taken for plain")
	}
}

// Whatever is taken is what net/http would have read.
func FuzzParseHead(f *testing.F) {
	f.Add("Host: h\r\nA: b\r\n")
	f.Add("Host: h\r\nA: b\r\n c\r\n")
	f.Add("Host: h\r\nx-y:  z \r\nX-Y:\r\n")
	f.Fuzz(func(t *testing.T, fields string) {
		head := "POST / HTTP/1.1\r\n" + fields + "\r\n"
		if http1.HeadLength([]byte(head)) != len(head) {
			return
		}
		got := http.Header{}
		if _, plain := http1.ParseHead([]byte(head), got); !plain || len(got["Host"]) != 1 {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil {
			// It looks further than at the form of a head: lengths, encodings and hosts must make sense to it.
			if len(got["Content-Length"])+len(got["Transfer-Encoding"]) == 0 && !strings.Contains(err.Error(), "malformed Host") {
				t.Fatalf("%q is taken, and net/http says: %v", head, err)
			}
			return
		}
		for _, elsewhere := range []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection", "Pragma", "Cache-Control"} {
			got.Del(elsewhere)
			r.Header.Del(elsewhere)
		}
		if !reflect.DeepEqual(got, r.Header) {
			t.Fatalf("%q\ngot  %q\nwant %q", head, got, r.Header)
		}
	})
}

func BenchmarkParseHead(b *testing.B) {
	head := []byte(plainHead)
	header := http.Header{}
	for b.Loop() {
		clear(header)
		if _, plain := http1.ParseHead(head, header); !plain {
			b.Fatal("not plain")
		}
	}
}
