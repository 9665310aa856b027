package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

func testRoundTrip(t *testing.T, s platform.Store) {
	full := record("full")
	full.Tags = map[string]string{"team": "vision", "": "empty key", "quote\"s": "ünï\ncode"}
	full.Created = time.Date(2031, 1, 2, 3, 4, 5, 999_999_999, time.FixedZone("east", 3*3600))
	bare := platform.Record{Key: platform.Key{Kind: kind, Name: "bare"}}
	odd := record(`%_'"\ ünï /x`)
	odd.Doc = []byte{0, 1, 2, 0xff, 0}
	large := record("large")
	large.Doc = make([]byte, 5<<20)
	for _, r := range []platform.Record{full, bare, odd, large} {
		commit(t, s, put(r))
		sameRecord(t, get(t, s, r.Name), r, 1)
	}
	missing(t, s, "ful")
	missing(t, s, "FULL") // names do matter in case, but for NameContains
	_, err := s.Get(context.Background(), platform.Key{Kind: "another", Name: "full"})
	isKind(t, err, platform.NotFound)
	commit(t, s, platform.Tx{}) // nothing to do is done
}

// testIsolation: what goes in and comes out is shared with nobody.
func testIsolation(t *testing.T, s platform.Store) {
	r := record("a")
	r.Tags = map[string]string{"k": "v"}
	r.Doc = []byte("document")
	commit(t, s, put(r))
	r.Doc[0], r.Tags["k"] = 'X', "changed"
	got := get(t, s, "a")
	if string(got.Doc) != "document" || got.Tags["k"] != "v" {
		t.Fatalf("the store shares what it was given: %s %v", got.Doc, got.Tags)
	}
	got.Doc[0], got.Tags["k"] = 'Y', "changed"
	page, err := s.List(context.Background(), platform.Query{Kind: kind})
	noError(t, err)
	page.Records[0].Doc[1], page.Records[0].Tags["k"] = 'Z', "changed"
	if got = get(t, s, "a"); string(got.Doc) != "document" || got.Tags["k"] != "v" {
		t.Fatalf("the store shares what it gave: %s %v", got.Doc, got.Tags)
	}
}

func testRevisions(t *testing.T, s platform.Store) {
	r := record("a")
	commit(t, s, put(r))
	refused(t, s, put(r), platform.AlreadyExists)
	for _, wrong := range []int64{2, 3, 1 << 40} {
		r.Revision = wrong
		refused(t, s, put(r), platform.Conflict)
	}
	r.Revision, r.State, r.Doc, r.Tags = 1, "Completed", []byte("new"), map[string]string{"a": "b"}
	r.Created = r.Created.Add(time.Minute)
	commit(t, s, put(r))
	refused(t, s, put(r), platform.Conflict) // 1 is past
	sameRecord(t, get(t, s, "a"), r, 2)

	refused(t, s, remove("a", 1), platform.Conflict)
	refused(t, s, remove("a", 0), platform.Conflict)
	commit(t, s, remove("a", 2))
	missing(t, s, "a")
	refused(t, s, remove("a", 2), platform.Conflict)
	refused(t, s, remove("a", 0), platform.Conflict) // nothing is not a revision of what is not there
	refused(t, s, put(r), platform.Conflict)         // revision 1 of a record that is gone

	again := record("a") // a name may come back, and starts anew
	again.Doc = []byte("again")
	commit(t, s, put(again))
	sameRecord(t, get(t, s, "a"), again, 1)
}

func testMalformedTx(t *testing.T, s platform.Store) {
	negative := record("a")
	negative.Revision = -1
	twice := put(record("a"))
	twice.Deletes = remove("a", 1).Deletes
	for what, tx := range map[string]platform.Tx{
		"no name":           put(record("")),
		"no kind":           put(platform.Record{Key: platform.Key{Name: "a"}}),
		"negative revision": put(negative),
		"put twice":         put(record("a"), record("a")),
		"put and deleted":   twice,
	} {
		if err := s.Commit(context.Background(), tx); !platform.Is(err, platform.Invalid) {
			t.Errorf("%s: %v is not Invalid", what, err)
		}
	}
	missing(t, s, "a")
}

// testAtomicity lets each part of a Tx fail in turn.
func testAtomicity(t *testing.T, s platform.Store) {
	commit(t, s, platform.Tx{Puts: put(record("old"), record("doomed")).Puts, Ledger: []platform.LedgerEntry{entry("old", platform.LineOpened, epoch)}})
	whole := func() platform.Tx {
		changed := record("old")
		changed.Revision, changed.State = 1, "Stopped"
		return platform.Tx{
			Puts: put(record("new"), changed).Puts, Deletes: remove("doomed", 1).Deletes,
			Ledger: []platform.LedgerEntry{entry("old", platform.LineClosed, epoch), entry("new", platform.LineOpened, epoch)},
		}
	}
	stale, exists, gone, doubled := whole(), whole(), whole(), whole()
	stale.Puts[1].Record.Revision = 7
	exists.Puts[1].Record.Revision = 0
	gone.Deletes[0].Revision = 2
	doubled.Ledger[1] = entry("old", platform.LineOpened, epoch)
	refused(t, s, stale, platform.Conflict)
	refused(t, s, exists, platform.AlreadyExists)
	refused(t, s, gone, platform.Conflict)
	refused(t, s, doubled, platform.AlreadyExists)

	missing(t, s, "new")
	sameRecord(t, get(t, s, "old"), record("old"), 1)
	sameRecord(t, get(t, s, "doomed"), record("doomed"), 1)
	page, err := s.List(context.Background(), platform.Query{Kind: kind})
	noError(t, err)
	if ids := ledger(t, s, platform.LedgerQuery{}); len(page.Records) != 2 || len(ids) != 1 {
		t.Fatalf("a failed Tx left something: %d records, ledger %v", len(page.Records), ids)
	}
	commit(t, s, whole())
	missing(t, s, "doomed")
	if get(t, s, "old").State != "Stopped" || get(t, s, "new").Revision != 1 || len(ledger(t, s, platform.LedgerQuery{})) != 3 {
		t.Fatal("the Tx was not applied whole")
	}
}

// testConcurrentCAS: of concurrent read-change-writes none is lost.
func testConcurrentCAS(t *testing.T, s platform.Store) {
	const workers, each = 8, 20
	counter := record("counter")
	counter.Doc = []byte("0")
	commit(t, s, put(counter))
	increment := func() error {
		for {
			r, err := s.Get(context.Background(), counter.Key)
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(r.Doc))
			if err != nil {
				return err
			}
			r.Doc = strconv.AppendInt(nil, int64(n)+1, 10)
			if err := s.Commit(context.Background(), put(r)); !platform.Is(err, platform.Conflict) {
				return err
			}
		}
	}
	together(t, workers, func(int) error {
		for range each {
			if err := increment(); err != nil {
				return err
			}
		}
		return nil
	})
	if r := get(t, s, "counter"); string(r.Doc) != strconv.Itoa(workers*each) || r.Revision != workers*each+1 {
		t.Fatalf("counter is %s at revision %d after %d increments", r.Doc, r.Revision, workers*each)
	}
}

// testReadsGoForward: nobody reads a record and then an earlier state of it, and what is committed is what is read.
func testReadsGoForward(t *testing.T, s platform.Store) {
	const last = 100
	var committed atomic.Int64 // the revision that every read from now on must at least see
	together(t, 3, func(worker int) error {
		if worker == 0 {
			for i := range int64(last) {
				r := record("a")
				r.Revision, r.Doc = i, strconv.AppendInt(nil, i+1, 10)
				if err := s.Commit(context.Background(), put(r)); err != nil {
					return err
				}
				committed.Store(i + 1)
			}
			return nil
		}
		for seen := int64(0); seen < last; {
			least := max(seen, committed.Load())
			r, err := s.Get(context.Background(), record("a").Key)
			if least == 0 && platform.Is(err, platform.NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if seen = r.Revision; seen < least || string(r.Doc) != strconv.FormatInt(seen, 10) {
				return fmt.Errorf("revision %d with document %s is read after revision %d was there", seen, r.Doc, least)
			}
		}
		return nil
	})
}

func testConcurrentCreate(t *testing.T, s platform.Store) {
	for round := range 20 {
		var won atomic.Int64
		together(t, 8, func(worker int) error {
			r := record(fmt.Sprintf("job-%d", round))
			r.Doc = []byte(strconv.Itoa(worker))
			err := s.Commit(context.Background(), put(r))
			if err == nil {
				won.Add(1)
			} else if !platform.Is(err, platform.AlreadyExists) {
				return err
			}
			return nil
		})
		if won.Load() != 1 {
			t.Fatalf("round %d: %d creators of one name succeeded", round, won.Load())
		}
	}
}

// testNeighbours: Txs that are refused do no harm to those committed at the same moment.
func testNeighbours(t *testing.T, s platform.Store) {
	commit(t, s, put(record("taken")))
	together(t, 8, func(worker int) error {
		for i := range 25 {
			good := record(fmt.Sprintf("good-%d-%d", worker, i))
			tx := platform.Tx{Puts: put(good).Puts, Ledger: []platform.LedgerEntry{entry(good.Name, platform.LineOpened, epoch)}}
			want := platform.ErrorKind(-1)
			switch (worker + i) % 4 {
			case 1:
				tx.Puts, want = append(tx.Puts, put(record("taken")).Puts...), platform.AlreadyExists
			case 2:
				tx.Deletes, want = remove("taken", 9).Deletes, platform.Conflict
			case 3:
				tx.Ledger, want = append(tx.Ledger, tx.Ledger[0]), platform.AlreadyExists
			}
			err := s.Commit(context.Background(), tx)
			if (want < 0) != (err == nil) || err != nil && platform.KindOf(err) != want {
				return fmt.Errorf("%s: error %w, want kind %v", good.Name, err, want)
			}
			_, err = s.Get(context.Background(), good.Key)
			if (want < 0) != (err == nil) {
				return fmt.Errorf("%s: %w after a commit that should end with %v", good.Name, err, want)
			}
		}
		return nil
	})
	if n := len(ledger(t, s, platform.LedgerQuery{})); n != 50 {
		t.Fatalf("%d ledger entries of 50 good Txs", n)
	}
}

func testCancelled(t *testing.T, s platform.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	commit(t, s, put(record("a")))
	_, getErr := s.Get(ctx, record("a").Key)
	_, listErr := s.List(ctx, platform.Query{Kind: kind})
	_, ledgerErr := s.Ledger(ctx, platform.LedgerQuery{})
	for what, err := range map[string]error{"Get": getErr, "List": listErr, "Ledger": ledgerErr, "Commit": s.Commit(ctx, put(record("b")))} {
		if !errors.Is(err, context.Canceled) || !platform.Is(err, platform.Unavailable) {
			t.Errorf("%s: %v is not Unavailable for being cancelled", what, err)
		}
	}
	missing(t, s, "b")
}

func testClosed(t *testing.T, s platform.Store) {
	commit(t, s, put(record("a")))
	changed, stop := s.Watch(kind)
	noError(t, s.Close())
	noError(t, s.Close())
	if _, open := next(t, changed); open {
		t.Error("a watch outlives the store")
	}
	stop()
	_, err := s.Get(context.Background(), record("a").Key)
	isKind(t, err, platform.Unavailable)
	_, err = s.List(context.Background(), platform.Query{Kind: kind})
	isKind(t, err, platform.Unavailable)
	_, err = s.Ledger(context.Background(), platform.LedgerQuery{})
	isKind(t, err, platform.Unavailable)
	refused(t, s, put(record("b")), platform.Unavailable)
	after, stop := s.Watch(kind)
	if _, open := next(t, after); open {
		t.Error("a closed store can be watched")
	}
	stop()
}

// together runs work in so many goroutines and fails the test with their errors.
func together(t rapid.TB, workers int, work func(worker int) error) {
	t.Helper()
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { errs[w] = work(w) })
	}
	wg.Wait()
	noError(t, errors.Join(errs...))
}
