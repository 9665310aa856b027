package agent

import (
	"context"
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/platform"
)

const (
	pipeBytes   = 1 << 20         // of the pipe that carries the user's output
	settleTime  = 5 * time.Second // for what is left of the user's processes to vanish once they are killed
	oomRaised   = "500"           // oom_score_adj of the user's processes: when memory ends, they go before the agent
	oomAsBefore = "0"
)

// process is the user's command, running, and whatever it started.
type process struct {
	pid    int
	output *os.File      // its stdout and stderr in the order of writing
	main   chan struct{} // closed when the command itself has ended
	all    chan struct{} // closed when nothing is left that the agent could wait for
	status syscall.WaitStatus
	alone  bool // the agent is the first process of a pid namespace: all others in it are the job's
}

// start starts the user's command in a session of its own.
func (a *agent) start(work context.Context) (*process, error) {
	c, err := a.command()
	if err != nil {
		return nil, err
	}
	output, input, err := os.Pipe()
	if err != nil {
		return nil, platform.Errorf(platform.Internal, "", "make the log's pipe: %w", err)
	}
	defer input.Close()
	_, _ = unix.FcntlInt(input.Fd(), unix.F_SETPIPE_SZ, pipeBytes) // only faster
	null, err := os.Open(os.DevNull)
	if err != nil {
		output.Close()
		return nil, platform.Errorf(platform.Internal, "", "%w", err)
	}
	defer null.Close()
	attributes := &syscall.SysProcAttr{Setsid: true}
	if a.User != nil {
		attributes.Credential = &syscall.Credential{Uid: uint32(a.User.UID), Gid: uint32(a.User.GID), Groups: []uint32{uint32(a.User.GID)}}
	}
	if work.Err() != nil {
		output.Close()
		return nil, context.Cause(work)
	}
	started, err := startUnprivileged(c, &os.ProcAttr{Dir: c.dir, Env: c.env, Files: []*os.File{null, input, input}, Sys: attributes})
	if err != nil {
		output.Close()
		return nil, a.startError(c, unwrapPath(err))
	}
	p := &process{pid: started.Pid, output: output, main: make(chan struct{}), all: make(chan struct{}), alone: os.Getpid() == 1}
	_ = started.Release() // reap waits for it
	go p.reap()
	return p, nil
}

// startUnprivileged starts a command that has no capability of the agent's and cannot gain any: setuid programs are ordinary
// ones to it. What makes it so are traits of the thread that forks, so the thread is thrown away afterwards.
func startUnprivileged(c command, how *os.ProcAttr) (p *os.Process, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if how.Sys.Credential != nil || os.Geteuid() != 0 {
			err = errors.Join(
				unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
				unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
			if err != nil {
				return
			}
		}
		setOOMScore(oomRaised)
		p, err = os.StartProcess(c.path, c.args, how)
		setOOMScore(oomAsBefore)
	}()
	<-done
	return p, err
}

// setOOMScore says how willingly the kernel kills this process, and those that it starts from now on, when memory ends.
func setOOMScore(score string) { _ = os.WriteFile("/proc/self/oom_score_adj", []byte(score), 0) }

// unwrapPath takes the file name off an error that will name the command itself.
func unwrapPath(err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// reap waits for the command. As the first process of a pid namespace the agent is the parent of every orphan in it, and
// waits for those as well.
func (p *process) reap() {
	defer close(p.all)
	whom, ended := -1, false
	if !p.alone {
		whom = p.pid
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(whom, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			if !ended { // somebody else waited for it, which no code of ours does
				close(p.main)
			}
			return
		case pid == p.pid && (status.Exited() || status.Signaled()):
			p.status, ended = status, true
			close(p.main)
		}
	}
}

// watch waits for the command to end, or ends it when its time is over or the job is to stop. It gives the reason, nil when
// the command ended by itself, and returns when no process of the job is left.
func (a *agent) watch(work, life context.Context, p *process) (why error) {
	var limit <-chan time.Time
	if a.job.MaxRun > 0 {
		fired, stop := a.Clock.After(a.job.MaxRun.Duration())
		defer stop()
		limit = fired
	}
	select {
	case <-p.main:
	case <-limit:
		why = errMaxRun
	case <-work.Done():
		why = context.Cause(work)
	}
	if why != nil && !errors.Is(why, errGone) {
		a.Log.Info("ending the training process", "why", why)
		a.end(life, p)
	}
	p.kill()
	<-p.main
	settled, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	select {
	case <-p.all:
	case <-settled.Done():
		a.Log.Warn("processes of the job do not end although they were killed")
	}
	return why
}

// end asks the command to end and gives it the grace. Only the command itself is signalled, as a container's would be: it may
// need its workers to save its state. Once it has ended, what it left running is asked too and has the rest of the grace.
func (a *agent) end(life context.Context, p *process) {
	grace, stop := a.Clock.After(a.job.StopGrace.Duration())
	defer stop()
	_ = syscall.Kill(p.pid, syscall.SIGTERM)
	select {
	case <-p.main:
	case <-grace:
		return
	case <-life.Done():
		return
	}
	p.signalRest(syscall.SIGTERM)
	left := p.all
	if !p.alone {
		left = p.groupGone()
	}
	select {
	case <-left:
	case <-grace:
	case <-life.Done():
	}
}

// kill ends everything of the job that still runs, at once.
func (p *process) kill() { p.signalRest(syscall.SIGKILL) }

func (p *process) signalRest(signal syscall.Signal) {
	if p.alone {
		_ = syscall.Kill(-1, signal)
		return
	}
	_ = syscall.Kill(-p.pid, signal)
}

// groupGone tells when the command's process group is empty.
func (p *process) groupGone() chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for syscall.Kill(-p.pid, 0) == nil {
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return gone
}

// signal is the signal that ended the command, 0 when none did.
func (p *process) signal() syscall.Signal {
	if p.status.Signaled() {
		return p.status.Signal()
	}
	return 0
}

// exitCode is as a shell would tell it.
func (p *process) exitCode() int {
	if s := p.signal(); s != 0 {
		return 128 + int(s)
	}
	return p.status.ExitStatus()
}
