package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stint-ml/stint/bench/rig"
)

// peer is a Python server that answers by itself.
type peer struct {
	cmd     *exec.Cmd
	address string
}

func startPeer(ctx context.Context, python string) (*peer, error) {
	folder, err := filepath.Abs(filepath.Join("bench", "serve", "peers"))
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(address, ":")
	p := &peer{address: address, cmd: exec.Command(python, "-m", "uvicorn", "--app-dir", folder, "--port", port, //nolint:gosec // a peer
		"--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--no-access-log", "asgi:app")}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	err = rig.Eventually(ctx, answersWithin, "uvicorn", func() (bool, error) { return listens(address), nil })
	if err != nil {
		p.stop()
	}
	return p, err
}

func (p *peer) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	_ = p.cmd.Wait()
}
