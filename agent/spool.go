package agent

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// spoolFolder is the spool's folder inside the agent's own.
const spoolFolder = "spool"

const (
	segmentBytes = 8 << 20  // after which a new segment is begun
	memoryBytes  = 16 << 20 // of output held in memory while the disk takes nothing
)

// care says how a report is written down.
type care int

const (
	bulk    care = iota // output of the user's code: waits for room, which holds the code back
	brief               // a small report: always taken
	durable             // as brief, and on stable storage when append returns
)

// spool is the agent's journal: every report is appended to it before it is sent, and read back from it for sending, so that
// memory is bounded and what was said survives the agent. Segments whose reports are all acknowledged are deleted. While the
// disk is full or broken, reports are kept in memory instead: the control plane may still take them. One goroutine reads
// (next), any number append.
type spool struct {
	dir   string
	limit int64

	writing sync.Mutex // held while appending; guards these
	file    *os.File   // the newest segment, nil when the next report begins one
	size    int64      // of file

	mu       sync.Mutex // guards these
	segments []segment  // oldest first
	last     int64      // the newest report; written with writing held as well
	acked    int64
	changed  chan struct{} // closed and replaced when last or acked change

	reader cursor
}

// segment is a stretch of the journal: a file, or in memory.
type segment struct {
	path        string
	first, last int64
	size        int64
	memory      [][]byte // the payloads, when there is no file
}

// openSpool opens the journal in dir, which it makes when needed. Numbers go on after the last whole report found there.
func openSpool(dir string, limit int64) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, diskError(dir, err)
	}
	s := &spool{dir: dir, limit: limit, changed: make(chan struct{})}
	found, err := findSegments(dir)
	if err != nil {
		return nil, err
	}
	for _, g := range found {
		if g, err = measure(g); err != nil {
			return nil, err
		}
		if g.size > 0 {
			s.segments, s.last = append(s.segments, g), g.last
		}
	}
	if len(s.segments) > 0 {
		s.acked = s.segments[0].first - 1
		s.reader.seq = s.acked
	}
	return s, nil
}

// append writes a report down under the next number, which it returns. It fails only when ctx ends.
func (s *spool) append(ctx context.Context, r platform.Report, how care) (int64, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if how == bulk {
		if err := s.waitRoom(ctx); err != nil {
			return 0, err
		}
	}
	r.Seq = s.last + 1
	payload, err := json.Marshal(r)
	if err != nil {
		return 0, platform.Errorf(platform.Internal, s.dir, "encode report %d: %w", r.Seq, err)
	}
	begun, err := s.write(r.Seq, payload)
	onDisk := err == nil
	if onDisk && how == durable {
		_ = s.file.Sync() // if it fails, delivery is what is left
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := len(s.segments) - 1
	switch {
	case begun:
		s.segments = append(s.segments, segment{path: segmentPath(s.dir, r.Seq), first: r.Seq})
		newest++
	case !onDisk && (newest < 0 || s.segments[newest].memory == nil):
		s.segments = append(s.segments, segment{first: r.Seq})
		newest++
	}
	g := &s.segments[newest]
	g.last, g.size = r.Seq, g.size+int64(recordHeader+len(payload))
	if !onDisk {
		g.memory = append(g.memory, payload)
	}
	s.last = r.Seq
	s.signal()
	return r.Seq, nil
}

// write appends a record to the newest file, whole or not at all, and tells whether it began a new one. After an error the
// file is not written to again.
func (s *spool) write(seq int64, payload []byte) (begun bool, err error) {
	if s.file != nil && s.size >= min(segmentBytes, s.limit/4) {
		s.file.Close()
		s.file = nil
	}
	if s.file == nil {
		s.file, err = os.OpenFile(segmentPath(s.dir, seq), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			s.file = nil
			return false, err
		}
		s.size, begun = 0, true
	}
	n, err := s.file.Write(record(payload))
	if err == nil {
		s.size += int64(n)
		return begun, nil
	}
	_ = s.file.Truncate(s.size) // what stays is a torn tail, which readers know
	if begun {
		_ = os.Remove(s.file.Name())
	}
	s.file.Close()
	s.file = nil
	return false, err
}

// waitRoom waits until there is room for more output.
func (s *spool) waitRoom(ctx context.Context) error {
	for {
		s.mu.Lock()
		var held, inMemory int64
		for _, g := range s.segments {
			if g.last <= s.acked {
				continue
			}
			held += g.size
			if g.memory != nil {
				inMemory += g.size
			}
		}
		changed := s.changed
		s.mu.Unlock()
		if held < s.limit && inMemory < memoryBytes {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// signal wakes whoever waits; mu is held.
func (s *spool) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// ack notes that every report up to seq is durable elsewhere, and deletes the segments that are not needed any more. A number
// lower than an earlier one says nothing: a control plane that restarted may know less than it acknowledged.
func (s *spool) ack(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.acked {
		return
	}
	s.acked = min(seq, s.last)
	for len(s.segments) > 1 && s.segments[0].last <= s.acked {
		if path := s.segments[0].path; path != "" {
			_ = os.Remove(path) // one that stays is read again by nobody
		}
		s.segments = s.segments[1:]
	}
	s.signal()
}

// waitAcked returns when seq has been acknowledged or ctx has ended.
func (s *spool) waitAcked(ctx context.Context, seq int64) {
	s.until(ctx, nil, func() bool { return s.acked >= seq })
}

// await returns when there is a report above seq, when d has passed, or when ctx has ended.
func (s *spool) await(ctx context.Context, seq int64, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	s.until(ctx, timer.C, func() bool { return s.last > seq })
}

// until returns when the condition holds, which is asked with mu held, when timeout fires, or when ctx ends.
func (s *spool) until(ctx context.Context, timeout <-chan time.Time, condition func() bool) {
	for {
		s.mu.Lock()
		done, changed := condition(), s.changed
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			return
		case <-ctx.Done():
			return
		}
	}
}

// close lets go of the files; what is in the spool stays.
func (s *spool) close() {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
	s.reader.close()
}
