package trace

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
)

// The columns of a table; the first two must be there.
const (
	columnSeconds   = "seconds"
	columnAvailable = "available"
	columnPrice     = "price"
	columnType      = "instance_type"
)

var columns = []string{columnSeconds, columnAvailable, columnPrice, columnType}

// table is a table of comma-separated values while it is read.
type table struct {
	source
	csv  *csv.Reader
	head []string
	gaps string // how a gap is to be read; empty: it is an error
	rows map[platform.InstanceType][]Row
	line map[platform.InstanceType][]int // of each row
}

// How a gap may be read.
const (
	gapsHold        = "hold"
	gapsUnavailable = "unavailable"
)

func parseTable(text []byte, src source) (*Trace, error) {
	if src.window != "" {
		return nil, platform.Errorf(platform.Invalid, src.name(), "%s is a table, which has no windows; name it without #%s", src.file, src.window)
	}
	t := &table{source: src, csv: csv.NewReader(bytes.NewReader(text)), rows: map[platform.InstanceType][]Row{}, line: map[platform.InstanceType][]int{}}
	t.csv.Comment, t.csv.TrimLeadingSpace, t.csv.ReuseRecord = '#', true, true
	if err := t.readRemarks(text); err != nil {
		return nil, err
	}
	if err := t.readHead(); err != nil {
		return nil, err
	}
	for {
		cells, err := t.csv.Read()
		if errors.Is(err, io.EOF) {
			return t.finish()
		}
		if err == nil {
			err = t.readRow(cells)
		}
		if err != nil {
			return nil, t.unreadable(err)
		}
	}
}

// unreadable words the CSV reader's errors as ours.
func (t *table) unreadable(err error) error {
	var parse *csv.ParseError
	switch {
	case !errors.As(err, &parse):
		return err
	case errors.Is(parse.Err, csv.ErrFieldCount):
		return t.wrong(parse.Line, 1, "the row has not the %d columns of the head (%s)", len(t.head), strings.Join(t.head, ","))
	}
	return t.wrong(parse.Line, parse.Column, "%v", parse.Err)
}

// readRemarks looks in the remarks before the head for what the file says of gaps.
func (t *table) readRemarks(text []byte) error {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		remark, found := strings.CutPrefix(strings.TrimSpace(string(line)), "#")
		if !found && remark != "" {
			return nil
		}
		rule, found := strings.CutPrefix(strings.TrimSpace(remark), "gaps:")
		if !found {
			continue
		}
		if t.gaps = strings.TrimSpace(rule); t.gaps != gapsHold && t.gaps != gapsUnavailable {
			return t.wrong(number, 1, "gaps can be read as %s or %s, not %q", gapsHold, gapsUnavailable, t.gaps)
		}
	}
	return nil
}

func (t *table) readHead() error {
	cells, err := t.csv.Read()
	if err != nil {
		return t.unreadable(err)
	}
	t.head = slices.Clone(cells)
	for i, name := range t.head {
		line, column := t.csv.FieldPos(i)
		name = strings.TrimSpace(name)
		switch {
		case !slices.Contains(columns, name):
			return t.wrong(line, column, "there is no column %q; a trace has %s", name, strings.Join(columns, ", "))
		case slices.Contains(t.head[:i], name):
			return t.wrong(line, column, "the column %s stands there twice", name)
		}
		t.head[i] = name
	}
	for _, needed := range columns[:2] {
		if !slices.Contains(t.head, needed) {
			line, _ := t.csv.FieldPos(0)
			return t.wrong(line, 1, "the column %s is missing; the head is %s, of which price and instance_type may be left out", needed, strings.Join(columns, ","))
		}
	}
	return nil
}

// parse reads one cell.
func (r *Row) parse(column, cell string, of *platform.InstanceType) (err error) {
	switch column {
	case columnSeconds:
		r.From, err = parseSeconds(cell)
	case columnAvailable:
		r.Available, err = parseAvailable(cell)
	case columnPrice:
		r.Price, err = parsePrice(cell)
	case columnType:
		if *of = platform.InstanceType(cell); cell == "" {
			err = errors.New("empty; name the instance type, or leave the column out of a trace that holds for any")
		}
	}
	return err
}

// readRow takes one row into those of its type.
func (t *table) readRow(cells []string) error {
	var row Row
	var of platform.InstanceType
	for i, name := range t.head {
		if err := row.parse(name, strings.TrimSpace(cells[i]), &of); err != nil {
			return t.wrongCell(name, "%v", err)
		}
	}
	was := t.rows[of]
	switch n := len(was); {
	case n == 0 && row.From > 0 && t.gaps != gapsUnavailable:
		return t.wrongCell(columnSeconds, "the first row is at %v: what was offered before it is a gap; add a row for second 0", row.From)
	case n == 0 && row.From > 0:
		t.keep(of, Row{})
	case n > 0 && row.From == was[n-1].From:
		return t.wrongCell(columnSeconds, "a second row at %v; one row says what holds", row.From)
	case n > 0 && row.From < was[n-1].From:
		return t.wrongCell(columnSeconds, "%v comes after %v; rows are in order of time", row.From, was[n-1].From)
	}
	t.keep(of, row)
	return nil
}

func (t *table) keep(of platform.InstanceType, row Row) {
	line, _ := t.csv.FieldPos(0)
	t.rows[of], t.line[of] = append(t.rows[of], row), append(t.line[of], line)
}

// wrongCell is an error in a cell of the row that was read last.
func (t *table) wrongCell(column, format string, args ...any) error {
	line, at := t.csv.FieldPos(slices.Index(t.head, column))
	return t.wrong(line, at, column+": "+format, args...)
}

func parseAvailable(cell string) (bool, error) {
	switch strings.ToLower(cell) {
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	case "":
		return false, errors.New("empty, a gap; say 1 or 0")
	}
	return false, fmt.Errorf("%q is neither 1 nor 0", cell)
}

func parsePrice(cell string) (platform.Nanos, error) {
	if cell == "" {
		return 0, nil
	}
	price, err := parseDecimal(cell)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a price of at most nine decimals", cell)
	case price <= 0:
		return 0, fmt.Errorf("%s is no price; it must be more than 0 (leave it empty where it is not known)", cell)
	case price > maxPrice:
		return 0, fmt.Errorf("%s an hour is more than anything costs", cell)
	}
	return price, nil
}

// maxPrice is a million an hour: beyond it a ledger line might overflow, and something else was meant.
const maxPrice = 1_000_000 * platform.NanosPerUnit

// finish looks for gaps and makes the trace.
func (t *table) finish() (*Trace, error) {
	if len(t.rows) == 0 {
		return nil, platform.Errorf(platform.Invalid, t.name(), "%s has a head and no row; a trace needs one at least", t.file)
	}
	trace := &Trace{Name: t.name(), rows: map[platform.InstanceType][]Row{}}
	for _, of := range slices.Sorted(maps.Keys(t.rows)) {
		rows, end, err := t.bridge(of)
		if err != nil {
			return nil, err
		}
		trace.rows[of], trace.Length = simplify(rows), max(trace.Length, end)
	}
	return trace, nil
}

// bridge fills the gaps of a type as the file says, and tells when its record ends: where rows are observations at equal
// distances one distance after the last of them, and else at the last row.
func (t *table) bridge(of platform.InstanceType) ([]Row, time.Duration, error) {
	rows := t.rows[of]
	end := rows[len(rows)-1].From
	every := distance(rows)
	if every == 0 {
		return rows, end, nil
	}
	var whole []Row
	for i, row := range rows {
		if i > 0 && row.From-rows[i-1].From > every {
			if t.gaps == "" {
				return nil, 0, t.wrong(t.line[of][i], 1, "no row between %v and %v, where the others are %v apart; a gap is not guessed: add what is missing, "+
					"or say before the head how to read it, \"# gaps: hold\" or \"# gaps: unavailable\"", rows[i-1].From, row.From, every)
			}
			if t.gaps == gapsUnavailable {
				whole = append(whole, Row{From: rows[i-1].From + every, Price: rows[i-1].Price})
			}
		}
		whole = append(whole, row)
	}
	return whole, end + every, nil
}

// distance is that between rows which are observations at equal distances, or 0 for rows that are changes. Observations say
// the same again now and then, which changes never do, and three of four distances are the same.
func distance(rows []Row) time.Duration {
	const fewest = 8 // from which a pattern can be told from chance
	if len(rows) < fewest {
		return 0
	}
	counts := map[time.Duration]int{}
	repeats := false
	for i := 1; i < len(rows); i++ {
		counts[rows[i].From-rows[i-1].From]++
		repeats = repeats || rows[i].Available == rows[i-1].Available && rows[i].Price == rows[i-1].Price
	}
	for d, n := range counts {
		if repeats && 4*n >= 3*(len(rows)-1) {
			return d
		}
	}
	return 0
}
