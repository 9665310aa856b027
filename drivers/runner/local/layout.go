package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/platform"
)

// The names inside an agent's folder.
const (
	bootstrapName = "bootstrap.json"
	launchedName  = "launched.json"
	startedName   = "started"
	endedName     = "ended.json"
	stopName      = "stop"
	logName       = "agent.log"
	mlName        = "ml"  // becomes /opt/ml
	tmpName       = "tmp" // becomes /tmp and /var/tmp
)

// bootstrap is what the server writes down for an agent, and all that is kept of its AgentSpec.
type bootstrap struct {
	Spec    platform.AgentSpec `json:"spec"`
	Launch  string             `json:"launch"` // told to the process that is to be the agent, and to no other
	UID     int                `json:"uid"`    // of the user's code; -1: the agent's own
	GID     int                `json:"gid"`
	Cgroups []string           `json:"cgroups,omitempty"` // folders to enter; the first one with a memory limit tells of its use
	Notes   []string           `json:"notes,omitempty"`
	Hide    []string           `json:"hide,omitempty"`
	Show    []string           `json:"show,omitempty"`
	// Previous are the agents of earlier attempts that had ended on this machine when this one was started, the latest first.
	Previous []platform.AgentID `json:"previous,omitempty"`
}

// launched names the process of an agent that may not have begun yet. The start time, in the kernel's ticks, tells it from a
// later process with the same number.
type launched struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

// startTime is field 22 of /proc/<pid>/stat, empty when there is no such process. The name in field 2 may hold anything.
func startTime(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// ending is how an agent ended.
type ending struct {
	At     time.Time `json:"at"`
	Detail string    `json:"detail"`
}

func readJSON(path string, into any) error {
	doc, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(doc, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON makes a file with its content on stable storage.
func writeJSON(path string, value any) error {
	doc, err := json.Marshal(value)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(doc)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncFolder makes names made or removed in a folder stable.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// holder gives the process that holds the lock of an agent that was started, 0 when none does. started is false when the
// agent never was.
func holder(folder string) (pid int, started bool, err error) {
	f, err := os.OpenFile(filepath.Join(folder, startedName), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, true, fmt.Errorf("ask who holds %s: %w", f.Name(), err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, true, nil
	}
	return int(lock.Pid), true, nil
}

// gate locks an agent's folder against the other side: an agent that begins, and a server that clears what never began. It
// fails with os.ErrNotExist when the folder has been cleared meanwhile. close lets go.
func gate(folder string) (*os.File, error) {
	path := filepath.Join(folder, bootstrapName)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	var locked, there syscall.Stat_t
	err = syscall.Fstat(int(f.Fd()), &locked)
	if err == nil {
		err = syscall.Stat(path, &there)
	}
	if err == nil && locked.Ino != there.Ino {
		err = os.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// begin makes the started mark of an agent and holds it; the file must stay open as long as the process lives, and no other
// descriptor of it may be closed by the process, which would release the lock. It fails with os.ErrExist when the agent was
// started before, with os.ErrNotExist when it is not to be started any more: the folder is gone, or it is another one, made
// by a later Start with a launch of its own.
func begin(folder, launch string) (mark *os.File, boot bootstrap, err error) {
	g, err := gate(folder)
	if err != nil {
		return nil, boot, err
	}
	defer g.Close()
	if err := readJSON(filepath.Join(folder, bootstrapName), &boot); err != nil {
		return nil, boot, err
	}
	if boot.Launch != launch {
		return nil, boot, os.ErrNotExist
	}
	mark, err = makeMark(folder)
	return mark, boot, err
}

func makeMark(folder string) (*os.File, error) {
	draft := filepath.Join(folder, fmt.Sprintf(".%s-%d", startedName, os.Getpid()))
	f, err := os.OpenFile(draft, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: 0})
	if err == nil {
		err = os.Link(draft, filepath.Join(folder, startedName))
	}
	_ = os.Remove(draft)
	if err == nil {
		err = syncFolder(folder)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
