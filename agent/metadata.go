package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

const (
	metadataTokens  = 1000     // tokens kept at most; the oldest go, and whoever held one asks anew, as SDKs do
	longestTokenTTL = 6 * 3600 // seconds
	metadataHeader  = 16 << 10 // bytes of a request's header
)

// The headers of IMDSv2.
const (
	tokenHeader    = "X-Aws-Ec2-Metadata-Token"
	tokenTTLHeader = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

// architectures are EC2's names.
var architectures = map[string]string{"amd64": "x86_64", "arm64": "arm64"}

// metadata is as much of EC2's instance metadata service as a program looks at to learn of an interruption. It listens on a
// port of its own on loopback: jobs share the machine's network, in which 169.254.169.254 is one address for all of them. So
// other jobs of the machine can read it too; it tells nothing that must be kept. It never has credentials: a job has its own in
// its environment.
//
// Source: "Instance metadata and user data" and "Spot Instance interruption notices" in the EC2 user guide.
type metadata struct {
	clock  platform.Clock
	url    string
	paths  map[string]string // what never changes
	given  func() *notice
	server *http.Server
	ended  chan struct{}

	mu     sync.Mutex
	tokens map[string]time.Time // until when they are good
	order  []string             // of tokens, oldest first
}

// serveMetadata begins to answer on a free port of loopback.
func (a *agent) serveMetadata() (*metadata, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, platform.Errorf(platform.Unavailable, "", "%w", err)
	}
	m := &metadata{
		clock: a.Clock, url: "http://" + listener.Addr().String(), given: a.orders.given, paths: a.instance(),
		ended: make(chan struct{}), tokens: map[string]time.Time{},
	}
	m.server = &http.Server{
		Handler: m, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: metadataHeader, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	m.server.SetKeepAlivesEnabled(false) // requests are rare, and an idle connection would cost more than a new one
	go func() {
		defer close(m.ended)
		_ = m.server.Serve(listener)
	}()
	return m, nil
}

// close ends it.
func (m *metadata) close() {
	_ = m.server.Close()
	<-m.ended
}

// instance is what is told of the machine that the job asked for.
func (a *agent) instance() map[string]string {
	sum := sha256.Sum256([]byte(a.job.Agent))
	id, kind, cycle := "i-"+hex.EncodeToString(sum[:])[:17], a.resources().CurrentInstanceType, string(platform.OnDemand)
	if a.job.Purchase != "" {
		cycle = string(a.job.Purchase)
	}
	document, err := json.MarshalIndent(map[string]any{
		"accountId": a.job.Site.Account, "region": a.job.Site.Region, "instanceId": id, "instanceType": kind, "version": "2017-09-30",
		"imageId": shapes.Value(a.spec.AlgorithmSpecification.TrainingImage), "pendingTime": a.Clock.Now().UTC().Format(time.RFC3339),
		"architecture": architectures[runtime.GOARCH], "privateIp": "127.0.0.1",
	}, "", "  ")
	if err != nil {
		document = nil // strings always encode
	}
	return map[string]string{
		"meta-data/instance-type": kind, "meta-data/instance-id": id, "meta-data/instance-life-cycle": cycle,
		"dynamic/instance-identity/document": string(document),
	}
}

// ServeHTTP implements http.Handler.
func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/latest/api/token" {
		m.giveToken(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "405 - Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if token := r.Header.Get(tokenHeader); token != "" && !m.good(token) {
		http.Error(w, "401 - Unauthorized", http.StatusUnauthorized)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/latest/")
	text := ""
	if ok {
		text, ok = m.text(strings.TrimSuffix(name, "/"))
	}
	if !ok {
		http.Error(w, "404 - Not Found", http.StatusNotFound)
		return
	}
	if strings.HasPrefix(text, "{") {
		w.Header().Set("Content-Type", "application/json")
	} else {
		w.Header().Set("Content-Type", "text/plain")
	}
	_, _ = w.Write([]byte(text))
}

// text is what there is below /latest/.
func (m *metadata) text(name string) (string, bool) {
	if text, ok := m.paths[name]; ok {
		return text, true
	}
	n := m.given()
	switch {
	case n == nil:
		return "", false
	case name == "meta-data/spot":
		return "instance-action\ntermination-time", true
	case name == "meta-data/spot/instance-action":
		doc, err := json.Marshal(actionOf(*n))
		return string(doc), err == nil
	case name == "meta-data/spot/termination-time":
		return actionOf(*n).Time, true
	}
	return "", false
}

// giveToken answers PUT /latest/api/token.
func (m *metadata) giveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut {
		http.Error(w, "405 - Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	seconds, err := strconv.Atoi(r.Header.Get(tokenTTLHeader))
	if err != nil || seconds < 1 || seconds > longestTokenTTL {
		http.Error(w, "400 - Bad Request", http.StatusBadRequest)
		return
	}
	token := rand.Text()
	m.mu.Lock()
	m.tokens[token] = m.clock.Now().Add(time.Duration(seconds) * time.Second)
	if m.order = append(m.order, token); len(m.order) > metadataTokens {
		delete(m.tokens, m.order[0])
		m.order = m.order[1:]
	}
	m.mu.Unlock()
	w.Header().Set(tokenTTLHeader, strconv.Itoa(seconds))
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(token))
}

// good reports whether a token was given and has not run out.
func (m *metadata) good(token string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clock.Now().Before(m.tokens[token])
}

// openMetadata starts the service. Where it cannot be had, a job learns of an interruption by the file and by SIGTERM.
func (a *agent) openMetadata() (end func()) {
	m, err := a.serveMetadata()
	if err != nil {
		a.warn("the job has no instance metadata: " + err.Error())
		return func() {}
	}
	a.meta = m
	return m.close
}
