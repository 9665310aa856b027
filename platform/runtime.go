package platform

// Runtime is what a container image means on a machine without containers: an environment and an entry.
type Runtime struct {
	Name        string   `json:"name"`                  // "sklearn"
	Images      []string `json:"images"`                // patterns over the image URI without registry: "sagemaker-scikit-learn:*"; '*' matches any run of characters
	Interpreter string   `json:"interpreter,omitempty"` // absolute path of the Python; empty when the entry needs none
	// Entry is the command when the request has no ContainerEntrypoint. In it {python} and {shim} stand for the interpreter and
	// the script-mode shim. A request's own command finds the interpreter by PATH, as "python" or "python3".
	Entry []string `json:"entry"`
	// Serve is the command of an endpoint's or a batch transform's container. In it {python} and {shim} stand for the
	// interpreter and the model server. Empty when the runtime only trains. Whatever it is, it listens on
	// SAGEMAKER_BIND_TO_PORT, 8080 if unset, and answers /ping and /invocations.
	Serve []string          `json:"serve,omitempty"`
	Env   map[string]string `json:"env,omitempty"` // set before the request's Environment
}

// Runtimes is the table from image to runtime.
type Runtimes interface {
	// Resolve finds the runtime of an image URI. NotFound when no pattern matches, Unavailable when the one that matches
	// is not installed; both messages name the command that mends it. It is cheap and reads the table as it stands now.
	Resolve(image string) (Runtime, error)
}
