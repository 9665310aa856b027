// Package trace is a spot market that was recorded: it replays, at any speed and on the injected clock, when capacity was to
// be had and at what price. The reading of trace files lives here too, for all who need what they hold.
//
// Nothing of jobs, and no decision, may live here: a trace is what happened, whoever was there.
package trace

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Row is what was offered from a moment on, until the next row.
type Row struct {
	From      time.Duration // since the trace's beginning
	Available bool
	Price     platform.Nanos // of an instance-hour; 0: the trace does not tell
}

// Trace is what was recorded of one instance type or several. It does not change once it is read.
type Trace struct {
	Name   string        // the file, with the window that was picked
	Length time.Duration // until which it was recorded; after it the last rows are taken to hold

	rows map[platform.InstanceType][]Row // in order of From, the first at 0; under "" for every type that has none of its own
}

// Rows are those of an instance type, never none. Invalid: the trace has other types only.
func (t *Trace) Rows(of platform.InstanceType) ([]Row, error) {
	if rows, ok := t.rows[of]; ok {
		return rows, nil
	}
	if rows, ok := t.rows[""]; ok {
		return rows, nil
	}
	return nil, platform.Errorf(platform.Invalid, string(of), "%s says nothing of %s, only of %s", t.Name, of, strings.Join(t.Types(), ", "))
}

// Types are the instance types that the trace names, sorted; none when it holds for any.
func (t *Trace) Types() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(t.rows)) {
		if name != "" {
			names = append(names, string(name))
		}
	}
	return names
}

// At is the row that holds at a moment.
func At(rows []Row, moment time.Duration) Row {
	return rows[index(rows, moment)]
}

// index finds the row that holds at a moment; before the beginning it is the first.
func index(rows []Row, moment time.Duration) int {
	return max(0, sort.Search(len(rows), func(i int) bool { return rows[i].From > moment })-1)
}

// Sample tells, at each of so many ticks, whether capacity was to be had from there on.
func Sample(rows []Row, tick time.Duration, ticks int) []bool {
	offered := make([]bool, ticks)
	for i := range offered {
		offered[i] = At(rows, time.Duration(i)*tick).Available
	}
	return offered
}

// simplify drops rows that say nothing new.
func simplify(rows []Row) []Row {
	return slices.CompactFunc(rows, func(a, b Row) bool { return a.Available == b.Available && a.Price == b.Price })
}
