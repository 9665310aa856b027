package cron

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fields is a cron expression: minutes, hours, day of the month, month, day of the week and year.
type fields struct {
	minutes, hours, months []int
	years                  []int // empty: every year
	days                   func(day time.Time) bool
}

// horizon bounds how far ahead a time is looked for: 29 February may be eight years away, and on a given day of the week 40.
const horizon = 41 * 366

const lastYear = 2199

var (
	monthNames = []string{"", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	dayNames   = []string{"", "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"} // AWS's week begins with 1
)

func parseFields(text string) (*fields, error) {
	part := strings.Fields(text)
	if len(part) == 5 {
		part = append(part, "*")
	}
	if len(part) != 6 {
		return nil, fmt.Errorf("cron(%s) has %d fields; there are six: minutes hours day-of-month month day-of-week year", text, len(part))
	}
	if (part[2] == "?") == (part[4] == "?") {
		return nil, fmt.Errorf("cron(%s): exactly one of day-of-month and day-of-week must be ?", text)
	}
	f := &fields{}
	for _, one := range []struct {
		into      *[]int
		text      string
		low, high int
		names     []string
	}{
		{&f.minutes, part[0], 0, 59, nil}, {&f.hours, part[1], 0, 23, nil}, {&f.months, part[3], 1, 12, monthNames}, {&f.years, part[5], 1970, lastYear, nil},
	} {
		values, err := parseSet(one.text, one.low, one.high, one.names)
		if err != nil {
			return nil, fmt.Errorf("cron(%s): %w", text, err)
		}
		*one.into = values
	}
	if part[5] == "*" {
		f.years = nil
	}
	var err error
	if part[4] == "?" {
		f.days, err = parseMonthDay(part[2])
	} else {
		f.days, err = parseWeekDay(part[4])
	}
	if err != nil {
		return nil, fmt.Errorf("cron(%s): %w", text, err)
	}
	return f, nil
}

// parseSet reads "*", "5", "1-5", "*/15", "10/5", "MON,WED" and their lists into ascending values.
func parseSet(text string, low, high int, names []string) ([]int, error) {
	var out []int
	for item := range strings.SplitSeq(text, ",") {
		from, to, step, err := parseSpan(item, low, high, names)
		if err != nil {
			return nil, err
		}
		if to < from { // FRI-MON goes around
			for v := from; v <= high; v += step {
				out = append(out, v)
			}
			from = low
		}
		for v := from; v <= to; v += step {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// parseSpan reads one item of a set: from where to where, and in which steps.
func parseSpan(item string, low, high int, names []string) (from, to, step int, err error) {
	span, stepText, stepped := strings.Cut(item, "/")
	from, to, step = low, high, 1
	if stepped {
		if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
			return 0, 0, 0, fmt.Errorf("%q is not a step", item)
		}
	}
	if span == "*" {
		return from, to, step, nil
	}
	first, last, ranged := strings.Cut(span, "-")
	if from, err = parseValue(first, low, high, names); err != nil {
		return 0, 0, 0, err
	}
	switch {
	case ranged:
		to, err = parseValue(last, low, high, names)
	case !stepped:
		to = from
	}
	return from, to, step, err
}

func parseValue(text string, low, high int, names []string) (int, error) {
	if i := slices.Index(names, strings.ToUpper(text)); i > 0 {
		return i, nil
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < low || v > high {
		return 0, fmt.Errorf("%q is not between %d and %d", text, low, high)
	}
	return v, nil
}

// lastOf is the number of the last day of a day's month.
func lastOf(day time.Time) int {
	return time.Date(day.Year(), day.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// parseMonthDay reads a day of the month: a set, L for the last day, LW for the last weekday, or 15W for the weekday that is
// nearest to the 15th in the same month.
func parseMonthDay(text string) (func(time.Time) bool, error) {
	if text == "L" {
		return func(d time.Time) bool { return d.Day() == lastOf(d) }, nil
	}
	if number, ok := strings.CutSuffix(text, "W"); ok {
		wanted := 31
		if number != "L" {
			var err error
			if wanted, err = parseValue(number, 1, 31, nil); err != nil {
				return nil, err
			}
		}
		return func(d time.Time) bool { return (wanted <= lastOf(d) || number == "L") && d.Day() == nearest(d, wanted) }, nil
	}
	set, err := parseSet(text, 1, 31, nil)
	return func(d time.Time) bool { return slices.Contains(set, d.Day()) }, err
}

// nearest is the day of a month, from Monday to Friday, that is nearest to the one wanted.
func nearest(in time.Time, wanted int) int {
	last := lastOf(in)
	wanted = min(wanted, last)
	switch time.Date(in.Year(), in.Month(), wanted, 0, 0, 0, 0, time.UTC).Weekday() {
	case time.Saturday:
		if wanted == 1 {
			return 3
		}
		return wanted - 1
	case time.Sunday:
		if wanted == last {
			return wanted - 2
		}
		return wanted + 1
	default:
		return wanted
	}
}

// parseWeekDay reads a day of the week: a set, 6L or FRIL for the last Friday of a month, L for Saturday, 2#1 for the first
// Monday.
func parseWeekDay(text string) (func(time.Time) bool, error) {
	is := func(d time.Time, day int) bool { return int(d.Weekday())+1 == day }
	if text == "L" {
		text = "7"
	}
	if name, ok := strings.CutSuffix(text, "L"); ok {
		day, err := parseValue(name, 1, 7, dayNames)
		return func(d time.Time) bool { return is(d, day) && d.Day() > lastOf(d)-7 }, err
	}
	if name, count, ok := strings.Cut(text, "#"); ok {
		day, err := parseValue(name, 1, 7, dayNames)
		if err != nil {
			return nil, err
		}
		nth, err := parseValue(count, 1, 5, nil)
		return func(d time.Time) bool { return is(d, day) && (d.Day()-1)/7+1 == nth }, err
	}
	set, err := parseSet(text, 1, 7, dayNames)
	return func(d time.Time) bool { return slices.Contains(set, int(d.Weekday())+1) }, err
}

// next walks day by day. A time that a zone's clocks skip does not come; one that they show twice comes once.
func (f *fields) next(after time.Time) time.Time {
	zone := after.Location()
	y, m, d := after.Date()
	for range horizon {
		day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		d++
		if day.Year() > lastYear || len(f.years) > 0 && day.Year() > f.years[len(f.years)-1] {
			break
		}
		if !slices.Contains(f.months, int(day.Month())) || len(f.years) > 0 && !slices.Contains(f.years, day.Year()) || !f.days(day) {
			continue
		}
		if at, found := f.within(day, after, zone); found {
			return at
		}
	}
	return time.Time{}
}

// within finds the first time of a day that comes after a moment.
func (f *fields) within(day, after time.Time, zone *time.Location) (time.Time, bool) {
	for _, hour := range f.hours {
		for _, minute := range f.minutes {
			at := time.Date(day.Year(), day.Month(), day.Day(), hour, minute, 0, 0, zone)
			if at.After(after) && at.Hour() == hour && at.Minute() == minute {
				return at, true
			}
		}
	}
	return time.Time{}, false
}
