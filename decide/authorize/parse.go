package authorize

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/platform"
)

// The versions of the policy language. Only the newer one knows policy variables; a document without a Version is of
// the older.
const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// Parse compiles a policy document. The error is Invalid, its message in AWS's words for MalformedPolicyDocument
// followed by the place in the document: "Policy statement must contain actions. (Statement[1])".
func Parse(name, document string, use Use) (*Policy, error) {
	p := parser{use: use, keys: make(map[string]bool)}
	top, err := p.document(document)
	if err != nil {
		return nil, err
	}
	return &Policy{name: name, statements: top, keys: slices.Sorted(maps.Keys(p.keys))}, nil
}

// parser holds what statements of one document share.
type parser struct {
	use       Use
	variables bool
	sids      map[string]bool
	keys      map[string]bool // that are read
}

// malformed makes the one error of this file; place may be empty when the whole document is meant.
func malformed(place, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	if place != "" {
		message += " (" + place + ")"
	}
	return platform.Errorf(platform.Invalid, place, "%s", message)
}

func (p *parser) document(text string) ([]statement, error) {
	if err := checkSyntax(text); err != nil {
		return nil, err
	}
	top, err := readObject([]byte(text), "")
	if err != nil {
		return nil, err
	}
	var list []element
	for _, m := range top {
		found, err := p.topMember(m)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	if len(list) == 0 {
		return nil, malformed("Statement", "Syntax errors in policy. A policy must contain at least one statement.")
	}
	// Only now: a Version may stand behind the statements it is about.
	p.sids = make(map[string]bool)
	statements := make([]statement, len(list))
	for i, e := range list {
		if statements[i], err = p.statement(e); err != nil {
			return nil, err
		}
	}
	return statements, nil
}

// topMember reads a member of the document and gives the statements, if it holds them.
func (p *parser) topMember(m member) ([]element, error) {
	switch m.name {
	case "Version":
		version, ok := readString(m.value)
		if !ok || version != version2012 && version != version2008 {
			return nil, malformed("Version", "The policy must contain a valid version string")
		}
		p.variables = version == version2012
		return nil, nil
	case "Id":
		if _, ok := readString(m.value); !ok {
			return nil, malformed("Id", "Syntax errors in policy.")
		}
		return nil, nil
	case "Statement":
		return readStatements(m.value)
	default:
		return nil, malformed(m.name, "Syntax errors in policy.")
	}
}

// element is a JSON value and where it stands.
type element struct {
	place string
	value json.RawMessage
}

// readStatements takes one statement or a list of them.
func readStatements(value json.RawMessage) ([]element, error) {
	if value[0] == '{' {
		return []element{{"Statement", value}}, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) != nil {
		return nil, malformed("Statement", "Syntax errors in policy.")
	}
	elements := make([]element, len(list))
	for i, v := range list {
		elements[i] = element{fmt.Sprintf("Statement[%d]", i), v}
	}
	return elements, nil
}

func (p *parser) statement(e element) (statement, error) {
	s := statement{id: e.place}
	members, err := readObject(e.value, e.place)
	if err != nil {
		return s, err
	}
	seen := make(map[string]bool, len(members))
	for _, m := range members {
		seen[m.name] = true
		if err := p.member(&s, m, e.place); err != nil {
			return s, err
		}
	}
	return s, p.complete(seen, e.place)
}

// member reads one element of a statement into s.
func (p *parser) member(s *statement, m member, statementPlace string) error {
	place := statementPlace + "." + m.name
	switch m.name {
	case "Sid":
		return p.sid(s, m.value, place)
	case "Effect":
		effect, _ := readString(m.value)
		if effect != "Allow" && effect != "Deny" {
			return malformed(place, "Syntax errors in policy. Effect must be Allow or Deny.")
		}
		s.deny = effect == "Deny"
		return nil
	case "Action", "NotAction":
		return p.actions(s, m, place)
	case "Resource", "NotResource":
		return p.resources(s, m, place)
	case "Principal", "NotPrincipal":
		if p.use == ForIdentity {
			return malformed(place, "Policy document should not specify a principal.")
		}
		list, err := readPrincipals(m.value, place)
		s.principals, s.notPrincipals = list, m.name == "NotPrincipal"
		return err
	case "Condition":
		conditions, err := p.conditions(m.value, place)
		s.conditions = conditions
		return err
	default:
		return malformed(place, "Syntax errors in policy.")
	}
}

func (p *parser) sid(s *statement, value json.RawMessage, place string) error {
	sid, ok := readString(value)
	if !ok {
		return malformed(place, "Syntax errors in policy.")
	}
	alphanumeric := func(r rune) bool { return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' }
	// Only identity policies are held to this alphabet; bucket policies of old carry spaces.
	if p.use == ForIdentity && strings.ContainsFunc(sid, func(r rune) bool { return !alphanumeric(r) }) {
		return malformed(place, "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
	}
	if sid == "" {
		return nil
	}
	if p.sids[sid] {
		return malformed(place, "Statement IDs (SID) in a single policy must be unique.")
	}
	p.sids[sid] = true
	s.id = sid
	return nil
}

func (p *parser) actions(s *statement, m member, place string) error {
	texts, ok := readStrings(m.value)
	if !ok {
		return malformed(place, "Syntax errors in policy.")
	}
	for _, text := range texts {
		if err := p.checkAction(text, place); err != nil {
			return err
		}
		s.actions.list = append(s.actions.list, compileAction(text))
	}
	s.actions.negated = m.name == "NotAction"
	if len(texts) == 0 {
		return malformed(place, "Policy statement must contain actions.")
	}
	return nil
}

func (p *parser) checkAction(text, place string) error {
	if text == "*" && p.use != ForTrust {
		return nil
	}
	vendor, name, found := strings.Cut(text, ":")
	switch {
	case !found:
		return malformed(place, "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	case vendor == "" || vendor != "*" && strings.ContainsFunc(vendor, notVendor):
		return malformed(place, "Vendor %s is not valid", vendor)
	case name == "":
		return malformed(place, "Syntax errors in policy. The action %q has no name.", text)
	case p.use == ForTrust && !strings.EqualFold(vendor, "sts"):
		return malformed(place, "AssumeRole policy may only specify STS AssumeRole actions.")
	default:
		return nil
	}
}

func notVendor(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-')
}

func (p *parser) resources(s *statement, m member, place string) error {
	if p.use == ForTrust {
		return malformed(place, "Has prohibited field Resource")
	}
	texts, ok := readStrings(m.value)
	if !ok {
		return malformed(place, "Syntax errors in policy.")
	}
	for _, text := range texts {
		if text != "*" && !strings.HasPrefix(text, "arn:") {
			return malformed(place, `Resource %s must be in ARN format or "*".`, text)
		}
		resource, reason := compilePattern(completeARN(text), p.variables)
		if reason != "" {
			return malformed(place, "Syntax errors in policy. In %q %s.", text, reason)
		}
		p.reads(&resource)
		s.resources.list = append(s.resources.list, resource)
	}
	s.resources.negated = m.name == "NotResource"
	if len(texts) == 0 {
		return malformed(place, "Policy statement must contain resources.")
	}
	return nil
}

// reads notes the keys of a pattern's variables.
func (p *parser) reads(q *pattern) {
	for i := range q.parts {
		if key := q.parts[i].key; key != "" {
			p.keys[key] = true
		}
	}
}

// completeARN adds the parts that a resource leaves out, as wildcards: arn:aws:s3 means every resource of S3.
func completeARN(text string) string {
	if text == "*" {
		return text
	}
	if missing := 6 - len(splitOutsideVariables(text)); missing > 0 {
		text += strings.Repeat(":*", missing)
	}
	return text
}

// complete checks that a statement holds what its use demands, and nothing twice.
func (p *parser) complete(seen map[string]bool, place string) error {
	if !seen["Effect"] {
		return malformed(place, "Missing required field Effect")
	}
	for _, pair := range []struct {
		name, negated string
		needed        bool
		missing       string
	}{
		{"Action", "NotAction", true, "Policy statement must contain actions."},
		{"Resource", "NotResource", p.use != ForTrust, "Policy statement must contain resources."},
		{"Principal", "NotPrincipal", p.use != ForIdentity, "Missing required field Principal"},
	} {
		switch {
		case seen[pair.name] && seen[pair.negated]:
			return malformed(place, "Syntax errors in policy. A statement has either %s or %s.", pair.name, pair.negated)
		case pair.needed && !seen[pair.name] && !seen[pair.negated]:
			return malformed(place, "%s", pair.missing)
		}
	}
	return nil
}

// checkSyntax reports a fault of the JSON itself with its line and column.
func checkSyntax(text string) error {
	var whole any
	err := json.Unmarshal([]byte(text), &whole)
	if err == nil {
		if _, isObject := whole.(map[string]any); !isObject {
			return malformed("", "Syntax errors in policy. The document must be a JSON object.")
		}
		return nil
	}
	place := ""
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		before := text[:min(int(syntax.Offset), len(text))]
		line := 1 + strings.Count(before, "\n")
		column := len(before) - (strings.LastIndexByte(before, '\n') + 1)
		place = "line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column)
	}
	return malformed(place, "Syntax errors in policy. The document is not valid JSON: %s.", err.Error())
}

// member is one name and value of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// readObject reads an object in its order and refuses a name that stands in it twice: which of two the writer meant
// cannot be known. Names are case-sensitive.
func readObject(text json.RawMessage, place string) ([]member, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, malformed(place, "Syntax errors in policy.")
	}
	var members []member
	seen := make(map[string]bool)
	for decoder.More() {
		token, err := decoder.Token()
		name, isName := token.(string)
		if err != nil || !isName {
			return nil, malformed(place, "Syntax errors in policy.")
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, malformed(place, "Syntax errors in policy.")
		}
		if seen[name] {
			return nil, malformed(place, "Syntax errors in policy. %q is given twice.", name)
		}
		seen[name] = true
		members = append(members, member{name, value})
	}
	return members, nil
}

func readString(value json.RawMessage) (string, bool) {
	var text *string
	if json.Unmarshal(value, &text) != nil || text == nil {
		return "", false
	}
	return *text, true
}

// readStrings takes one string or a list of strings.
func readStrings(value json.RawMessage) ([]string, bool) {
	if text, ok := readString(value); ok {
		return []string{text}, true
	}
	var list []*string
	if value[0] != '[' || json.Unmarshal(value, &list) != nil {
		return nil, false
	}
	texts := make([]string, len(list))
	for i, text := range list {
		if text == nil {
			return nil, false
		}
		texts[i] = *text
	}
	return texts, true
}
