package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

// model is what a store should be, said as plainly as can be.
type model struct {
	records map[platform.Key]platform.Record
	ledger  []platform.LedgerEntry
}

// testModel does random things to a store and to the model, and compares all they say.
func testModel(t *testing.T, open func(t *testing.T) platform.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t)
		defer func() { noError(rt, s.Close()) }()
		m := &model{records: map[platform.Key]platform.Record{}}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) { m.commit(rt, s) },
			"get":    func(rt *rapid.T) { m.get(rt, s) },
			"list":   func(rt *rapid.T) { m.list(rt, s) },
			"ledger": func(rt *rapid.T) { m.readLedger(rt, s) },
		})
	})
}

var (
	genKind  = rapid.SampledFrom([]platform.Kind{kind, "iam-user"})
	genName  = rapid.SampledFrom([]string{"a", "A", "ab", "aB-1", "b", "B%", "_", "job-1", "job-10", "job-2", "JOB-2", "zebra", "ünï"})
	genPart  = rapid.SampledFrom([]string{"", "", "", "a", "B", "-1", "%", "_", "ob-", "job-1", "ï", "none"})
	genState = rapid.SampledFrom([]string{"", "Completed", "Failed", "InProgress"})
	genTime  = rapid.Custom(func(t *rapid.T) time.Time {
		return epoch.Add(time.Duration(rapid.IntRange(0, 6).Draw(t, "half microseconds")) * 500)
	})
	genBound = rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.IntRange(0, 3).Draw(t, "bound") > 0 {
			return time.Time{}
		}
		return genTime.Draw(t, "at")
	})
	genLine = rapid.SampledFrom([]string{"l1", "l2", "l3", "l4"})
)

func (m *model) drawTx(rt *rapid.T) platform.Tx {
	var tx platform.Tx
	keys := rapid.SliceOfNDistinct(rapid.Custom(func(rt *rapid.T) platform.Key {
		return platform.Key{Kind: genKind.Draw(rt, "kind"), Name: genName.Draw(rt, "name")}
	}), 0, 4, rapid.ID).Draw(rt, "keys")
	for _, k := range keys {
		revision := m.records[k].Revision
		if rapid.IntRange(0, 9).Draw(rt, "stale") == 0 {
			revision = rapid.Int64Range(0, 3).Draw(rt, "revision")
		}
		if revision > 0 && rapid.IntRange(0, 2).Draw(rt, "delete") == 0 {
			tx.Deletes = append(tx.Deletes, platform.Delete{Key: k, Revision: revision})
			continue
		}
		tx.Puts = append(tx.Puts, platform.Put{Record: platform.Record{
			Key: k, Revision: revision, State: genState.Draw(rt, "state"),
			Created: genTime.Draw(rt, "created"), Modified: genTime.Draw(rt, "modified"),
			Tags: rapid.MapOfN(rapid.String(), rapid.String(), 0, 2).Draw(rt, "tags"),
			Doc:  rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(rt, "doc"),
		}})
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(rt, "entries") {
		event := rapid.SampledFrom([]platform.LedgerEvent{platform.LineOpened, platform.LineClosed}).Draw(rt, "event")
		tx.Ledger = append(tx.Ledger, entry(genLine.Draw(rt, "line"), event, genTime.Draw(rt, "at")))
	}
	return tx
}

// faults are the kinds of error with which a Tx may be refused; none when it must go in.
func (m *model) faults(tx platform.Tx) (kinds []platform.ErrorKind) {
	for _, p := range tx.Puts {
		switch have := m.records[p.Record.Key].Revision; {
		case have != p.Record.Revision && p.Record.Revision == 0:
			kinds = append(kinds, platform.AlreadyExists)
		case have != p.Record.Revision:
			kinds = append(kinds, platform.Conflict)
		}
	}
	for _, d := range tx.Deletes {
		if m.records[d.Key].Revision != d.Revision {
			kinds = append(kinds, platform.Conflict)
		}
	}
	ids := map[string]bool{}
	for _, e := range slices.Concat(m.ledger, tx.Ledger) {
		if ids[e.ID()] {
			kinds = append(kinds, platform.AlreadyExists)
		}
		ids[e.ID()] = true
	}
	return kinds
}

func (m *model) commit(rt *rapid.T, s platform.Store) {
	tx := m.drawTx(rt)
	faults := m.faults(tx)
	err := s.Commit(context.Background(), tx)
	if len(faults) > 0 {
		if err == nil || !slices.Contains(faults, platform.KindOf(err)) {
			rt.Fatalf("error %v, want one of %v", err, faults)
		}
		return
	}
	noError(rt, err)
	for _, p := range tx.Puts {
		r := p.Record
		r.Revision++
		r.Created, r.Modified = r.Created.Truncate(time.Microsecond), r.Modified.Truncate(time.Microsecond)
		m.records[r.Key] = r
	}
	for _, d := range tx.Deletes {
		delete(m.records, d.Key)
	}
	m.ledger = append(m.ledger, tx.Ledger...)
}

func (m *model) get(rt *rapid.T, s platform.Store) {
	k := platform.Key{Kind: genKind.Draw(rt, "kind"), Name: genName.Draw(rt, "name")}
	got, err := s.Get(context.Background(), k)
	want, exists := m.records[k]
	if !exists {
		isKind(rt, err, platform.NotFound)
		return
	}
	noError(rt, err)
	sameRecord(rt, got, want, want.Revision)
}

func (m *model) list(rt *rapid.T, s platform.Store) {
	q := platform.Query{
		Kind:       genKind.Draw(rt, "kind"),
		NamePrefix: genPart.Draw(rt, "prefix"), NameContains: genPart.Draw(rt, "contains"),
		CreatedAfter: genBound.Draw(rt, "created after"), CreatedBefore: genBound.Draw(rt, "created before"),
		ModifiedAfter: genBound.Draw(rt, "modified after"), ModifiedBefore: genBound.Draw(rt, "modified before"),
		Sort:       rapid.SampledFrom([]platform.Sort{"", platform.ByCreated, platform.ByModified, platform.ByName, platform.ByState}).Draw(rt, "sort"),
		Descending: rapid.Bool().Draw(rt, "descending"),
		Limit:      rapid.IntRange(0, 4).Draw(rt, "limit"),
	}
	if rapid.Bool().Draw(rt, "by state") {
		q.States = rapid.SliceOfN(genState, 0, 2).Draw(rt, "states")
	}
	want := m.selected(q)
	for {
		page, err := s.List(context.Background(), q)
		noError(rt, err)
		if q.Limit > 0 && len(page.Records) > q.Limit || len(page.Records) > len(want) {
			rt.Fatalf("%+v: a page of %d records where %d are left", q, len(page.Records), len(want))
		}
		for i, r := range page.Records {
			sameRecord(rt, r, want[i], want[i].Revision)
		}
		want = want[len(page.Records):]
		if q.Token = page.Next; q.Token == "" {
			break
		}
	}
	if len(want) > 0 {
		rt.Fatalf("%+v: %d records are missing, the first of them %s", q, len(want), want[0].Name)
	}
}

func (m *model) selected(q platform.Query) (found []platform.Record) {
	for _, r := range m.records {
		if r.Kind == q.Kind && (len(q.States) == 0 || slices.Contains(q.States, r.State)) &&
			strings.HasPrefix(r.Name, q.NamePrefix) && strings.Contains(strings.ToLower(r.Name), strings.ToLower(q.NameContains)) &&
			between(q.CreatedAfter, r.Created, q.CreatedBefore) && between(q.ModifiedAfter, r.Modified, q.ModifiedBefore) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b platform.Record) int {
		first := map[platform.Sort]int{
			"": a.Created.Compare(b.Created), platform.ByCreated: a.Created.Compare(b.Created), platform.ByModified: a.Modified.Compare(b.Modified),
			platform.ByState: cmp.Compare(a.State, b.State),
		}[q.Sort]
		return cmp.Or(first, cmp.Compare(a.Name, b.Name))
	})
	if q.Descending {
		slices.Reverse(found)
	}
	return found
}

func between(after, t, before time.Time) bool {
	return (after.IsZero() || t.After(after)) && (before.IsZero() || t.Before(before))
}

func (m *model) readLedger(rt *rapid.T, s platform.Store) {
	q := platform.LedgerQuery{From: genBound.Draw(rt, "from"), Until: genBound.Draw(rt, "until")}
	if rapid.Bool().Draw(rt, "of one") {
		q.Resource = entry(genLine.Draw(rt, "line"), platform.LineOpened, epoch).Resource
	}
	var want []string
	for _, e := range m.ledger {
		if (q.Resource == "" || e.Resource == q.Resource) && (q.From.IsZero() || !e.At.Before(q.From)) && (q.Until.IsZero() || e.At.Before(q.Until)) {
			want = append(want, e.ID())
		}
	}
	if got := ledger(rt, s, q); !slices.Equal(got, want) {
		rt.Fatal(fmt.Sprintf("%+v gives %v, want %v", q, got, want))
	}
}
