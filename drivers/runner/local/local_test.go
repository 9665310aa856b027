package local_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
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
	case strings.HasPrefix(b.Token, twoParts):
		if err := runParts(b, strings.TrimPrefix(b.Token, twoParts)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
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
	var left []string // what earlier agents left, as this one reads it
	for _, r := range b.Previous {
		text, err := os.ReadFile(filepath.Join(r.Root, "left"))
		if err != nil || time.Since(r.Ended) > time.Hour {
			return fmt.Errorf("%+v: %w", r, err)
		}
		left = append(left, string(text))
	}
	return json.NewEncoder(out).Encode(map[string]any{"exit": state.ExitCode(), "memory": b.Memory(), "notes": append(b.Notes, notes...), "uid": b.UID, "left": left})
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
	return runAfter(t, r, dir, id, "", text)
}

// runAfter runs a job that comes after another.
func runAfter(t *testing.T, r *local.Runner, dir, id, previous, text string) (printed string, end map[string]any) {
	t.Helper()
	spec := runnertest.Spec(platform.AgentID(id), "sh:"+text)
	spec.Previous = platform.AgentID(previous)
	must(t, r.Start(context.Background(), spec))
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
	case <-time.After(60 * time.Second):
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
	for deadline := time.Now().Add(60 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
