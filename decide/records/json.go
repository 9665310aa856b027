package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// member is one of an object; both parts are as they are written.
type member struct{ name, value []byte }

// openings and closings of what nests.
func nests(c byte) int {
	switch c {
	case '{', '[':
		return 1
	case '}', ']':
		return -1
	}
	return 0
}

// parts splits what is between the brackets of a valid list or object at its commas.
func parts(raw []byte) [][]byte {
	inner := bytes.TrimSpace(raw[1 : len(raw)-1])
	if len(inner) == 0 {
		return nil
	}
	var out [][]byte
	depth, start, quoted := 0, 0, false
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ',' && depth == 0:
			out, start = append(out, bytes.TrimSpace(inner[start:i])), i+1
		default:
			depth += nests(c)
		}
	}
	return append(out, bytes.TrimSpace(inner[start:]))
}

// members takes a valid object apart.
func members(raw []byte) []member {
	var out []member
	for _, p := range parts(raw) {
		end := 1
		for p[end] != '"' {
			if p[end] == '\\' {
				end++
			}
			end++
		}
		colon := end + 1 + bytes.IndexByte(p[end+1:], ':')
		out = append(out, member{p[:end+1], bytes.TrimSpace(p[colon+1:])})
	}
	return out
}

// find gives the value of a member; the last of equal names counts.
func find(all []member, name string) (found []byte) {
	for _, m := range all {
		var is string
		if json.Unmarshal(m.name, &is) == nil && is == name {
			found = m.value
		}
	}
	return found
}

// selectJSON appends what the path selects of a valid value.
func (p Path) selectJSON(dst, raw []byte) ([]byte, error) { return selectSteps(dst, raw, p.steps) }

func selectSteps(dst, raw []byte, steps []step) ([]byte, error) {
	if len(steps) == 0 {
		return append(dst, raw...), nil
	}
	s, rest := steps[0], steps[1:]
	switch {
	case raw[0] == '[':
		return s.ofList(dst, parts(raw), rest)
	case raw[0] == '{' && len(s.positions) > 0:
		return nil, errors.New("it is an object and has no indices")
	case raw[0] == '{':
		return s.ofObject(dst, members(raw), rest)
	}
	return nil, fmt.Errorf("%s is neither a list nor an object", short(raw))
}

func (s step) ofList(dst []byte, elements [][]byte, rest []step) ([]byte, error) {
	picked, err := s.pick(len(elements))
	if err != nil {
		return nil, err
	}
	if !s.many {
		return selectSteps(dst, elements[picked[0]], rest)
	}
	dst = append(dst, '[')
	for i, at := range picked {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = selectSteps(dst, elements[at], rest); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func (s step) ofObject(dst []byte, all []member, rest []step) (_ []byte, err error) {
	if s.all {
		return s.ofList(dst, values(all), rest)
	}
	if !s.many {
		return s.ofMember(dst, all, s.names[0], rest)
	}
	for i, name := range s.names {
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		dst = append(append(append(dst, "{,"[min(i, 1)]), quoted...), ':')
		if dst, err = s.ofMember(dst, all, name, rest); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func (s step) ofMember(dst []byte, all []member, name string, rest []step) ([]byte, error) {
	value := find(all, name)
	if value == nil {
		return nil, fmt.Errorf("it has no member %q", name)
	}
	return selectSteps(dst, value, rest)
}

func values(all []member) [][]byte {
	out := make([][]byte, len(all))
	for i, m := range all {
		out[i] = m.value
	}
	return out
}

// The names under which a join keeps both sides.
const (
	inputName  = "SageMakerInput"
	outputName = "SageMakerOutput"
)

// joinJSON appends the record with the answer beside it.
func joinJSON(dst, record, answer []byte) []byte {
	dst = append(dst, '{')
	if record[0] == '{' {
		for _, m := range members(record) {
			if string(m.name) != `"`+outputName+`"` {
				dst = append(append(append(append(dst, m.name...), ':'), m.value...), ',')
			}
		}
	} else {
		dst = append(append(append(dst, `"`+inputName+`":`...), record...), ',')
	}
	dst = append(dst, `"`+outputName+`":`...)
	return append(append(dst, answer...), '}')
}

// compact gives a valid value without the space around its parts, so that it is one line.
func compact(raw []byte) ([]byte, error) {
	if bytes.IndexByte(raw, '\n') < 0 {
		if !json.Valid(raw) {
			return nil, fmt.Errorf("%s is not valid JSON", short(raw))
		}
		return raw, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, fmt.Errorf("%s is not valid JSON", short(raw))
	}
	return b.Bytes(), nil
}

// short is the beginning of something, for people.
func short(raw []byte) string {
	const most = 60
	if len(raw) > most {
		return fmt.Sprintf("%q…", raw[:most])
	}
	return fmt.Sprintf("%q", raw)
}
