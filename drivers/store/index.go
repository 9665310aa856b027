package store

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/stint-ml/stint/platform"
)

// Index holds in memory what lists filter and order by, and answers which records a query selects. It is a plain scan
// with the best of it kept: at 100,000 records a page takes one to three milliseconds whatever the filter, where a scan of
// a covering index in SQLite took 30 to 70. A record costs its name and about 100 bytes more.
// Its methods are safe for concurrent use.
type Index struct {
	mu    sync.RWMutex
	kinds map[platform.Kind]*family
}

// family is the records of one kind, about in the order in which they were created.
type family struct {
	entries []entry
	place   map[string]int32 // name → index in entries
}

type entry struct {
	name, folded      string // folded shares its bytes with name when that is in lower case
	created, modified int64  // microseconds
	state             unique.Handle[string]
}

// Change is one step of the Index: a record as it is now, or as Gone.
type Change struct {
	platform.Key
	State             string
	Created, Modified time.Time
	Gone              bool
}

// ChangesOf is what a transaction does to the Index.
func ChangesOf(tx platform.Tx) []Change {
	changes := make([]Change, 0, len(tx.Puts)+len(tx.Deletes))
	for _, p := range tx.Puts {
		r := p.Record
		changes = append(changes, Change{Key: r.Key, State: r.State, Created: r.Created, Modified: r.Modified})
	}
	for _, d := range tx.Deletes {
		changes = append(changes, Change{Key: d.Key, Gone: true})
	}
	return changes
}

// Apply makes the changes together, as readers see it.
func (x *Index) Apply(changes ...Change) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range changes {
		f := x.kinds[c.Kind]
		if f == nil {
			if x.kinds == nil {
				x.kinds = map[platform.Kind]*family{}
			}
			f = &family{place: map[string]int32{}}
			x.kinds[c.Kind] = f
		}
		if c.Gone {
			f.remove(c.Name)
		} else {
			f.put(c)
		}
	}
}

func (f *family) put(c Change) {
	i, known := f.place[c.Name]
	if !known {
		i = int32(len(f.entries))
		name := strings.Clone(c.Name) // lest it keep a larger string alive
		f.entries = append(f.entries, entry{name: name, folded: strings.ToLower(name)})
		f.place[name] = i
	}
	e := &f.entries[i]
	e.created, e.modified, e.state = c.Created.UnixMicro(), c.Modified.UnixMicro(), unique.Make(c.State)
}

func (f *family) remove(name string) {
	i, known := f.place[name]
	if !known {
		return
	}
	last := len(f.entries) - 1
	f.entries[i] = f.entries[last]
	f.place[f.entries[i].name] = i
	f.entries[last] = entry{}
	f.entries = f.entries[:last]
	delete(f.place, name)
}

// Len counts the records of all kinds.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := 0
	for _, f := range x.kinds {
		n += len(f.entries)
	}
	return n
}

// Select gives the names of one page in order, and the token of the next page.
func (x *Index) Select(q platform.Query) (names []string, next string, err error) {
	s, err := newSelection(q)
	if err != nil {
		return nil, "", err
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if f := x.kinds[q.Kind]; f != nil {
		s.scan(f.entries)
	}
	page := s.page()
	for i := range page {
		names = append(names, page[i].name)
	}
	if s.more {
		next = s.token(&page[len(page)-1])
	}
	return names, next, nil
}

// Matches reports whether a record, as it may have become since Select, still answers the query's filters.
func Matches(q platform.Query, r *platform.Record) bool {
	s, err := newSelection(q)
	if err != nil {
		return false
	}
	return s.matches(&entry{
		name: r.Name, folded: strings.ToLower(r.Name), state: unique.Make(r.State),
		created: r.Created.UnixMicro(), modified: r.Modified.UnixMicro(),
	})
}

// maxPage bounds the memory of one page; a reader that wants more gets a token for the rest.
const maxPage = 100_000

// selection is one query being answered.
type selection struct {
	platform.Query
	contains                                                   string
	states                                                     []unique.Handle[string]
	createdAfter, createdBefore, modifiedAfter, modifiedBefore int64
	order                                                      func(a, b *entry) int // ascending, total
	after                                                      *entry                // the last of the page before
	best                                                       []entry               // candidates; the first Limit+1 in order once cut
	full                                                       bool                  // best[Limit] is the last that can still matter
	more                                                       bool
}

// The second comparison is left out when the first decides: this is the inner loop of every list.
var orders = map[platform.Sort]func(a, b *entry) int{
	platform.ByName: func(a, b *entry) int { return strings.Compare(a.name, b.name) },
	platform.ByCreated: func(a, b *entry) int {
		if a.created != b.created {
			return cmp.Compare(a.created, b.created)
		}
		return strings.Compare(a.name, b.name)
	},
	platform.ByModified: func(a, b *entry) int {
		if a.modified != b.modified {
			return cmp.Compare(a.modified, b.modified)
		}
		return strings.Compare(a.name, b.name)
	},
	platform.ByState: func(a, b *entry) int {
		if a.state != b.state {
			return strings.Compare(a.state.Value(), b.state.Value())
		}
		return strings.Compare(a.name, b.name)
	},
}

func newSelection(q platform.Query) (*selection, error) {
	s := &selection{Query: q, contains: strings.ToLower(q.NameContains)}
	if s.Limit <= 0 {
		s.Limit = 1000
	}
	s.Limit = min(s.Limit, maxPage)
	if s.Sort == "" {
		s.Sort = platform.ByCreated
	}
	order := orders[s.Sort]
	if order == nil {
		return nil, platform.Errorf(platform.Invalid, string(q.Sort), "lists cannot be sorted by %q", q.Sort)
	}
	if s.order = order; q.Descending {
		s.order = func(a, b *entry) int { return order(b, a) }
	}
	for _, state := range q.States {
		s.states = append(s.states, unique.Make(state))
	}
	s.createdAfter, s.createdBefore = above(q.CreatedAfter), below(q.CreatedBefore)
	s.modifiedAfter, s.modifiedBefore = above(q.ModifiedAfter), below(q.ModifiedBefore)
	if q.Token != "" {
		var err error
		if s.after, err = s.parse(q.Token); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// above is the highest microsecond that is not after the bound.
func above(bound time.Time) int64 {
	if bound.IsZero() {
		return math.MinInt64
	}
	return bound.UnixMicro()
}

// below is the lowest microsecond that is not before the bound.
func below(bound time.Time) int64 {
	if bound.IsZero() {
		return math.MaxInt64
	}
	micro := bound.UnixMicro()
	if bound.Nanosecond()%1000 != 0 {
		micro++
	}
	return micro
}

// scan goes against the order of creation when the list does: then what it meets first is most often what stays.
func (s *selection) scan(entries []entry) {
	for i := range entries {
		e := &entries[i]
		if s.Descending {
			e = &entries[len(entries)-1-i]
		}
		switch {
		case s.after != nil && s.order(e, s.after) <= 0:
		case s.full && s.order(e, &s.best[s.Limit]) >= 0:
		case s.matches(e):
			if s.best = append(s.best, *e); len(s.best) > 4*s.Limit+1000 {
				s.cut()
			}
		}
	}
}

func (s *selection) matches(e *entry) bool {
	return e.created > s.createdAfter && e.created < s.createdBefore &&
		e.modified > s.modifiedAfter && e.modified < s.modifiedBefore &&
		(s.states == nil || slices.Contains(s.states, e.state)) &&
		strings.HasPrefix(e.name, s.NamePrefix) && strings.Contains(e.folded, s.contains)
}

// cut sorts the candidates and drops those that cannot come on this page any more.
func (s *selection) cut() {
	slices.SortFunc(s.best, func(a, b entry) int { return s.order(&a, &b) })
	if s.full = len(s.best) > s.Limit; s.full {
		s.best = s.best[:s.Limit+1]
	}
}

func (s *selection) page() []entry {
	s.cut()
	if s.more = s.full; s.more {
		return s.best[:s.Limit]
	}
	return s.best
}
