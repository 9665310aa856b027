package telemetry

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/platform"
)

// Limits of a page when the caller names none, and the most that a page of Filter holds whatever the caller names: they
// are CloudWatch Logs' own.
const (
	PageOfNames  = 50
	PageOfEvents = 10_000
	PageBytes    = 1 << 20
)

// EventOverhead is what CloudWatch Logs adds to each event's message in StoredBytes.
const EventOverhead = 26

// Limit gives n, or otherwise when n is not a limit.
func Limit(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// CheckNames finds groups and streams without a name.
func CheckNames(names ...string) error {
	if slices.Contains(names, "") {
		return platform.Errorf(platform.Invalid, "", "log groups and streams need a name")
	}
	return nil
}

// CheckRetention refuses what is not a number of days.
func CheckRetention(days int) error {
	if days < 0 || days > 36500 {
		return platform.Errorf(platform.Invalid, "", "retention of %d days is not between 0 and 36500", days)
	}
	return nil
}

// NoGroup is the error of a group that is not there.
func NoGroup(group string) error {
	return platform.Errorf(platform.NotFound, group, "log group %s does not exist", group)
}

// NoStream is the error of a stream that is not there.
func NoStream(group, stream string) error {
	return platform.Errorf(platform.NotFound, stream, "log stream %s does not exist in log group %s", stream, group)
}

// GroupExists is the error of a name that is taken.
func GroupExists(group string) error {
	return platform.Errorf(platform.AlreadyExists, group, "log group %s already exists", group)
}

// StreamExists is the error of a name that is taken.
func StreamExists(group, stream string) error {
	return platform.Errorf(platform.AlreadyExists, stream, "log stream %s already exists in log group %s", stream, group)
}

// Time is the instant of a number of milliseconds since 1970.
func Time(milli int64) time.Time { return time.UnixMilli(milli).UTC() }

// Bounds turns [start, end), where zero does not bound, into the milliseconds that lie in it: [from, until).
func Bounds(start, end time.Time) (from, until int64) {
	from, until = math.MinInt64, math.MaxInt64
	if !start.IsZero() {
		from = ceil(start)
	}
	if !end.IsZero() {
		until = ceil(end)
	}
	return from, until
}

// ceil is the first whole millisecond that is not before t.
func ceil(t time.Time) int64 {
	milli := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		milli++
	}
	return milli
}

// Cutoff is the millisecond from which retention still keeps events.
func Cutoff(now time.Time, days int) int64 { return now.AddDate(0, 0, -days).UnixMilli() }

// InFilter reports whether a filter looks at a stream.
func InFilter(f platform.LogFilter, stream string) bool {
	return strings.HasPrefix(stream, f.StreamPrefix) && (len(f.Streams) == 0 || slices.Contains(f.Streams, stream))
}

// Place is where an event stands among those of all streams of its group: by time, then by stream, then as appended.
type Place struct {
	Milli    int64
	Stream   string
	Position int64
}

// Compare orders places.
func (p Place) Compare(o Place) int {
	if p.Milli != o.Milli {
		return cmp.Compare(p.Milli, o.Milli)
	}
	return cmp.Or(strings.Compare(p.Stream, o.Stream), cmp.Compare(p.Position, o.Position))
}

// Token makes the token with which the filter goes on after the place.
func (p Place) Token(f platform.LogFilter) string {
	b := binary.AppendVarint(binary.AppendVarint(nil, p.Milli), p.Position)
	return drivers.SealToken(filterFingerprint(f), append(b, p.Stream...))
}

// StartOf gives the place after which the filter is to go on: before all others when it is the first page.
func StartOf(f platform.LogFilter) (Place, error) {
	if f.After == "" {
		return Place{Milli: math.MinInt64, Position: -1}, nil
	}
	b, err := drivers.OpenToken(filterFingerprint(f), f.After)
	if err != nil {
		return Place{}, err
	}
	milli, n := binary.Varint(b)
	if n <= 0 {
		return Place{}, drivers.BadToken(f.After)
	}
	position, m := binary.Varint(b[n:])
	if m <= 0 {
		return Place{}, drivers.BadToken(f.After)
	}
	return Place{milli, string(b[n+m:]), position}, nil
}

// filterFingerprint leaves out Match, which cannot be compared: it is for the caller to come with the same one.
func filterFingerprint(f platform.LogFilter) []byte {
	from, until := Bounds(f.Start, f.End)
	return fmt.Appendf(nil, "%q %q %q %d %d", f.Group, f.Streams, f.StreamPrefix, from, until)
}

// NameToken makes the token with which a list of groups goes on after a name.
func NameToken(prefix, name string) string {
	return drivers.SealToken([]byte("groups "+prefix), []byte(name))
}

// NameAfter gives the name after which a list of groups goes on; empty at the start.
func NameAfter(prefix, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	name, err := drivers.OpenToken([]byte("groups "+prefix), token)
	return string(name), err
}

// NeverWritten stands for the last event of an empty stream: before all others.
const NeverWritten = -1 << 62

// StreamToken makes the token with which a list of streams goes on after a stream. last is its last event's millisecond.
func StreamToken(q platform.LogStreamQuery, last int64, name string) string {
	return drivers.SealToken(streamFingerprint(q), append(binary.AppendVarint(nil, last), name...))
}

// StreamAfter gives the stream after which a list of streams goes on; some is false at the start.
func StreamAfter(q platform.LogStreamQuery) (last int64, name string, some bool, err error) {
	if q.After == "" {
		return 0, "", false, nil
	}
	b, err := drivers.OpenToken(streamFingerprint(q), q.After)
	if err != nil {
		return 0, "", false, err
	}
	last, n := binary.Varint(b)
	if n <= 0 {
		return 0, "", false, drivers.BadToken(q.After)
	}
	return last, string(b[n:]), true, nil
}

func streamFingerprint(q platform.LogStreamQuery) []byte {
	return fmt.Appendf(nil, "%q %q %t %t", q.Group, q.Prefix, q.ByLastEvent, q.Descending)
}
