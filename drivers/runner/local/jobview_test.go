package local_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stint-ml/stint/drivers/runner/runnertest"
)

func TestWhatAJobSees(t *testing.T) {
	t.Parallel()
	data, err := os.MkdirTemp("/var/lib", "stint-test-data-") // not below /tmp, which is private anyhow
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	must(t, os.Chmod(data, 0o755))
	dir := filepath.Join(data, "agents")
	must(t, os.WriteFile(filepath.Join(data, "secret"), []byte("secret"), 0o644))
	must(t, os.MkdirAll(filepath.Join(data, "shim"), 0o755))
	must(t, os.WriteFile(filepath.Join(data, "shim", "train.py"), []byte("shim"), 0o644))
	shm, err := os.CreateTemp("/dev/shm", "stint-test-")
	must(t, err)
	defer func() { _ = os.Remove(shm.Name()) }()
	shm.Close()
	cfg := config(dir)
	cfg.Hide, cfg.Show = []string{data}, []string{filepath.Join(data, "shim")}
	r := open(t, cfg)
	must(t, r.Start(context.Background(), runnertest.Spec("other", runnertest.UntilStopped)))
	text, end := run(t, r, dir, "job", `
		echo "host $(hostname) $(getent hosts algo-1 | cut -d' ' -f1)"
		echo "user $(id -un) $(id -gn) $(id -u)"
		echo "processes $(ls /proc | grep -c '^[0-9]')"
		touch /opt/ml/mine && echo "ml writable"
		touch /tmp/mine /var/tmp/mine /dev/shm/mine && echo "tmp writable"
		echo "shm $(ls /dev/shm)"
		echo "opt $(ls /opt | grep -v '^ml$' | tr '\n' ' ')"
		echo "data $(ls `+data+`)"
		echo "agents $(ls `+dir+` 2>&1 | grep -c other)"
		echo "shim $(cat `+data+`/shim/train.py)"
		ls $AGENT_DIR/ /proc/1/fd/ >/dev/null 2>&1 || echo "agent closed"
		cat /proc/1/environ >/dev/null 2>&1 || echo "environment closed"
		kill -9 1 2>/dev/null || echo "agent safe"
		mount -t tmpfs x /mnt 2>/dev/null || echo "no mounts"`)
	entries, err := os.ReadDir("/opt")
	must(t, err)
	opt := ""
	for _, e := range entries {
		opt += e.Name() + " "
	}
	want := fmt.Sprintf("host algo-1 127.0.0.1\nuser stint stint %v\nprocesses 4\nml writable\ntmp writable\nshm mine\nopt %s\ndata shim\nagents 0\nshim shim\nagent closed\nenvironment closed\nagent safe\nno mounts",
		end["uid"], strings.TrimSpace(opt))
	got := strings.ReplaceAll(text, " \n", "\n")
	if i := strings.Index(got, "processes "); i > 0 { // ls and grep come and go
		got = got[:i] + "processes 4" + got[i+len("processes ")+1:]
	}
	if got != want {
		t.Errorf("the job saw\n%s\nwant\n%s", got, want)
	}
	if _, err := os.Stat("/tmp/mine"); err == nil {
		t.Error("the job's /tmp is the machine's")
	}
	info, err := os.Stat(filepath.Join(dir, "job"))
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the agent's folder has mode %v", info.Mode())
	}
}

func TestJobsAreDifferentUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	cfg.FirstUID, cfg.UIDs = 300_000, 2
	r := open(t, cfg)
	must(t, r.Start(context.Background(), runnertest.Spec("other", runnertest.UntilStopped)))
	_, first := run(t, r, dir, "a", "true")
	must(t, r.Remove(context.Background(), "a"))
	_, second := run(t, r, dir, "b", "true")
	if first["uid"] != second["uid"] || first["uid"].(float64) < 300_000 || first["uid"].(float64) > 300_001 {
		t.Errorf("users are %v and %v, want the one of 300000 and 300001 that is free", first["uid"], second["uid"])
	}
}

// A runtime may be installed where jobs do not see, and where their user may not go.
func TestReveal(t *testing.T) {
	t.Parallel()
	for name, base := range map[string]string{"below tmp": "/tmp", "in a closed folder": "/var/lib"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed, err := os.MkdirTemp(base, "stint-test-closed-") // mode 0700
			must(t, err)
			defer func() { _ = os.RemoveAll(closed) }()
			must(t, os.MkdirAll(filepath.Join(closed, "base", "bin"), 0o755))
			must(t, os.MkdirAll(filepath.Join(closed, "venv", "bin"), 0o755))
			must(t, os.WriteFile(filepath.Join(closed, "private"), []byte("private"), 0o644))
			must(t, os.WriteFile(filepath.Join(closed, "base", "lib"), []byte("library\n"), 0o644))
			must(t, os.WriteFile(filepath.Join(closed, "base", "bin", "tool"), []byte("#!/bin/sh\ncat "+closed+"/base/lib\n"), 0o755))
			must(t, os.Symlink("tool", filepath.Join(closed, "base", "bin", "tool3")))
			must(t, os.Symlink(filepath.Join(closed, "base", "bin", "tool3"), filepath.Join(closed, "venv", "bin", "tool")))
			dir := t.TempDir()
			text, _ := run(t, open(t, config(dir)), dir, "job", closed+"/venv/bin/tool#reveal\n"+closed+"/venv/bin/tool; ls "+closed)
			if text != "library\nbase\nvenv" {
				t.Errorf("the job printed %q", text)
			}
		})
	}
}

// What is to be shown may be a link whose target is as hidden as the link.
func TestShowALinkToWhatIsHiddenToo(t *testing.T) {
	t.Parallel()
	real, data := t.TempDir(), t.TempDir() // both below /tmp, which is private to each job
	must(t, os.WriteFile(filepath.Join(real, "file"), []byte("behind a link\n"), 0o644))
	link := filepath.Join(data, "runtimes")
	must(t, os.Symlink(real, link))
	dir := filepath.Join(data, "agents")
	cfg := config(dir)
	cfg.Hide, cfg.Show = []string{data}, []string{link}
	text, _ := run(t, open(t, cfg), dir, "job", "cat "+link+"/file")
	if text != "behind a link" {
		t.Errorf("the job printed %q", text)
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// tail keeps what it reads: 400 MiB against a limit of 256 MiB.
	_, end := run(t, open(t, config(dir)), dir, "a", "head -c 400m /dev/zero | tail | wc -c; exit 3")
	memory := end["memory"].(map[string]any)
	if notes := fmt.Sprint(end["notes"]); strings.Contains(notes, "memory") {
		t.Fatalf("this machine gives no memory limit, which this test needs: %s", notes)
	}
	if memory["OOMKills"].(float64) < 1 || memory["LimitBytes"].(float64) != 256<<20 {
		t.Errorf("memory is told as %v", memory)
	}
	if end["exit"].(float64) != 3 {
		t.Errorf("the script's shell was killed, not the process that took the memory: %v", end)
	}
}

func TestProcessLimit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	cfg.MaxProcesses = 60
	text, end := run(t, open(t, cfg), dir, "a", "for i in $(seq 200); do sleep 20 & done; echo all")
	if notes := fmt.Sprint(end["notes"]); strings.Contains(notes, "pids") {
		t.Fatalf("this machine gives no limit of processes, which this test needs: %s", notes)
	}
	if strings.HasSuffix(text, "all") {
		t.Error("200 processes went into a limit of 60")
	}
}

// Without root, user namespaces do what root would.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("this test changes users, which needs root")
	}
	const uid = 254_321
	data := t.TempDir()
	for _, d := range []string{data, filepath.Dir(data)} {
		must(t, os.Chmod(d, 0o755))
	}
	dir := filepath.Join(data, "agents")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.Chown(dir, uid, uid))
	server := exec.Command("/proc/self/exe", "-test.run=^TestWithoutRootInside$", "-test.count=1")
	server.Env = []string{"PATH=/usr/bin:/bin", "STINT_TEST_DIR=" + dir, "TMPDIR=" + dir}
	server.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	server.Dir = "/"
	if out, err := server.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS")) || bytes.Contains(out, []byte("no tests")) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestWithoutRootInside is what TestWithoutRoot runs as another user.
func TestWithoutRootInside(t *testing.T) {
	dir := os.Getenv("STINT_TEST_DIR")
	if dir == "" {
		return
	}
	r := open(t, config(dir))
	text, _ := run(t, r, dir, "job", `
		echo "host $(hostname) $(getent hosts algo-1 | cut -d' ' -f1)"
		echo "user $(id -u)"
		echo "capabilities $(grep CapEff /proc/self/status | tr -d '\t')"
		touch /opt/ml/mine /tmp/mine && echo "writable"
		echo "agents $(ls `+dir+` 2>/dev/null)"
		ls $AGENT_DIR/ /proc/1/fd/ >/dev/null 2>&1 || echo "agent closed"
		mount -t tmpfs x /mnt 2>/dev/null || echo "no mounts"`)
	want := "host algo-1 127.0.0.1\nuser 254321\ncapabilities CapEff:0000000000000000\nwritable\nagents \nagent closed\nno mounts"
	if text != want {
		t.Errorf("the job saw\n%s\nwant\n%s", text, want)
	}
	must(t, r.Start(context.Background(), runnertest.Spec("deaf", runnertest.Deaf)))
	must(t, r.Kill(context.Background(), "deaf"))
	waitEnd(t, r, "deaf")
	must(t, r.Remove(context.Background(), "job"))
}

// What earlier attempts left on the machine is for the agent to read, and not for its job.
func TestPreviousAgentsAreForTheAgentAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, config(dir))
	run(t, r, dir, "a", "echo first > /opt/ml/left")
	text, end := runAfter(t, r, dir, "b", "a", "echo second > /opt/ml/left; cat "+dir+"/a/ml/left 2>/dev/null || echo unseen")
	if got := fmt.Sprint(end["left"]); got != "[first\n]" || text != "unseen" {
		t.Errorf("the agent read %q, the job saw %q", got, text)
	}
	must(t, r.Close())
	r = open(t, config(dir)) // also when another server starts it
	if _, end = runAfter(t, r, dir, "c", "b", "echo third > /opt/ml/left"); fmt.Sprint(end["left"]) != "[second\n first\n]" {
		t.Errorf("two attempts left %q", end["left"])
	}
	must(t, r.Remove(context.Background(), "b"))
	if _, end = runAfter(t, r, dir, "d", "b", "true"); end["left"] != nil {
		t.Errorf("a removed agent left %q", end["left"])
	}
	must(t, r.Start(context.Background(), runnertest.Spec("alive", runnertest.UntilStopped)))
	if _, end = runAfter(t, r, dir, "e", "alive", "true"); end["left"] != nil {
		t.Errorf("a running agent left %q", end["left"])
	}
}
