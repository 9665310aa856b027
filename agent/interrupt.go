package agent

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"github.com/stint-ml/stint/platform"
)

// interruptionFile is where the user's code may look for a notice, below Config.Root. The file appears whole, with the notice.
const interruptionFile = "input/spot-interruption.json"

// spotAction is the notice in the words of EC2's instance metadata, spot/instance-action. The reason is Stint's own.
type spotAction struct {
	Action string `json:"action"`
	Time   string `json:"time"`
	Reason string `json:"reason,omitempty"`
}

// actionOf tells a notice as EC2 does: "terminate", as nothing of the machine is kept for the job.
func actionOf(n notice) spotAction {
	return spotAction{Action: "terminate", Time: n.Until.UTC().Format(time.RFC3339)}
}

// spotVariables tell the user's code where it learns of an interruption, and what is wanted of its checkpoints.
func (a *agent) spotVariables() map[string]string {
	variables := map[string]string{"STINT_INTERRUPTION_FILE": filepath.Join(a.Root, interruptionFile)}
	if a.meta != nil {
		variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = a.meta.url
		variables["STINT_METADATA_URL"] = a.meta.url
	}
	if plan := a.job.Checkpoints; plan != nil {
		variables["STINT_CHECKPOINT_DIR"] = a.keeper.folder
		variables["STINT_CHECKPOINT_SECONDS"] = strconv.FormatInt(int64(plan.Every), 10)
	}
	return variables
}

// obey does what an answer of the control plane orders. A stop goes first: it wins over an interruption.
func (a *agent) obey(ack platform.Ack, sent time.Time) {
	if ack.Stop {
		a.orders.stop()
	}
	a.orders.hear(ack.Interrupt, sent, a.announce)
}

// announce tells the user's code of a notice, before anything is broken off. The metadata endpoint reads the notice by itself.
func (a *agent) announce(n notice) {
	a.Log.Info("the job's capacity is being taken away", "until", n.Until, "left", n.ends.Sub(n.heard), "reason", n.Reason)
	action := actionOf(n)
	action.Reason = n.Reason
	if err := a.writeForUser(interruptionFile, action); err != nil {
		a.Log.Warn("the notice could not be written for the user's code", "error", err)
	}
}

// writeForUser makes a file below Root at once and whole, also where the user's code may have put something in its way: the
// folder is its own. Nothing outside of Root is touched.
func (a *agent) writeForUser(name string, content any) error {
	doc, err := json.Marshal(content)
	if err != nil {
		return platform.Errorf(platform.Internal, name, "encode %s: %w", name, err)
	}
	root, err := os.OpenRoot(a.Root)
	if err != nil {
		return diskError(a.Root, err)
	}
	defer root.Close()
	draft := path.Join(path.Dir(name), "."+path.Base(name)+"."+rand.Text())
	f, err := root.OpenFile(draft, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return diskError(filepath.Join(a.Root, draft), err)
	}
	defer f.Close()
	_, err = f.Write(doc)
	if err == nil && a.User != nil {
		err = f.Chown(a.User.UID, a.User.GID)
	}
	if err == nil {
		err = root.Rename(draft, name)
	}
	if err != nil {
		_ = root.Remove(draft)
	}
	return diskError(filepath.Join(a.Root, name), err)
}
