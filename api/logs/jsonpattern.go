package logs

import (
	"cmp"
	"encoding/json"
	"io"
	"strconv"
	"strings"
)

// condition decides about a message that is JSON.
type condition func(document any) bool

// compileJSON compiles { selector operator value }, with && before || and parentheses.
func compileJSON(text string) (func(message string) bool, error) {
	p := &jsonParser{rest: text[1:]}
	met, err := p.or()
	if err == nil && !p.take("}") {
		err = p.unexpected(`"}"`)
	}
	if err == nil && skipSpace(p.rest) != "" {
		err = p.unexpected("the end")
	}
	if err != nil {
		return nil, err
	}
	return func(message string) bool {
		document, ok := parseJSON(message)
		return ok && met(document)
	}, nil
}

// parseJSON reads an object or an array; numbers keep their digits.
func parseJSON(message string) (any, bool) {
	text := skipSpace(message)
	if text == "" || text[0] != '{' && text[0] != '[' {
		return nil, false // most lines of a log
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var document any
	if d.Decode(&document) != nil {
		return nil, false
	}
	_, err := d.Token()
	return document, err == io.EOF
}

// jsonParser goes down a pattern, which the model bounds to 1,024 characters and so its depth.
type jsonParser struct{ rest string }

// take goes past a token if it comes next.
func (p *jsonParser) take(token string) bool {
	rest, ok := strings.CutPrefix(skipSpace(p.rest), token)
	if ok {
		p.rest = rest
	}
	return ok
}

// word goes past a keyword, in capitals or not, if it comes next and ends there.
func (p *jsonParser) word(keyword string) bool {
	text := skipSpace(p.rest)
	if len(text) < len(keyword) || !strings.EqualFold(text[:len(keyword)], keyword) || isWord(firstRune(text[len(keyword):])) {
		return false
	}
	p.rest = text[len(keyword):]
	return true
}

func firstRune(text string) rune {
	for _, r := range text {
		return r
	}
	return ' '
}

func (p *jsonParser) unexpected(wanted string) error {
	found := skipSpace(p.rest)
	if found == "" {
		return badPattern("Invalid filter pattern: %s is missing at the end", wanted)
	}
	return badPattern("Invalid filter pattern: expected %s at '%s'", wanted, found)
}

func (p *jsonParser) or() (condition, error) {
	return p.joined("||", p.and, func(a, b condition) condition {
		return func(d any) bool { return a(d) || b(d) }
	})
}

func (p *jsonParser) and() (condition, error) {
	return p.joined("&&", p.single, func(a, b condition) condition {
		return func(d any) bool { return a(d) && b(d) }
	})
}

func (p *jsonParser) joined(operator string, operand func() (condition, error), join func(a, b condition) condition) (condition, error) {
	left, err := operand()
	for err == nil && p.take(operator) {
		var right condition
		if right, err = operand(); err == nil {
			left = join(left, right)
		}
	}
	return left, err
}

func (p *jsonParser) single() (condition, error) {
	if p.take("(") {
		met, err := p.or()
		if err == nil && !p.take(")") {
			err = p.unexpected(`")"`)
		}
		return met, err
	}
	path, err := p.selector()
	if err != nil {
		return nil, err
	}
	switch {
	case p.word("NOT"):
		if !p.word("EXISTS") {
			return nil, p.unexpected("EXISTS")
		}
		return func(d any) bool { _, there := path.find(d); return !there }, nil
	case p.word("IS"):
		return p.literal(path)
	default:
		return p.comparison(path)
	}
}

// literal reads what follows IS.
func (p *jsonParser) literal(path selector) (condition, error) {
	var want any
	switch {
	case p.word("NULL"):
	case p.word("TRUE"):
		want = true
	case p.word("FALSE"):
		want = false
	default:
		return nil, p.unexpected("NULL, TRUE or FALSE")
	}
	return func(d any) bool {
		switch value, there := path.find(d); value.(type) {
		case nil, bool:
			return there && value == want
		default:
			return false
		}
	}, nil
}

// selector is the way to a value: keys of objects, and indexes of arrays.
type selector []any

func (s selector) find(document any) (value any, there bool) {
	value = document
	for _, step := range s {
		switch step := step.(type) {
		case string:
			object, _ := value.(map[string]any)
			if value, there = object[step]; !there {
				return nil, false
			}
		case int:
			array, _ := value.([]any)
			if step >= len(array) {
				return nil, false
			}
			value = array[step]
		}
	}
	return value, true
}

// selector reads $.key.key[0]['key with others'].
func (p *jsonParser) selector() (selector, error) {
	if !p.take("$") {
		return nil, p.unexpected("a property selector ($.name)")
	}
	var path selector
	for {
		dotted := strings.HasPrefix(p.rest, ".")
		p.rest = strings.TrimPrefix(p.rest, ".")
		var step any
		var err error
		switch {
		case strings.HasPrefix(p.rest, "["):
			step, err = p.bracketed()
		case dotted:
			step, err = p.key()
		case len(path) == 0:
			return nil, badPattern("Invalid filter pattern: a property selector must have the form $.name")
		default:
			return path, nil
		}
		if err != nil {
			return nil, err
		}
		path = append(path, step)
	}
}

func (p *jsonParser) key() (string, error) {
	end := strings.IndexFunc(p.rest, func(r rune) bool { return !isWord(r) && r != '-' })
	if end < 0 {
		end = len(p.rest)
	}
	if end == 0 && p.rest != "" {
		return "", badCharacter(p.rest)
	}
	if end == 0 {
		return "", badPattern("Invalid filter pattern: a property selector must have the form $.name")
	}
	key := p.rest[:end]
	p.rest = p.rest[end:]
	return key, nil
}

// bracketed reads [0], ['key'] or ["key"].
func (p *jsonParser) bracketed() (any, error) {
	inside, rest, closed := strings.Cut(p.rest[1:], "]")
	inside = strings.TrimSpace(inside)
	if n := len(inside); closed && n > 2 && (inside[0] == '\'' || inside[0] == '"') && inside[0] == inside[n-1] {
		p.rest = rest
		return inside[1 : n-1], nil
	}
	index, err := strconv.ParseUint(inside, 10, 31)
	if !closed || err != nil {
		return nil, badPattern("Invalid filter pattern: '[%s' is not an index or a quoted name in brackets", inside)
	}
	p.rest = rest
	return int(index), nil
}

// comparison reads an operator and a value. Only a string or a number can match, and what is not there never does.
func (p *jsonParser) comparison(path selector) (condition, error) {
	operator := ""
	for _, o := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if p.take(o) {
			operator = o
			break
		}
	}
	if operator == "" {
		return nil, p.unexpected("an operator (=, !=, <, >, <=, >=, IS or NOT EXISTS)")
	}
	value, err := p.value()
	if err != nil {
		return nil, err
	}
	if operator != "=" && operator != "!=" && value.number == "" {
		return nil, badPattern("Invalid filter pattern: the operator %s needs a number, not '%s'", operator, value.text)
	}
	return func(d any) bool {
		found, _ := path.find(d)
		switch found.(type) {
		case string, json.Number:
			return value.holds(operator, found)
		default:
			return false
		}
	}, nil
}

// value is the right side of a comparison.
type value struct {
	text   string      // in which * stands for any characters
	quoted bool        // so it is a string, even if it looks like a number
	number json.Number // empty when it is none
}

func (p *jsonParser) value() (value, error) {
	text := skipSpace(p.rest)
	if strings.HasPrefix(text, `"`) {
		quoted, rest, err := parseQuoted(text)
		p.rest = rest
		return value{text: quoted, quoted: true}, err
	}
	end := strings.IndexFunc(text, func(r rune) bool { return !isWord(r) && !strings.ContainsRune("+-.*", r) })
	if end < 0 {
		end = len(text)
	}
	if rest := text[end:]; rest != "" && !startsSpace(rest) && !strings.ContainsAny(rest[:1], ")}&|") {
		return value{}, badCharacter(rest)
	}
	if end == 0 {
		return value{}, p.unexpected("a value")
	}
	p.rest = text[end:]
	v := value{text: text[:end]}
	if _, err := strconv.ParseFloat(v.text, 64); err == nil && strings.Trim(v.text, "0123456789+-.eE") == "" {
		v.number = json.Number(v.text)
	}
	return v, nil
}

// holds compares what was found, a string or a number.
func (v value) holds(operator string, found any) bool {
	number, isNumber := found.(json.Number)
	if isNumber && v.number != "" {
		c := compareNumbers(number, v.number)
		return map[string]bool{"=": c == 0, "!=": c != 0, "<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[operator]
	}
	var equal bool
	switch text, isString := found.(string); {
	case isString:
		equal = glob(v.text, text)
	default:
		equal = !v.quoted && glob(v.text, number.String())
	}
	return operator == "=" && equal || operator == "!=" && !equal
}

// compareNumbers is exact for whole numbers of 64 bits, such as ids.
func compareNumbers(a, b json.Number) int {
	if x, err := a.Int64(); err == nil {
		if y, err := b.Int64(); err == nil {
			return cmp.Compare(x, y)
		}
	}
	x, _ := a.Float64() // out of range gives an infinity, which compares as it should
	y, _ := b.Float64()
	return cmp.Compare(x, y)
}

// glob matches text with a pattern in which * stands for any characters.
func glob(pattern, text string) bool {
	first, more, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	for ok {
		var part string
		if part, more, wild = strings.Cut(more, "*"); !wild {
			return strings.HasSuffix(text, part)
		}
		_, text, ok = strings.Cut(text, part)
	}
	return false
}
