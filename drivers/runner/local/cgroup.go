package local

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
)

// cgroupFolder is the folder in a hierarchy below which each agent has its own.
const cgroupFolder = "stint"

// cpuPeriod is the period in microseconds over which the share of the processor is kept.
const cpuPeriod = 100_000

// cgroupRules says where agents' cgroups can be made. Version 2 is used where it has the controllers, else version 1.
type cgroupRules struct {
	suffix  string            // of the names of the folders: two servers on one machine must not meet
	unified string            // parent folder, version 2
	single  map[string]string // controller → parent folder, version 1
}

// limit is one file to be written; of several that are optional none need exist.
type limit struct {
	file, value string
	optional    bool
}

// controllers of interest, in the order in which an agent enters them; memory is first, to tell of its use.
var controllers = []string{"memory", "cpu", "pids"}

// hierarchy is a mounted cgroup file system and where this process stands in it.
type hierarchy struct {
	mount, own  string // own is a folder under mount
	version     int
	controllers []string
}

// findCgroups looks for hierarchies that this process may make folders in.
func findCgroups(dir string) cgroupRules {
	rules := cgroupRules{suffix: fmt.Sprintf("-%08x", crc32.ChecksumIEEE([]byte(dir))), single: map[string]string{}}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return rules
	}
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return rules
	}
	for _, h := range parseHierarchies(string(mounts), string(membership)) {
		if h.version == 2 {
			rules.unified = h.unifiedParent()
			continue
		}
		for _, c := range h.controllers {
			parent := filepath.Join(h.own, cgroupFolder)
			if err := os.MkdirAll(parent, 0o755); err == nil && writable(parent) {
				rules.single[c] = parent
			}
		}
	}
	return rules
}

// writable tries whether folders can be made in a folder.
func writable(folder string) bool {
	trial := filepath.Join(folder, fmt.Sprintf("trial-%d", os.Getpid()))
	if os.Mkdir(trial, 0o755) != nil {
		return false
	}
	return os.Remove(trial) == nil
}

// parseHierarchies reads /proc/self/mountinfo and /proc/self/cgroup, as proc(5) and cgroups(7) describe them.
func parseHierarchies(mounts, membership string) []hierarchy {
	own := map[string]string{} // controller, or "" for version 2 → path
	for line := range strings.Lines(membership) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 {
			for _, c := range strings.Split(parts[1], ",") {
				own[c] = parts[2]
			}
		}
	}
	var found []hierarchy
	for line := range strings.Lines(mounts) {
		if h, ok := parseMount(line, own); ok {
			found = append(found, h)
		}
	}
	return found
}

// parseMount reads one line of mountinfo; ok is false when it is no hierarchy of interest.
func parseMount(line string, own map[string]string) (h hierarchy, ok bool) {
	before, after, separated := strings.Cut(line, " - ")
	fields, details := strings.Fields(before), strings.Fields(after)
	if !separated || len(fields) < 5 || len(details) < 3 {
		return h, false
	}
	h.mount = fields[4]
	key := ""
	switch details[0] {
	case "cgroup2":
		h.version = 2
	case "cgroup":
		h.version = 1
		for _, option := range strings.Split(details[2], ",") {
			if own[option] != "" && slices.Contains(controllers, option) {
				h.controllers, key = append(h.controllers, option), option
			}
		}
		if key == "" {
			return h, false
		}
	default:
		return h, false
	}
	// The mount may show only a part of the hierarchy, in a container.
	path, inside := strings.CutPrefix(own[key], strings.TrimSuffix(fields[3], "/"))
	if !inside {
		path = "/"
	}
	h.own = filepath.Join(h.mount, path)
	return h, true
}

// unifiedParent finds the highest folder between the root and this process's own in which a parent for agents with the
// memory controller can be made; empty when there is none. Processes may be in leaves only, so this process's own folder
// rarely can be it.
func (h hierarchy) unifiedParent() string {
	var above []string
	for d := h.own; len(d) >= len(h.mount); d = filepath.Dir(d) {
		above = append([]string{d}, above...)
	}
	for _, d := range above {
		parent := filepath.Join(d, cgroupFolder)
		if err := os.Mkdir(parent, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			continue
		}
		enable(d)
		enable(parent)
		if has, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers")); err == nil && strings.Contains(string(has), "memory") && writable(parent) {
			return parent
		}
		_ = os.Remove(parent)
	}
	return ""
}

// enable lets the folders below a folder use the controllers; one that cannot be had is done without.
func enable(folder string) {
	for _, c := range controllers {
		_ = os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
}

// make makes an agent's cgroups with their limits, and says what could not be limited.
func (r cgroupRules) make(id string, c platform.Capacity, processes int64) (folders, notes []string) {
	quota := strconv.FormatInt(max(1000, c.MilliCPU*cpuPeriod/1000), 10)
	memory, pids := strconv.FormatInt(c.MemoryBytes, 10), strconv.FormatInt(processes, 10)
	if r.unified != "" {
		limits := []limit{{"memory.max", memory, false}, {"memory.swap.max", "0", true}, {"cpu.max", quota + " " + strconv.Itoa(cpuPeriod), true}, {"pids.max", pids, true}}
		folder, err := makeCgroup(r.unified, id+r.suffix, given(c, limits))
		if err != nil {
			return nil, []string{"the job runs without limits: " + err.Error()}
		}
		return []string{folder}, nil
	}
	wanted := map[string][]limit{
		"memory": {{"memory.limit_in_bytes", memory, false}, {"memory.memsw.limit_in_bytes", memory, true}},
		"cpu":    {{"cpu.cfs_period_us", strconv.Itoa(cpuPeriod), false}, {"cpu.cfs_quota_us", quota, false}},
		"pids":   {{"pids.max", pids, false}},
	}
	for _, controller := range controllers {
		parent, ok := r.single[controller]
		if !ok {
			notes = append(notes, "this machine gives no limit for "+controller+" (no writable cgroup)")
			continue
		}
		folder, err := makeCgroup(parent, id+r.suffix, given(c, wanted[controller]))
		if err != nil {
			notes = append(notes, "no limit for "+controller+": "+err.Error())
			continue
		}
		folders = append(folders, folder)
	}
	return folders, notes
}

// given leaves out the limits of what the capacity does not say.
func given(c platform.Capacity, limits []limit) []limit {
	var kept []limit
	for _, l := range limits {
		if strings.HasPrefix(l.file, "memory.") && c.MemoryBytes <= 0 || strings.HasPrefix(l.file, "cpu.") && c.MilliCPU <= 0 {
			continue
		}
		kept = append(kept, l)
	}
	return kept
}

func makeCgroup(parent, name string, limits []limit) (string, error) {
	folder := filepath.Join(parent, name)
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	for _, l := range limits {
		err := os.WriteFile(filepath.Join(folder, l.file), []byte(l.value), 0)
		if err != nil && !l.optional {
			_ = os.Remove(folder)
			return "", err
		}
	}
	return folder, nil
}

// sweep removes the cgroups of this server that a crash left without an agent.
func (r cgroupRules) sweep(agents map[platform.AgentID]*entry) {
	parents := []string{r.unified}
	for _, parent := range r.single {
		parents = append(parents, parent)
	}
	for _, parent := range parents {
		folders, err := os.ReadDir(parent)
		if parent == "" || err != nil {
			continue
		}
		for _, f := range folders {
			id, mine := strings.CutSuffix(f.Name(), r.suffix)
			if _, known := agents[platform.AgentID(id)]; mine && !known {
				_ = os.Remove(filepath.Join(parent, f.Name()))
			}
		}
	}
}

// removeCgroups removes cgroups whose processes have ended. The kernel needs a moment to let the last one go.
func removeCgroups(folders []string) {
	for _, folder := range folders {
		for range 20 {
			if err := os.Remove(folder); err == nil || errors.Is(err, os.ErrNotExist) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// Memory is what the kernel tells of a job's memory; zero where it tells nothing.
type Memory struct {
	LimitBytes int64 // 0 = no limit
	OOMKills   int64 // processes killed because the limit was reached
}

// memoryUse reads it from an agent's cgroups.
func memoryUse(folders []string) Memory {
	var m Memory
	for _, folder := range folders {
		for file, version := range map[string]int{"memory.events": 2, "memory.oom_control": 1} {
			text, err := os.ReadFile(filepath.Join(folder, file))
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(text)) {
				if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
					m.OOMKills, _ = strconv.ParseInt(strings.TrimSpace(count), 10, 64)
				}
			}
			limit, err := os.ReadFile(filepath.Join(folder, map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}[version]))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(limit)), 10, 64); err == nil && bad == nil && n < math.MaxInt64/2 {
				m.LimitBytes = n
			}
		}
	}
	return m
}
