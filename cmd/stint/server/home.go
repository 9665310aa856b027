package server

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/platform/catalog"
	"github.com/stint-ml/stint/shim"
)

// Home is the data folder. Everything that Stint keeps is below it.
type Home string

// DefaultHome is $STINT_HOME; else /var/lib/stint for root, whose jobs run as other users and cannot look below /root; else
// the user's data folder.
func DefaultHome() (Home, error) {
	if h := os.Getenv("STINT_HOME"); h != "" {
		abs, err := filepath.Abs(h)
		return Home(abs), err
	}
	if os.Geteuid() == 0 {
		return "/var/lib/stint", nil
	}
	if h := os.Getenv("XDG_DATA_HOME"); h != "" {
		return Home(filepath.Join(h, "stint")), nil
	}
	h, err := os.UserHomeDir()
	return Home(filepath.Join(h, ".local", "share", "stint")), err
}

// The places in a data folder.
func (h Home) path(elem string) string { return filepath.Join(string(h), elem) }

// Store is the database of resources and the ledger.
func (h Home) Store() string { return h.path("stint.db") }

// Telemetry is the database of logs and metrics.
func (h Home) Telemetry() string { return h.path("telemetry.db") }

// Objects is the folder of the object store: a folder a bucket, a file an object.
func (h Home) Objects() string { return h.path("s3") }

// Agents is the folder of the jobs that run.
func (h Home) Agents() string { return h.path("agents") }

// Runtimes is the folder of the Python environments.
func (h Home) Runtimes() string { return h.path("runtimes") }

// EndpointFile tells agents where the server is.
func (h Home) EndpointFile() string { return h.path("endpoint.json") }

// Topics is the file that says to which address notifications of a topic are posted; it is the user's.
func (h Home) Topics() string { return h.path("topics.json") }

// Spool is the folder of what is too large for memory while it is on its way.
func (h Home) Spool() string { return h.path("spool") }

// Programs is the folder of the Python programs that run inside jobs.
func (h Home) Programs() string { return h.path("shim") }

// TrainProgram is the program of script mode.
func (h Home) TrainProgram() string { return filepath.Join(h.Programs(), shim.TrainProgram) }

// ServeProgram is the model server.
func (h Home) ServeProgram() string { return filepath.Join(h.Programs(), shim.ServeProgram) }

func (h Home) keyFile() string { return h.path("root-key.json") }

// Connection is what a client needs to find the server.
type Connection struct {
	Endpoint string        `json:"endpoint"`
	S3       string        `json:"s3"`
	Site     platform.Site `json:"site"`
}

// prepare makes the folder. Others may pass through it, as jobs must reach their runtimes, but not list it.
func (h Home) prepare() error {
	if err := os.MkdirAll(string(h), 0o711); err != nil { // see above
		return platform.Errorf(platform.Unavailable, string(h), "make the data folder: %w", err)
	}
	for _, shared := range []string{h.Runtimes(), h.Programs()} {
		if err := os.MkdirAll(shared, 0o755); err != nil { // jobs run as other users and read them
			return platform.Errorf(platform.Unavailable, shared, "make the folder: %w", err)
		}
	}
	return shim.Install(h.Programs())
}

// Catalog is the instance types: the built-in ones under the user's catalog.csv.
func (h Home) Catalog(partition string) (platform.Catalog, error) {
	base := catalog.BuiltIn(partition)
	f, err := os.Open(h.path("catalog.csv"))
	if errors.Is(err, fs.ErrNotExist) {
		return base, nil
	}
	if err != nil {
		return nil, platform.Errorf(platform.Unavailable, h.path("catalog.csv"), "open the catalogue: %w", err)
	}
	defer f.Close() // only read
	own, err := catalog.Read(f)
	if err != nil {
		return nil, platform.Errorf(platform.Invalid, f.Name(), "%s: %w", f.Name(), err)
	}
	return catalog.Merge(base, own), nil
}

// announce writes down where the server is and how its owner signs in.
func (h Home) announce(c Connection, key platform.AccessKey) error {
	if err := replace(h.keyFile(), key, 0o600); err != nil {
		return err
	}
	return replace(h.EndpointFile(), c, 0o644)
}

// Connect reads what the last server announced.
func (h Home) Connect() (Connection, platform.AccessKey, error) {
	var c Connection
	var key platform.AccessKey
	for name, into := range map[string]any{h.EndpointFile(): &c, h.keyFile(): &key} {
		doc, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return c, key, platform.Errorf(platform.Unavailable, name, "no server has used the data folder %s; start one with: stint up", h)
		}
		if err == nil {
			err = json.Unmarshal(doc, into)
		}
		if err != nil {
			return c, key, platform.Errorf(platform.Unavailable, name, "read %s: %w", name, err)
		}
	}
	return c, key, nil
}

// replace writes a file whole or not at all.
func replace(name string, value any, mode fs.FileMode) error {
	doc, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", append(doc, '\n'), mode); err != nil {
		return platform.Errorf(platform.Unavailable, name, "write %s: %w", name, err)
	}
	return os.Rename(name+".new", name)
}
