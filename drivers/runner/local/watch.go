package local

import (
	"bytes"
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

// watch waits for an agent to end. It costs a goroutine, not a thread: the pidfd is in the poller.
func (r *Runner) watch(id platform.AgentID, e *entry) {
	raw, err := e.process.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return ready > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
	}
	if r.closing.Err() != nil {
		return
	}
	if err != nil {
		r.cfg.Log.Error("an agent cannot be watched", "agent", id, "error", err)
		return
	}
	e.busy.Lock()
	e.process.Close()
	e.process = nil
	e.ending = ending{At: time.Now().UTC(), Detail: e.howItEnded()}
	r.noteEnding(e)
	removeCgroups(e.boot.Cgroups)
	e.busy.Unlock()
	r.cfg.Log.Info("an agent has ended", "agent", id, "how", e.ending.Detail)
	r.mu.Lock()
	r.inbox = append(r.inbox, id)
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// noteEnding writes down how an agent ended, and that it was started even if it ended before it could say so itself.
func (r *Runner) noteEnding(e *entry) {
	mark, err := os.OpenFile(filepath.Join(e.folder, startedName), os.O_CREATE|os.O_RDONLY, 0o600)
	if err == nil {
		mark.Close()
		err = writeJSON(filepath.Join(e.folder, endedName), e.ending)
	}
	if err != nil { // the next server finds the mark without a lock, or clears an agent that did nothing
		r.cfg.Log.Warn("the end of an agent could not be written down", "agent", e.boot.Spec.ID, "error", err)
	}
}

// howItEnded reaps the process, if it is this server's child, and says what is known.
func (e *entry) howItEnded() string {
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(e.pid, &status, syscall.WNOHANG, nil)
	known := err == nil && pid == e.pid
	kills := memoryUse(e.boot.Cgroups).OOMKills
	switch {
	case kills > 0 && (!known || status.Signaled()):
		return "out of memory"
	case !known:
		return "ended; it was started by an earlier server, so the exit status is unknown"
	case status.Signaled():
		return fmt.Sprintf("killed by signal %d", status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Sprintf("exited with status %d: %s", status.ExitStatus(), lastLine(filepath.Join(e.folder, logName)))
	}
	return "exited"
}

// lastLine is what a process said last.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 4096 {
		_, _ = f.Seek(-4096, 2)
	}
	var text bytes.Buffer
	_, _ = text.ReadFrom(f)
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	return lines[len(lines)-1]
}

// deliver hands the ended agents to the reader of Ended, however slow it is.
func (r *Runner) deliver() {
	for {
		r.mu.Lock()
		waiting := r.inbox
		r.inbox = nil
		r.mu.Unlock()
		for _, id := range waiting {
			select {
			case r.ended <- id:
			case <-r.closing.Done():
				return
			}
		}
		select {
		case <-r.news:
		case <-r.closing.Done():
			return
		}
	}
}
