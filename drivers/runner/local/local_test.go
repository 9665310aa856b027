package local_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stint-ml/stint/drivers/runner/local"
	"github.com/stint-ml/stint/drivers/runner/runnertest"
	"github.com/stint-ml/stint/platform"
)

// TestMain makes the test binary serve as the agents' program too.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "agent" {
		os.Exit(agentMain(os.Args[2]))
	}
	os.Exit(m.Run())
}

// agentMain is an agent that behaves as its token says. A token "sh:…" runs a script as the job's user and gives its output
// to the file out in /opt/ml.
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
	switch {
	case b.Token == runnertest.AtOnce:
		return 0
	case b.Token == runnertest.Deaf:
		select {}
	case strings.HasPrefix(b.Token, "sh:"):
		return script(ctx, b, strings.TrimPrefix(b.Token, "sh:"))
	}
	<-ctx.Done()
	return 0
}

// script runs a shell script as the job's user would run it.
func script(ctx context.Context, b *local.Bootstrap, text string) int {
	if reveal, rest, ok := strings.Cut(text, "#reveal\n"); ok {
		if err := b.Reveal(strings.TrimSpace(reveal)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		text = rest
	}
	out, err := os.Create(b.Root + "/out")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintf(out, "notes: %v\n", b.Notes)
	attributes := &syscall.SysProcAttr{}
	if b.UID >= 0 {
		attributes.Credential = &syscall.Credential{Uid: uint32(b.UID), Gid: uint32(b.GID)}
		_ = os.Chown(b.Root, b.UID, b.GID)
	}
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", text}, &os.ProcAttr{Dir: "/", Env: []string{"PATH=/usr/bin:/bin", "AGENT_DIR=" + b.Dir}, Files: []*os.File{nil, out, out}, Sys: attributes})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	state, err := p.Wait()
	if err != nil {
		return 1
	}
	fmt.Fprintf(out, "exit: %d, memory: %+v\n", state.ExitCode(), b.Memory())
	out.Close()
	if strings.HasSuffix(text, "#stay") {
		<-ctx.Done()
	}
	return 0
}

func config(dir string) local.Config {
	return local.Config{Dir: dir, Command: []string{"/proc/self/exe", "agent", "{dir}"}}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	runnertest.Run(t, func(t *testing.T) runnertest.Harness {
		dir := t.TempDir()
		return runnertest.Harness{Open: func(t *testing.T) platform.Runner {
			r, err := local.New(config(dir))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}}
	})
}
