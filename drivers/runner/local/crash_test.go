package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/drivers/runner/local"
	"github.com/stint-ml/stint/drivers/runner/runnertest"
	"github.com/stint-ml/stint/platform"
)

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

// An agent that was killed while the server was away ended, for the bill, when it was last known to live.
func TestUnwatchedEndIsDatedByTheLastSignOfLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, config(dir))
	must(t, first.Start(context.Background(), runnertest.Spec("a", "sh:sleep 86400")))
	mark := filepath.Join(dir, "a", "started")
	eventually(t, "the agent to begin", func() bool { _, err := os.Stat(mark); return err == nil })
	began := time.Now()
	eventually(t, "a sign of life after the beginning", func() bool {
		info, err := os.Stat(mark)
		return err == nil && info.ModTime().After(began)
	})
	must(t, first.Close())
	process := pid(t, dir, "a")
	pidfd, err := unix.PidfdOpen(process, 0)
	must(t, err)
	must(t, syscall.Kill(process, syscall.SIGKILL))
	eventually(t, "the agent's end", func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 10)
		return err == nil && n > 0
	})
	must(t, unix.Close(pidfd))
	died := time.Now().Add(-time.Hour).Truncate(time.Second)
	must(t, os.Chtimes(mark, died, died)) // an hour passes
	all, err := open(t, config(dir)).List(context.Background())
	must(t, err)
	if len(all) != 1 || all[0].Running || !all[0].Ended.Equal(died) {
		t.Errorf("the end of %+v should be at %v", all, died)
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
			case <-time.After(60 * time.Second):
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
		eventually(t, "the end of every process", func() bool { return running("agent\x00"+dir) == 0 })
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
