package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// openForWrite gives each regular file on one device that some process of the job has open for writing. It costs a look at
// every descriptor of these processes: some microseconds each. An error means that it is not known: a process could not be
// looked into, as it may do to hide from its own user.
//
// A file that is only mapped into memory, its descriptor closed, is not among them.
func openForWrite(p *process, device uint64, each func(dev, ino uint64)) error {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	self := os.Getpid()
	for _, entry := range processes {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == self || !p.owns(pid) {
			continue
		}
		if err := openByProcess(pid, device, each); err != nil && !vanished(err) {
			return err
		}
	}
	return nil
}

// owns reports whether a process is the job's.
func (p *process) owns(pid int) bool {
	if p.alone {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return len(fields) > 3 && fields[3] == strconv.Itoa(p.pid) // its session
}

func openByProcess(pid int, device uint64, each func(dev, ino uint64)) error {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	descriptors, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, descriptor := range descriptors {
		var info syscall.Stat_t
		err := syscall.Stat(folder+"/"+descriptor, &info)
		if err == nil && (info.Dev != device || info.Mode&syscall.S_IFMT != syscall.S_IFREG) {
			continue
		}
		var writing bool
		if err == nil {
			writing, err = openToWrite(pid, descriptor)
		}
		switch {
		case vanished(err):
		case err != nil:
			return err
		case writing:
			each(info.Dev, info.Ino)
		}
	}
	return nil
}

// touchedSince gives each regular file of a folder that was written after a moment, and not put into its place later.
func touchedSince(folder string, moment time.Time, each func(dev, ino uint64)) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if vanished(err) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if vanished(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && info.ModTime().After(moment) && !changeTime(info).After(info.ModTime()) {
			each(st.Dev, st.Ino)
		}
		return nil
	})
}

// openToWrite reads the flags of a descriptor, in octal.
func openToWrite(pid int, descriptor string) (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, descriptor))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseInt(strings.TrimSpace(value), 8, 64)
			return flags&syscall.O_ACCMODE != syscall.O_RDONLY, err
		}
	}
	return false, fmt.Errorf("/proc/%d/fdinfo/%s has no flags", pid, descriptor)
}

// vanished reports whether a process or a descriptor has gone while it was looked at.
func vanished(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}
