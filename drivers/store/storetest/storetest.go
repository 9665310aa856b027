// Package storetest is the contract of platform.Store as tests: every driver runs it, and none has tests of its own for
// what is written here.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

// Run tests a driver. open gives an empty store each time; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) platform.Store) {
	for name, test := range map[string]func(*testing.T, platform.Store){
		"RoundTrip":        testRoundTrip,
		"Isolation":        testIsolation,
		"Revisions":        testRevisions,
		"MalformedTx":      testMalformedTx,
		"Atomicity":        testAtomicity,
		"ConcurrentCAS":    testConcurrentCAS,
		"ConcurrentCreate": testConcurrentCreate,
		"ReadsGoForward":   testReadsGoForward,
		"Neighbours":       testNeighbours,
		"LedgerUnique":     testLedgerUnique,
		"LedgerOrder":      testLedgerOrder,
		"LedgerQuery":      testLedgerQuery,
		"TimeBounds":       testTimeBounds,
		"Names":            testNames,
		"Limits":           testLimits,
		"TotalOrder":       testTotalOrder,
		"StablePages":      testStablePages,
		"BadTokens":        testBadTokens,
		"Watch":            testWatch,
		"WatchMerges":      testWatchMerges,
		"WatchLosesNoLast": testWatchLosesNoLast,
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
	t.Run("Model", func(t *testing.T) {
		t.Parallel()
		testModel(t, open)
	})
}

// RunDurable tests a driver whose data outlives it, Run's part included. open opens what is in dir, which is empty at
// first. The calling test must do nothing else: it is started again as a process of its own, to be killed.
func RunDurable(t *testing.T, open func(t *testing.T, dir string) platform.Store) {
	if dir := crashDir(); dir != "" {
		commitUntilKilled(t, open(t, dir))
		return
	}
	parent := t
	Run(t, func(t *testing.T) platform.Store { return open(t, t.TempDir()) })
	t.Run("Reopen", func(t *testing.T) { t.Parallel(); testReopen(t, open) })
	t.Run("CloseDrains", func(t *testing.T) { t.Parallel(); testCloseDrains(t, open) })
	t.Run("Crash", func(t *testing.T) { t.Parallel(); testCrash(t, parent.Name(), open) })
}

const kind platform.Kind = "training-job"

// epoch is a moment from which tests count; it has a part that stores do not keep.
var epoch = time.Date(2024, 5, 6, 7, 8, 9, 123_456_789, time.UTC)

func record(name string) platform.Record {
	return platform.Record{
		Key: platform.Key{Kind: kind, Name: name}, State: "InProgress",
		Created: epoch, Modified: epoch.Add(time.Hour), Doc: []byte(`{"name":"` + name + `"}`),
	}
}

func put(records ...platform.Record) platform.Tx {
	var tx platform.Tx
	for _, r := range records {
		tx.Puts = append(tx.Puts, platform.Put{Record: r})
	}
	return tx
}

func remove(name string, revision int64) platform.Tx {
	return platform.Tx{Deletes: []platform.Delete{{Key: platform.Key{Kind: kind, Name: name}, Revision: revision}}}
}

func entry(line string, event platform.LedgerEvent, at time.Time) platform.LedgerEntry {
	return platform.LedgerEntry{
		Line: line, Event: event, At: at, Resource: platform.ARN("arn:aws:sagemaker:us-east-1:123456789012:training-job/" + line),
		Attempt: 1, InstanceType: "ml.m5.large", Count: 2, Purchase: platform.OnDemand,
		Rate: platform.HourlyRate{Nanos: 115_000_000, Currency: "USD"}, Seconds: 61,
	}
}

// commit fails the test unless the Tx goes in.
func commit(t rapid.TB, s platform.Store, tx platform.Tx) {
	t.Helper()
	noError(t, s.Commit(context.Background(), tx))
}

func refused(t rapid.TB, s platform.Store, tx platform.Tx, want platform.ErrorKind) {
	t.Helper()
	isKind(t, s.Commit(context.Background(), tx), want)
}

func get(t rapid.TB, s platform.Store, name string) platform.Record {
	t.Helper()
	r, err := s.Get(context.Background(), platform.Key{Kind: kind, Name: name})
	noError(t, err)
	return r
}

func missing(t rapid.TB, s platform.Store, name string) {
	t.Helper()
	_, err := s.Get(context.Background(), platform.Key{Kind: kind, Name: name})
	isKind(t, err, platform.NotFound)
}

func ledger(t rapid.TB, s platform.Store, q platform.LedgerQuery) (ids []string) {
	t.Helper()
	entries, err := s.Ledger(context.Background(), q)
	noError(t, err)
	for _, e := range entries {
		ids = append(ids, e.ID())
	}
	return ids
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

// sameRecord compares what was put, now at the given revision, with what was read.
func sameRecord(t rapid.TB, got, put platform.Record, revision int64) {
	t.Helper()
	if err := diff(got, put, revision); err != nil {
		t.Fatal(err)
	}
}

func diff(got, put platform.Record, revision int64) error {
	switch {
	case got.Key != put.Key:
		return fmt.Errorf("key %v, want %v", got.Key, put.Key)
	case got.Revision != revision:
		return fmt.Errorf("%s: revision %d, want %d", put.Name, got.Revision, revision)
	case got.State != put.State:
		return fmt.Errorf("%s: state %q, want %q", put.Name, got.State, put.State)
	case !got.Created.Equal(put.Created.Truncate(time.Microsecond)) || !got.Modified.Equal(put.Modified.Truncate(time.Microsecond)):
		return fmt.Errorf("%s: created %v modified %v, want %v and %v to the microsecond", put.Name, got.Created, got.Modified, put.Created, put.Modified)
	case got.Created.Location() != time.UTC || got.Modified.Location() != time.UTC:
		return fmt.Errorf("%s: times are not in UTC", put.Name)
	case len(got.Tags)+len(put.Tags) > 0 && !maps.Equal(got.Tags, put.Tags):
		return fmt.Errorf("%s: tags %v, want %v", put.Name, got.Tags, put.Tags)
	case !bytes.Equal(got.Doc, put.Doc):
		return fmt.Errorf("%s: document of %d bytes %.40q, want %d bytes %.40q", put.Name, len(got.Doc), got.Doc, len(put.Doc), put.Doc)
	}
	return nil
}
