package local

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/platform"
)

// Start implements platform.Runner.
func (r *Runner) Start(ctx context.Context, spec platform.AgentSpec) error {
	if !agentID.MatchString(string(spec.ID)) {
		return platform.Errorf(platform.Invalid, string(spec.ID), "%q is no agent id: it must be a file name of at most 63 letters, digits, dots, dashes and underscores", spec.ID)
	}
	// 1. Take the id. Whoever else starts it waits for how this goes.
	e, mine, err := r.claim(ctx, spec)
	if err != nil || !mine {
		return err
	}
	defer e.busy.Unlock()
	// 2. Limits, where they can be had.
	e.boot.Cgroups, e.boot.Notes = r.rules.make(string(spec.ID), spec.Capacity, r.cfg.MaxProcesses)
	e.boot.Previous = r.previous(spec.Previous)
	// 3. The folder, whole or not at all.
	err = r.makeFolder(e)
	// 4. The process. It makes itself known by the started mark.
	if err == nil {
		err = r.launch(e)
	}
	if err != nil {
		if left := r.discard(e); left != nil {
			r.cfg.Log.Warn("what an agent that could not be started left stays for now", "agent", spec.ID, "error", left)
		}
		r.forget(e)
		return err
	}
	r.watches.Go(func() { r.watch(spec.ID, e) })
	return nil
}

// claim makes the entry of an agent, with its busy held, unless there is one.
func (r *Runner) claim(ctx context.Context, spec platform.AgentSpec) (e *entry, mine bool, err error) {
	for {
		if ctx.Err() != nil { // before there is an entry, which nobody would finish
			return nil, false, platform.Errorf(platform.Unavailable, string(spec.ID), "given up by the caller: %w", context.Cause(ctx))
		}
		r.mu.Lock()
		if r.closing.Err() != nil {
			r.mu.Unlock()
			return nil, false, platform.Errorf(platform.Unavailable, string(spec.ID), "the runner is closed")
		}
		if e = r.agents[spec.ID]; e == nil {
			e = &entry{folder: filepath.Join(r.dir, string(spec.ID)), boot: bootstrap{Spec: spec, Launch: rand.Text(), UID: -1, GID: -1, Hide: r.cfg.Hide, Show: r.cfg.Show}}
			if os.Geteuid() == 0 {
				e.boot.UID = r.freeUID(spec.ID)
				e.boot.GID = e.boot.UID
			}
			e.busy.Lock()
			r.agents[spec.ID] = e
			r.mu.Unlock()
			return e, true, nil
		}
		r.mu.Unlock()
		e.busy.Lock()
		failed := e.removed
		e.busy.Unlock()
		if !failed {
			return e, false, nil
		}
	}
}

// freeUID chooses a user id that no agent on this machine has; mu is held. Ids of removed agents are not taken again at once,
// as the choice begins at a place that the agent's id gives.
func (r *Runner) freeUID(id platform.AgentID) int {
	used := map[int]bool{}
	for _, e := range r.agents {
		used[e.boot.UID] = true
	}
	h := fnv.New32a()
	h.Write([]byte(id))
	offset := int(h.Sum32() % uint32(r.cfg.UIDs))
	for used[r.cfg.FirstUID+offset] && len(used) <= r.cfg.UIDs {
		offset = (offset + 1) % r.cfg.UIDs
	}
	return r.cfg.FirstUID + offset
}

// longestPast is how many earlier attempts are looked back at. More than one counts only when attempts end before they have
// got anything done.
const longestPast = 10

// previous gives the agents that ended on this machine, from one back to the first, as far as they are not removed.
func (r *Runner) previous(id platform.AgentID) (ended []platform.AgentID) {
	for id != "" && len(ended) < longestPast {
		e := r.find(id)
		if e == nil {
			break
		}
		e.busy.Lock()
		gone := e.process != nil || e.removed
		e.busy.Unlock()
		if gone {
			break
		}
		ended, id = append(ended, id), e.boot.Spec.Previous
	}
	return ended
}

// makeFolder makes an agent's folder, which appears by rename.
func (r *Runner) makeFolder(e *entry) error {
	draft := filepath.Join(r.dir, ".new-"+string(e.boot.Spec.ID))
	err := os.Mkdir(draft, 0o700)
	if err == nil {
		err = os.Mkdir(filepath.Join(draft, mlName), 0o755)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(draft, tmpName), 0o700)
	}
	if err == nil {
		err = os.Chmod(filepath.Join(draft, tmpName), 0o1777) // past the umask
	}
	if err == nil {
		err = writeJSON(filepath.Join(draft, bootstrapName), e.boot)
	}
	if err == nil {
		err = os.Rename(draft, e.folder)
	}
	if err == nil {
		err = syncFolder(r.dir)
	}
	if err != nil {
		_ = removeAll(draft)
		return platform.Errorf(platform.Unavailable, string(e.boot.Spec.ID), "make the agent's folder: %w", err)
	}
	return nil
}

// launch starts the agent's process.
func (r *Runner) launch(e *entry) error {
	output, err := os.OpenFile(filepath.Join(e.folder, logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return platform.Errorf(platform.Unavailable, string(e.boot.Spec.ID), "%w", err)
	}
	defer output.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return platform.Errorf(platform.Unavailable, string(e.boot.Spec.ID), "%w", err)
	}
	defer null.Close()
	args := make([]string, len(r.cfg.Command))
	for i, word := range r.cfg.Command {
		args[i] = strings.ReplaceAll(word, "{dir}", e.folder)
	}
	pidfd := -1
	attributes := &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		PidFD:      &pidfd,
	}
	if os.Geteuid() != 0 {
		mapSelf(attributes)
	}
	if r.rules.unified != "" && len(e.boot.Cgroups) == 1 {
		// Born there it need not be moved, which takes the kernel long; where that is not allowed, Enter tries.
		if group, err := os.Open(e.boot.Cgroups[0]); err == nil {
			defer group.Close()
			attributes.UseCgroupFD, attributes.CgroupFD = true, int(group.Fd())
		}
	}
	how := &os.ProcAttr{Dir: "/", Env: append(slices.Clone(r.cfg.Env), launchVariable+"="+e.boot.Launch), Files: []*os.File{null, output, output}, Sys: attributes}
	p, err := os.StartProcess(args[0], args, how)
	if err != nil && attributes.UseCgroupFD {
		attributes.UseCgroupFD = false
		p, err = os.StartProcess(args[0], args, how)
	}
	if err != nil {
		return r.launchError(e, err)
	}
	e.pid = p.Pid
	_ = p.Release() // the watch waits for it
	if pidfd < 0 {
		_ = syscall.Kill(e.pid, syscall.SIGKILL)
		return platform.Errorf(platform.Internal, string(e.boot.Spec.ID), "this kernel gives no pidfd; Linux 5.10 or newer is needed")
	}
	_ = unix.SetNonblock(pidfd, true)
	e.process = os.NewFile(uintptr(pidfd), "pidfd")
	return r.noteLaunch(e)
}

// noteLaunch writes down the process, for a server that finds the agent before it has begun. It need not outlive the machine.
func (r *Runner) noteLaunch(e *entry) error {
	doc, err := json.Marshal(launched{PID: e.pid, Start: startTime(e.pid)})
	if err == nil {
		draft := filepath.Join(e.folder, "."+launchedName)
		err = errors.Join(os.WriteFile(draft, doc, 0o600), os.Rename(draft, filepath.Join(e.folder, launchedName)))
	}
	if err == nil {
		return nil
	}
	_ = syscall.Kill(e.pid, syscall.SIGKILL)
	_, _ = syscall.Wait4(e.pid, nil, 0, nil)
	e.process.Close()
	e.process = nil
	return platform.Errorf(platform.Unavailable, string(e.boot.Spec.ID), "write down the agent's process: %w", err)
}

// mapSelf has the process be itself in a user namespace of its own, in which it has the capabilities that mounting needs.
// They are ambient so that they survive the exec; Enter takes care that the user's code does not inherit them.
func mapSelf(a *syscall.SysProcAttr) {
	uid, gid := os.Geteuid(), os.Getegid()
	a.Cloneflags |= syscall.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	a.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
}

// launchError says what to change when the kernel forbids namespaces.
func (r *Runner) launchError(e *entry, err error) error {
	id := string(e.boot.Spec.ID)
	forbidden := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EUSERS)
	if forbidden && os.Geteuid() != 0 {
		return platform.Errorf(platform.Internal, id, "this kernel forbids user namespaces to %s (%w): run the server as root, or as root: %s",
			userName(), err, namespaceRemedy())
	}
	if forbidden {
		return platform.Errorf(platform.Internal, id, "this machine forbids namespaces even to root (%w): in a container, it must be privileged", err)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return platform.Errorf(platform.Internal, id, "start the agent: %w", err)
	}
	return platform.Errorf(platform.Unavailable, id, "start the agent: %w", err)
}

func userName() string { return fmt.Sprintf("user %d", os.Geteuid()) }

// remedies are the switches that forbid user namespaces, what they stand at then, and what mends it.
var remedies = []struct{ file, bad, remedy string }{
	{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
}

func namespaceRemedy() string {
	for _, r := range remedies {
		if value, err := os.ReadFile(r.file); err == nil && strings.TrimSpace(string(value)) == r.bad {
			return r.remedy
		}
	}
	return "allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
}
