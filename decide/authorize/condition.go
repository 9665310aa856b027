package authorize

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// condition is one operator applied to one key.
type condition struct {
	key        string // lower case
	operator   *operator
	quantifier quantifier
	ifExists   bool
	operands   []operand
}

type quantifier uint8

const (
	plain quantifier = iota
	forAllValues
	forAnyValue
)

// operator is one row of the table below: how an operand is read and how a context value is compared with it.
// A negated operator holds when its positive twin does not.
type operator struct {
	name    string
	negated bool
	read    func(text string, variables bool) (operand, string)
	matches func(o *operand, value string, context map[string][]string) (matched, resolved bool)
}

// operand is a policy's value, read as its operator needs it.
type operand struct {
	text    string
	pattern pattern
	arn     []pattern // six
	number  float64
	at      time.Time
	network netip.Prefix
}

// operators is every condition operator but Null, by name.
var operators = table(
	operator{name: "StringEquals", read: readLiteral, matches: matchPattern},
	operator{name: "StringNotEquals", negated: true, read: readLiteral, matches: matchPattern},
	operator{name: "StringEqualsIgnoreCase", read: readLiteral, matches: matchIgnoringCase},
	operator{name: "StringNotEqualsIgnoreCase", negated: true, read: readLiteral, matches: matchIgnoringCase},
	operator{name: "StringLike", read: readPattern, matches: matchPattern},
	operator{name: "StringNotLike", negated: true, read: readPattern, matches: matchPattern},
	operator{name: "NumericEquals", read: readNumber, matches: numeric(func(v, o float64) bool { return v == o })},
	operator{name: "NumericNotEquals", negated: true, read: readNumber, matches: numeric(func(v, o float64) bool { return v == o })},
	operator{name: "NumericLessThan", read: readNumber, matches: numeric(func(v, o float64) bool { return v < o })},
	operator{name: "NumericLessThanEquals", read: readNumber, matches: numeric(func(v, o float64) bool { return v <= o })},
	operator{name: "NumericGreaterThan", read: readNumber, matches: numeric(func(v, o float64) bool { return v > o })},
	operator{name: "NumericGreaterThanEquals", read: readNumber, matches: numeric(func(v, o float64) bool { return v >= o })},
	operator{name: "DateEquals", read: readDate, matches: date(func(order int) bool { return order == 0 })},
	operator{name: "DateNotEquals", negated: true, read: readDate, matches: date(func(order int) bool { return order == 0 })},
	operator{name: "DateLessThan", read: readDate, matches: date(func(order int) bool { return order < 0 })},
	operator{name: "DateLessThanEquals", read: readDate, matches: date(func(order int) bool { return order <= 0 })},
	operator{name: "DateGreaterThan", read: readDate, matches: date(func(order int) bool { return order > 0 })},
	operator{name: "DateGreaterThanEquals", read: readDate, matches: date(func(order int) bool { return order >= 0 })},
	operator{name: "Bool", read: readBool, matches: matchBool},
	operator{name: "BinaryEquals", read: readText, matches: matchText},
	operator{name: "IpAddress", read: readNetwork, matches: matchNetwork},
	operator{name: "NotIpAddress", negated: true, read: readNetwork, matches: matchNetwork},
	operator{name: "ArnEquals", read: readARN, matches: matchARN},
	operator{name: "ArnNotEquals", negated: true, read: readARN, matches: matchARN},
	operator{name: "ArnLike", read: readARN, matches: matchARN},
	operator{name: "ArnNotLike", negated: true, read: readARN, matches: matchARN},
)

// null asks whether a key is absent ("true") or present ("false"); it alone looks at no value.
var null = operator{name: "Null", read: readBool}

func table(rows ...operator) map[string]*operator {
	t := make(map[string]*operator, len(rows))
	for i := range rows {
		t[rows[i].name] = &rows[i]
	}
	return t
}

// holds evaluates the condition. decided is false when it hangs on a policy variable that has no value.
func (c *condition) holds(context map[string][]string) (holds, decided bool) {
	values := context[c.key]
	switch {
	case c.operator == &null:
		return c.asksFor(len(values) == 0), true
	case len(values) == 0:
		return c.holdsAbsent(), true
	}
	matching, decided := 0, true
	for _, value := range values {
		matched, resolved := c.matchesAny(value, context)
		if matched {
			matching++
		}
		decided = decided && resolved
	}
	// How many of the context's values satisfy the operator itself:
	satisfying := matching
	if c.operator.negated {
		satisfying = len(values) - matching
	}
	if c.quantifier == forAllValues || c.quantifier == plain && c.operator.negated {
		return satisfying == len(values), decided
	}
	return satisfying > 0, decided
}

// holdsAbsent is the answer when the context has not the key.
func (c *condition) holdsAbsent() bool {
	return c.ifExists || c.quantifier == forAllValues || c.operator.negated && c.quantifier == plain
}

// asksFor is Null's: is one of its operands whether the key is absent?
func (c *condition) asksFor(absent bool) bool {
	for i := range c.operands {
		if (c.operands[i].text == "true") == absent {
			return true
		}
	}
	return false
}

// matchesAny compares one context value with the operands, of which one is enough.
func (c *condition) matchesAny(value string, context map[string][]string) (matched, resolved bool) {
	resolved = true
	for i := range c.operands {
		m, r := c.operator.matches(&c.operands[i], value, context)
		if m {
			return true, true
		}
		resolved = resolved && r
	}
	return false, resolved
}

func readText(text string, _ bool) (operand, string) { return operand{text: text}, "" }

func matchText(o *operand, value string, _ map[string][]string) (bool, bool) {
	return value == o.text, true
}

// readLiteral reads a text in which only variables are special: * and ? stand for themselves.
func readLiteral(text string, variables bool) (operand, string) {
	p, reason := compilePattern(text, variables)
	p.unwild()
	return operand{text: text, pattern: p}, reason
}

// unwild turns wildcards back into the characters they are written with.
func (p *pattern) unwild() {
	plain := func(atoms []atom) {
		for i, a := range atoms {
			switch a {
			case anyRun:
				atoms[i] = '*'
			case anyOne:
				atoms[i] = '?'
			}
		}
	}
	for i := range p.parts {
		plain(p.parts[i].atoms)
	}
	switch p.form {
	case formAll:
		*p = pattern{form: formExact, literal: "*"}
	case formPrefix:
		*p = pattern{form: formExact, literal: p.literal + "*"}
	case formGlob:
		plain(p.atoms)
		*p = simplify(p.atoms)
	}
}

func readPattern(text string, variables bool) (operand, string) {
	p, reason := compilePattern(text, variables)
	return operand{text: text, pattern: p}, reason
}

func matchPattern(o *operand, value string, context map[string][]string) (bool, bool) {
	return o.pattern.match(value, context)
}

func matchIgnoringCase(o *operand, value string, context map[string][]string) (bool, bool) {
	if o.pattern.form == formExact {
		return strings.EqualFold(value, o.pattern.literal), true
	}
	atoms, ok := o.pattern.expand(context)
	if !ok {
		return false, false
	}
	text := make([]byte, len(atoms))
	for i, a := range atoms {
		text[i] = byte(a)
	}
	return strings.EqualFold(value, string(text)), true
}

func readNumber(text string, _ bool) (operand, string) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return operand{}, strconv.Quote(text) + " is not a number"
	}
	return operand{text: text, number: n}, ""
}

// numeric compares numbers; a context value that is none matches nothing.
func numeric(compare func(value, operand float64) bool) func(*operand, string, map[string][]string) (bool, bool) {
	return func(o *operand, value string, _ map[string][]string) (bool, bool) {
		n, err := strconv.ParseFloat(value, 64)
		return err == nil && compare(n, o.number), true
	}
}

func readDate(text string, _ bool) (operand, string) {
	at, ok := parseDate(text)
	if !ok {
		return operand{}, strconv.Quote(text) + " is neither an ISO 8601 date nor seconds since 1970"
	}
	return operand{text: text, at: at}, ""
}

func parseDate(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

func date(compare func(order int) bool) func(*operand, string, map[string][]string) (bool, bool) {
	return func(o *operand, value string, _ map[string][]string) (bool, bool) {
		at, ok := parseDate(value)
		return ok && compare(at.Compare(o.at)), true
	}
}

func readBool(text string, _ bool) (operand, string) {
	text = strings.ToLower(text)
	if text != "true" && text != "false" {
		return operand{}, strconv.Quote(text) + " is neither true nor false"
	}
	return operand{text: text}, ""
}

func matchBool(o *operand, value string, _ map[string][]string) (bool, bool) {
	return strings.EqualFold(value, o.text), true
}

func readNetwork(text string, _ bool) (operand, string) {
	if address, err := netip.ParseAddr(text); err == nil {
		return operand{text: text, network: netip.PrefixFrom(address, address.BitLen())}, ""
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return operand{}, strconv.Quote(text) + " is neither an IP address nor a CIDR range"
	}
	return operand{text: text, network: network.Masked()}, ""
}

func matchNetwork(o *operand, value string, _ map[string][]string) (bool, bool) {
	address, err := netip.ParseAddr(value)
	return err == nil && o.network.Contains(address.Unmap()), true
}

// readARN compiles the six parts of an ARN apart, so that a wildcard never reaches over a colon but in the last.
func readARN(text string, variables bool) (operand, string) {
	fields := strings.SplitN(text, ":", 6)
	if strings.Contains(text, "${") {
		fields = splitOutsideVariables(text)
	}
	if len(fields) != 6 && text != "*" {
		return operand{}, strconv.Quote(text) + " is not an ARN of six parts"
	}
	o := operand{text: text}
	for i := range 6 {
		field := "*"
		if len(fields) == 6 {
			field = fields[i]
		}
		p, reason := compilePattern(field, variables)
		if reason != "" {
			return operand{}, reason
		}
		o.arn = append(o.arn, p)
	}
	return o, ""
}

// splitOutsideVariables cuts text at its first five colons, not counting those within ${…}.
func splitOutsideVariables(text string) []string {
	var fields []string
	begin, depth := 0, 0
	for i := 0; i < len(text) && len(fields) < 5; i++ {
		switch {
		case strings.HasPrefix(text[i:], "${"):
			depth++
		case text[i] == '}' && depth > 0:
			depth--
		case text[i] == ':' && depth == 0:
			fields = append(fields, text[begin:i])
			begin = i + 1
		}
	}
	return append(fields, text[begin:])
}

func matchARN(o *operand, value string, context map[string][]string) (bool, bool) {
	matched, resolved := true, true
	rest := value
	for i := range o.arn {
		field := rest
		if i < 5 {
			var more bool
			if field, rest, more = strings.Cut(rest, ":"); !more {
				return false, resolved
			}
		}
		m, r := o.arn[i].match(field, context)
		matched, resolved = matched && m, resolved && r
	}
	return matched, resolved
}
