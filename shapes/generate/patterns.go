package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// translatedPattern is a pattern of the model and, where Go's dialect needs it,
// the same language for Go.
type translatedPattern struct {
	source string
	re2    string // empty when the same as source
}

// rewritten lists the patterns that no rule below can translate, because Go's
// engine has no lookaround. Each stands for exactly the same language; the tests
// compare them with examples.
var rewritten = map[string]string{
	// "(?<!-)" at the end: the name must not end with a hyphen. The last character
	// is written out instead.
	`(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?([a-zA-Z0-9]([a-zA-Z0-9-]){0,62})(?<!-)`:                `(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?`,
	`(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?([a-zA-Z0-9]([a-zA-Z0-9-]){0,62})(?<!-)(\/[0-9]{1,9})?`: `(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\/[0-9]{1,9})?`,
	// "(?!\s*$)" at the beginning: the text must not be all white space. One character that is none is written out.
	`(?!\s*$).+`: `[^\n\r\x{85}\x{2028}\x{2029}]*[^\t\n\x0b\f\r \x{85}\x{2028}\x{2029}][^\n\r\x{85}\x{2028}\x{2029}]*`,
	// "(?!(^[ ]+.*)|…)": neither control characters nor any of ":/|", and no space at either end.
	`(?!((^[ ]+.*)|(.*([\u0000-\u001f]|[\u007f-\u009f]|[:/|])+.*)|(.*[ ]+$))).+`: `[^\x00-\x1f\x7f-\x{9f}\x{2028}\x{2029}:/| ](?:[^\x00-\x1f\x7f-\x{9f}\x{2028}\x{2029}:/|]*[^\x00-\x1f\x7f-\x{9f}\x{2028}\x{2029}:/| ])?`,
	// Go repeats at most 1,000 times.
	`[a-zA-Z_][a-zA-Z0-9_]{0,1023}`: `[a-zA-Z_][a-zA-Z0-9_]{0,1000}[a-zA-Z0-9_]{0,23}`,
	// The pair of surrogates stands for the supplementary planes, which Go writes as they are.
	`[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*`: `[\x{20}-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}\r\n\t]*`,
	// "(?!.*\.\.)": no two dots in a row. Dots are written out one at a time.
	`/(?!.*\.\.)[a-zA-Z0-9/_.\-]+`: `/(?:\.|\.?[a-zA-Z0-9/_\-]+(?:\.[a-zA-Z0-9/_\-]+)*\.?)`,
}

// translatePattern turns a pattern of Java's dialect into Go's. maxLength is the
// longest value the shape allows, empty when it sets no limit.
func translatePattern(source, maxLength string) (translatedPattern, error) {
	re2, known := rewritten[source]
	if !known {
		var err error
		if re2, err = relaxLongRepeats(translateClasses(source), maxLength); err != nil {
			return translatedPattern{}, fmt.Errorf("pattern %s: %w", source, err)
		}
	}
	if _, err := regexp.Compile(`\A(?:` + re2 + `)\z`); err != nil {
		return translatedPattern{}, fmt.Errorf("pattern %s needs a line in shapes/generate/patterns.go: %w", source, err)
	}
	if re2 == source {
		re2 = ""
	}
	return translatedPattern{source: source, re2: re2}, nil
}

// Java's POSIX classes, which it names like Unicode ones. They are ASCII only.
var posixClasses = map[string]string{
	`\p{Alnum}`: "a-zA-Z0-9", `\p{Alpha}`: "a-zA-Z", `\p{Digit}`: "0-9", `\p{Lower}`: "a-z", `\p{Upper}`: "A-Z",
	`\p{ASCII}`: `\x00-\x7F`, `\p{Print}`: `\x20-\x7E`, `\p{Graph}`: `\x21-\x7E`, `\p{Blank}`: ` \t`, `\p{Space}`: `\t-\r `,
}

// translateClasses rewrites character by character what Java spells otherwise:
// \uXXXX, the POSIX classes, the escaped slash, and the dot, which in Java leaves
// out five line terminators where Go leaves out one.
//
// \u takes exactly four digits, in Java too: the \u10000-\u10FFFF in IAM's
// patterns does not mean the supplementary planes there either. (Java's \S and \s
// also know the vertical tab, Go's do not; no pattern has depended on that.)
func translateClasses(source string) string {
	var out strings.Builder
	inClass := false
	for i := 0; i < len(source); i++ {
		rest := source[i:]
		switch {
		case strings.HasPrefix(rest, `\u`) && len(rest) >= 6:
			out.WriteString(`\x{` + rest[2:6] + `}`)
			i += 5
		case strings.HasPrefix(rest, `\p{`):
			class := rest[:strings.IndexByte(rest+"}", '}')+1]
			out.WriteString(translateProperty(class, inClass))
			i += len(class) - 1
		case rest[0] == '\\' && len(rest) > 1:
			if rest[1] == '/' {
				out.WriteByte('/')
			} else {
				out.WriteString(rest[:2])
			}
			i++
		case rest[0] == '.' && !inClass:
			out.WriteString(`[^\n\r\x{85}\x{2028}\x{2029}]`)
		default:
			if rest[0] == '[' {
				inClass = true
			} else if rest[0] == ']' {
				inClass = false
			}
			out.WriteByte(rest[0])
		}
	}
	return out.String()
}

func translateProperty(class string, inClass bool) string {
	ranges, posix := posixClasses[class]
	switch {
	case !posix:
		return class
	case inClass:
		return ranges
	}
	return "[" + ranges + "]"
}

var repeat = regexp.MustCompile(`\{(\d+),(\d+)\}`)

// relaxLongRepeats removes an upper count that Go's engine refuses (over 1,000)
// where the shape's own limit on length says as much.
func relaxLongRepeats(source, maxLength string) (string, error) {
	var failure error
	relaxed := repeat.ReplaceAllStringFunc(source, func(found string) string {
		low, high, _ := strings.Cut(strings.Trim(found, "{}"), ",")
		count, err := strconv.Atoi(high)
		if err == nil && count <= 1000 {
			return found
		}
		limit, err := strconv.Atoi(maxLength)
		if err != nil || limit > count {
			failure = fmt.Errorf("repeat %s is too long for Go, and the length limit %q does not imply it", found, maxLength)
		}
		return "{" + low + ",}"
	})
	return relaxed, failure
}
