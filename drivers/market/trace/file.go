package trace

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
)

// What a file may hold at most. Ten years minute by minute is a tenth of it.
const (
	maxBytes  = 64 << 20
	maxLength = 10 * 365 * 24 * time.Hour
)

// Read reads a trace from a file, which may be compressed with gzip. There are two forms. A table of comma-separated values:
//
//	seconds,available,price,instance_type
//	0,1,0.9731,ml.p3.2xlarge
//	5400,0,,ml.p3.2xlarge
//
// Seconds count from the trace's beginning; a row holds until the next of its type; a price is that of an instance-hour. The
// last two columns may be missing: then the trace does not know prices, and holds for any instance type. Lines that begin with
// # are remarks. Where rows come at equal distances a missing one is a gap, which is an error unless a remark before the head
// says how gaps are to be read: "# gaps: hold" (as the row before) or "# gaps: unavailable".
//
// Or windows, a line each: a name, a number, the seconds between two observations, and a 0 or 1 for each of them.
//
//	us-west-2a_v100_1 0 600 1110011111
//
// Of several windows "FILE#us-west-2a_v100_1/0" picks one. Whatever is wrong is an Invalid error that names line and column;
// NotFound: there is no such file.
func Read(name string) (*Trace, error) {
	file, window := split(name)
	text, err := contents(file)
	if err != nil {
		return nil, err
	}
	return parse(text, source{file: file, window: window})
}

// split takes the window off a file's name, unless there is a file of the whole name.
func split(name string) (file, window string) {
	if _, err := os.Stat(name); err == nil {
		return name, ""
	}
	if i := strings.LastIndexByte(name, '#'); i > 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// contents reads a file whole, and unpacks it.
func contents(file string) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, platform.Errorf(platform.NotFound, file, "there is no trace file %s", file)
	}
	if err != nil {
		return nil, platform.Errorf(platform.Invalid, file, "the trace file cannot be read: %w", err)
	}
	defer f.Close()
	text, err := limited(f, file)
	if err != nil || !bytes.HasPrefix(text, []byte{0x1f, 0x8b}) {
		return text, err
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, platform.Errorf(platform.Invalid, file, "%s is not whole: %w", file, err)
	}
	return limited(unzipped, file)
}

func limited(r io.Reader, file string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	switch {
	case err != nil:
		return nil, platform.Errorf(platform.Invalid, file, "the trace file %s cannot be read: %w", file, err)
	case len(text) > maxBytes:
		return nil, platform.Errorf(platform.Invalid, file, "%s holds more than %d MiB, too much for a trace", file, maxBytes>>20)
	}
	return text, nil
}

// source is what is read, for whoever must be told of an error in it.
type source struct{ file, window string }

// name is the trace's.
func (s source) name() string {
	if s.window == "" {
		return s.file
	}
	return s.file + "#" + s.window
}

// wrong is an error at a place in the file.
func (s source) wrong(line, column int, format string, args ...any) error {
	return platform.Errorf(platform.Invalid, s.name(), "%s, line %d, column %d: %s", s.file, line, column, fmt.Sprintf(format, args...))
}

// parse tells the two forms apart by their first line that is no remark.
func parse(text []byte, src source) (*Trace, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0 || line[0] == '#':
		case bytes.ContainsRune(line, ',') || bytes.HasPrefix(line, []byte("seconds")):
			return parseTable(text, src)
		default:
			return parseWindows(text, src)
		}
	}
	return nil, platform.Errorf(platform.Invalid, src.name(), "%s is empty; a trace needs a row at least", src.file)
}

// parseSeconds reads a plain decimal of seconds, exactly.
func parseSeconds(text string) (time.Duration, error) {
	nanos, err := parseDecimal(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a number of seconds", text)
	case nanos < 0:
		return 0, fmt.Errorf("%s seconds is before the trace's beginning", text)
	case time.Duration(nanos) > maxLength:
		return 0, fmt.Errorf("%s seconds is more than ten years", text)
	}
	return time.Duration(nanos), nil
}

// parseDecimal reads digits with at most one point and a sign, and nothing else that might pass for a number: no exponents,
// which could say in four letters what takes a minute to compute.
func parseDecimal(text string) (platform.Nanos, error) {
	digits := strings.TrimLeft(text, "-")
	if len(text) > 30 || len(text)-len(digits) > 1 || strings.Trim(digits, "0123456789.") != "" {
		return 0, errors.New("not a decimal number")
	}
	return platform.ParseNanos(text)
}
