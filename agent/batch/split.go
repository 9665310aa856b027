package batch

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// readAhead is how much of an object is read at once.
const readAhead = 256 << 10

// recordReader takes an object apart. next appends the next record to dst, as it goes into a payload of its own (bare) or
// among others, and gives io.EOF after the last. A record that is larger than most bytes is an error that says so.
type recordReader interface {
	next(dst []byte, bare bool, most int) ([]byte, error)
}

func readerOf(split sagemaker.SplitType, in io.Reader) recordReader {
	buffered := bufio.NewReaderSize(in, readAhead)
	switch split {
	case sagemaker.SplitTypeLine:
		return lines{buffered}
	case sagemaker.SplitTypeRecordIO:
		return recordIO{buffered}
	case sagemaker.SplitTypeTFRecord:
		return tfRecords{buffered}
	default:
		return &whole{in: buffered}
	}
}

// invalid says what is wrong with the input.
func invalid(format string, args ...any) error {
	return platform.Errorf(platform.Invalid, "", format, args...)
}

func tooLarge(what string, most int) error {
	return invalid("%s is larger than MaxPayloadInMB allows (%d bytes)", what, most)
}

// lines are records that end with a line feed. An empty line is none. A carriage return before the line feed is part of its end.
type lines struct{ in *bufio.Reader }

func (l lines) next(dst []byte, _ bool, most int) ([]byte, error) {
	start := len(dst)
	for {
		part, err := l.in.ReadSlice('\n')
		dst = append(dst, part...)
		if len(dst)-start > most+2 {
			return nil, tooLarge("a line", most)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
		record := bytes.TrimSuffix(bytes.TrimSuffix(dst[start:], []byte{'\n'}), []byte{'\r'})
		if len(record) > most {
			return nil, tooLarge("a line", most)
		}
		if dst = dst[:start+len(record)]; len(record) > 0 {
			return dst, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// whole is an object that is one record; an empty one has none.
type whole struct {
	in   *bufio.Reader
	done bool
}

func (w *whole) next(dst []byte, _ bool, most int) ([]byte, error) {
	if w.done {
		return nil, io.EOF
	}
	w.done = true
	start := len(dst)
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, make([]byte, max(4096, len(dst)-start))...)[:len(dst)]
		}
		n, err := w.in.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > most:
			return nil, tooLarge("the object", most)
		case errors.Is(err, io.EOF) && len(dst) == start:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return nil, err
		}
	}
}

// recordIO are MXNet's records: a magic number, a word of three bits of continuation and 29 of length, the data, and zeros up
// to the next multiple of four. A record that holds the magic number is cut there into parts.
// Source: dmlc-core's recordio.h.
type recordIO struct{ in *bufio.Reader }

const recordMagic = 0xced7230a

// The parts of a record that was cut.
const (
	partWhole = iota
	partFirst
	partMiddle
	partLast
)

func (r recordIO) next(dst []byte, bare bool, most int) (_ []byte, err error) {
	start := len(dst)
	for first := true; ; first = false {
		var last bool
		if dst, last, err = r.part(dst, bare, first, most-(len(dst)-start)); err != nil || last {
			return dst, err
		}
	}
}

// part appends one part of a record, and tells whether it is the last.
func (r recordIO) part(dst []byte, bare, first bool, most int) (_ []byte, last bool, err error) {
	head, kind, length, err := r.head(first)
	switch {
	case err != nil:
		return nil, false, err
	case length > most:
		return nil, false, tooLarge("a RecordIO record", most)
	case !bare:
		dst = append(dst, head...)
	case !first: // it was cut where it holds the magic number
		dst = append(dst, head[:4]...)
	}
	padded := (length + 3) &^ 3
	if dst, err = fill(dst, r.in, padded); err != nil {
		return nil, false, cutShort("RecordIO", err)
	}
	if bare {
		dst = dst[:len(dst)-(padded-length)]
	}
	return dst, kind == partWhole || kind == partLast, nil
}

// head reads what comes before the data of a part; it holds until the next read.
func (r recordIO) head(first bool) (head []byte, kind, length int, err error) {
	if head, err = r.in.Peek(8); err != nil {
		if errors.Is(err, io.EOF) && len(head) == 0 && first {
			return nil, 0, 0, io.EOF
		}
		return nil, 0, 0, cutShort("RecordIO", err)
	}
	word := binary.LittleEndian.Uint32(head[4:])
	kind, length = int(word>>29), int(word&(1<<29-1))
	switch {
	case binary.LittleEndian.Uint32(head) != recordMagic:
		return nil, 0, 0, invalid("the object is not RecordIO: a record begins with %x, not with the magic number", head[:4])
	case first != (kind == partWhole || kind == partFirst):
		return nil, 0, 0, invalid("the object is not RecordIO: the parts of a record are out of order")
	}
	_, err = r.in.Discard(8)
	return head, kind, length, err
}

// tfRecords are TensorFlow's: the length in eight bytes, its masked CRC-32C, the data, and theirs.
// Source: tensorflow's record_writer.h.
type tfRecords struct{ in *bufio.Reader }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func masked(data []byte) uint32 {
	sum := crc32.Checksum(data, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

func (r tfRecords) next(dst []byte, bare bool, most int) ([]byte, error) {
	head, err := r.in.Peek(12)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) == 0 {
			return nil, io.EOF
		}
		return nil, cutShort("TFRecord", err)
	}
	length := binary.LittleEndian.Uint64(head)
	switch {
	case masked(head[:8]) != binary.LittleEndian.Uint32(head[8:]):
		return nil, invalid("the object is not TFRecord: the checksum of a length is wrong")
	case length > uint64(most):
		return nil, tooLarge("a TFRecord record", most)
	}
	if !bare {
		dst = append(dst, head...)
	}
	if _, err := r.in.Discard(12); err != nil {
		return nil, cutShort("TFRecord", err)
	}
	start := len(dst)
	if dst, err = fill(dst, r.in, int(length)+4); err != nil {
		return nil, cutShort("TFRecord", err)
	}
	data, foot := dst[start:len(dst)-4], dst[len(dst)-4:]
	if masked(data) != binary.LittleEndian.Uint32(foot) {
		return nil, invalid("a TFRecord record is damaged: its checksum is wrong")
	}
	if bare {
		dst = dst[:len(dst)-4]
	}
	return dst, nil
}

// fill appends n bytes.
func fill(dst []byte, in io.Reader, n int) ([]byte, error) {
	start := len(dst)
	for len(dst)-start < n { // by and by: a length that lies does not take memory that is not filled
		piece := min(n-(len(dst)-start), readAhead)
		dst = append(dst, make([]byte, piece)...)
		if _, err := io.ReadFull(in, dst[len(dst)-piece:]); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// cutShort tells an object that ends within a record from one that cannot be read.
func cutShort(format string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("the object is not %s: it ends within a record", format)
	}
	return fmt.Errorf("read: %w", err)
}
