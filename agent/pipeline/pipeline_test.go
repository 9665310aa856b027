package pipeline

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

// open opens a front before containers that answer so, and gives where it listens. They are called a, b, and so on.
func open(t *testing.T, p agent.Pipeline, handlers ...http.HandlerFunc) (url string) {
	t.Helper()
	for i, handle := range handlers {
		s := httptest.NewServer(handle)
		t.Cleanup(s.Close)
		p.Containers = append(p.Containers, agent.NamedContainer{Name: string(rune('a' + i)), Address: s.Listener.Addr().String()})
	}
	f, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.Serve(l) }()
	t.Cleanup(func() { // before the containers, which wait for their connections
		f.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// said is an answer.
type said struct {
	status int
	header http.Header
	text   string
	err    error // of reading it
}

// ask asks for an invocation; headers come in pairs.
func ask(t *testing.T, url string, body io.Reader, headers ...string) said {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/invocations", body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return said{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return said{response.StatusCode, response.Header, string(text), err}
}

// adds answers what it was sent, and in what form, and its own name.
func adds(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := r.Header
		w.Header().Set("Content-Type", "text/of-"+name)
		fmt.Fprintf(w, "%s>%s(%s,%s,%s)", body, name, h.Get("Content-Type"), h.Get("Accept"), h.Get("X-Amzn-Sagemaker-Custom-Attributes"))
	}
}

func TestEachContainerGetsWhatTheOneBeforeItAnswered(t *testing.T) {
	t.Parallel()
	url := open(t, agent.Pipeline{}, adds("a"), adds("b"), adds("c"))
	got := ask(t, url, strings.NewReader("x"), "Content-Type", "text/csv", "Accept", "text/wished", "X-Amzn-Sagemaker-Custom-Attributes", "t=1")
	want := "x>a(text/csv,,t=1)>b(text/of-a,,t=1)>c(text/of-b,text/wished,t=1)"
	if got.status != 200 || got.text != want || got.header.Get("Content-Type") != "text/of-c" || got.header.Get(platform.ContainerHeader) != "" {
		t.Errorf("%d %q %v, want %q", got.status, got.text, got.header, want)
	}
	if got := ask(t, url, nil); got.text != ">a(,,)>b(text/of-a,,)>c(text/of-b,,)" {
		t.Errorf("nothing is passed on as %q", got.text)
	}
}

// plain is a body that does not tell how long it is.
type plain struct{ io.Reader }

func TestBodiesOfAllSizesPassWhole(t *testing.T) {
	t.Parallel()
	for _, streamed := range []bool{false, true} {
		echo := func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			if !streamed {
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			} else {
				_ = http.NewResponseController(w).Flush()
			}
			_, _ = w.Write(body)
		}
		lengths := make(chan int64, 1)
		url := open(t, agent.Pipeline{}, echo, func(w http.ResponseWriter, r *http.Request) {
			lengths <- r.ContentLength
			echo(w, r)
		})
		for _, size := range []int{0, 1, agent.SmallBody, agent.SmallBody + 1, 5 << 20, mostHeld + 1} {
			text := strings.Repeat("x", size-1*min(1, size)) + strings.Repeat("!", min(1, size))
			for _, body := range []io.Reader{strings.NewReader(text), plain{strings.NewReader(text)}} {
				got := ask(t, url, body)
				if got.text != text || got.status != 200 || got.err != nil {
					t.Errorf("%d bytes become %d: %d %v", size, len(got.text), got.status, got.err)
				}
				want := int64(size)
				if streamed && size > mostHeld {
					want = -1
				}
				if n := <-lengths; n != want {
					t.Errorf("the length of %d bytes is told as %d", size, n)
				}
			}
		}
	}
}

func TestAnErrorEndsTheWayAndNamesItsContainer(t *testing.T) {
	t.Parallel()
	refuses := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(platform.ContainerHeader, "forged")
		w.Header().Set(platform.RefusedHeader, platform.RefusedMissing)
		http.Error(w, "no "+r.Header.Get("Content-Type"), http.StatusTeapot)
	}
	never := func(http.ResponseWriter, *http.Request) { t.Error("a container after one that has failed was asked") }
	for i, handlers := range [][]http.HandlerFunc{{refuses, never, never}, {adds("a"), refuses, never}, {adds("a"), adds("b"), refuses}} {
		got := ask(t, open(t, agent.Pipeline{}, handlers...), nil)
		if name := got.header.Get(platform.ContainerHeader); got.status != http.StatusTeapot || name != string(rune('a'+i)) ||
			got.header.Get(platform.RefusedHeader) != "" || !strings.HasPrefix(got.text, "no ") {
			t.Errorf("container %d: %d %q %v", i, got.status, got.text, got.header)
		}
	}
}

func TestOneThatDiesIsNamed(t *testing.T) {
	t.Parallel()
	dies := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	halfway := func(length string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			fmt.Fprint(w, strings.Repeat("x", agent.SmallBody))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	for name, c := range map[string]struct {
		handlers []http.HandlerFunc
		at       string
	}{
		"at once":                      {[]http.HandlerFunc{adds("a"), dies}, "b"},
		"in its answer":                {[]http.HandlerFunc{halfway(""), adds("b")}, "a"},
		"in its answer, which is long": {[]http.HandlerFunc{halfway("10000000"), adds("b")}, "a"},
	} {
		got := ask(t, open(t, agent.Pipeline{}, c.handlers...), strings.NewReader("x"))
		if got.status != http.StatusBadGateway || got.header.Get(platform.RefusedHeader) != platform.RefusedBroken || got.header.Get(platform.ContainerHeader) != c.at {
			t.Errorf("%s: %d %q %v", name, got.status, got.text, got.header)
		}
	}
	if got := ask(t, open(t, agent.Pipeline{}, adds("a"), halfway("")), nil); got.err == nil {
		t.Errorf("half of the last one's answer looks whole: %d %d bytes", got.status, len(got.text))
	}
}

func TestOneThatTakesTooLongIsNamed(t *testing.T) {
	t.Parallel()
	slow := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server looks whether whoever asked is still there
		<-r.Context().Done()
	}
	got := ask(t, open(t, agent.Pipeline{Limit: 50 * time.Millisecond}, adds("a"), slow, adds("c")), nil)
	if got.status != http.StatusGatewayTimeout || got.header.Get(platform.RefusedHeader) != platform.RefusedLate || got.header.Get(platform.ContainerHeader) != "b" ||
		!strings.HasPrefix(got.text, "Your invocation timed out while waiting for a response from container b.") {
		t.Errorf("%d %q %v", got.status, got.text, got.header)
	}
}

func TestTheLastAnswerStreams(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	streams := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-more
		fmt.Fprintln(w, "second")
	}
	url := open(t, agent.Pipeline{Limit: time.Minute}, adds("a"), streams)
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/invocations", nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, len("first\n"))
	if _, err := io.ReadFull(response.Body, first); err != nil {
		t.Fatal(err)
	}
	close(more)
	if rest, err := io.ReadAll(response.Body); string(rest) != "second\n" || err != nil {
		t.Errorf("%q: %v", rest, err)
	}
}

func TestContainersAreAskedDirectlyByName(t *testing.T) {
	t.Parallel()
	var seen []string
	a := func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get(platform.TargetContainerHeader))
		adds("a")(w, r)
	}
	url := open(t, agent.Pipeline{Direct: true}, a, adds("b"))
	for name, want := range map[string]string{"a": "x>a(text/csv,text/wished,)", "b": "x>b(text/csv,text/wished,)"} {
		got := ask(t, url, strings.NewReader("x"), "Content-Type", "text/csv", "Accept", "text/wished", platform.TargetContainerHeader, name)
		if got.text != want || got.status != 200 {
			t.Errorf("%s: %d %q", name, got.status, got.text)
		}
	}
	if !slices.Equal(seen, []string{""}) {
		t.Errorf("the container sees its own name: %q", seen)
	}
	got := ask(t, url, nil, platform.TargetContainerHeader, "c")
	if got.status != 400 || got.header.Get(platform.RefusedHeader) != platform.RefusedMissing || !strings.HasSuffix(got.text, "those are a, b.") {
		t.Errorf("%d %q", got.status, got.text)
	}
}

func TestOnlyInvocationsAreAnswered(t *testing.T) {
	t.Parallel()
	url := open(t, agent.Pipeline{}, adds("a"), adds("b"))
	response, err := http.Get(url + "/execution-parameters")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("%d", response.StatusCode)
	}
}
