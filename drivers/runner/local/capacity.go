package local

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/stint-ml/stint/platform"
)

// Capacity implements platform.Runner: what Config says, else what the machine has.
func (r *Runner) Capacity(context.Context) (platform.Capacity, error) {
	c := r.cfg.Capacity
	if c.MilliCPU == 0 {
		c.MilliCPU = int64(runtime.NumCPU()) * 1000
	}
	if c.MemoryBytes == 0 {
		total, err := machineMemory()
		if err != nil {
			return c, platform.Errorf(platform.Internal, "", "measure the machine's memory: %w", err)
		}
		c.MemoryBytes = total
	}
	if c.GPUs == 0 {
		found, _ := filepath.Glob("/dev/nvidia[0-9]*")
		c.GPUs = len(found)
	}
	return c, nil
}

// machineMemory is what the kernel manages.
func machineMemory() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if strings.HasPrefix(lines.Text(), "MemTotal:") {
			_, err := fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &kib)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no MemTotal")
}
