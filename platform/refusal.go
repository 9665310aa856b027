package platform

// The requests of an AgentLink over HTTP, both POST, with the agent's token as "Authorization: Bearer <token>" and the types of
// this package as JSON. An answer of any status but 200 has a Refusal as its body.
const (
	AgentAssignmentPath = "/_stint/agent/assignment" // no body → Assignment
	AgentReportsPath    = "/_stint/agent/reports"    // []Report → Ack
)

// Refusal is how the control plane says no to an agent: {"kind": "denied", "message": "…"}, the kind by its name.
type Refusal struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// NewRefusal words an error for an agent. Of a fault of ours it tells nothing but that there was one.
func NewRefusal(err error) Refusal {
	kind := KindOf(err)
	if kind == Internal {
		return Refusal{kind.String(), "internal failure"}
	}
	return Refusal{kind.String(), err.Error()}
}

// Error gives the error that a refusal stands for; resource is whoever refused. ok is false when no control plane wrote it.
func (r Refusal) Error(resource string) (err *Error, ok bool) {
	for kind, name := range kindNames {
		if name == r.Kind {
			return Errorf(ErrorKind(kind), resource, "%s", r.Message), true
		}
	}
	return nil, false
}
