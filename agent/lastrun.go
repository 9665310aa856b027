package agent

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// lastRun is what an agent writes down about its user's process in its own folder, for an agent that comes after it. There is
// none before the process is started, nor when its checkpoints have all come home.
type lastRun struct {
	Began time.Time `json:"began"`          // by the clock of the disk
	Ended bool      `json:"ended"`          // the agent saw the end of all processes
	Open  []uint64  `json:"open,omitempty"` // numbers of the files that were being written then
}

const lastRunName = "lastrun.json"

// noteRun writes the beginning of the run down: what is in the folder now is in the store. If it cannot, nothing will be taken
// over, should this agent be killed.
func (a *agent) noteRun() {
	if a.keeper.Checkpoints == nil {
		return
	}
	name := filepath.Join(a.Dir, lastRunName)
	err := os.WriteFile(name, nil, 0o600)
	var info os.FileInfo
	if err == nil {
		info, err = os.Stat(name)
	}
	if err == nil {
		err = writeRun(a.Dir, lastRun{Began: info.ModTime()})
	}
	if err != nil {
		a.Log.Warn("the beginning of the run could not be written down", "error", err)
	}
}

// openWitness begins to look on as the user's process writes. Where that cannot be, less will be taken over.
func (a *agent) openWitness() (end func()) {
	if a.keeper.Checkpoints == nil {
		return func() {}
	}
	w, err := newWitness(a.keeper.folder, a.Dir)
	if err != nil {
		a.Log.Warn("nobody looks on as checkpoints are written", "error", err)
		return func() {}
	}
	return w.close
}

// noteEnd writes down that no process of the job is left, and which files are torn, before what is left is shipped.
func (a *agent) noteEnd(p *process) {
	run, err := readRun(a.Dir)
	if p.cutOff.Load() > 0 {
		run.Open = a.keeper.open()
	}
	if err != nil || p.cutOff.Load() > 0 && !p.frozen {
		a.forgetRun() // it is not known what is torn
		return
	}
	run.Ended = true
	if err := writeRun(a.Dir, run); err != nil {
		a.forgetRun()
	}
}

// forgetRun has nothing taken over from here: it has all come home, or it is not known what is whole.
func (a *agent) forgetRun() { _ = os.Remove(filepath.Join(a.Dir, lastRunName)) }

func readRun(dir string) (run lastRun, err error) {
	doc, err := os.ReadFile(filepath.Join(dir, lastRunName))
	if err == nil {
		err = json.Unmarshal(doc, &run)
	}
	return run, err
}

func writeRun(dir string, run lastRun) error {
	doc, err := json.Marshal(run)
	if err != nil {
		return err
	}
	draft := filepath.Join(dir, "."+lastRunName)
	return errors.Join(os.WriteFile(draft, doc, 0o600), os.Rename(draft, filepath.Join(dir, lastRunName)))
}
