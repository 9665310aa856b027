package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/platform"
)

// Config says how agents are run. Dir and Command must be set.
type Config struct {
	Dir     string   // a folder for each agent; made when needed, closed to others, locked while a Runner uses it
	Command []string // starts an agent; "{dir}" stands for its folder. The program calls Enter first
	Env     []string // of the agent's process; nothing else of the server's environment gets there

	Hide []string // folders that jobs must not see, such as the server's data
	Show []string // files and folders that agents and jobs need where they are; a file that is replaced is to be shown through its folder

	FirstUID, UIDs int               // user ids for the users' code when the server is root; 0 = 200000 and 60000
	MaxProcesses   int64             // of one job, threads included; 0 = 16384
	Capacity       platform.Capacity // of the machine; parts that are 0 are measured
	NoCgroups      bool              // do without limits

	// ReadSpool reads the reports above after in an agent's folder (agent.ReadSpool).
	ReadSpool func(dir string, after int64) ([]platform.Report, error)
	Log       *slog.Logger // nil: none
}

// Runner implements platform.Runner and platform.Undelivered.
type Runner struct {
	cfg   Config
	dir   string
	lock  *os.File
	rules cgroupRules
	ended chan platform.AgentID

	closing context.Context
	close   context.CancelFunc
	watches sync.WaitGroup

	mu     sync.Mutex
	agents map[platform.AgentID]*entry
	inbox  []platform.AgentID // ended and not yet taken from ended
	news   chan struct{}      // wakes the courier
}

// entry is an agent that was started and not removed. busy is held while something about it is done that takes time.
type entry struct {
	busy    sync.Mutex
	boot    bootstrap
	folder  string
	process *os.File // its pidfd, nil when it has ended
	pid     int
	ending  ending
	removed bool
}

var (
	_ platform.Runner      = (*Runner)(nil)
	_ platform.Undelivered = (*Runner)(nil)
)

// agentID is what an AgentID may look like; it becomes a file name.
var agentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// New takes Dir over: it finds the agents that an earlier Runner started, and clears what never began or was being removed.
func New(cfg Config) (*Runner, error) {
	if cfg.FirstUID == 0 {
		cfg.FirstUID = 200_000
	}
	if cfg.UIDs == 0 {
		cfg.UIDs = 60_000
	}
	if cfg.MaxProcesses == 0 {
		cfg.MaxProcesses = 16384
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, platform.Errorf(platform.Internal, cfg.Dir, "%w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, platform.Errorf(platform.Internal, dir, "make the folder of the agents: %w", err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	r := &Runner{cfg: cfg, dir: dir, lock: lock, ended: make(chan platform.AgentID), news: make(chan struct{}, 1), agents: map[platform.AgentID]*entry{}}
	r.closing, r.close = context.WithCancel(context.Background())
	if !cfg.NoCgroups {
		r.rules = findCgroups(dir)
	}
	if err := r.adopt(); err != nil {
		r.close()
		lock.Close()
		return nil, err
	}
	r.rules.sweep(r.agents)
	r.watches.Go(r.deliver)
	return r, nil
}

// lockPatience is how long another server may take to let the folder go.
const lockPatience = 2 * time.Second

// lockFolder makes sure that no other server uses the folder.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, platform.Errorf(platform.Internal, dir, "lock the folder of the agents: %w", err)
	}
	// A server that has just ended may hold it a moment longer, through a child that it was about to start.
	for giveUp := time.Now().Add(lockPatience); ; time.Sleep(lockPatience / 100) {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return f, nil
		}
		if time.Now().After(giveUp) {
			f.Close()
			return nil, platform.Errorf(platform.InUse, dir, "another server uses %s; stop it, or use another data folder", dir)
		}
	}
}

// adopt finds what earlier Runners left.
func (r *Runner) adopt() error {
	names, err := os.ReadDir(r.dir)
	if err != nil {
		return platform.Errorf(platform.Internal, r.dir, "%w", err)
	}
	for _, name := range names {
		folder := filepath.Join(r.dir, name.Name())
		switch {
		case !name.IsDir():
		case !agentID.MatchString(name.Name()): // a folder that was being made or removed
			r.sweep(folder)
		default:
			if err := r.adoptAgent(platform.AgentID(name.Name()), folder); err != nil {
				return platform.Errorf(platform.Internal, folder, "take over agent %s: %w", name.Name(), err)
			}
		}
	}
	return nil
}

func (r *Runner) adoptAgent(id platform.AgentID, folder string) error {
	e := &entry{folder: folder}
	if err := readJSON(filepath.Join(folder, bootstrapName), &e.boot); err != nil {
		return err
	}
	g, err := gate(folder)
	if err != nil {
		return err
	}
	defer g.Close()
	pid, started, err := holder(folder)
	if err != nil {
		return err
	}
	alive := func() bool { again, _, err := holder(folder); return err == nil && again == pid }
	if !started {
		var l launched
		err := readJSON(filepath.Join(folder, launchedName), &l)
		if errors.Is(err, os.ErrNotExist) { // a crash came between making the folder and the agent's process
			return r.discard(e)
		}
		if err != nil {
			return err
		}
		pid, alive = l.PID, func() bool { return startTime(l.PID) == l.Start }
	}
	if pid != 0 {
		if err := e.attach(pid, alive); err != nil {
			return err
		}
	}
	r.agents[id] = e
	if e.process != nil {
		r.watches.Go(func() { r.watch(id, e) })
		return nil
	}
	if err := readJSON(filepath.Join(folder, endedName), &e.ending); err != nil {
		e.ending = ending{At: lastSign(folder), Detail: "ended while no server watched"}
		r.noteEnding(e)
	}
	removeCgroups(e.boot.Cgroups)
	return nil
}

// lastSign is when an agent that ended unwatched was last known to live: nobody is billed for what came after.
func lastSign(folder string) time.Time {
	mark, err := os.Stat(filepath.Join(folder, startedName))
	if err != nil {
		return time.Now().UTC()
	}
	return mark.ModTime().UTC()
}

// attach opens a descriptor of the agent's process, unless it has ended. alive tells whether the number still means the
// agent; asked after the descriptor is open, it proves what that is of.
func (e *entry) attach(pid int, alive func() bool) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	if !alive() {
		return unix.Close(fd)
	}
	e.pid, e.process = pid, os.NewFile(uintptr(fd), "pidfd")
	return nil
}

func (r *Runner) discard(e *entry) error {
	grave, err := r.bury(e)
	if err == nil {
		r.sweep(grave)
	}
	return err
}

// bury takes an agent that has no process out of sight, for good. Deleting its files, which can take long, is left to sweep.
func (r *Runner) bury(e *entry) (grave string, err error) {
	removeCgroups(e.boot.Cgroups)
	grave = filepath.Join(r.dir, fmt.Sprintf(".removed-%s-%d", filepath.Base(e.folder), time.Now().UnixNano()))
	if err := os.Rename(e.folder, grave); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return grave, syncFolder(r.dir)
}

func (r *Runner) sweep(grave string) {
	if err := removeAll(grave); err != nil {
		r.cfg.Log.Warn("what an agent left cannot be removed now; the next start of the server tries again", "folder", grave, "error", err)
	}
}

// removeAll removes a folder even if its owner closed parts of it to itself.
func removeAll(folder string) error {
	err := os.RemoveAll(folder)
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(folder, func(path string, d os.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(folder)
}

// find gives the entry of an agent, nil when there is none.
func (r *Runner) find(id platform.AgentID) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.agents[id]
}

// Stop implements platform.Runner. The request is written down before the agent is signalled: an agent that is just
// beginning, and might miss the signal, finds it there.
func (r *Runner) Stop(_ context.Context, id platform.AgentID) error {
	e := r.find(id)
	if e == nil {
		return nil
	}
	e.busy.Lock()
	defer e.busy.Unlock()
	if e.process == nil || e.removed {
		return nil
	}
	if err := os.WriteFile(filepath.Join(e.folder, stopName), nil, 0o600); err != nil {
		return platform.Errorf(platform.Unavailable, string(id), "write down that the agent is to stop: %w", err)
	}
	if _, started, err := holder(e.folder); err != nil || !started {
		return nil //nolint:nilerr // it will find the file
	}
	return e.signal(syscall.SIGTERM)
}

// Kill implements platform.Runner. The agent is the first process of its pid namespace, so the kernel ends all others with it.
func (r *Runner) Kill(_ context.Context, id platform.AgentID) error {
	e := r.find(id)
	if e == nil {
		return nil
	}
	e.busy.Lock()
	defer e.busy.Unlock()
	if e.process == nil {
		return nil
	}
	return e.signal(syscall.SIGKILL)
}

// signal sends a signal to the agent's process; busy is held, so the descriptor is open.
func (e *entry) signal(signal syscall.Signal) error {
	var sent error
	raw, err := e.process.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), signal, nil, 0) })
	}
	if err = errors.Join(err, sent); err != nil && !errors.Is(err, unix.ESRCH) {
		return platform.Errorf(platform.Unavailable, string(e.boot.Spec.ID), "signal the agent: %w", err)
	}
	return nil
}

// Remove implements platform.Runner.
func (r *Runner) Remove(_ context.Context, id platform.AgentID) error {
	e := r.find(id)
	if e == nil {
		return nil
	}
	grave, err := r.remove(e)
	if err == nil && grave != "" {
		r.sweep(grave)
	}
	return err
}

func (r *Runner) remove(e *entry) (grave string, err error) {
	id := e.boot.Spec.ID
	e.busy.Lock()
	defer e.busy.Unlock()
	switch {
	case e.removed:
		return "", nil
	case e.process != nil:
		return "", platform.Errorf(platform.InUse, string(id), "agent %s still runs", id)
	}
	if grave, err = r.bury(e); err != nil {
		return "", platform.Errorf(platform.Unavailable, string(id), "remove agent %s: %w", id, err)
	}
	r.forget(e)
	return grave, nil
}

// forget takes an entry out of the table; its busy is held.
func (r *Runner) forget(e *entry) {
	e.removed = true
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.agents, e.boot.Spec.ID)
}

// List implements platform.Runner.
func (r *Runner) List(context.Context) ([]platform.AgentStatus, error) {
	r.mu.Lock()
	entries := slices.Collect(maps.Values(r.agents))
	r.mu.Unlock()
	var all []platform.AgentStatus
	for _, e := range entries {
		e.busy.Lock()
		s := platform.AgentStatus{ID: e.boot.Spec.ID, Owner: e.boot.Spec.Owner, Running: e.process != nil, Detail: strings.Join(e.boot.Notes, "; ")}
		if !s.Running {
			s.Ended, s.Detail = e.ending.At, e.ending.Detail
		}
		gone := e.removed
		e.busy.Unlock()
		if !gone {
			all = append(all, s)
		}
	}
	return all, nil
}

// Ended implements platform.Runner.
func (r *Runner) Ended() <-chan platform.AgentID { return r.ended }

// Reports implements platform.Undelivered.
func (r *Runner) Reports(_ context.Context, id platform.AgentID, after int64) ([]platform.Report, error) {
	e := r.find(id)
	if e == nil || r.cfg.ReadSpool == nil {
		return nil, nil
	}
	return r.cfg.ReadSpool(e.folder, after)
}

// Close implements platform.Runner.
func (r *Runner) Close() error {
	r.mu.Lock()
	if r.closing.Err() != nil {
		r.mu.Unlock()
		return nil
	}
	r.close()
	entries := slices.Collect(maps.Values(r.agents))
	r.mu.Unlock()
	for _, e := range entries {
		e.busy.Lock()
		if e.process != nil {
			e.process.Close() // its watch ends
		}
		e.busy.Unlock()
	}
	r.watches.Wait()
	close(r.ended)
	// Closing alone would leave the lock to a child that is just being started, until that has let go of it.
	return errors.Join(unix.Flock(int(r.lock.Fd()), unix.LOCK_UN), r.lock.Close())
}
