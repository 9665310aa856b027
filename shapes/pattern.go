package shapes

import (
	"regexp"
	"sync"
)

// Pattern is a regular expression of the service model. AWS writes it in Java's
// dialect and matches the whole value.
type Pattern struct {
	Source string // as in the model; quoted in errors

	// RE2 is the same language in Go's dialect, written by the generator; empty
	// when Source needs no translation.
	RE2 string

	compile sync.Once
	match   func(string) bool
	err     error
}

// Match reports whether the whole of s matches. The expression is compiled at
// its first use, because most processes (an agent, a command line) use none. A
// pattern that does not compile matches everything: refusing every request for
// a fault of ours would be worse, and the tests of the generated packages prove
// with Compile that there is none.
func (p *Pattern) Match(s string) bool {
	p.compile.Do(p.prepare)
	return p.err != nil || p.match(s)
}

// Compile reports why the expression does not compile, or nil.
func (p *Pattern) Compile() error {
	p.compile.Do(p.prepare)
	return p.err
}

// oneLine reports whether s has none of the line terminators that a dot does not
// match in Java's dialect: \n, \r, U+0085, U+2028 and U+2029.
func oneLine(s string) bool {
	for _, r := range s {
		if r == '\n' || r == '\r' || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return false
		}
	}
	return true
}

func (p *Pattern) prepare() {
	// The patterns that say "any text" guard the longest values (2,500 characters
	// of hyperparameter, policies); an automaton would be 100 times slower there.
	switch p.Source {
	case ".*":
		p.match = oneLine
		return
	case ".+":
		p.match = func(s string) bool { return s != "" && oneLine(s) }
		return
	case `[\S\s]*`, `[\s\S]*`:
		p.match = func(string) bool { return true }
		return
	}
	source := p.RE2
	if source == "" {
		source = p.Source
	}
	expression, err := regexp.Compile(`\A(?:` + source + `)\z`)
	if err != nil {
		p.err = err
		return
	}
	p.match = expression.MatchString
}
