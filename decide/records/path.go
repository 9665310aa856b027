// Package records decides what of a record a batch transform gives to the model, and what of the model's answer is kept: the
// filters and the join of DataProcessing, in the formats that AWS documents for them (CSV, JSON, JSON Lines). Bytes in, bytes
// out; values are passed on as they were written, numbers and the order of members included.
//
// How objects are taken apart into records, and how these reach the model, is the agent's matter.
package records

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Path is a JSONPath expression of the subset that AWS supports for DataProcessing: $, .name, ['a','b'], [0], [-1], [0,5:],
// [1:3], * in place of a name or an index.
type Path struct{ steps []step }

// step is one part of a path: names, or positions, or everything.
type step struct {
	all       bool
	names     []string
	positions []span
	many      bool // it may select more than one value: its result is a list, or an object of the names
}

// span is an index or a slice.
type span struct {
	from, to int
	open     bool // to the end
	single   bool // one index; to is not used
}

// ParsePath reads an expression; an empty one is $.
func ParsePath(text string) (Path, error) {
	var p Path
	rest := strings.TrimSpace(text)
	if rest == "" {
		return p, nil
	}
	rest, ok := strings.CutPrefix(rest, "$")
	if !ok {
		return p, errors.New("it must begin with $")
	}
	for rest != "" {
		s, left, err := parseStep(rest)
		if err != nil {
			return p, err
		}
		p.steps, rest = append(p.steps, s), left
	}
	return p, nil
}

// Whole reports whether the path selects everything as it is.
func (p Path) Whole() bool { return len(p.steps) == 0 }

func parseStep(text string) (s step, rest string, err error) {
	if after, dotted := strings.CutPrefix(text, "."); dotted {
		switch {
		case strings.HasPrefix(after, "["):
			text = after // $.a.['b','c'] is how AWS writes it
		case strings.HasPrefix(after, "."):
			return s, "", errors.New("the operator .. is not supported")
		default:
			end := strings.IndexAny(after, ".[")
			if end < 0 {
				end = len(after)
			}
			name := after[:end]
			switch name {
			case "":
				return s, "", errors.New("a name is missing after the dot")
			case "*":
				return step{all: true, many: true}, after[end:], nil
			}
			if strings.ContainsAny(name, "]'\"()?@, ") {
				return s, "", fmt.Errorf("%q is no name; write ['%s']", name, name)
			}
			return step{names: []string{name}}, after[end:], nil
		}
	}
	if !strings.HasPrefix(text, "[") {
		return s, "", fmt.Errorf("%q follows neither a dot nor a bracket", text)
	}
	return parseBracket(text[1:])
}

// parseBracket reads what is between brackets: a list of quoted names, or of indices and slices, or *.
func parseBracket(text string) (s step, rest string, err error) {
	for {
		text = strings.TrimLeft(text, " ")
		switch {
		case text == "":
			return s, "", errors.New("a bracket is not closed")
		case text[0] == '\'' || text[0] == '"':
			end := strings.IndexByte(text[1:], text[0])
			if end < 0 {
				return s, "", errors.New("a quoted name is not closed")
			}
			s.names, text = append(s.names, text[1:1+end]), text[end+2:]
		default:
			end := strings.IndexAny(text, ",]")
			if end < 0 {
				return s, "", errors.New("a bracket is not closed")
			}
			if strings.TrimSpace(text[:end]) == "*" {
				s.all = true
			} else {
				at, err := parseSpan(strings.TrimSpace(text[:end]))
				if err != nil {
					return s, "", err
				}
				s.positions = append(s.positions, at)
			}
			text = text[end:]
		}
		text = strings.TrimLeft(text, " ")
		if after, closed := strings.CutPrefix(text, "]"); closed {
			return s.settled(after)
		}
		var more bool
		if text, more = strings.CutPrefix(text, ","); !more {
			return s, "", errors.New("the parts of a bracket are separated by commas")
		}
	}
}

// settled checks a bracket that has been read.
func (s step) settled(rest string) (step, string, error) {
	kinds := 0
	for _, used := range []bool{s.all, len(s.names) > 0, len(s.positions) > 0} {
		if used {
			kinds++
		}
	}
	if kinds != 1 {
		return s, "", errors.New("a bracket holds either names, or indices, or *")
	}
	s.many = s.all || len(s.names) > 1 || len(s.positions) > 1 || len(s.positions) == 1 && !s.positions[0].single
	return s, rest, nil
}

func parseSpan(text string) (span, error) {
	bad := fmt.Errorf("%q is no index, slice or quoted name", text)
	first, second, slice := strings.Cut(text, ":")
	number := func(text string) (int, bool) {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		return n, err == nil
	}
	if !slice {
		n, ok := number(first)
		if !ok {
			return span{}, bad
		}
		return span{from: n, single: true}, nil
	}
	var s span
	fromOK, toOK := true, true
	if strings.TrimSpace(first) != "" {
		s.from, fromOK = number(first)
	}
	if s.open = strings.TrimSpace(second) == ""; !s.open {
		s.to, toOK = number(second)
	}
	if !fromOK || !toOK {
		return s, bad
	}
	return s, nil
}

// pick gives the positions that a step selects of n. What is not among them is an error, as it is with AWS.
func (s step) pick(n int) ([]int, error) {
	if len(s.names) > 0 {
		return nil, fmt.Errorf("it has no member %q: it is a list", s.names[0])
	}
	if s.all {
		s.positions = []span{{open: true}}
	}
	var picked []int
	for _, at := range s.positions {
		from, to, err := at.within(n)
		if err != nil && !s.all { // all of nothing is nothing
			return nil, err
		}
		for i := from; i < to; i++ {
			picked = append(picked, i)
		}
	}
	return picked, nil
}

// within gives the positions from and up to, but not with, which a span selects of n.
func (at span) within(n int) (from, to int, err error) {
	from, to = at.from, at.to
	if from < 0 {
		from += n
	}
	switch {
	case at.single:
		if from < 0 || from >= n {
			return 0, 0, fmt.Errorf("index %d is not within its %d elements", at.from, n)
		}
		return from, from + 1, nil
	case at.open:
		to = n
	case to < 0:
		to += n
	}
	from, to = max(from, 0), min(to, n)
	if from >= to {
		return 0, 0, fmt.Errorf("a slice from %d selects nothing of its %d elements", at.from, n)
	}
	return from, to, nil
}
