// Package agents is the HTTP side of platform.AgentLink: what agents call on the server. It is not AWS's and not signed by
// SigV4: an agent proves itself with the token of its attempt. The other side is agent/link.
//
//	POST /_stint/agent/assignment            → platform.Assignment
//	POST /_stint/agent/reports  []Report     → platform.Ack
//
// Authorization: Bearer <token>. An error answers {"kind": …, "message": …}.
package agents

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire"
)

// maxBody bounds one delivery; agents cut theirs far below.
const maxBody = 64 << 20

// refusals maps kinds of error to HTTP statuses and the words that agent/link understands.
var refusals = map[platform.ErrorKind]struct {
	status int
	kind   string
}{
	platform.Denied:      {http.StatusForbidden, "denied"},
	platform.NotFound:    {http.StatusNotFound, "not found"},
	platform.Invalid:     {http.StatusBadRequest, "invalid"},
	platform.Unavailable: {http.StatusServiceUnavailable, "unavailable"},
}

// Handler serves agents from the control plane.
func Handler(link platform.AgentLink, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /_stint/agent/assignment", func(w http.ResponseWriter, r *http.Request) {
		a, err := link.Assignment(r.Context(), bearer(r))
		answer(w, log, a, err)
	})
	mux.HandleFunc("POST /_stint/agent/reports", func(w http.ResponseWriter, r *http.Request) {
		body, err := wire.ReadBody(r, maxBody)
		var reports []platform.Report
		if err == nil {
			err = json.Unmarshal(body, &reports)
		}
		if err != nil {
			answer(w, log, nil, platform.Errorf(platform.Invalid, "", "read the reports: %w", err))
			return
		}
		ack, err := link.Deliver(r.Context(), bearer(r), reports)
		answer(w, log, ack, err)
	})
	return mux
}

func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

func answer(w http.ResponseWriter, log *slog.Logger, value any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		refusal, ok := refusals[platform.KindOf(err)]
		message := err.Error()
		if !ok {
			log.Error("an agent's call failed", "error", err)
			refusal.status, refusal.kind, message = http.StatusInternalServerError, "internal", "internal failure"
		}
		w.WriteHeader(refusal.status)
		value = map[string]string{"kind": refusal.kind, "message": message}
	}
	_ = json.NewEncoder(w).Encode(value) // an agent that has gone asks again
}
