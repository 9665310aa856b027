package agents_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent/link"
	"github.com/stint-ml/stint/api/agents"
	"github.com/stint-ml/stint/platform"
)

// plane is a control plane that gives the answers it was made with.
type plane struct {
	assignment platform.Assignment
	ack        platform.Ack
	err        error
	token      string
	reports    []platform.Report
}

func (p *plane) Assignment(_ context.Context, token string) (platform.Assignment, error) {
	p.token = token
	return p.assignment, p.err
}

func (p *plane) Deliver(_ context.Context, token string, reports []platform.Report) (platform.Ack, error) {
	p.token, p.reports = token, reports
	return p.ack, p.err
}

// connect gives an agent's link to a plane, and what is logged.
func connect(t *testing.T, p *plane) (platform.AgentLink, *bytes.Buffer) {
	t.Helper()
	logged := new(bytes.Buffer)
	server := httptest.NewServer(agents.Handler(p, slog.New(slog.NewTextHandler(logged, nil))))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "server.json")
	if err := os.WriteFile(file, []byte(`{"endpoint":"`+server.URL+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return link.Dial(file), logged
}

func TestAnAgentGetsWhatTheControlPlaneSays(t *testing.T) {
	t.Parallel()
	p := &plane{
		assignment: platform.Assignment{Agent: "a", Name: "j", Hosts: []string{"algo-1"}, Spec: json.RawMessage(`{"x":1}`)},
		ack:        platform.Ack{Seq: 2, Stop: true},
	}
	l, _ := connect(t, p)
	if a, err := l.Assignment(t.Context(), "secret"); err != nil || !reflect.DeepEqual(a, p.assignment) || p.token != "secret" {
		t.Errorf("%+v, %v; token %q", a, err, p.token)
	}
	reports := []platform.Report{{Seq: 1, At: time.Unix(1, 0).UTC(), Message: "<hello>"}, {Seq: 2, Outcome: &platform.Outcome{Kind: platform.Succeeded}}}
	if ack, err := l.Deliver(t.Context(), "other", reports); err != nil || ack != p.ack || p.token != "other" || !reflect.DeepEqual(p.reports, reports) {
		t.Errorf("%+v, %v; token %q, reports %+v", ack, err, p.token, p.reports)
	}
}

// A refusal arrives with its kind and words; of what is our own fault the agent learns only that it was, and the log the rest.
func TestAnAgentIsRefusedInTheControlPlanesWords(t *testing.T) {
	t.Parallel()
	const words = "the words"
	for name, c := range map[string]struct {
		err  error
		kind platform.ErrorKind
		told bool
	}{
		"denied":       {platform.Errorf(platform.Denied, "a", words), platform.Denied, true},
		"not found":    {platform.Errorf(platform.NotFound, "a", words), platform.NotFound, true},
		"invalid":      {platform.Errorf(platform.Invalid, "a", words), platform.Invalid, true},
		"unavailable":  {platform.Errorf(platform.Unavailable, "a", words), platform.Unavailable, true},
		"conflict":     {platform.Errorf(platform.Conflict, "a", words), platform.Internal, false},
		"internal":     {platform.Errorf(platform.Internal, "a", words), platform.Internal, false},
		"unclassified": {errors.New(words), platform.Internal, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, logged := connect(t, &plane{err: c.err})
			_, err := l.Assignment(t.Context(), "t")
			if !platform.Is(err, c.kind) || strings.Contains(err.Error(), words) != c.told || strings.Contains(logged.String(), words) == c.told {
				t.Errorf("the agent reads %v, kind %v; the log has %q", err, platform.KindOf(err), logged)
			}
		})
	}
}

func TestReportsThatCannotBeReadAreInvalid(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"not JSON": "{", "of another type": `{"seq":1}`} {
		answer := httptest.NewRecorder()
		agents.Handler(&plane{}, slog.New(slog.DiscardHandler)).ServeHTTP(answer, httptest.NewRequest("POST", platform.AgentReportsPath, strings.NewReader(body)))
		var r platform.Refusal
		if err := json.Unmarshal(answer.Body.Bytes(), &r); err != nil || answer.Code != 400 || r.Kind != platform.Invalid.String() {
			t.Errorf("%s: %d %s, %v", name, answer.Code, answer.Body, err)
		}
	}
}
