package authorize

import (
	"strings"
	"unicode/utf8"
)

// pattern is a compiled wildcard expression: '*' stands for any run of characters, '?' for exactly one, and in policies
// of version 2012-10-17 ${key} for the value of a context key, which is taken literally whatever characters it holds.
type pattern struct {
	form    form
	fold    bool   // ignore the case of ASCII letters: actions
	literal string // formExact: the whole; formPrefix: what comes before the one '*' at the end
	atoms   []atom // formGlob
	parts   []part // formVariable
}

type form uint8

const (
	formExact form = iota
	formPrefix
	formAll
	formGlob
	formVariable
)

// atom is one byte of a literal, or a wildcard.
type atom int16

const (
	anyOne  atom = -1
	anyRun  atom = -2
	pastEnd atom = -3 // in no pattern
)

// part is a stretch of atoms or, when key is set, a variable.
type part struct {
	atoms      []atom
	key        string // lower case
	fallback   string
	hasDefault bool
}

// compileAction compiles an action pattern; IAM ignores the case of actions and knows no variables in them.
func compileAction(text string) pattern {
	p := simplify(atomsOf(strings.ToLower(text)))
	p.fold = true
	return p
}

// compilePattern compiles a resource or a condition's operand. The error is the reason in words, or empty.
func compilePattern(text string, variables bool) (p pattern, reason string) {
	if !variables || !strings.Contains(text, "${") {
		return simplify(atomsOf(text)), ""
	}
	var parts []part
	var atoms []atom
	hasKey := false
	for text != "" {
		before, rest, found := strings.Cut(text, "${")
		atoms = append(atoms, atomsOf(before)...)
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return pattern{}, "a policy variable that begins with ${ must end with }"
		}
		text = after
		if name == "*" || name == "?" || name == "$" { // the three escapes
			atoms = append(atoms, atom(name[0]))
			continue
		}
		variable, reason := compileVariable(name)
		if reason != "" {
			return pattern{}, reason
		}
		parts = append(parts, part{atoms: atoms}, variable)
		atoms, hasKey = nil, true
	}
	if !hasKey {
		return simplify(atoms), ""
	}
	return pattern{form: formVariable, parts: append(parts, part{atoms: atoms})}, ""
}

// compileVariable reads what stands between ${ and }: a key, or a key and a default: aws:PrincipalTag/team, 'none'.
func compileVariable(text string) (part, string) {
	key, fallback, hasDefault := strings.Cut(text, ",")
	key = strings.ToLower(strings.TrimSpace(key))
	if key == "" {
		return part{}, "a policy variable must name a key, as ${aws:username} does"
	}
	if hasDefault {
		fallback = strings.TrimSpace(fallback)
		if len(fallback) < 2 || fallback[0] != '\'' || fallback[len(fallback)-1] != '\'' {
			return part{}, "the default of a policy variable must stand in single quotes"
		}
		fallback = fallback[1 : len(fallback)-1]
	}
	return part{key: key, fallback: fallback, hasDefault: hasDefault}, ""
}

func atomsOf(text string) []atom {
	atoms := make([]atom, 0, len(text))
	for i := range len(text) {
		switch text[i] {
		case '*':
			atoms = append(atoms, anyRun)
		case '?':
			atoms = append(atoms, anyOne)
		default:
			atoms = append(atoms, atom(text[i]))
		}
	}
	return atoms
}

// simplify finds the form that matches fastest; nearly all patterns in real policies are exact, a prefix or "*".
func simplify(atoms []atom) pattern {
	literal := make([]byte, 0, len(atoms))
	for _, a := range atoms {
		if a < 0 {
			break
		}
		literal = append(literal, byte(a))
	}
	switch rest := atoms[len(literal):]; {
	case len(rest) == 0:
		return pattern{form: formExact, literal: string(literal)}
	case len(rest) == 1 && rest[0] == anyRun && len(literal) == 0:
		return pattern{form: formAll}
	case len(rest) == 1 && rest[0] == anyRun:
		return pattern{form: formPrefix, literal: string(literal)}
	default:
		return pattern{form: formGlob, atoms: atoms}
	}
}

// match reports whether all of s is matched. resolved is false when a variable has no single value in the context;
// nothing is matched then.
func (p *pattern) match(s string, context map[string][]string) (matched, resolved bool) {
	switch p.form {
	case formAll:
		return true, true
	case formExact:
		return len(s) == len(p.literal) && p.begins(s), true
	case formPrefix:
		return len(s) >= len(p.literal) && p.begins(s[:len(p.literal)]), true
	case formGlob:
		return matchAtoms(p.atoms, s, p.fold), true
	}
	atoms, ok := p.expand(context)
	return ok && matchAtoms(atoms, s, p.fold), ok
}

// begins compares s with the literal of the same length.
func (p *pattern) begins(s string) bool {
	if !p.fold {
		return s == p.literal
	}
	for i := range len(s) {
		if lower(s[i]) != p.literal[i] {
			return false
		}
	}
	return true
}

func (p *pattern) expand(context map[string][]string) ([]atom, bool) {
	var atoms []atom
	for i := range p.parts {
		q := &p.parts[i]
		if q.key == "" {
			atoms = append(atoms, q.atoms...)
			continue
		}
		value := q.fallback
		if values := context[q.key]; len(values) == 1 {
			value = values[0]
		} else if !q.hasDefault || len(values) > 1 {
			return nil, false
		}
		for j := range len(value) {
			atoms = append(atoms, atom(value[j]))
		}
	}
	return atoms, true
}

// matchAtoms is the usual wildcard match with one point of return: after a mismatch only the latest '*' can take more.
// Time is at most the product of both lengths.
func matchAtoms(p []atom, s string, fold bool) bool {
	i, j, star, mark := 0, 0, -1, 0
	for j < len(s) {
		a := pastEnd
		if i < len(p) {
			a = p[i]
		}
		switch {
		case a == anyRun:
			star, mark = i, j
			i++
		case a == anyOne:
			i++
			j += characterAt(s, j)
		case a == atom(s[j]), fold && a == atom(lower(s[j])):
			i++
			j++
		case star >= 0:
			mark += characterAt(s, mark)
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == anyRun {
		i++
	}
	return i == len(p)
}

// characterAt is how many bytes the character at s[i] has; a byte that is not UTF-8 counts as one character.
func characterAt(s string, i int) int {
	if s[i] < utf8.RuneSelf {
		return 1
	}
	_, width := utf8.DecodeRuneInString(s[i:])
	return width
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
