package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	witnessName  = "whole.log"
	witnessLimit = 4 << 20 // bytes of the testimony, after which it is written anew without what is outdated
	witnessFiles = 50_000  // files testified for, after which the earlier ones are forgotten
	witnessed    = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW
)

// testimony is one line of what a witness writes down.
type testimony struct {
	Ino   uint64 `json:"ino,omitempty"` // this file was closed by its writer, and was then of
	Size  int64  `json:"size,omitempty"`
	Mtime int64  `json:"mtime,omitempty"` // this size and time

	Moved string `json:"moved,omitempty"` // files come to this path by being renamed
	Made  string `json:"made,omitempty"`  // not only: one was made here, or written to
	Draft string `json:"draft,omitempty"` // what is written to this path is renamed once it is whole: nothing points to it
	Blind bool   `json:"blind,omitempty"` // the witness has missed something: only a file's times speak for it
}

// witness looks on as the user's code writes its checkpoints, and writes down which files it finished. When everything is killed
// in one moment, the file that was being written cannot be told from the others by its times, which the kernel counts in
// milliseconds; by this it can.
//
// It costs a line for a file that is written, and nothing for one that is replaced by renaming again and again.
type witness struct {
	folder string
	path   string
	events *os.File
	log    *os.File
	size   int64
	paths  map[int32]string // of watched folders
	said   statements
	ended  chan struct{}
}

// statements are what testimonies say, taken together.
type statements struct {
	whole map[uint64]testimony
	moved map[string]uint64 // by path, the first file that was renamed to it; 0: not only
	draft map[string]bool
	blind bool
}

func newStatements() statements {
	return statements{whole: map[uint64]testimony{}, moved: map[string]uint64{}, draft: map[string]bool{}}
}

// take adds one.
func (s *statements) take(t testimony) {
	switch {
	case t.Blind:
		*s = newStatements()
		s.blind = true
	case s.blind:
	case t.Moved != "":
		s.moved[t.Moved] = t.Ino
	case t.Made != "":
		s.moved[t.Made] = 0
	case t.Draft != "":
		s.draft[t.Draft] = true
	default:
		s.whole[t.Ino] = t
	}
}

// speakFor reports whether a file is known to be whole. One that is another than the first that was renamed to its path came there by
// being renamed too; the first one itself may have been written to since.
func (s *statements) speakFor(path string, info os.FileInfo) bool {
	if first := s.moved[path]; first != 0 && first != fileNumber(info) {
		return true
	}
	return s.closed(info)
}

// closed reports whether the witness saw a file being finished as it is.
func (s *statements) closed(info os.FileInfo) bool {
	t, ok := s.whole[fileNumber(info)]
	return ok && t.Size == info.Size() && t.Mtime == info.ModTime().UnixNano()
}

// readWitness reads what an earlier agent's witness wrote down; nothing when there is nothing.
func readWitness(dir string) statements {
	said := newStatements()
	f, err := os.Open(filepath.Join(dir, witnessName))
	if err != nil {
		return said
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var t testimony
		if json.Unmarshal(lines.Bytes(), &t) == nil { // not so the last one, when its writer was killed
			said.take(t)
		}
	}
	return said
}

// newWitness begins to look on.
func newWitness(folder, dir string) (*witness, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &witness{
		folder: folder, path: filepath.Join(dir, witnessName), events: os.NewFile(uintptr(fd), "inotify"),
		paths: map[int32]string{}, said: newStatements(), ended: make(chan struct{}),
	}
	if w.log, err = os.OpenFile(w.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		w.events.Close()
		return nil, err
	}
	w.look(folder, func(string) {}) // what is there is older than all that is to be seen
	go w.run()
	return w, nil
}

// close ends it.
func (w *witness) close() {
	w.events.Close()
	<-w.ended
}

// look watches a folder and all below it, and tells of the files that are there once their folder is watched. What cannot be
// watched has no witness.
func (w *witness) look(folder string, there func(path string)) {
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it has gone, or is closed
		}
		if !entry.IsDir() {
			there(path)
			return nil
		}
		var wd int
		raw, err := w.events.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { wd, err = unix.InotifyAddWatch(int(fd), path, witnessed) })
		}
		if err == nil && wd > 0 {
			w.paths[int32(wd)] = path
		}
		return nil
	})
}

func (w *witness) run() {
	defer close(w.ended)
	defer w.log.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := w.events.Read(buffer)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		for rest := buffer[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			event := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
			end := min(len(rest), unix.SizeofInotifyEvent+int(event.Len))
			w.see(event.Wd, event.Mask, string(bytes.TrimRight(rest[unix.SizeofInotifyEvent:end], "\x00")))
			rest = rest[end:]
		}
	}
}

// see takes one event.
func (w *witness) see(watch int32, mask uint32, name string) {
	switch {
	case mask&unix.IN_Q_OVERFLOW != 0: // something was missed, and it is not known what
		w.say(testimony{Blind: true})
		return
	case mask&unix.IN_IGNORED != 0:
		delete(w.paths, watch)
		return
	}
	folder, ok := w.paths[watch]
	if !ok || name == "" || w.said.blind {
		return
	}
	path := filepath.Join(folder, name)
	if mask&unix.IN_ISDIR != 0 {
		w.look(path, w.find) // a new one, or one with a new name
		return
	}
	if below, err := filepath.Rel(w.folder, path); err == nil {
		w.seeFile(path, below, mask)
	}
}

// find speaks for a file that was finished before its folder was watched: or what is seen later would be taken for what came first.
// Whoever still writes to it will be seen closing it.
func (w *witness) find(path string) {
	if info := atRest(path); info != nil {
		w.say(testimony{Ino: fileNumber(info), Size: info.Size(), Mtime: info.ModTime().UnixNano()})
	}
}

// seeFile takes what happened to a file.
func (w *witness) seeFile(path, below string, mask uint32) {
	if mask&unix.IN_MOVED_FROM != 0 {
		if !w.said.draft[below] {
			w.say(testimony{Draft: below})
		}
		return
	}
	first, known := w.said.moved[below]
	arrived := mask&unix.IN_MOVED_TO != 0
	if !arrived && (first != 0 || !known) {
		w.say(testimony{Made: below})
	}
	if mask&unix.IN_CREATE != 0 || arrived && first != 0 {
		return // it is empty, or its path says enough
	}
	info := atRest(path)
	if info == nil {
		return
	}
	if arrived && !known {
		w.say(testimony{Moved: below, Ino: fileNumber(info)})
	}
	w.say(testimony{Ino: fileNumber(info), Size: info.Size(), Mtime: info.ModTime().UnixNano()})
}

// atRest describes a file that nobody has open for writing, in the very moment; nil when somebody has, or it is none. The kernel
// gives a lease only then. Who opens it while it is held waits for it to be given back, some microseconds; the signal that tells
// of that means nothing to this program.
func atRest(path string) os.FileInfo {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return nil // also where the file system has no leases: nobody speaks for the file then
	}
	info, err := f.Stat()
	if _, done := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK); done != nil || err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return info
}

// say writes down a testimony, in one piece. Where the disk takes nothing, there is none.
func (w *witness) say(t testimony) {
	if len(w.said.moved)+len(w.said.draft) > 2*witnessFiles {
		t = testimony{Blind: true}
	}
	w.said.take(t)
	w.write(w.log, t)
	if len(w.said.whole) > witnessFiles {
		clear(w.said.whole)
	}
	if w.size > witnessLimit {
		w.rewrite()
	}
}

func (w *witness) write(to *os.File, t testimony) {
	line, err := json.Marshal(t)
	if err != nil {
		return
	}
	n, _ := to.Write(append(line, '\n'))
	w.size += int64(n)
}

// rewrite writes all that counts anew.
func (w *witness) rewrite() {
	draft, err := os.OpenFile(w.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	w.size = 0
	if w.said.blind {
		w.write(draft, testimony{Blind: true})
	}
	for _, t := range w.said.whole {
		w.write(draft, t)
	}
	for path, first := range w.said.moved {
		if first != 0 {
			w.write(draft, testimony{Moved: path, Ino: first})
		} else {
			w.write(draft, testimony{Made: path})
		}
	}
	for path := range w.said.draft {
		w.write(draft, testimony{Draft: path})
	}
	if err := os.Rename(draft.Name(), w.path); err != nil {
		draft.Close()
		return
	}
	w.log.Close()
	w.log = draft
}
