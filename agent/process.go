package agent

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
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
	sent   atomic.Int32 // the strongest signal that the agent sent it: none, SIGTERM, SIGKILL
	cutOff atomic.Int32 // how many processes were seen to end by a signal: they may have left files half written
	crash  atomic.Int64 // when the first of them ended by a signal that was not the agent's, in Unix nanoseconds; 0: none did
	frozen bool         // what they were writing was looked at when they ended
	alone  bool         // the agent is the first process of a pid namespace: all others in it are this command's
}

// start starts the user's command in a session of its own, and waits for it.
func (a *agent) start(work context.Context) (*process, error) {
	p, err := a.launch(work)
	if err == nil {
		go p.reap()
	}
	return p, err
}

// launch starts the user's command in a session of its own. Whoever calls it has it waited for.
func (a *agent) launch(work context.Context) (*process, error) {
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
	p := &process{pid: started.Pid, output: output, main: make(chan struct{}), all: make(chan struct{}), alone: os.Getpid() == 1 && a.name == ""}
	_ = started.Release() // it is waited for by its number
	return p, nil
}

// startUnprivileged starts a command that has no capability of the agent's and cannot gain any: setuid programs are ordinary
// ones to it. What makes it so are traits of the thread that forks, so the thread is thrown away afterwards.
func startUnprivileged(c command, how *os.ProcAttr) (p *os.Process, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if c.view != nil {
			if err = c.view(); err != nil {
				err = &viewError{err}
				return
			}
		}
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

// viewError is a command that could not be given its view of the machine.
type viewError struct{ error }

func (e *viewError) Unwrap() error { return e.error }

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
		case status.Exited() || status.Signaled():
			p.noteSignal(status)
			if pid == p.pid {
				p.status, ended = status, true
				close(p.main)
			}
		}
	}
}

// noteSignal notes that a process ended by a signal.
func (p *process) noteSignal(status syscall.WaitStatus) {
	if !status.Signaled() {
		return
	}
	p.cutOff.Add(1)
	sent := syscall.Signal(p.sent.Load())
	if status.Signal() != sent && (status.Signal() != syscall.SIGTERM || sent != syscall.SIGKILL) {
		p.crash.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// watch waits for the command to end, or ends it when its time is over, when the job is to stop, or when its capacity is taken.
// It gives the reason, nil when the command ended by itself, and returns when no process of the job is left.
func (a *agent) watch(life context.Context, p *process) (why error) {
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
	case <-a.orders.work.Done():
		why = a.orders.why(life)
	}
	if errors.Is(why, errInterrupted) && p.over() {
		<-p.main
		why = nil // it was done before it was told
	}
	if why != nil && !errors.Is(why, errGone) {
		a.Log.Info("ending the training process", "why", why)
		a.end(life, p, why)
	}
	a.kill(p)
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

// end asks the command to end and gives it the grace: of a stop, or what an interruption leaves, which may come on top. Only
// the command itself is signalled, as a container's would be: it may need its workers to save its state. Once it has ended,
// what it left running is asked too and has the rest of the grace.
func (a *agent) end(life context.Context, p *process, why error) {
	inTime, done := a.orders.before(life, func(n *notice) time.Time { return n.workEnds(a.reserve(n)) })
	defer done()
	var grace <-chan time.Time // of an interruption, only its own
	if !errors.Is(why, errInterrupted) {
		fired, stop := a.Clock.After(a.job.StopGrace.Duration())
		defer stop()
		grace = fired
	}
	_ = a.ask(p, func(signal syscall.Signal) error { return syscall.Kill(p.pid, signal) })
	select {
	case <-p.main:
	case <-grace:
		return
	case <-inTime.Done():
		return
	}
	if a.ask(p, p.signalRest) == nil {
		if p.signal() != 0 {
			p.cutOff.Add(-1) // the command itself has nothing open any more
		}
		if !p.alone {
			p.cutOff.Add(1) // how the others end is not to be known
		}
	}
	left := p.all
	if !p.alone {
		left = p.groupGone()
	}
	select {
	case <-left:
	case <-grace:
	case <-inTime.Done():
	}
}

// over reports whether the command has ended, waited for or not.
func (p *process) over() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != nil || info.Signo != 0 // it was waited for, or waits to be
}

// kill ends everything of the job that still runs, at once. What keeps the checkpoints looks first at what is being written, so
// the processes are held still for that moment.
func (a *agent) kill(p *process) {
	asked := p.sent.Swap(int32(syscall.SIGKILL)) != 0
	if a.keeper.Checkpoints != nil {
		left := p.signalRest(syscall.SIGSTOP) == nil
		if left {
			p.cutOff.Add(1)
		}
		if left || asked && p.crash.Load() != 0 { // what was seen when they were asked is not all, after a crash
			a.keeper.Freeze()
			p.frozen = true
		}
	}
	_ = p.signalRest(syscall.SIGKILL)
}

// ask sends SIGTERM. What does not catch it dies of it there and then, so what is being written is looked at first.
func (a *agent) ask(p *process, signal func(syscall.Signal) error) error {
	p.sent.Store(int32(syscall.SIGTERM))
	if a.keeper.Checkpoints == nil {
		return signal(syscall.SIGTERM)
	}
	if err := signal(syscall.SIGSTOP); err != nil {
		return err
	}
	a.keeper.Freeze()
	p.frozen = true
	err := signal(syscall.SIGTERM)
	_ = signal(syscall.SIGCONT)
	return err
}

// signalRest signals everything of the job that still runs; an error says that there is nothing.
func (p *process) signalRest(signal syscall.Signal) error {
	if p.alone {
		return syscall.Kill(-1, signal)
	}
	return syscall.Kill(-p.pid, signal)
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
