package agent

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ballastBytes is the room on the disk that a job leaves for its own end.
const ballastBytes = 16 << 20

// takeBallast keeps some of the disk from the job, and drop gives it back: once the job's processes are gone and take no more.
// Without it a job that fills the disk it shares with the server could not even end, as nobody could write down that it has.
// Where the disk has no room for it, or no way to set room aside, there is none. drop may be called twice.
func (a *agent) takeBallast() (drop func()) {
	path := filepath.Join(a.Dir, "ballast")
	drop = func() { _ = os.Remove(path) } // it may be gone
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return drop
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, ballastBytes); err != nil {
		drop()
	}
	return drop
}
