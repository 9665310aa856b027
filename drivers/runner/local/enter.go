package local

import (
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

// Bootstrap is what an agent's process learns from Enter.
type Bootstrap struct {
	Token     string
	Dir       string   // the agent's own folder, by a path that only this process can use
	Root      string   // /opt/ml, where the job's own is mounted
	Outside   string   // the same as the machine outside names it
	UID, GID  int      // for the user's code; -1: the agent's own
	Notes     []string // what the job has to do without on this machine
	StopAsked bool     // Stop was called before the agent could hear it
	Previous  []Remains

	started *os.File // holds the lock that proves the agent alive
	cgroups []string
	bound   chan []string // gives the limits that could not be had, when all cgroups have been entered, and is closed then
	view    *view
}

// Remains are what an agent of an earlier attempt left on this machine, the latest first.
type Remains struct {
	Dir   string    // its folder, by a path that only this process can use
	Root  string    // in it, what was its /opt/ml
	Ended time.Time // when it was last known to live, by the machine's clock
}

// Root is where every job finds the container contract.
const Root = "/opt/ml"

// launchVariable is the environment variable that tells a process which launch it is of.
const launchVariable = "STINT_LAUNCH"

// ErrStarted says that an agent was started before, or is not to be started any more: the process has nothing to do.
var ErrStarted = errors.New("this agent was started before")

// Enter makes the calling process the agent of a folder that Start made: it takes the folder's started mark, enters the
// cgroups, and builds the job's view of the machine. It must be called first of all by the program that Config.Command
// starts, after it has made sure that SIGTERM is caught, and once.
func Enter(dir string) (*Bootstrap, error) {
	// 1. Be the one that was started. From here on the server can see and signal this process.
	started, boot, err := begin(dir, os.Getenv(launchVariable))
	if errors.Is(err, os.ErrExist) || errors.Is(err, os.ErrNotExist) {
		return nil, ErrStarted
	}
	if err != nil {
		return nil, platform.Errorf(platform.Internal, dir, "begin: %w", err)
	}
	go showLife(started)
	b := &Bootstrap{
		Token: boot.Spec.Token, Root: Root, Outside: filepath.Join(dir, mlName), UID: boot.UID, GID: boot.GID,
		Notes: boot.Notes, started: started, cgroups: boot.Cgroups, bound: make(chan []string, 1),
	}
	// 2. Be bound by the limits. The kernel takes tens of milliseconds for it, so Prepare waits for it, not this.
	go func() {
		b.bound <- enterCgroups(boot.Cgroups)
		close(b.bound)
	}()
	// 3. Have a view of the machine of one's own.
	syscall.Umask(0o022)
	if err := syscall.Sethostname([]byte(boot.Spec.Host)); err != nil {
		return nil, platform.Errorf(platform.Internal, dir, "name the host %s: %w%s", boot.Spec.Host, err, entryHint())
	}
	b.view = &view{closed: boot.UID >= 0}
	notes, err := b.view.build(dir, boot)
	if err != nil {
		return nil, platform.Errorf(platform.Internal, dir, "build the job's view of the machine: %w%s", err, entryHint())
	}
	b.Notes = append(b.Notes, notes...)
	b.Dir = fmt.Sprintf("/proc/self/fd/%d", b.view.own.Fd())
	b.Previous = b.remains(filepath.Dir(dir), boot.Previous)
	// 4. Hear a stop that came before the mark.
	_, err = os.Stat(filepath.Join(b.Dir, stopName))
	b.StopAsked = err == nil
	return b, nil
}

// remains finds what earlier agents left. What was written before the machine was started is not among it: the kernel may
// have lost some of that.
func (b *Bootstrap) remains(agents string, earlier []platform.AgentID) (found []Remains) {
	up, err := machineStart()
	if err != nil {
		return nil
	}
	for _, id := range earlier {
		folder := b.Path(filepath.Join(agents, string(id)))
		mark, err := os.Stat(filepath.Join(folder, startedName))
		if err == nil && mark.ModTime().After(up) {
			found = append(found, Remains{Dir: folder, Root: filepath.Join(folder, mlName), Ended: mark.ModTime()})
		}
	}
	return found
}

// machineStart is when the machine was started, by its clock of now.
func machineStart() (time.Time, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(-time.Duration(info.Uptime) * time.Second), nil
}

// enterCgroups moves this process, unless it was born there, and gives what failed.
func enterCgroups(folders []string) (notes []string) {
	membership, _ := os.ReadFile("/proc/self/cgroup")
	for _, folder := range folders {
		if strings.Contains(string(membership), "/"+cgroupFolder+"/"+filepath.Base(folder)+"\n") && len(folders) == 1 {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte("0"), 0); err != nil {
			notes = append(notes, "the job runs without a limit: "+err.Error())
		}
	}
	return notes
}

// signOfLife is how often an agent touches its started mark.
const signOfLife = time.Second

// showLife keeps the mark's time of change young as long as the process lives, so that a server which was away when the
// process ended can tell when that was.
func showLife(mark *os.File) {
	for range time.Tick(signOfLife) {
		if _, err := mark.WriteAt([]byte{'\n'}, 0); err != nil {
			return // a full or broken disk; the time stands still, to the user's advantage
		}
	}
}

// entryHint says what to change where a user namespace can be made but gives no rights.
func entryHint() string {
	if os.Geteuid() == 0 {
		return ""
	}
	return "; run the server as root, or as root: " + namespaceRemedy()
}

// Path gives a path by which this process alone reaches a file of the machine that its job does not see.
func (b *Bootstrap) Path(path string) string { return b.view.outside(path) }

// Prepare makes ready for a process of the user's: when it returns, what the process takes is limited, and the programs
// given, which the operator's runtime table names, are visible and reachable to it. Each is shown with the tree that it is
// installed in, when it lies where jobs do not see: below /tmp, say, or in root's home. Paths that do not exist are passed
// over. notes are limits that could not be had, told once. It is not for several goroutines at once.
func (b *Bootstrap) Prepare(programs ...string) (notes []string, err error) {
	for _, p := range programs {
		if err := b.view.reveal(p); err != nil {
			return nil, platform.Errorf(platform.Internal, p, "make %s visible to the job: %w", p, err)
		}
	}
	return <-b.bound, nil
}

// Memory tells of the job's memory.
func (b *Bootstrap) Memory() Memory { return memoryUse(b.cgroups) }
