// Package telemetrytest is the contract of platform.Logs and platform.Metrics as tests: every driver runs it, and none has
// tests of its own for what is written here.
package telemetrytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

// Telemetry is what a driver gives.
type Telemetry interface {
	platform.Logs
	platform.Metrics
	Close() error
}

// Run tests a driver. open gives it empty each time, on the machine's clock; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) Telemetry) {
	for name, test := range map[string]func(*testing.T, Telemetry){
		"Groups":           testGroups,
		"GroupPages":       testGroupPages,
		"Streams":          testStreams,
		"StreamOrders":     testStreamOrders,
		"StreamPages":      testStreamPages,
		"Messages":         testMessages,
		"Missing":          testMissing,
		"Once":             testOnce,
		"ConcurrentAppend": testConcurrentAppend,
		"Paging":           testPaging,
		"ReadBounds":       testReadBounds,
		"StoredBytes":      testStoredBytes,
		"Filter":           testFilter,
		"FilterOrder":      testFilterOrder,
		"FilterPages":      testFilterPages,
		"BadTokens":        testBadTokens,
		"Sweep":            testSweep,
		"SweepEdge":        testSweepEdge,
		"SweepMetrics":     testSweepMetrics,
		"DeleteAndReuse":   testDeleteAndReuse,
		"Aggregate":        testAggregate,
		"AggregateSets":    testAggregateSets,
		"MetricsOnce":      testMetricsOnce,
		"MetricsRefused":   testMetricsRefused,
		"Find":             testFind,
		"Cancelled":        testCancelled,
		"Closed":           testClosed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			t.Cleanup(func() { noError(t, s.Close()) })
			test(t, s)
		})
	}
	t.Run("LogModel", func(t *testing.T) { t.Parallel(); testLogModel(t, open) })
	t.Run("MetricModel", func(t *testing.T) { t.Parallel(); testMetricModel(t, open) })
}

// RunDurable tests a driver whose data outlives it, Run's part included. open opens what is in dir, which is empty at
// first. The calling test must do nothing else: it is started again as a process of its own, to be killed.
func RunDurable(t *testing.T, open func(t *testing.T, dir string) Telemetry) {
	if dir := crashDir(); dir != "" {
		appendUntilKilled(t, open(t, dir))
		return
	}
	parent := t
	Run(t, func(t *testing.T) Telemetry { return open(t, t.TempDir()) })
	t.Run("Reopen", func(t *testing.T) { t.Parallel(); testReopen(t, open) })
	t.Run("Crash", func(t *testing.T) { t.Parallel(); testCrash(t, parent.Name(), open) })
}

var ctx = context.Background()

// epoch has a part that stores do not keep.
var epoch = time.Date(2024, 5, 6, 7, 8, 9, 123_456_789, time.UTC)

func at(milli int) time.Time { return epoch.Add(time.Duration(milli) * time.Millisecond) }

func event(milli int, message string) platform.LogEvent {
	return platform.LogEvent{Timestamp: at(milli), Message: message}
}

// lines makes n events a millisecond apart, with messages from number first on.
func lines(first, n int) (events []platform.LogEvent) {
	for i := first; i < first+n; i++ {
		events = append(events, event(i, fmt.Sprintf("line %d", i)))
	}
	return events
}

// write appends as an agent does, making the group g and the stream.
func write(t rapid.TB, s Telemetry, stream string, seq int64, events ...platform.LogEvent) {
	t.Helper()
	noError(t, s.Append(ctx, platform.LogBatch{Group: "g", Stream: stream, Producer: "p", Seq: seq, Events: events}))
}

func read(t rapid.TB, s Telemetry, q platform.LogRead) []platform.StoredEvent {
	t.Helper()
	q.Group = "g"
	events, err := s.Read(ctx, q)
	noError(t, err)
	return events
}

// readAll reads a stream forward to its end.
func readAll(t rapid.TB, s Telemetry, stream string) (all []platform.StoredEvent) {
	t.Helper()
	q := platform.LogRead{Stream: stream, Forward: true}
	for {
		page := read(t, s, q)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		q.From = page[len(page)-1].Position + 1
	}
}

// filterAll reads all pages of a filter.
func filterAll(t rapid.TB, s Telemetry, f platform.LogFilter) (all []platform.StoredEvent) {
	t.Helper()
	f.Group = "g"
	for {
		events, next, err := s.Filter(ctx, f)
		noError(t, err)
		if f.Limit > 0 && len(events) > f.Limit {
			t.Fatalf("a page of %d has %d events", f.Limit, len(events))
		}
		all = append(all, events...)
		if f.After = next; next == "" {
			return all
		}
	}
}

func messages(events []platform.StoredEvent) (m []string) {
	for _, e := range events {
		m = append(m, e.Message)
	}
	return m
}

func noError(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// isKind wants an error of the platform's own type.
func isKind(t rapid.TB, err error, want platform.ErrorKind) {
	t.Helper()
	var e *platform.Error
	if !errors.As(err, &e) || e.Kind != want {
		t.Fatalf("error %v (%T) is not a platform.Error of kind %v", err, err, want)
	}
}
