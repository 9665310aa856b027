package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/platform"
)

// A record is its payload's length and CRC-32C, little-endian, and the payload: the report as JSON. A segment is named by the
// number of its first report, in 20 digits so that names sort, with the suffix ".reports".
const (
	recordHeader  = 8
	longestRecord = 64 << 20 // no report comes near; a longer length is damage
	segmentSuffix = ".reports"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn says that a record is incomplete or damaged: what a crash leaves at the end of a segment.
var errTorn = errors.New("torn record")

func segmentPath(dir string, first int64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

// record frames a payload.
func record(payload []byte) []byte {
	framed := make([]byte, recordHeader, recordHeader+len(payload))
	binary.LittleEndian.PutUint32(framed, uint32(len(payload)))
	binary.LittleEndian.PutUint32(framed[4:], crc32.Checksum(payload, castagnoli))
	return append(framed, payload...)
}

// readRecord reads the next payload: io.EOF at the end, errTorn when what follows is not a whole record.
func readRecord(r io.Reader) ([]byte, error) {
	var header [recordHeader]byte
	if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
		return nil, io.EOF
	} else if err != nil {
		return nil, torn(err)
	}
	length := binary.LittleEndian.Uint32(header[:])
	if length == 0 || length > longestRecord {
		return nil, errTorn
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, torn(err)
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(header[4:]) {
		return nil, errTorn
	}
	return payload, nil
}

func torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

// findSegments lists the segments in dir, oldest first.
func findSegments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, platform.Errorf(platform.Internal, dir, "%w", err)
	}
	var found []segment
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		first, err := strconv.ParseInt(number, 10, 64)
		if ok && err == nil {
			found = append(found, segment{path: filepath.Join(dir, e.Name()), first: first, last: first - 1})
		}
	}
	return found, nil
}

// walk gives the payloads of a segment up to its end or its torn tail.
func (s segment) walk(each func(payload []byte) error) error {
	f, err := os.Open(s.path)
	if err != nil {
		return platform.Errorf(platform.Internal, s.path, "%w", err)
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 256<<10)
	for {
		payload, err := readRecord(in)
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return nil
		}
		if err != nil {
			return platform.Errorf(platform.Internal, s.path, "%w", err)
		}
		if err := each(payload); err != nil {
			return err
		}
	}
}

// measure finds the last whole report of a segment and where it ends.
func measure(s segment) (segment, error) {
	err := s.walk(func(payload []byte) error {
		s.last++
		s.size += int64(recordHeader + len(payload))
		return nil
	})
	return s, err
}

// ReadSpool reads the reports above after, in order, that an agent wrote down in its folder dir. It may be called while the
// agent runs, and on a folder that has no spool: there are no reports then.
func ReadSpool(dir string, after int64) ([]platform.Report, error) {
	segments, err := findSegments(filepath.Join(dir, spoolFolder))
	if err != nil {
		return nil, err
	}
	var reports []platform.Report
	for i, s := range segments {
		if i+1 < len(segments) && segments[i+1].first <= after+1 {
			continue
		}
		err := s.walk(func(payload []byte) error {
			var r platform.Report
			if err := json.Unmarshal(payload, &r); err != nil {
				return platform.Errorf(platform.Internal, s.path, "decode a report: %w", err)
			}
			if r.Seq > after {
				reports = append(reports, r)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return reports, nil
}

// cursor is where the delivery stands in the journal.
type cursor struct {
	path string
	file *os.File
	in   *bufio.Reader
	seq  int64 // of the last report read
}

// close forgets the file; the next read finds its place again.
func (c *cursor) close() {
	if c.file != nil {
		c.file.Close()
	}
	c.path, c.file, c.in = "", nil, nil
}

// next reads the reports that follow the last ones read, as many as fit bytes, at least one if there is any.
func (s *spool) next(bytes int) ([]platform.Report, error) {
	c := &s.reader
	var reports []platform.Report
	for bytes > 0 {
		s.mu.Lock()
		g, ok := s.holding(c.seq + 1)
		s.mu.Unlock()
		if !ok {
			break
		}
		payload, err := c.read(g)
		var r platform.Report
		if err == nil {
			err = json.Unmarshal(payload, &r)
		}
		if err != nil {
			c.close()
			return reports, platform.Errorf(platform.Internal, g.path, "read report %d: %w", c.seq+1, err)
		}
		if r.Seq <= c.seq {
			continue // seen before the file was opened again
		}
		c.seq = r.Seq
		reports, bytes = append(reports, r), bytes-len(payload)
	}
	return reports, nil
}

// read gives the next payload of a segment.
func (c *cursor) read(g segment) ([]byte, error) {
	if g.memory != nil {
		c.close() // a deleted file that is open takes room on the full disk
		return g.memory[c.seq+1-g.first], nil
	}
	if c.path != g.path {
		c.close()
		f, err := os.Open(g.path)
		if err != nil {
			return nil, err
		}
		c.path, c.file, c.in = g.path, f, bufio.NewReaderSize(f, 256<<10)
	}
	return readRecord(c.in)
}

// holding finds the segment that has a report; mu is held.
func (s *spool) holding(seq int64) (segment, bool) {
	for _, g := range s.segments {
		if g.first <= seq && seq <= g.last {
			return g, true
		}
	}
	return segment{}, false
}
