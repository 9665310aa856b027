package rig

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is in what unit Linux tells processor time to programs, on every architecture that Go runs on.
const ticksPerSecond = 100

// CPU is the processor time that a process has used.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // past the name, which may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is not understood", pid)
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// CPUDuring waits, and gives the processor time that a process has used meanwhile.
func CPUDuring(ctx context.Context, pid int, d time.Duration) (time.Duration, error) {
	before, err := CPU(pid)
	if err != nil {
		return 0, err
	}
	if err := Sleep(ctx, d); err != nil {
		return 0, err
	}
	after, err := CPU(pid)
	return after - before, err
}

// Memory is what a process keeps in memory, in bytes.
type Memory struct {
	Resident  int64 // all of it, the program's own pages included
	Anonymous int64 // without the pages that are files, which other processes may share and the kernel may drop
}

// MemoryOf reads it.
func MemoryOf(pid int) (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*int64{"VmRSS": &m.Resident, "RssAnon": &m.Anonymous}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
		if err != nil {
			return Memory{}, err
		}
		*into = kib << 10
	}
	return m, nil
}
