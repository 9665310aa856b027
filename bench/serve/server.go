package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stint-ml/stint/bench/rig"
)

const stintTwo = "Stint, 2 workers"

// contestant is one server and how it is started; {port} stands for its port.
type contestant struct {
	name    string
	command []string
	env     []string
	workers int
}

// measure starts a server a few times and measures the last.
func measure(ctx context.Context, s contestant, each time.Duration) (figures, error) {
	var f figures
	for i := range starts {
		began := time.Now()
		running, err := start(ctx, s)
		if err != nil {
			return f, err
		}
		f.ready = append(f.ready, time.Since(began))
		if i == starts-1 {
			err = running.load(ctx, &f, each)
		}
		running.stop()
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// server is a running one.
type server struct {
	address string
	cmd     *exec.Cmd
}

// start starts a server and waits until it is healthy.
func start(ctx context.Context, s contestant) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // for a port that is free
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	fill := func(words []string) (filled []string) {
		for _, w := range words {
			filled = append(filled, strings.ReplaceAll(w, "{port}", port))
		}
		return filled
	}
	command := fill(s.command)
	r := &server{address: address, cmd: exec.Command(command[0], command[1:]...)}
	r.cmd.Env = append(os.Environ(), fill(s.env)...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(time.Minute)
	for {
		if c, err := dial(address); err == nil {
			err = c.ask("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
			c.close()
			if err == nil {
				return r, nil
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			r.stop()
			return nil, fmt.Errorf("it was not healthy within a minute: %w", context.Cause(ctx))
		}
		time.Sleep(time.Millisecond)
	}
}

// stop ends a server and all its processes.
func (s *server) stop() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // it may have ended by itself
	_ = s.cmd.Wait()                                      // killed
}

// processes are the server's first process and its children.
func (s *server) processes() []int {
	pids := []int{s.cmd.Process.Pid}
	first := strconv.Itoa(s.cmd.Process.Pid)
	text, _ := os.ReadFile(filepath.Join("/proc", first, "task", first, "children")) // none
	for _, word := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *server) cpu() (total time.Duration, err error) {
	for _, pid := range s.processes() {
		used, err := rig.CPU(pid)
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// load measures a server.
func (s *server) load(ctx context.Context, f *figures, each time.Duration) error {
	if _, err := s.clients(ctx, 1, time.Second); err != nil { // to warm up
		return err
	}
	var err error
	if f.alone, err = s.clients(ctx, 1, each); err != nil {
		return err
	}
	before, err := s.cpu()
	if err != nil {
		return err
	}
	if f.many, err = s.clients(ctx, manyClients, each); err != nil {
		return err
	}
	after, err := s.cpu()
	if err != nil {
		return err
	}
	f.cpu = (after - before) / time.Duration(max(1, len(f.many.Took)))
	for _, pid := range s.processes() {
		m, err := rig.MemoryOf(pid)
		if err != nil {
			return err
		}
		f.memory += m.Anonymous
	}
	return nil
}

// clients lets n connections ask, each again as soon as it has its answer.
func (s *server) clients(ctx context.Context, n int, within time.Duration) (rig.Work, error) {
	connections := make([]*connection, n)
	for i := range connections {
		c, err := dial(s.address)
		if err != nil {
			return rig.Work{}, err
		}
		defer c.close()
		connections[i] = c
	}
	const unbounded = 1 << 40
	return rig.Clients(ctx, n, unbounded, within, func(client, _ int) error { return connections[client].ask(question) })
}
