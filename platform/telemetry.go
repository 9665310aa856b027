package platform

import (
	"context"
	"time"
)

// LogEvent is one line of a log.
type LogEvent struct {
	Timestamp time.Time `json:"t"` // when it was written, to the millisecond
	Message   string    `json:"m"` // without the line's end
}

// StoredEvent is a LogEvent as read back.
type StoredEvent struct {
	LogEvent
	Position int64 // its place in its stream, from 0, without gaps
	Ingested time.Time
	Stream   string
}

// LogBatch is an append to one stream. Producer and Seq make it happen once: a batch whose Seq is not above the last one
// stored for its Producer in this stream is taken as delivered already. An empty Producer is never deduplicated.
type LogBatch struct {
	Group, Stream string
	Producer      string
	Seq           int64
	Events        []LogEvent
}

// LogGroup and LogStream are what Describe calls show.
type LogGroup struct {
	Name          string
	Created       time.Time
	RetentionDays int // 0 = for ever
	StoredBytes   int64
}

// LogStream is one producer's log in a group. First, Last and Ingested are zero when the stream is empty.
type LogStream struct {
	Name                           string
	Created, First, Last, Ingested time.Time
	Events                         int64
}

// LogStreamQuery selects streams of a group, by name ascending or by last event descending.
type LogStreamQuery struct {
	Group, Prefix string
	ByLastEvent   bool
	Descending    bool
	Limit         int
	After         string // the token of the page before
}

// LogRead selects events of one stream. Forward reads from From up, else from From−1 down (events still come in ascending
// order). From −1 with Forward false starts at the end. Start is inclusive and End exclusive; zero does not bound.
type LogRead struct {
	Group, Stream string
	From          int64
	Forward       bool
	Limit         int // events
	MaxBytes      int // sum of message bytes; at least one event is given
	Start, End    time.Time
}

// LogFilter selects events across streams of a group in order of time. Match nil takes all.
type LogFilter struct {
	Group        string
	Streams      []string
	StreamPrefix string
	Start, End   time.Time
	Match        func(message string) bool
	Limit        int
	After        string // the token of the page before
}

// Logs keeps log groups, streams and events. Errors are *Error: NotFound for a missing group or stream, AlreadyExists, Invalid (bad
// token), Unavailable. Events of a stream keep the order in which they were appended.
type Logs interface {
	CreateGroup(ctx context.Context, name string) error
	DeleteGroup(ctx context.Context, name string) error
	Groups(ctx context.Context, prefix, after string, limit int) (groups []LogGroup, next string, err error)
	// SetRetention keeps events for so many days from now on; 0 keeps them for ever. Sweep does the deleting.
	SetRetention(ctx context.Context, group string, days int) error
	CreateStream(ctx context.Context, group, stream string) error
	DeleteStream(ctx context.Context, group, stream string) error
	Streams(ctx context.Context, q LogStreamQuery) (streams []LogStream, next string, err error)
	// Append stores the batch durably; with a Producer it makes a missing group or stream, else they must exist.
	Append(ctx context.Context, b LogBatch) error
	Read(ctx context.Context, q LogRead) ([]StoredEvent, error)
	Filter(ctx context.Context, q LogFilter) (events []StoredEvent, next string, err error)
	// Sweep deletes what retention no longer keeps, as of now; of Metrics, too, that are kept in the same place.
	Sweep(ctx context.Context, now time.Time) error
}

// Series names a metric's time series. Dimensions are a set: order does not matter.
type Series struct {
	Namespace, Name string
	Dimensions      map[string]string
}

// Datum is one value of a series; or, with a Count, what so many values come to: Value is their sum then, and Minimum and
// Maximum are the least and the greatest of them.
type Datum struct {
	Series
	At                      time.Time
	Value                   float64
	Unit                    string  // CloudWatch's words: Count, Percent, Microseconds, None
	Count, Minimum, Maximum float64 // without a Count the other two say nothing
}

// Statistics are those of a Datum.
func (d Datum) Statistics() Statistics {
	if d.Count == 0 {
		return Statistics{Start: d.At, Count: 1, Sum: d.Value, Minimum: d.Value, Maximum: d.Value, Unit: d.Unit}
	}
	return Statistics{Start: d.At, Count: d.Count, Sum: d.Value, Minimum: d.Minimum, Maximum: d.Maximum, Unit: d.Unit}
}

// Statistics aggregates the values of a series in one period.
type Statistics struct {
	Start                        time.Time
	Count, Sum, Minimum, Maximum float64
	Unit                         string
}

// MetricDays is how long values of metrics are kept, as CloudWatch keeps them: fifteen months.
const MetricDays = 455

// Metrics keeps time series; what is older than MetricDays the next Sweep deletes. Batches are deduplicated as LogBatch is.
type Metrics interface {
	PutData(ctx context.Context, producer string, seq int64, data []Datum) error
	// Aggregate gives the non-empty periods of [start, end), ascending, aligned to start.
	Aggregate(ctx context.Context, s Series, start, end time.Time, period time.Duration) ([]Statistics, error)
	// Find lists the series that have the namespace, the name and at least the dimensions given; empty fields do not filter.
	Find(ctx context.Context, s Series) ([]Series, error)
}
