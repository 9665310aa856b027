// Package cron reads schedules as AWS writes them, at(2026-03-01T12:00:00), rate(5 minutes) and cron(0 8 ? * MON-FRI *), and
// says when they come next. Time zones and the time come from the caller.
//
// The syntax is that of "Schedule expressions" in the Application Auto Scaling user guide.
package cron

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Schedule is an expression that was read.
type Schedule struct {
	at    time.Time     // at: a wall clock's time, whatever its zone
	every time.Duration // rate
	cron  *fields
}

// Parse reads an expression. The error says what is wrong with it.
func Parse(text string) (Schedule, error) {
	name, inner, found := strings.Cut(text, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !found || !closed {
		return Schedule{}, fmt.Errorf("%q is none of at(…), rate(…) and cron(…)", text)
	}
	switch name {
	case "at":
		at, err := time.Parse("2006-01-02T15:04:05", inner)
		if err != nil {
			return Schedule{}, fmt.Errorf("%q is not a time like 2026-03-01T12:00:00", inner)
		}
		return Schedule{at: at}, nil
	case "rate":
		every, err := parseRate(inner)
		return Schedule{every: every}, err
	case "cron":
		f, err := parseFields(inner)
		return Schedule{cron: f}, err
	default:
		return Schedule{}, fmt.Errorf("%q is none of at(…), rate(…) and cron(…)", text)
	}
}

var units = map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}

func parseRate(text string) (time.Duration, error) {
	number, unit, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(number, 10, 32)
	each, known := units[strings.TrimSuffix(unit, "s")]
	if err != nil || n < 1 || !known {
		return 0, fmt.Errorf("%q is not a rate like \"5 minutes\": a positive number of minutes, hours or days", text)
	}
	if (n == 1) == strings.HasSuffix(unit, "s") {
		return 0, fmt.Errorf("%q is not a rate: it is 1 %s, and 2 %ss", text, strings.TrimSuffix(unit, "s"), strings.TrimSuffix(unit, "s"))
	}
	return time.Duration(n) * each, nil
}

// Once reports whether the schedule comes only one time.
func (s Schedule) Once() bool { return s.every == 0 && s.cron == nil }

// Next is the first time after a moment that the schedule names, on the wall clocks of a zone; zero when there is none. A rate
// counts from its anchor, which is the first of its times.
func (s Schedule) Next(after, anchor time.Time, zone *time.Location) time.Time {
	switch {
	case s.cron != nil:
		return s.cron.next(after.In(zone)).UTC()
	case s.every > 0:
		if after.Before(anchor) {
			return anchor
		}
		return anchor.Add((after.Sub(anchor)/s.every + 1) * s.every)
	}
	y, m, d := s.at.Date()
	at := time.Date(y, m, d, s.at.Hour(), s.at.Minute(), s.at.Second(), 0, zone)
	if !at.After(after) {
		return time.Time{}
	}
	return at.UTC()
}
