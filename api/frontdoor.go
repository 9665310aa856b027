package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/awsjson"
	"github.com/stint-ml/stint/wire/cbor"
	"github.com/stint-ml/stint/wire/query"
	"github.com/stint-ml/stint/wire/sigv4"
)

// Config is what a FrontDoor is made of.
type Config struct {
	Site       platform.Site
	Clock      platform.Clock
	Identities *Identities
	Services   []*Service
	S3         http.Handler // whatever is not for another service; verifies and authorizes by itself
	Agent      http.Handler // /_stint/agent/…; checks its own bearer tokens
	Metrics    http.Handler // /metrics, for callers on this machine
	Profile    http.Handler // /_stint/profile, for them too: what the processor is used for
	// Health says why this server cannot work just now, or nil. It is asked without authentication: be brief.
	Health func(context.Context) error
	Log    *slog.Logger
}

// FrontDoor is the one port's handler: it finds out which service a request is for and answers it.
type FrontDoor struct {
	Config
	services map[string][]*service // by the name in a signature's scope
	targets  map[string]*service   // by the name that requests have for them: the prefix of X-Amz-Target
	verifier *sigv4.Verifier
}

// service is a Service made ready: each operation with its model.
type service struct {
	*Service
	operations map[string]*operation
	maxBody    int64
	regions    []string
}

type operation struct {
	Operation
	name  string
	model *shapes.Operation
}

const defaultMaxBody = 1 << 20

// NewFrontDoor checks that services and operations fit the model and each other, and returns the handler, which gives
// each call its id and contains panics. Nothing may be missing from the configuration.
func NewFrontDoor(config Config) (http.Handler, error) {
	handlers := []http.Handler{config.S3, config.Agent, config.Metrics, config.Profile}
	if config.Clock == nil || config.Identities == nil || slices.Contains(handlers, nil) || config.Health == nil || config.Log == nil {
		return nil, fmt.Errorf("front door: incomplete configuration %+v", config)
	}
	f := &FrontDoor{Config: config, services: make(map[string][]*service), targets: make(map[string]*service)}
	f.verifier = sigv4.NewVerifier(config.Clock.Now, f.secret)
	for _, s := range config.Services {
		ready, err := f.prepare(s)
		if err != nil {
			return nil, fmt.Errorf("front door: %w", err)
		}
		f.services[s.Model.SigningName] = append(f.services[s.Model.SigningName], ready)
		if prefix := s.Model.TargetPrefix; prefix != "" {
			if f.targets[prefix] != nil {
				return nil, fmt.Errorf("front door: two services have the target prefix %s", prefix)
			}
			f.targets[prefix] = ready
		}
	}
	return wire.Identify(wire.Recover(f, config.Log, f.writeError)), nil
}

func (f *FrontDoor) prepare(s *Service) (*service, error) {
	ready := &service{Service: s, operations: make(map[string]*operation, len(s.Operations)), maxBody: s.MaxBody, regions: []string{f.Site.Region}}
	if ready.maxBody == 0 {
		ready.maxBody = defaultMaxBody
	}
	if s.Global {
		ready.regions = append(ready.regions, map[string]string{"aws": "us-east-1", "aws-cn": "cn-north-1"}[f.Site.Partition])
	}
	for name, o := range s.Operations {
		model := s.Model.Operation(name)
		if model == nil || o.Handle == nil {
			return nil, fmt.Errorf("%s has no model or no handler for %s", s.Model.Name, name)
		}
		ready.operations[name] = &operation{Operation: o, name: name, model: model}
	}
	return ready, nil
}

// ServeHTTP routes a request: by our own paths, then by the scope it claims to be signed for, then by the service it names. What is
// left is S3's, which has no marks of its own.
func (f *FrontDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A bucket's name never begins with an underscore.
	if strings.HasPrefix(r.URL.Path, "/_stint/") {
		f.serveOwn(w, r)
		return
	}
	scope, signed := sigv4.ParseScope(r)
	if !signed && r.URL.Path == "/metrics" && r.Method == http.MethodGet {
		f.serveHere(w, r, f.Metrics)
		return
	}
	if signed && scope.Service != "s3" {
		f.serveScope(w, r, scope.Service)
		return
	}
	if s := f.addressed(r); s != nil && !signed {
		f.serve(w, r, s)
		return
	}
	f.S3.ServeHTTP(w, r)
}

// addressed finds the service that an unsigned request means, so that the refusal comes in its protocol.
func (f *FrontDoor) addressed(r *http.Request) *service {
	name, _, named := names(r)
	switch s := f.targets[name]; {
	case named && s != nil:
		return s
	case r.Method != http.MethodPost || r.URL.Path != "/": // nobody posts to the root of S3
		return nil
	case named:
		return &strangers[JSONWords]
	default:
		return &strangers[IAMWords]
	}
}

// strangers stand for services that an unsigned request does not say.
var strangers = [...]service{
	JSONWords: {Service: &Service{Model: &shapes.Service{Name: "unknown", Protocols: []string{"json"}}}, maxBody: defaultMaxBody},
	IAMWords:  {Service: &Service{Model: &shapes.Service{Name: "unknown", Protocols: []string{"query"}}, Words: IAMWords}, maxBody: defaultMaxBody},
}

// serveScope serves a request that says which service it is signed for. Several services may share a signing name; then
// the name in the request, or its path, tells them apart.
func (f *FrontDoor) serveScope(w http.ResponseWriter, r *http.Request, name string) {
	candidates := f.services[name]
	if len(candidates) == 0 {
		f.writeError(w, r, &wire.Error{Status: http.StatusBadRequest, Code: answers[platform.NotSupported][JSONWords].code, Message: "The service " + name + " is not supported by this server"})
		return
	}
	chosen := candidates[0]
	own, _, named := names(r)
	for _, s := range candidates {
		if named && s.Model.TargetPrefix == own || s.Path != "" && strings.HasPrefix(r.URL.Path, s.Path) {
			chosen = s
		}
	}
	f.serve(w, r, chosen)
}

// serveOwn serves what is Stint's own.
func (f *FrontDoor) serveOwn(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/_stint/agent/"):
		f.Agent.ServeHTTP(w, r)
	case r.URL.Path == "/_stint/profile" && r.Method == http.MethodGet:
		f.serveHere(w, r, f.Profile)
	case r.URL.Path == "/_stint/health" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		status, text := http.StatusOK, `{"status":"ok"}`
		if err := f.Health(r.Context()); err != nil {
			f.Log.WarnContext(r.Context(), "unhealthy", "error", err)
			status, text = http.StatusServiceUnavailable, `{"status":"unavailable"}`
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text)) // a client that has gone needs no answer
	default:
		http.NotFound(w, r)
	}
}

// serveHere shows something to callers on this machine. A request that a proxy passes on comes from elsewhere.
func (f *FrontDoor) serveHere(w http.ResponseWriter, r *http.Request, shown http.Handler) {
	peer, err := netip.ParseAddr(peerIP(r))
	if err != nil || !peer.Unmap().IsLoopback() || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		http.Error(w, "this is shown to callers on the server's machine only", http.StatusForbidden)
		return
	}
	shown.ServeHTTP(w, r)
}

// peerIP is the address of the connection's other end, without the port.
func peerIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// writeError answers an error in the protocol that a request seems to speak, where no service has been found: XML to forms
// and to whoever is not signed for a service of ours, since that is S3's; CBOR to whoever says so, and JSON to the others.
func (f *FrontDoor) writeError(w http.ResponseWriter, r *http.Request, e *wire.Error) {
	if _, _, marked := cbor.Target(r); marked {
		cbor.WriteError(w, e)
		return
	}
	scope, signed := sigv4.ParseScope(r)
	form := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") || strings.Contains(r.URL.RawQuery, "Action=")
	if _, _, targeted := awsjson.Target(r); targeted || signed && scope.Service != "s3" && !form {
		awsjson.WriteError(w, r, e)
		return
	}
	namespace := ""
	if known := f.services[scope.Service]; len(known) > 0 {
		namespace = known[0].Model.XMLNamespace
	}
	query.WriteError(w, r, namespace, e)
}
