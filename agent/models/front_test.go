package models

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

var nopLog = slog.New(slog.DiscardHandler)

func TestRequestsAndAnswersPassAsTheyAre(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a")
	f.handle = func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Amzn-SageMaker-Custom-Attributes", r.Header.Get("X-Amzn-SageMaker-Custom-Attributes"))
		w.Header().Set(platform.RefusedHeader, "forged")
		w.Header().Set("Content-Type", "text/x-answer")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %d of %d %s", r.Header.Get("Content-Type"), n, r.ContentLength, r.Header.Get("Accept"))
	}
	url := f.open(0, nil)
	for _, size := range []int{0, 1, agent.SmallBody, agent.SmallBody + 1, 10 << 20} {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/invocations", strings.NewReader(strings.Repeat("x", size)))
		for name, value := range map[string]string{
			platform.TargetModelHeader: "a", "Content-Type": "text/csv", "Accept": "text/plain", "X-Amzn-SageMaker-Custom-Attributes": "c=1",
		} {
			request.Header.Set(name, value)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if want := fmt.Sprintf("text/csv %d of %d text/plain", size, size); err != nil || string(text) != want || response.StatusCode != http.StatusTeapot {
			t.Errorf("%d %q, want %q: %v", response.StatusCode, text, want, err)
		}
		h := response.Header
		if h.Get("Content-Type") != "text/x-answer" || h.Get("X-Amzn-SageMaker-Custom-Attributes") != "c=1" || h.Get(platform.RefusedHeader) != "" {
			t.Errorf("%v", h)
		}
	}
}

func TestAnswersStreamAndBreakOffAsTheContainersDo(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a")
	more := make(chan struct{})
	f.handle = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-more
		panic(http.ErrAbortHandler)
	}
	url := f.open(0, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	request, _ := http.NewRequestWithContext(ctx, http.MethodPost, url+"/invocations", nil)
	request.Header.Set(platform.TargetModelHeader, "a")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	in := bufio.NewReader(response.Body)
	if line, err := in.ReadString('\n'); err != nil || line != "first\n" {
		t.Fatalf("%q %v", line, err)
	}
	close(more)
	if rest, err := io.ReadAll(in); err == nil {
		t.Errorf("half of an answer looks whole: %q", rest)
	}
}

func TestACallerWhoLeavesEndsTheContainersWork(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.has("a")
	begun, ended := make(chan struct{}), make(chan struct{})
	f.handle = func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	}
	url := f.open(0, nil)
	ctx, leave := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, http.MethodPost, url+"/invocations", nil)
	request.Header.Set(platform.TargetModelHeader, "a")
	go func() {
		<-begun
		leave()
	}()
	if response, err := http.DefaultClient.Do(request); err == nil {
		response.Body.Close()
		t.Error("it got an answer")
	}
	select {
	case <-ended:
	case <-time.After(60 * time.Second):
		t.Fatal("the container works on for nobody")
	}
}

func TestFilesOfIdleModelsGoWhenTheDiskIsFull(t *testing.T) {
	t.Parallel()
	f := newFiles(t.TempDir())
	unpack := func(name string, bytes int64) {
		f.take(name, "1")
		if err := os.MkdirAll(filepath.Join(f.folder, identity(name), "model"), 0o755); err != nil {
			t.Fatal(err)
		}
		f.put(name, "1", bytes)
	}
	left := func() string {
		var there []string
		for _, name := range []string{"a", "b", "busy", "c"} {
			if _, err := os.Stat(filepath.Join(f.folder, identity(name))); err == nil {
				there = append(there, name)
			}
		}
		return strings.Join(there, " ")
	}
	f.most = 25
	for _, name := range []string{"a", "b", "c", "busy"} {
		unpack(name, 10)
	}
	for _, name := range []string{"a", "b", "c"} {
		f.idle(name)
	}
	f.removing.Wait()
	if got := left(); got != "b busy c" || f.bytes != 20 {
		t.Errorf("the oldest of too many idle ones has to go: there are %s, %d bytes idle", got, f.bytes)
	}
	if f.take("a", "1") || !f.take("b", "1") || f.take("c", "2") {
		t.Error("files are taken that are gone or not the archive's, or are not taken that are")
	}
	f.idle("b")
	disk := int64(0)
	f.free = func() int64 { disk += 10; return disk }
	f.makeRoom(1000) // ends although there is nothing more to remove
	if got := left(); got != "busy c" {
		t.Errorf("idle ones make room on the disk, others do not: there are %s", got)
	}
}

// BenchmarkFront measures what the front adds to a request for a model that is loaded, over asking its container directly.
func BenchmarkFront(b *testing.B) {
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"memoryBytes": 1}`)
	}))
	defer container.Close()
	front, err := New(agent.ModelSource{
		Container: strings.TrimPrefix(container.URL, "http://"), Prefix: "s3://b/models", Folder: b.TempDir(), Cached: true, Clock: platform.SystemClock{}, Log: nopLog,
		Stat:   func(context.Context, platform.URI) (info platform.BlobInfo, err error) { return info, nil },
		Fetch:  func(context.Context, platform.URI, string) error { return nil },
		Report: func([]platform.Datum) {},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer front.Close()
	server := httptest.NewServer(front.(http.Handler))
	defer server.Close()
	for name, url := range map[string]string{"direct": container.URL, "front": server.URL} {
		b.Run(name, func(b *testing.B) {
			body := strings.Repeat("x", 1024)
			took := make([]time.Duration, 0, b.N)
			b.ReportAllocs()
			for b.Loop() {
				from := time.Now()
				if got := ask(url, "m", body); got.err != nil || got.status != http.StatusOK {
					b.Fatalf("%+v", got)
				}
				took = append(took, time.Since(from))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
