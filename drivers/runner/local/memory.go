package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/platform"
)

var _ platform.MemoryMeter = (*Runner)(nil)

// MemoryInUse implements platform.MemoryMeter by the proportional set size, in which each of several processes that share a page
// has its part of it. A cgroup's own figure will not do: it counts every file that was read.
func (r *Runner) MemoryInUse(id platform.AgentID) (bytes int64, known bool) {
	e := r.find(id)
	if e == nil {
		return 0, false
	}
	e.busy.Lock()
	pid, lives := e.pid, e.process != nil
	e.busy.Unlock()
	if !lives {
		return 0, false
	}
	for _, child := range children(pid) {
		bytes += treeMemory(child)
	}
	return bytes, bytes > 0
}

// treeMemory sums over a process and all below it; those that end meanwhile have none.
func treeMemory(pid int) (bytes int64) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(rollup)) {
		if size, found := strings.CutPrefix(line, "Pss:"); found {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(size), " kB"), 10, 64)
			bytes = kib << 10
		}
	}
	for _, child := range children(pid) {
		bytes += treeMemory(child)
	}
	return bytes
}

// children are the processes that any thread of a process has started.
func children(pid int) (found []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is well-formed
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}
