package local_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stint-ml/stint/drivers/runner/runnertest"
	"github.com/stint-ml/stint/platform"
)

func TestMemoryInUseIsThatOfTheJobsProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, config(dir))
	must(t, r.Start(context.Background(), runnertest.Spec("idle", runnertest.UntilStopped)))
	// A shell with 32 MiB, whose child shares them.
	must(t, r.Start(context.Background(), runnertest.Spec("large", `sh:a=$(head -c 33554432 /dev/zero | tr '\0' x); (echo there; sleep 600; echo "$a")`)))
	eventually(t, "the job's memory", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "large", "ml", "out"))
		return err == nil && strings.HasPrefix(string(text), "there")
	})
	if bytes, known := r.MemoryInUse("large"); !known || bytes < 32<<20 || bytes > 100<<20 {
		t.Errorf("%d bytes, %v", bytes, known)
	}
	for _, id := range []platform.AgentID{"idle", "none"} { // an agent's own memory is not the job's
		if bytes, known := r.MemoryInUse(id); known {
			t.Errorf("%s has %d bytes", id, bytes)
		}
	}
}
