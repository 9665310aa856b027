package async

import (
	"bytes"
	"io"
	"os"

	"github.com/stint-ml/stint/platform"
)

// spoolMemory is how many bytes of a spool may be in memory. So many invocations are under way at once that it is not much.
const spoolMemory = 256 << 10

// spool keeps bytes that may be many: few in memory, more in a file without a name, which is gone when the process is.
type spool struct {
	head        []byte   // all of it, without a file
	file        *os.File // nil: head is all
	size        int64
	contentType string
}

var _ platform.Spool = (*spool)(nil)

// fill reads all of r, but not more than limit and one byte. What is wrong with the file is Unavailable; other errors are the reader's.
func fill(dir string, r io.Reader, limit int64) (*spool, error) {
	var head bytes.Buffer
	n, err := io.Copy(&head, io.LimitReader(r, min(limit, spoolMemory)+1))
	if err != nil || n <= spoolMemory {
		return &spool{head: head.Bytes(), size: n}, err
	}
	file, err := os.CreateTemp(dir, "spool-")
	if err != nil {
		return nil, full(dir, err)
	}
	s := &spool{file: file}
	if err := os.Remove(file.Name()); err != nil {
		s.close()
		return nil, full(dir, err)
	}
	to := &onDisk{file: file}
	s.size, err = io.Copy(to, io.MultiReader(&head, io.LimitReader(r, limit-n+1)))
	if err != nil {
		s.close()
		if to.failed {
			err = full(dir, err)
		}
		return nil, err
	}
	return s, nil
}

// onDisk tells a fault of the disk from one of the reader.
type onDisk struct {
	file   *os.File
	failed bool
}

func (o *onDisk) Write(p []byte) (int, error) {
	n, err := o.file.Write(p)
	o.failed = err != nil
	return n, err
}

func full(dir string, err error) error {
	return platform.Errorf(platform.Unavailable, dir, "keep what is too large for memory: %w", err)
}

// ReadAt is io.ReaderAt's.
func (s *spool) ReadAt(p []byte, offset int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, offset)
	}
	return bytes.NewReader(s.head).ReadAt(p, offset)
}

// Size is platform.Spool's.
func (s *spool) Size() int64 { return s.size }

// close lets go of the file; a nil spool has none.
func (s *spool) close() {
	if s != nil && s.file != nil {
		s.file.Close()
	}
}

// reader reads a spool from its beginning, and tells of what type it is.
func (s *spool) reader() io.Reader {
	return struct {
		*io.SectionReader
		typed
	}{io.NewSectionReader(s, 0, s.size), typed(s.contentType)}
}

type typed string

// ContentType is platform.Typed's.
func (t typed) ContentType() string { return string(t) }
