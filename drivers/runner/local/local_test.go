package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/drivers/runner/local"
	"github.com/stint-ml/stint/drivers/runner/runnertest"
	"github.com/stint-ml/stint/platform"
)

// TestMain makes the test binary serve as the agents' program, and as a server that can be killed.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 2 && os.Args[1] == "agent":
		os.Exit(agentMain(os.Args[2]))
	case len(os.Args) > 2 && os.Args[1] == "server":
		os.Exit(serverMain(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// agentMain is an agent that behaves as its token says. A token "sh:…" runs a script as the job's user would run it, its
// output going to the file out in /opt/ml.
func agentMain(dir string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	b, err := local.Enter(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if b.StopAsked {
		cancel()
	}
	if tally, err := os.OpenFile(b.Path(filepath.Dir(filepath.Dir(dir))+"/tally"), os.O_WRONLY|os.O_APPEND, 0); err == nil {
		fmt.Fprintln(tally, filepath.Base(dir))
		tally.Close()
	}
	switch {
	case b.Token == runnertest.AtOnce:
		return 0
	case b.Token == runnertest.Deaf:
		select {}
	case strings.HasPrefix(b.Token, "sh:"):
		if err := script(b, strings.TrimPrefix(b.Token, "sh:")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	<-ctx.Done()
	return 0
}

func script(b *local.Bootstrap, text string) error {
	programs := []string{"/bin/sh"}
	if reveal, rest, ok := strings.Cut(text, "#reveal\n"); ok {
		programs, text = append(programs, strings.TrimSpace(reveal)), rest
	}
	notes, err := b.Prepare(programs...)
	if err != nil {
		return err
	}
	out, err := os.Create(b.Root + "/out")
	if err != nil {
		return err
	}
	defer out.Close()
	attributes := &syscall.SysProcAttr{}
	if b.UID >= 0 {
		attributes.Credential = &syscall.Credential{Uid: uint32(b.UID), Gid: uint32(b.GID)}
		if err := os.Chown(b.Root, b.UID, b.GID); err != nil {
			return err
		}
	}
	runtime.LockOSThread() // as agents do, so that the script inherits no capability
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", text}, &os.ProcAttr{
		Dir: "/", Env: []string{"PATH=/usr/bin:/bin", "AGENT_DIR=" + b.Dir}, Files: []*os.File{nil, out, out}, Sys: attributes,
	})
	if err != nil {
		return err
	}
	state, err := p.Wait()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(map[string]any{"exit": state.ExitCode(), "memory": b.Memory(), "notes": append(b.Notes, notes...), "uid": b.UID})
}

// serverMain starts agents by their ids, and waits to be killed.
func serverMain(dir string, ids []string) int {
	r, err := local.New(config(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, id := range ids {
		if err := r.Start(context.Background(), runnertest.Spec(platform.AgentID(id), runnertest.UntilStopped)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	fmt.Println("started")
	select {}
}

func config(dir string) local.Config {
	return local.Config{Dir: dir, Command: []string{"/proc/self/exe", "agent", "{dir}"}}
}

func open(t *testing.T, cfg local.Config) *local.Runner {
	t.Helper()
	r, err := local.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runnertest.Clear(t, r) })
	return r
}

// run runs a script as a job and gives what it printed, and what is known about its end.
func run(t *testing.T, r *local.Runner, dir, id, text string) (printed string, end map[string]any) {
	t.Helper()
	must(t, r.Start(context.Background(), runnertest.Spec(platform.AgentID(id), "sh:"+text)))
	waitEnd(t, r, id)
	out, err := os.ReadFile(filepath.Join(dir, id, "ml", "out"))
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, id, "agent.log"))
		t.Fatalf("the script did not run: %s", log)
	}
	text, last, _ := cutLast(strings.TrimSpace(string(out)), "\n")
	if last == "" {
		text, last = "", text
	}
	if err := json.Unmarshal([]byte(last), &end); err != nil {
		t.Fatalf("the script's agent said %q: %v", out, err)
	}
	return text, end
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func waitEnd(t *testing.T, r *local.Runner, id string) {
	t.Helper()
	select {
	case got := <-r.Ended():
		if string(got) != id {
			t.Fatalf("%s ended, want %s", got, id)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("agent %s does not end", id)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	runnertest.Run(t, func(t *testing.T) runnertest.Harness {
		dir := filepath.Join(t.TempDir(), "agents")
		return runnertest.Harness{Open: func(t *testing.T) platform.Runner {
			r, err := local.New(config(dir))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}}
	})
}

func TestTwoServersOnOneFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, config(dir))
	if _, err := local.New(config(dir)); !platform.Is(err, platform.InUse) {
		t.Errorf("a second server gave %v, want InUse", err)
	}
}

func TestWhatAJobSees(t *testing.T) {
	t.Parallel()
	data, err := os.MkdirTemp("/var/lib", "stint-test-data-") // not below /tmp, which is private anyhow
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(data) })
	must(t, os.Chmod(data, 0o755))
	dir := filepath.Join(data, "agents")
	must(t, os.WriteFile(filepath.Join(data, "secret"), []byte("secret"), 0o644))
	must(t, os.MkdirAll(filepath.Join(data, "shim"), 0o755))
	must(t, os.WriteFile(filepath.Join(data, "shim", "train.py"), []byte("shim"), 0o644))
	shm, err := os.CreateTemp("/dev/shm", "stint-test-")
	must(t, err)
	defer os.Remove(shm.Name())
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
			defer os.RemoveAll(closed)
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

// pid gives the process of an agent, as the server wrote it down.
func pid(t *testing.T, dir, id string) int {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(dir, id, "launched.json"))
	must(t, err)
	var l struct{ PID int }
	must(t, json.Unmarshal(doc, &l))
	return l.PID
}

// running counts the processes of the machine whose command line holds a text.
func running(text string) int {
	n := 0
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && bytes.Contains(line, []byte(text)) {
			n++
		}
	}
	return n
}

func TestKilledAgentTakesItsChildrenAlong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, config(dir))
	mark := fmt.Sprint("86400.", os.Getpid())
	must(t, r.Start(context.Background(), runnertest.Spec("a", "sh:trap '' TERM; setsid sleep "+mark+" & sleep "+mark)))
	eventually(t, "the job's processes", func() bool { return running("sleep\x00"+mark) == 2 })
	must(t, syscall.Kill(pid(t, dir, "a"), syscall.SIGKILL))
	waitEnd(t, r, "a")
	if n := running("sleep\x00" + mark); n > 0 {
		t.Errorf("%d processes of the job are left", n)
	}
	all, err := r.List(context.Background())
	must(t, err)
	if all[0].Detail != "killed by signal 9" {
		t.Errorf("the end is told as %q", all[0].Detail)
	}
}

func TestAgentOfAnEarlierServerIsWatched(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	dir := filepath.Join(data, "agents")
	server := exec.Command("/proc/self/exe", "server", dir, "a", "b")
	out, err := server.StdoutPipe()
	must(t, err)
	must(t, server.Start())
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal("the server did not start its agents")
	}
	must(t, server.Process.Kill())
	_ = server.Wait()
	r := open(t, config(dir))
	for _, id := range []string{"a", "b"} {
		must(t, syscall.Kill(pid(t, dir, id), syscall.SIGKILL))
		waitEnd(t, r, id)
	}
}

// However early a server is killed, an agent begins exactly once when it is started again.
func TestServerKilledWhileStarting(t *testing.T) {
	t.Parallel()
	for i := range 25 {
		data := t.TempDir()
		dir := filepath.Join(data, "agents")
		tally := filepath.Join(data, "tally")
		must(t, os.WriteFile(tally, nil, 0o600))
		ids := []string{"a", "b", "c", "d"}
		server := exec.Command("/proc/self/exe", append([]string{"server", dir}, ids...)...)
		must(t, server.Start())
		// Kill it somewhere between its first folder and its last agent.
		eventually(t, "the first folder", func() bool {
			found, _ := filepath.Glob(filepath.Join(dir, "*a*"))
			return len(found) > 0
		})
		time.Sleep(time.Duration(i) * 300 * time.Microsecond)
		must(t, server.Process.Kill())
		_ = server.Wait()
		r := open(t, config(dir))
		for _, id := range ids {
			must(t, r.Start(context.Background(), runnertest.Spec(platform.AgentID(id), runnertest.UntilStopped)))
			must(t, r.Stop(context.Background(), platform.AgentID(id)))
		}
		for range ids {
			select {
			case <-r.Ended():
			case <-time.After(20 * time.Second):
				t.Fatal("an agent does not end")
			}
		}
		begun, err := os.ReadFile(tally)
		must(t, err)
		for _, id := range ids {
			if n := strings.Count("\n"+string(begun), "\n"+id+"\n"); n != 1 {
				t.Fatalf("round %d: agent %s began %d times", i, id, n)
			}
		}
		runnertest.Clear(t, r)
	}
}

func TestAgentThatCannotBegin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	cfg.Command = []string{"/bin/sh", "-c", "echo no luck >&2; exit 7"}
	r := open(t, cfg)
	must(t, r.Start(context.Background(), runnertest.Spec("a", "")))
	waitEnd(t, r, "a")
	all, err := r.List(context.Background())
	must(t, err)
	if want := "exited with status 7: no luck"; all[0].Detail != want {
		t.Errorf("the end is told as %q, want %q", all[0].Detail, want)
	}
	must(t, r.Close())
	again := open(t, cfg)
	must(t, again.Start(context.Background(), runnertest.Spec("a", "")))
	if all, err = again.List(context.Background()); err != nil || len(all) != 1 || all[0].Running {
		t.Errorf("it was started again: %+v, %v", all, err)
	}
}

func TestProgramMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	cfg.Command = []string{"/no/such/program"}
	r := open(t, cfg)
	if err := r.Start(context.Background(), runnertest.Spec("a", "")); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("Start gave %v", err)
	}
	if all, err := r.List(context.Background()); err != nil || len(all) > 0 {
		t.Errorf("List gives %v, %v", all, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*a*")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

func TestRemoveWhatItsOwnerClosed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, config(dir))
	run(t, r, dir, "a", "mkdir -p /opt/ml/x/y && touch /opt/ml/x/y/z && chmod 0 /opt/ml/x/y /opt/ml/x")
	must(t, r.Remove(context.Background(), "a"))
	if _, err := os.Stat(filepath.Join(dir, "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
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
