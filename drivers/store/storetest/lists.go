package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

// names reads all pages of a list.
func names(t rapid.TB, s platform.Store, q platform.Query) (all []string) {
	t.Helper()
	q.Kind = kind
	for {
		page, err := s.List(context.Background(), q)
		noError(t, err)
		if q.Limit > 0 && len(page.Records) > q.Limit {
			t.Fatalf("a page of %d has %d records", q.Limit, len(page.Records))
		}
		for _, r := range page.Records {
			all = append(all, r.Name)
		}
		if q.Token = page.Next; q.Token == "" {
			return all
		}
	}
}

func lists(t rapid.TB, s platform.Store, q platform.Query, want ...string) {
	t.Helper()
	if got := names(t, s, q); !slices.Equal(got, want) {
		t.Fatalf("%+v gives %q, want %q", q, got, want)
	}
}

// testTimeBounds: bounds are exclusive at the microsecond that a record is kept to.
func testTimeBounds(t *testing.T, s platform.Store) {
	at := time.UnixMicro(1_700_000_000_000_005).UTC()
	for i, name := range []string{"before", "at", "after"} {
		r := record(name)
		r.Created = at.Add(time.Duration(i-1) * time.Microsecond)
		r.Modified = r.Created.Add(time.Hour)
		commit(t, s, put(r))
	}
	lists(t, s, platform.Query{CreatedAfter: at}, "after")
	lists(t, s, platform.Query{CreatedBefore: at}, "before")
	lists(t, s, platform.Query{CreatedAfter: at.Add(-time.Microsecond), CreatedBefore: at.Add(time.Microsecond)}, "at")
	lists(t, s, platform.Query{CreatedAfter: at, CreatedBefore: at})
	lists(t, s, platform.Query{ModifiedAfter: at.Add(time.Hour)}, "after")
	lists(t, s, platform.Query{ModifiedBefore: at.Add(time.Hour)}, "before")
	// A bound between two microseconds.
	lists(t, s, platform.Query{CreatedAfter: at.Add(500)}, "after")
	lists(t, s, platform.Query{CreatedBefore: at.Add(500)}, "before", "at")
	lists(t, s, platform.Query{CreatedAfter: at.Add(-500)}, "at", "after")
	lists(t, s, platform.Query{CreatedAfter: at.In(time.FixedZone("west", -7*3600))}, "after")
}

func testNames(t *testing.T, s platform.Store) {
	for _, name := range []string{"Job-One", "job-two", "a_b", "a%b", "axb", "z"} {
		r := record(name)
		if name == "z" {
			r.State = "Failed"
		}
		commit(t, s, put(r))
	}
	other := record("job-three")
	other.Kind = "another"
	commit(t, s, put(other))
	sorted := func(q platform.Query) platform.Query { q.Sort = platform.ByName; return q }
	lists(t, s, sorted(platform.Query{}), "Job-One", "a%b", "a_b", "axb", "job-two", "z")
	lists(t, s, sorted(platform.Query{NameContains: "JOB"}), "Job-One", "job-two")
	lists(t, s, sorted(platform.Query{NameContains: "o"}), "Job-One", "job-two")
	lists(t, s, sorted(platform.Query{NameContains: "_"}), "a_b") // no wildcards
	lists(t, s, sorted(platform.Query{NameContains: "%"}), "a%b")
	lists(t, s, sorted(platform.Query{NamePrefix: "job"}), "job-two")
	lists(t, s, sorted(platform.Query{NamePrefix: "a", NameContains: "B"}), "a%b", "a_b", "axb")
	lists(t, s, sorted(platform.Query{States: []string{"Failed", "None"}}), "z")
	lists(t, s, sorted(platform.Query{States: []string{"failed"}}))
	_, err := s.List(context.Background(), platform.Query{Kind: kind, Sort: "colour"})
	isKind(t, err, platform.Invalid)
	page, err := s.List(context.Background(), platform.Query{Kind: "nothing"})
	noError(t, err)
	if len(page.Records) != 0 || page.Next != "" {
		t.Fatalf("a kind without records lists %v", page)
	}
}

// testLimits: 1,000 to a page unless told; no token when the last page is just full.
func testLimits(t *testing.T, s platform.Store) {
	const all = 3001
	var tx platform.Tx
	for i := range all {
		tx.Puts = append(tx.Puts, platform.Put{Record: record(fmt.Sprintf("job-%04d", i*7%all))})
	}
	commit(t, s, tx)
	for _, c := range []struct {
		q    platform.Query
		n    int
		more bool
	}{
		{platform.Query{}, 1000, true},
		{platform.Query{Limit: all}, all, false},
		{platform.Query{Limit: 5000}, all, false},
		{platform.Query{Limit: 1 << 62}, all, false},
		{platform.Query{Limit: 1}, 1, true},
		{platform.Query{NamePrefix: "job-000", Limit: 10}, 10, false},
	} {
		c.q.Kind = kind
		page, err := s.List(context.Background(), c.q)
		noError(t, err)
		if len(page.Records) != c.n || (page.Next != "") != c.more {
			t.Errorf("%+v gives %d records and token %q", c.q, len(page.Records), page.Next)
		}
	}
	for _, q := range []platform.Query{{Limit: 70}, {Limit: 70, Descending: true}, {Limit: 997}} {
		got := names(t, s, q)
		if q.Descending {
			slices.Reverse(got)
		}
		if len(slices.Compact(got)) != all || !slices.IsSorted(got) {
			t.Errorf("%+v gives %d records", q, len(got))
		}
	}
}

// testTotalOrder: what ties is ordered by name, and descending is exactly the reverse.
func testTotalOrder(t *testing.T, s platform.Store) {
	var tx platform.Tx
	for _, i := range []int{7, 3, 9, 1, 5, 0, 8, 2, 6, 4} {
		r := record(fmt.Sprintf("job-%d", i))
		r.Created = epoch.Add(time.Duration(i/4) * time.Second)
		r.Modified = epoch.Add(-time.Duration(i/3) * time.Second)
		r.State = []string{"Completed", "Failed"}[i%2]
		tx.Puts = append(tx.Puts, platform.Put{Record: r})
	}
	commit(t, s, tx)
	for sort, want := range map[platform.Sort]string{
		"":                  "0123456789",
		platform.ByCreated:  "0123456789",
		platform.ByModified: "9678345012",
		platform.ByName:     "0123456789",
		platform.ByState:    "0246813579",
	} {
		for limit := 1; limit <= 11; limit++ {
			q := platform.Query{Sort: sort, Limit: limit}
			ascending := strings.ReplaceAll(strings.Join(names(t, s, q), ""), "job-", "")
			q.Descending = true
			back := names(t, s, q)
			slices.Reverse(back)
			descending := strings.ReplaceAll(strings.Join(back, ""), "job-", "")
			if ascending != want || descending != want {
				t.Errorf("by %q in pages of %d: %s, descending reversed %s, want %s", sort, limit, ascending, descending, want)
			}
		}
	}
}

// testStablePages changes half of the records between pages: the others are seen exactly once.
func testStablePages(t *testing.T, s platform.Store) {
	for _, sort := range []platform.Sort{platform.ByCreated, platform.ByModified, platform.ByName, platform.ByState} {
		for _, descending := range []bool{false, true} {
			stablePages(t, s, platform.Query{Kind: platform.Kind(fmt.Sprintf("%s-%t", sort, descending)), Sort: sort, Descending: descending, Limit: 7})
		}
	}
}

func stablePages(t *testing.T, s platform.Store, q platform.Query) {
	one := func(name string, i int) platform.Record {
		r := record(fmt.Sprintf("%02d-%s", i*37%100, name))
		r.Kind, r.State = q.Kind, fmt.Sprint(i%3)
		r.Created, r.Modified = epoch.Add(time.Duration(i%10)*time.Second), epoch.Add(time.Duration(i%13)*time.Second)
		return r
	}
	var tx platform.Tx
	for i := range 60 {
		tx.Puts = append(tx.Puts, put(one("steady", i), one("moving", i)).Puts...)
	}
	commit(t, s, tx)
	seen := map[string]int{}
	for page := 0; ; page++ {
		p, err := s.List(context.Background(), q)
		noError(t, err)
		for _, r := range p.Records {
			seen[r.Name]++
		}
		if q.Token = p.Next; q.Token == "" {
			break
		}
		// Of the moving ones, one goes, one changes its place, one comes.
		gone, moved, came := one("moving", page%60), one("moving", (page+30)%60), one("late", page)
		moved.Revision, moved.Created, moved.Modified, moved.State = 1, epoch.Add(5*time.Second), epoch.Add(5*time.Second), "1"
		_ = s.Commit(context.Background(), platform.Tx{Deletes: []platform.Delete{{Key: gone.Key, Revision: 1}}})
		_ = s.Commit(context.Background(), put(moved))
		_ = s.Commit(context.Background(), put(came))
	}
	for i := range 60 {
		if name := one("steady", i).Name; seen[name] != 1 {
			t.Errorf("by %s, descending %t: %s was seen %d times", q.Sort, q.Descending, name, seen[name])
		}
	}
}

func testBadTokens(t *testing.T, s platform.Store) {
	for i := range 10 {
		commit(t, s, put(record(fmt.Sprintf("job-%d", i))))
	}
	for _, sort := range []platform.Sort{platform.ByCreated, platform.ByModified, platform.ByName, platform.ByState} {
		q := platform.Query{Kind: kind, Limit: 3, Sort: sort}
		page, err := s.List(context.Background(), q)
		noError(t, err)
		bad := map[string]platform.Query{}
		for _, token := range []string{"x", "%%%", "AAAAAAAAAAAAAAAAAAAA", page.Next[1:], page.Next[:len(page.Next)-2], page.Next + "AAAA", strings.ToUpper(page.Next)} {
			other := q
			other.Token = token
			bad["token "+token] = other
		}
		for what, change := range map[string]func(*platform.Query){
			"kind":       func(q *platform.Query) { q.Kind = "another" },
			"states":     func(q *platform.Query) { q.States = []string{"InProgress"} },
			"prefix":     func(q *platform.Query) { q.NamePrefix = "job" },
			"contains":   func(q *platform.Query) { q.NameContains = "job" },
			"after":      func(q *platform.Query) { q.CreatedAfter = epoch.Add(-time.Hour) },
			"before":     func(q *platform.Query) { q.ModifiedBefore = epoch.Add(24 * time.Hour) },
			"descending": func(q *platform.Query) { q.Descending = true },
			"sort": func(q *platform.Query) {
				q.Sort = map[platform.Sort]platform.Sort{platform.ByName: platform.ByState}[sort]
				if q.Sort == "" {
					q.Sort = platform.ByName
				}
			},
		} {
			other := q
			other.Token = page.Next
			change(&other)
			bad["other "+what] = other
		}
		for what, q := range bad {
			if _, err := s.List(context.Background(), q); !platform.Is(err, platform.Invalid) {
				t.Errorf("by %s, %s: %v is not Invalid", sort, what, err)
			}
		}
	}
}
