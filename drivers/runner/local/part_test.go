package local_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stint-ml/stint/drivers/runner/local"
	"github.com/stint-ml/stint/drivers/runner/runnertest"
)

// twoParts is the token of an agent that runs a script in each of two parts, one after the other.
const twoParts = "parts:"

// runParts runs the script as the job's user; its output goes to the part's folder.
func runParts(b *local.Bootstrap, script string) error {
	for number := 1; number <= 2; number++ {
		if _, err := b.Prepare("/bin/sh"); err != nil {
			return err
		}
		root, view, err := b.Part(number)
		if err != nil {
			return err
		}
		cmd := exec.Command("/bin/sh", "-c", script)
		if b.UID >= 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(b.UID), Gid: uint32(b.GID)}}
			if err := os.Chown(root, b.UID, b.GID); err != nil {
				return err
			}
		}
		out, err := os.Create(filepath.Join(root, "out"))
		if err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr = out, out
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // and never unlocked, as agents do
			if err := view(); err != nil {
				done <- err
				return
			}
			done <- cmd.Run()
		}()
		if err := <-done; err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(b.Root, "out"), []byte("done"), 0o600)
}

func TestEachPartHasItsOwnPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, config(dir))
	must(t, r.Start(context.Background(), runnertest.Spec("a", twoParts+"echo mine >> /opt/ml/mine && cat /opt/ml/mine && ls /opt/ml")))
	waitEnd(t, r, "a")
	for _, part := range []string{"ml-1", "ml-2"} {
		out, err := os.ReadFile(filepath.Join(dir, "a", part, "out"))
		if got := strings.Fields(string(out)); err != nil || strings.Join(got, " ") != "mine mine out" {
			log, _ := os.ReadFile(filepath.Join(dir, "a", "agent.log"))
			t.Errorf("%s saw %q: %v %s", part, got, err, log)
		}
	}
	if out, err := os.ReadFile(filepath.Join(dir, "a", "ml", "out")); string(out) != "done" || err != nil {
		t.Errorf("the agent's own place has %q: %v", out, err)
	}
	must(t, r.Remove(context.Background(), "a"))
}
