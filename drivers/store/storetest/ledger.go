package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

func testLedgerUnique(t *testing.T, s platform.Store) {
	opened, closed := entry("a", platform.LineOpened, epoch), entry("a", platform.LineClosed, epoch)
	commit(t, s, platform.Tx{Ledger: []platform.LedgerEntry{opened}})
	refused(t, s, platform.Tx{Ledger: []platform.LedgerEntry{opened}}, platform.AlreadyExists)
	other := opened
	other.At, other.Count = epoch.Add(time.Hour), 9 // what else it says does not matter
	refused(t, s, platform.Tx{Puts: put(record("b")).Puts, Ledger: []platform.LedgerEntry{closed, other}}, platform.AlreadyExists)
	refused(t, s, platform.Tx{Ledger: []platform.LedgerEntry{closed, closed}}, platform.AlreadyExists)
	missing(t, s, "b")
	commit(t, s, platform.Tx{Ledger: []platform.LedgerEntry{closed}})
	entries, err := s.Ledger(context.Background(), platform.LedgerQuery{})
	noError(t, err)
	if len(entries) != 2 || !sameEntry(entries[0], opened) || !sameEntry(entries[1], closed) {
		t.Fatalf("the ledger reads %+v", entries)
	}
}

func sameEntry(got, want platform.LedgerEntry) bool {
	at := got.At.Equal(want.At)
	got.At = want.At
	return at && got == want
}

// testLedgerOrder: each writer's entries are in its order, those of one Tx are together, and all are there.
func testLedgerOrder(t *testing.T, s platform.Store) {
	const workers, each = 6, 20
	together(t, workers, func(w int) error {
		for i := range each {
			line := fmt.Sprintf("%d-%02d", w, i)
			at := epoch.Add(-time.Duration(i) * time.Hour) // the order is of appending, not of time
			tx := platform.Tx{Ledger: []platform.LedgerEntry{entry(line, platform.LineOpened, at), entry(line, platform.LineClosed, at)}}
			if err := s.Commit(context.Background(), tx); err != nil {
				return err
			}
		}
		return nil
	})
	ids := ledger(t, s, platform.LedgerQuery{})
	if len(ids) != workers*each*2 {
		t.Fatalf("%d entries of %d", len(ids), workers*each*2)
	}
	last := map[byte]string{}
	for i := 0; i < len(ids); i += 2 {
		line, _, _ := strings.Cut(ids[i], "/")
		if ids[i+1] != line+"/"+string(platform.LineClosed) {
			t.Fatalf("%s is followed by %s", ids[i], ids[i+1])
		}
		if last[line[0]] >= line {
			t.Fatalf("%s comes after %s", line, last[line[0]])
		}
		last[line[0]] = line
	}
}

func testLedgerQuery(t *testing.T, s platform.Store) {
	for i, line := range []string{"c", "a", "d", "b"} {
		commit(t, s, platform.Tx{Ledger: []platform.LedgerEntry{entry(line, platform.LineOpened, epoch.Add(time.Duration(i)))}}) // a nanosecond apart
	}
	for want, q := range map[string]platform.LedgerQuery{
		"c a d b": {},
		"a d b":   {From: epoch.Add(1)},
		"c a":     {Until: epoch.Add(2)},
		"a d":     {From: epoch.Add(1), Until: epoch.Add(3)},
		"d":       {Resource: entry("d", platform.LineOpened, epoch).Resource},
		"":        {Resource: entry("d", platform.LineOpened, epoch).Resource, Until: epoch},
	} {
		got := strings.ReplaceAll(strings.Join(ledger(t, s, q), " "), "/opened", "")
		if got != want {
			t.Errorf("%+v gives %q, want %q", q, got, want)
		}
	}
	if ids := ledger(t, s, platform.LedgerQuery{Resource: "arn:none"}); !slices.Equal(ids, nil) {
		t.Errorf("an unknown resource has entries %v", ids)
	}
}
