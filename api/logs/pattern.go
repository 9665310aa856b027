package logs

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stint-ml/stint/platform"
)

// compilePattern turns a filter pattern into what decides about a message; nil takes all. The syntax is that of "Filter
// pattern syntax" in the CloudWatch Logs user guide: terms, and in jsonpattern.go expressions on JSON. Regular expressions
// and space-delimited patterns are refused.
func compilePattern(pattern string) (func(message string) bool, error) {
	switch text := strings.TrimSpace(pattern); {
	case text == "":
		return nil, nil
	case text[0] == '{':
		return compileJSON(text)
	case text[0] == '[':
		return nil, badPattern("Invalid filter pattern: space-delimited patterns ([…]) are not supported by this server")
	default:
		t, err := parseTerms(text)
		if err != nil {
			return nil, err
		}
		return t.match, nil
	}
}

func badPattern(format string, args ...any) error {
	return platform.Errorf(platform.Invalid, "", format, args...)
}

// badCharacter is AWS's word for what must stand in quotes, or not at all.
func badCharacter(text string) error {
	r, _ := utf8.DecodeRuneInString(text)
	if r == '%' {
		return badPattern("Invalid filter pattern: regular expressions (%%…%%) are not supported by this server")
	}
	return badPattern("Invalid character(s) in term '%c'", r)
}

// terms is a pattern of words and phrases. They are found anywhere in a message, within words as well.
type terms struct {
	all, none, some []string // must be there, must not be there, and one of which must be there
}

func (t *terms) match(message string) bool {
	for _, term := range t.all {
		if !strings.Contains(message, term) {
			return false
		}
	}
	for _, term := range t.none {
		if strings.Contains(message, term) {
			return false
		}
	}
	if len(t.all)+len(t.none) > 0 || len(t.some) == 0 {
		return true // beside other terms AWS ignores those with a question mark
	}
	for _, term := range t.some {
		if strings.Contains(message, term) {
			return true
		}
	}
	return false
}

func parseTerms(text string) (*terms, error) {
	t := &terms{}
	for text = skipSpace(text); text != ""; text = skipSpace(text) {
		list := &t.all
		switch text[0] {
		case '?':
			list, text = &t.some, text[1:]
		case '-':
			list, text = &t.none, text[1:]
		}
		term, rest, err := parseTerm(text)
		if err != nil {
			return nil, err
		}
		*list, text = append(*list, term), rest
	}
	return t, nil
}

// parseTerm reads a word of letters, digits and underscores, or a phrase in quotes.
func parseTerm(text string) (term, rest string, err error) {
	if strings.HasPrefix(text, `"`) {
		term, rest, err = parseQuoted(text)
		return strings.TrimFunc(term, blank(term)), rest, err
	}
	end := strings.IndexFunc(text, func(r rune) bool { return !isWord(r) })
	if end < 0 {
		end = len(text)
	}
	if rest = text[end:]; rest != "" && !startsSpace(rest) {
		return "", "", badCharacter(rest)
	}
	if end == 0 {
		return "", "", badPattern("Invalid filter pattern: a term is missing")
	}
	return text[:end], rest, nil
}

// blank cuts a phrase of spaces down to nothing, which every message holds: AWS lets " " match everything.
func blank(phrase string) func(rune) bool {
	nothing := strings.TrimSpace(phrase) == ""
	return func(rune) bool { return nothing }
}

// parseQuoted reads a string in double quotes, in which a backslash goes before a quote or a backslash.
func parseQuoted(text string) (value, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], nil
		case c == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\'):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", badPattern("Invalid filter pattern: a double quote is not closed")
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func skipSpace(text string) string { return strings.TrimLeftFunc(text, unicode.IsSpace) }

func startsSpace(text string) bool { return skipSpace(text) != text }
