package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stint-ml/stint/bench/rig"
)

// slurm is a cluster of one node on the loopback interface, as Debian packages it: munged, slurmctld and slurmd.
//
// Its settings are Slurm's own defaults but for what makes it run in a folder, without cgroups and systemd (processes are tracked by
// /proc and tasks are not bound to cores; both spare it work), and for batch_sched_delay: by default, submitted jobs may
// wait up to 3 s to be scheduled together, which suits large clusters and would make the comparison too easy.
type slurm struct {
	folder  string
	untuned bool // leave batch_sched_delay alone
	version string
	daemons []*daemon
}

// daemon is a process of the cluster that is to be ended in order.
type daemon struct {
	process *exec.Cmd
	output  bytes.Buffer // read it after exited only
	exited  chan struct{}
}

// startSlurm starts the cluster and waits until its node is idle. After an error nothing runs.
func startSlurm(ctx context.Context, folder string, untuned bool) (*slurm, error) {
	s := &slurm{folder: folder, untuned: untuned}
	if err := s.start(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("slurm: %w", err)
	}
	return s, nil
}

func (s *slurm) start(ctx context.Context) error {
	if err := s.configure(); err != nil {
		return err
	}
	version, err := s.command(ctx, "sbatch", "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("is slurm-wlm installed (scripts/debian.sh bench)? %w: %s", err, version)
	}
	s.version = strings.TrimSpace(string(version))
	socket := filepath.Join(s.folder, "munge", "socket")
	if err := s.run("munged", "--foreground", "--key-file="+s.in("munge", "key"), "--socket="+socket, "--pid-file="+s.in("munge", "pid"),
		"--log-file="+s.in("munge", "log"), "--seed-file="+s.in("munge", "seed")); err != nil {
		return err
	}
	if err := rig.Eventually(ctx, 10*time.Second, "munged", func() (bool, error) { _, err := os.Stat(socket); return err == nil, s.alive() }); err != nil {
		return err
	}
	if err := s.run("slurmctld", "-D", "-f", s.in("slurm.conf")); err != nil {
		return err
	}
	if err := s.run("slurmd", "-D", "-f", s.in("slurm.conf"), "-N", "node"); err != nil {
		return err
	}
	return rig.Eventually(ctx, 60*time.Second, "the node to be idle", func() (bool, error) {
		out, err := s.command(ctx, "sinfo", "-h", "-o", "%T").Output()
		return err == nil && strings.TrimSpace(string(out)) == "idle", s.alive()
	})
}

func (s *slurm) in(elem ...string) string {
	return filepath.Join(append([]string{s.folder}, elem...)...)
}

func (s *slurm) configure() error {
	for _, folder := range []string{"munge", "state", "spool"} {
		if err := os.MkdirAll(s.in(folder), 0o755); err != nil {
			return err
		}
	}
	key := make([]byte, 1024)
	random, err := os.Open("/dev/urandom")
	if err != nil {
		return err
	}
	defer random.Close()
	if _, err := random.Read(key); err != nil {
		return err
	}
	if err := os.WriteFile(s.in("munge", "key"), key, 0o400); err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	parameters := "SchedulerParameters=batch_sched_delay=0"
	if s.untuned {
		parameters = ""
	}
	text := fmt.Sprintf(`ClusterName=bench
SlurmctldHost=%[1]s(127.0.0.1)
SlurmctldPort=%[2]d
SlurmdPort=%[3]d
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=%[4]s/munge/socket
CredType=cred/munge
SlurmUser=%[5]s
SlurmdUser=%[5]s
StateSaveLocation=%[4]s/state
SlurmdSpoolDir=%[4]s/spool
SlurmctldPidFile=%[4]s/slurmctld.pid
SlurmdPidFile=%[4]s/slurmd.pid
SlurmctldLogFile=%[4]s/slurmctld.log
SlurmdLogFile=%[4]s/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
%[7]s
NodeName=node NodeHostname=%[1]s NodeAddr=127.0.0.1 CPUs=%[6]d State=UNKNOWN
PartitionName=bench Nodes=node Default=YES MaxTime=INFINITE State=UP
`, host, ports[0], ports[1], s.folder, me.Username, runtime.NumCPU(), parameters)
	return os.WriteFile(s.in("slurm.conf"), []byte(text), 0o644)
}

// freePorts finds ports that nobody has now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all together, else one could come twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func (s *slurm) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil { // where an ordinary user's PATH does not look
		name = path
	}
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(rig.CleanEnvironment(), "SLURM_CONF="+s.in("slurm.conf"))
	c.Dir = s.folder
	return c
}

// run starts a daemon.
func (s *slurm) run(name string, args ...string) error {
	d := &daemon{process: s.command(context.Background(), name, args...), exited: make(chan struct{})}
	d.process.Stdout, d.process.Stderr = &d.output, &d.output
	if err := d.process.Start(); err != nil {
		return err
	}
	s.daemons = append(s.daemons, d)
	go func() {
		_ = d.process.Wait() // how it ended is told by what it said
		close(d.exited)
	}()
	return nil
}

// alive is an error when a daemon has ended.
func (s *slurm) alive() error {
	for _, d := range s.daemons {
		select {
		case <-d.exited:
			return fmt.Errorf("%s ended: %s", filepath.Base(d.process.Path), d.output.String())
		default:
		}
	}
	return nil
}

// stop ends the daemons, the last one first.
func (s *slurm) stop() {
	for len(s.daemons) > 0 {
		d := s.daemons[len(s.daemons)-1]
		s.daemons = s.daemons[:len(s.daemons)-1]
		_ = d.process.Process.Signal(syscall.SIGTERM) // it may have ended already
		select {
		case <-d.exited:
		case <-time.After(10 * time.Second):
			_ = d.process.Process.Kill()
			<-d.exited
		}
	}
}

// job submits one job and waits until it is over and the node is idle again.
func (s *slurm) job(ctx context.Context, number int) (timing, error) {
	script, output := s.in("job.sh"), s.in("output-"+strconv.Itoa(number))
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"+userCommand+"\n"), 0o755); err != nil {
		return timing{}, err
	}
	submit := s.command(ctx, "sbatch", "--parsable", "--output="+output, "--job-name=bench", script)
	var complaint bytes.Buffer
	submit.Stderr = &complaint
	t := timing{called: time.Now()}
	if _, err := submit.Output(); err != nil {
		return t, fmt.Errorf("sbatch: %w: %s", err, &complaint)
	}
	t.answered = time.Now()
	err := rig.Eventually(ctx, 60*time.Second, "the job to start", func() (bool, error) {
		text, err := os.ReadFile(output)
		if err != nil || !bytes.HasSuffix(text, []byte("\n")) {
			return false, s.alive()
		}
		t.started, err = parseNanoseconds(string(text))
		return true, err
	})
	if err != nil {
		return t, err
	}
	return t, rig.Eventually(ctx, 60*time.Second, "the job to leave", func() (bool, error) {
		queue, err1 := s.command(ctx, "squeue", "-h").Output()
		nodes, err2 := s.command(ctx, "sinfo", "-h", "-o", "%T").Output()
		return len(bytes.TrimSpace(queue)) == 0 && strings.TrimSpace(string(nodes)) == "idle", errors.Join(err1, err2)
	})
}
