package agent

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// metric finds the values of one metric definition in the log.
type metric struct {
	name    string
	literal string // what every match contains, to pass over most lines cheaply; may be empty
	regex   *regexp.Regexp
}

// newMetrics compiles the definitions. One that cannot be compiled is left out with a warning: the job's result does not
// depend on it. Definitions are written for Python's dialect, whose \Z is the one common word that Go spells differently.
func newMetrics(definitions []sagemaker.MetricDefinition) (metrics []metric, warnings []string) {
	for _, d := range definitions {
		name, source := shapes.Value(d.Name), shapes.Value(d.Regex)
		expression := strings.ReplaceAll(source, `\Z`, `\z`)
		regex, err := regexp.Compile(expression)
		switch {
		case strings.HasPrefix(name, ownMetrics):
			warnings = append(warnings, fmt.Sprintf("metric %q is not collected: names that begin with %q are the server's own", name, ownMetrics))
		case err != nil:
			warnings = append(warnings, fmt.Sprintf("metric %q is not collected: its regular expression %q cannot be used (look-around and back-references are not supported): %v", name, source, err))
		case regex.NumSubexp() == 0:
			warnings = append(warnings, fmt.Sprintf("metric %q is not collected: its regular expression %q has no group in parentheses around the value", name, source))
		default:
			metrics = append(metrics, metric{name: name, literal: requiredLiteral(expression), regex: regex})
		}
	}
	return metrics, warnings
}

// requiredLiteral is the longest text that every match of the expression must contain.
func requiredLiteral(expression string) string {
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return ""
	}
	longest := ""
	var visit func(*syntax.Regexp)
	visit = func(r *syntax.Regexp) {
		switch r.Op {
		case syntax.OpLiteral:
			if text := string(r.Rune); r.Flags&syntax.FoldCase == 0 && len(text) > len(longest) {
				longest = text
			}
		case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
			for _, part := range r.Sub {
				visit(part)
			}
		}
	}
	visit(tree)
	return longest
}

// find gives the metrics' values in an event. What a group caught and is no finite number is passed over.
func find(metrics []metric, e platform.LogEvent) []platform.MetricValue {
	var values []platform.MetricValue
	for _, m := range metrics {
		if !strings.Contains(e.Message, m.literal) {
			continue
		}
		for _, match := range m.regex.FindAllStringSubmatch(e.Message, -1) {
			v, err := strconv.ParseFloat(strings.TrimSpace(match[1]), 64)
			if err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
				values = append(values, platform.MetricValue{Name: m.name, Value: v, At: e.Timestamp})
			}
		}
	}
	return values
}
