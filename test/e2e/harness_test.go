// Package e2e tries the real binary with the real clients, as a user would. Each test has a server of its own in a folder of
// its own; only the Python environments are shared, as they take minutes to make.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server is a running `stint up`.
type server struct {
	home     string
	args     []string
	process  *exec.Cmd
	exited   chan struct{} // closed when the process has ended
	output   *bytes.Buffer // after exited
	endpoint string
	s3       string
	key      accessKey
}

type accessKey struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// need reads a setting that make hands to the suites.
func need(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if _, err := os.Stat(v); err != nil {
		t.Fatalf("%s=%q leads nowhere; run: make setup build e2e", name, v)
	}
	return v
}

// start starts a server in a new folder.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	s := prepare(t, args...)
	s.up(t)
	return s
}

// prepare makes a new folder for a server that is not started yet. Users that jobs run as must be able to pass through the
// folder's path, which Go's own temporary folders do not allow.
func prepare(t *testing.T, args ...string) *server {
	t.Helper()
	home, err := os.MkdirTemp("", "stint-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o711); err != nil {
		t.Fatal(err)
	}
	s := &server{home: home, args: args}
	if runtimes := os.Getenv("STINT_RUNTIMES"); runtimes != "" {
		if err := os.Symlink(runtimes, filepath.Join(home, "runtimes")); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		s.kill(t)
		s.killAgents(t)
		if t.Failed() && s.exited != nil {
			t.Logf("the server said:\n%s", s.output.String())
		}
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("a job left something that cannot be removed: %v", err)
		}
	})
	return s
}

// up starts the process and waits until it serves.
func (s *server) up(t *testing.T) {
	t.Helper()
	announced := filepath.Join(s.home, "endpoint.json")
	if err := os.Remove(announced); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	args := append([]string{"up", "--home", s.home, "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"}, s.args...)
	s.process = exec.Command(need(t, "STINT_BIN"), args...)
	s.output = new(bytes.Buffer)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.process.Env = clean()
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func(p *exec.Cmd, exited chan struct{}) {
		_ = p.Wait() // how it ended is told by what it said
		close(exited)
	}(s.process, s.exited)
	eventually(t, 20*time.Second, "the server to be healthy", func() bool {
		select {
		case <-s.exited:
			t.Fatalf("the server ended: %s", s.output)
		default:
		}
		return s.connect() == nil
	})
}

// connect reads what the server announced and asks whether it is healthy.
func (s *server) connect() error {
	var c struct{ Endpoint, S3 string }
	for name, into := range map[string]any{"endpoint.json": &c, "root-key.json": &s.key} {
		doc, err := os.ReadFile(filepath.Join(s.home, name))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(doc, into); err != nil {
			return err
		}
	}
	s.endpoint, s.s3 = c.Endpoint, c.S3
	r, err := http.Get(s.endpoint + "/_stint/health")
	if err != nil {
		return err
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("health is %s", r.Status)
	}
	return nil
}

// kill ends the server at once, as a crash would.
func (s *server) kill(t *testing.T) {
	t.Helper()
	if s.exited == nil {
		return // it never began
	}
	_ = s.process.Process.Kill() // it may have ended already
	<-s.exited
}

// stop ends the server in order.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		t.Fatal("the server did not end within 20 s of SIGTERM")
	}
}

// agents are the pids of the agents of this server that live: the processes that hold its folder's path in their arguments.
func (s *server) agents(t *testing.T) []int {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, file := range commands {
		line, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(line, []byte("agent\x00")) || !bytes.Contains(line, []byte(s.home+"/agents/")) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAgents ends what is left of this server's jobs.
func (s *server) killAgents(t *testing.T) {
	t.Helper()
	for _, pid := range s.agents(t) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	eventually(t, 10*time.Second, "the agents to end", func() bool { return len(s.agents(t)) == 0 })
}

// env is what `stint env` would set, for the suites of other languages.
func (s *server) env(t *testing.T) []string {
	t.Helper()
	out, err := s.stint(t, "env").Output()
	if err != nil {
		t.Fatalf("stint env: %v", err)
	}
	env := clean()
	for line := range strings.Lines(string(out)) {
		if assignment, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			name, value, _ := strings.Cut(assignment, "=")
			env = append(env, name+"="+strings.Trim(value, `'"`))
		}
	}
	return append(env, "STINT_HOME="+s.home)
}

// stint makes a command of the binary against this server.
func (s *server) stint(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(need(t, "STINT_BIN"), args...)
	cmd.Env = append(clean(), "STINT_HOME="+s.home)
	return cmd
}

// clean is this process's environment without anything that would lead a client elsewhere.
func clean() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "SAGEMAKER_") && !strings.HasPrefix(v, "STINT_HOME") {
			env = append(env, v)
		}
	}
	return env
}

// pytest runs a folder of Python tests in an environment against the server.
func (s *server) pytest(t *testing.T, venv, folder string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(venv, "bin", "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5", "--tb=short", folder)
	cmd.Env = append(s.env(t), "STINT_BIN="+need(t, "STINT_BIN"), "PYTHONDONTWRITEBYTECODE=1", "PATH="+filepath.Join(venv, "bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// eventually waits until a condition holds.
func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v for %s", limit, what)
		}
	}
}
