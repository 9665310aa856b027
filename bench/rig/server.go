package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire/sigv4"
)

// startWithin is how long a server may take until it serves.
const startWithin = 60 * time.Second

// workFolder makes a folder for one run on a disk, not in memory, that the users whom jobs run as can pass through.
// STINT_BENCH_DIR chooses another disk.
func workFolder(benchmark string) (string, error) {
	parent := os.Getenv("STINT_BENCH_DIR")
	if parent == "" {
		parent = "/var/tmp"
	}
	folder, err := os.MkdirTemp(parent, "stint-bench-"+benchmark+"-")
	if err != nil {
		return "", err
	}
	return folder, os.Chmod(folder, 0o711)
}

// Server is a running `stint up` with a data folder of its own.
type Server struct {
	Home     string
	Endpoint string
	S3       string
	PID      int
	Client   *client.Client
	Keys     sigv4.Credentials
	Site     platform.Site

	args    []string
	process *exec.Cmd
	output  *bytes.Buffer // read it after exited only
	exited  chan struct{}
}

// StartServer starts a server with its data in the folder home and waits until it serves.
func StartServer(ctx context.Context, home string, args ...string) (*Server, error) {
	s := &Server{Home: home, args: args}
	return s, s.up(ctx)
}

func (s *Server) up(ctx context.Context) error {
	program := os.Getenv("STINT_BIN")
	if program == "" {
		return errors.New("STINT_BIN is not set: run benchmarks by make bench-NAME")
	}
	home := server.Home(s.Home)
	if err := os.RemoveAll(home.EndpointFile()); err != nil { // else that of the server before would be found
		return err
	}
	s.process = exec.Command(program, append([]string{"up", "--home", s.Home, "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--quiet"}, s.args...)...)
	s.process.Env = CleanEnvironment()
	s.output = new(bytes.Buffer)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	if err := s.process.Start(); err != nil {
		return err
	}
	s.PID, s.exited = s.process.Process.Pid, make(chan struct{})
	go func(p *exec.Cmd, exited chan struct{}) {
		_ = p.Wait() // how it ended is told by what it said
		close(exited)
	}(s.process, s.exited)
	err := Eventually(ctx, startWithin, "the server to serve", func() (bool, error) {
		select {
		case <-s.exited:
			return false, fmt.Errorf("the server ended: %s", s.output)
		default:
		}
		c, key, err := home.Connect()
		if err != nil {
			return false, nil
		}
		s.Endpoint, s.S3, s.Site = c.Endpoint, c.S3, c.Site
		s.Keys = sigv4.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}
		s.Client = client.New(client.Config{Endpoint: c.Endpoint, S3: c.S3, Site: c.Site, Credentials: s.Keys, Now: time.Now})
		return s.Client.Healthy(ctx) == nil, nil
	})
	if err != nil {
		s.Kill()
	}
	return err
}

// Restart starts the server again in the same folder, after Kill.
func (s *Server) Restart(ctx context.Context) error { return s.up(ctx) }

// Kill ends the server as a crash would. Its jobs go on.
func (s *Server) Kill() {
	_ = s.process.Process.Kill() // it may have ended already
	<-s.exited
}

// Discard ends the server and its agents, and removes the data folder.
func (s *Server) Discard() {
	if s.process == nil || s.exited == nil {
		return
	}
	s.Kill()
	for _, pid := range s.agents() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	err := Eventually(context.Background(), 10*time.Second, "the agents to end", func() (bool, error) { return len(s.agents()) == 0, nil })
	if err == nil {
		err = os.RemoveAll(s.Home)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "left behind:", s.Home, err)
	}
	if said := s.output.String(); said != "" {
		fmt.Fprintf(os.Stderr, "the server said:\n%s", said)
	}
}

// Agents is how many of this server's agents live.
func (s *Server) Agents() int { return len(s.agents()) }

// agents are the pids of this server's agents that live: the processes with its folder in their arguments.
func (s *Server) agents() []int {
	var pids []int
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	for _, file := range commands {
		line, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(line, []byte("agent\x00")) || !bytes.Contains(line, []byte(s.Home+"/agents/")) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Environment sets the environment of AWS's clients for this server.
func (s *Server) Environment() []string {
	return append(CleanEnvironment(), "AWS_ENDPOINT_URL="+s.Endpoint, "AWS_ENDPOINT_URL_S3="+s.S3, "AWS_REGION="+s.Site.Region,
		"AWS_DEFAULT_REGION="+s.Site.Region, "AWS_ACCESS_KEY_ID="+s.Keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.Keys.SecretAccessKey,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true")
}

// CleanEnvironment is this process's environment without anything that would lead a client elsewhere.
func CleanEnvironment() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		proxy := strings.HasSuffix(strings.ToLower(name), "_proxy")
		if !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "STINT_") && !strings.HasPrefix(name, "SLURM") && !proxy {
			env = append(env, v)
		}
	}
	return env
}

// Eventually asks until the answer is yes, an error, or time is up.
func Eventually(ctx context.Context, limit time.Duration, what string, holds func() (bool, error)) error {
	return poll(ctx, limit, 5*time.Millisecond, what, holds)
}

// EventuallySlowly is Eventually for what takes seconds and must not be disturbed by being asked.
func EventuallySlowly(ctx context.Context, limit time.Duration, what string, holds func() (bool, error)) error {
	return poll(ctx, limit, 250*time.Millisecond, what, holds)
}

func poll(ctx context.Context, limit, every time.Duration, what string, holds func() (bool, error)) error {
	for deadline := time.Now().Add(limit); ; {
		if yes, err := holds(); yes || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", limit, what)
		}
		if err := Sleep(ctx, every); err != nil {
			return err
		}
	}
}

// Sleep waits, unless the run is broken off.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
