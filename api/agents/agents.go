// Package agents is the HTTP side of platform.AgentLink: what agents call on the server. It is not AWS's and not signed by
// SigV4: an agent proves itself with the token of its attempt. What goes over the wire is in platform/refusal.go; the other
// side is agent/link.
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

// statuses are those of the errors that a link answers on purpose; every other is a fault of ours.
var statuses = map[platform.ErrorKind]int{
	platform.Denied:      http.StatusForbidden,
	platform.NotFound:    http.StatusNotFound,
	platform.Invalid:     http.StatusBadRequest,
	platform.Unavailable: http.StatusServiceUnavailable,
}

// Handler serves agents from the control plane.
func Handler(link platform.AgentLink, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+platform.AgentAssignmentPath, func(w http.ResponseWriter, r *http.Request) {
		a, err := link.Assignment(r.Context(), bearer(r))
		answer(w, log, a, err)
	})
	mux.HandleFunc("POST "+platform.AgentReportsPath, func(w http.ResponseWriter, r *http.Request) {
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
		status, ok := statuses[platform.KindOf(err)]
		if !ok {
			log.Error("an agent's call failed", "error", err)
			status, err = http.StatusInternalServerError, platform.Errorf(platform.Internal, "", "%w", err)
		}
		w.WriteHeader(status)
		value = platform.NewRefusal(err)
	}
	_ = json.NewEncoder(w).Encode(value) // an agent that has gone asks again
}
