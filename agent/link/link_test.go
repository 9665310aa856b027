package link_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent/link"
	"github.com/stint-ml/stint/platform"
)

// server writes the address of a server into a file and gives the file.
func address(t *testing.T, path, endpoint string) {
	t.Helper()
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"endpoint": %q}`, endpoint), 0o600); err != nil {
		t.Fatal(err)
	}
}

func serve(t *testing.T, handler http.HandlerFunc) (serverFile string) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	serverFile = filepath.Join(t.TempDir(), "server.json")
	address(t, serverFile, s.URL)
	return serverFile
}

func TestCalls(t *testing.T) {
	t.Parallel()
	job := platform.Assignment{Agent: "a", Name: "j", Hosts: []string{"algo-1"}, Spec: json.RawMessage(`{"x":1}`), MaxRun: 7}
	reports := []platform.Report{
		{Seq: 1, At: time.Unix(1, 0).UTC(), Logs: []platform.LogEvent{{Timestamp: time.Unix(2, 0).UTC(), Message: "<a>\x00\uFFFD"}}},
		{Seq: 2, Outcome: &platform.Outcome{Kind: platform.Succeeded}},
	}
	var got []platform.Report
	file := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer tok" {
			t.Errorf("%s with %v", r.Method, r.Header)
		}
		var answer any
		switch r.URL.Path {
		case "/_stint/agent/assignment":
			answer = job
		case "/_stint/agent/reports":
			got = nil
			_ = json.NewDecoder(r.Body).Decode(&got) // what came is compared below
			answer = platform.Ack{Seq: 2, Stop: true}
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	l := link.Dial(file)
	if a, err := l.Assignment(context.Background(), "tok"); err != nil || !reflect.DeepEqual(a, job) {
		t.Errorf("assignment %+v, %v", a, err)
	}
	if ack, err := l.Deliver(context.Background(), "tok", reports); err != nil || ack != (platform.Ack{Seq: 2, Stop: true}) || !reflect.DeepEqual(got, reports) {
		t.Errorf("ack %+v, %v; reports %+v", ack, err, got)
	}
}

func TestHeartbeatIsAnEmptyList(t *testing.T) {
	t.Parallel()
	file := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "[]" {
			t.Errorf("the body is %q, %v", body, err)
		}
		fmt.Fprint(w, `{}`)
	})
	if _, err := link.Dial(file).Deliver(context.Background(), "tok", nil); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		want   platform.ErrorKind
	}{
		"denied":                   {403, `{"kind":"denied","message":"no"}`, platform.Denied},
		"invalid":                  {400, `{"kind":"invalid","message":"no"}`, platform.Invalid},
		"not found":                {404, `{"kind":"not found","message":"no"}`, platform.NotFound},
		"unavailable":              {503, `{"kind":"unavailable","message":"no"}`, platform.Unavailable},
		"internal":                 {500, `{"kind":"internal","message":"no"}`, platform.Internal},
		"another program":          {403, `<html>Forbidden</html>`, platform.Unavailable},
		"another program's JSON":   {404, `{"error":"no such page"}`, platform.Unavailable},
		"a proxy":                  {502, ``, platform.Unavailable},
		"a redirect":               {302, ``, platform.Unavailable},
		"success that says little": {200, `<html>`, platform.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			if _, err := link.Dial(file).Assignment(context.Background(), "tok"); !platform.Is(err, c.want) {
				t.Errorf("got %v of kind %v, want %v", err, platform.KindOf(err), c.want)
			}
		})
	}
}

// A server that comes back elsewhere is found by its file.
func TestServerMoves(t *testing.T) {
	t.Parallel()
	ok := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"seq": 1}`) }
	file := filepath.Join(t.TempDir(), "server.json")
	l := link.Dial(file)
	call := func() error {
		_, err := l.Deliver(context.Background(), "tok", nil)
		return err
	}
	if err := call(); !platform.Is(err, platform.Unavailable) {
		t.Errorf("without a file: %v", err)
	}
	first := httptest.NewServer(http.HandlerFunc(ok))
	address(t, file, first.URL+"/")
	if err := call(); err != nil {
		t.Errorf("the first server: %v", err)
	}
	first.Close()
	if err := call(); !platform.Is(err, platform.Unavailable) {
		t.Errorf("after its end: %v", err)
	}
	second := httptest.NewServer(http.HandlerFunc(ok))
	defer second.Close()
	address(t, file, second.URL)
	if err := call(); err != nil {
		t.Errorf("the second server: %v", err)
	}
}
