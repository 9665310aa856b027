// Package apitest opens a front door on loopback for tests of services, and plays scenarios against it that are written in
// text files. It is imported by tests alone.
package apitest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire/sigv4"
)

// Site is where every Door claims to be.
var Site = platform.Site{Partition: "aws", Region: "eu-west-1", Account: "123456789012"}

// Clock is a clock that a test moves.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is platform.Clock's.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After never fires: nothing here waits.
func (c *Clock) After(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Door is a front door that listens, on a store that was bootstrapped. Its clock stands still and its keys and ids are the
// same on every run.
type Door struct {
	URL        string
	Store      platform.Store
	Identities *api.Identities
	Root       platform.AccessKey
	Clock      *Clock
	Random     io.Reader // predictable
	Log        *Log
}

// Log keeps what was logged.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all lines so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Open opens a door to the services given; the test's end closes it.
func Open(t testing.TB, store platform.Store, services func(*Door) []*api.Service) *Door {
	t.Helper()
	d := Prepare(t, store)
	handler, err := api.NewFrontDoor(api.Config{
		Site: Site, Clock: d.Clock, Identities: d.Identities, Services: services(d), Log: d.Logger(),
		S3: answering("s3"), Agent: answering("agent"), Metrics: answering("metrics"), Profile: answering("profile"),
		Health: func(context.Context) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	d.URL = server.URL
	return d
}

// Prepare makes all that a door needs but the door: a store that was bootstrapped and Identities that follow it.
func Prepare(t testing.TB, store platform.Store) *Door {
	t.Helper()
	d := &Door{
		Store: store, Log: &Log{}, Random: &lockedReader{r: rand.NewChaCha8([32]byte{1})},
		Clock: &Clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
	}
	root, err := api.Bootstrap(context.Background(), store, Site, d.Random, d.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	d.Root = root
	d.Identities = api.NewIdentities(store, Site, d.Clock, d.Logger())
	d.Identities.Start()
	t.Cleanup(d.Identities.Stop)
	return d
}

// Logger writes to Log, from level Info up.
func (d *Door) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(d.Log, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// answering stands for a handler that is injected: it says its name.
func answering(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, name)
	})
}

type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// Of are the credentials of a long-term key.
func Of(k platform.AccessKey) sigv4.Credentials {
	return sigv4.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}
}

// JSON calls an operation of a JSON service; target is the whole X-Amz-Target.
func (d *Door) JSON(t testing.TB, as sigv4.Credentials, service, target, body string) (status int, answer string) {
	t.Helper()
	r := d.request(t, []byte(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", target)
	return d.send(t, r, as, service)
}

// Query calls an operation of a Query service.
func (d *Door) Query(t testing.TB, as sigv4.Credentials, service string, form url.Values) (status int, answer string) {
	t.Helper()
	r := d.request(t, []byte(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	return d.send(t, r, as, service)
}

func (d *Door) request(t testing.TB, body []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (d *Door) send(t testing.TB, r *http.Request, as sigv4.Credentials, service string) (int, string) {
	t.Helper()
	if err := sigv4.Sign(r, as, Site.Region, service, d.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	return Send(t, r)
}

// Send sends a request as it is.
func Send(t testing.TB, r *http.Request) (status int, answer string) {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
