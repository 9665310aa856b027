package authorize

import (
	"encoding/json"
	"strings"

	"github.com/stint-ml/stint/platform"
)

// readPrincipals reads Principal: "*", or an object of lists by the sort of principal.
func readPrincipals(value json.RawMessage, place string) (*principals, error) {
	if text, ok := readString(value); ok {
		if text != "*" {
			return nil, malformed(place, `Invalid principal in policy: "%s"`, text)
		}
		return &principals{everyone: true}, nil
	}
	members, err := readObject(value, place)
	if err != nil {
		return nil, err
	}
	if len(members) == 0 {
		return nil, malformed(place, "Missing required field Principal cannot be empty!")
	}
	p := new(principals)
	for _, m := range members {
		texts, ok := readStrings(m.value)
		if !ok || len(texts) == 0 {
			return nil, malformed(place+"."+m.name, "Syntax errors in policy.")
		}
		for _, text := range texts {
			if !p.add(m.name, text) {
				return nil, malformed(place, `Invalid principal in policy: "%s":"%s"`, m.name, text)
			}
		}
	}
	return p, nil
}

// add reports whether the principal is one that could exist.
func (p *principals) add(sort, text string) bool {
	switch sort {
	case "AWS":
		return p.addAWS(text)
	case "Service":
		p.services = append(p.services, text)
		return strings.Contains(text, ".")
	case "Federated", "CanonicalUser":
		return text != "" // legal, and nobody here: there is no federation
	default:
		return false
	}
}

func (p *principals) addAWS(text string) bool {
	if text == "*" {
		p.everyone = true
		return true
	}
	if isAccount(text) {
		p.accounts = append(p.accounts, text)
		return true
	}
	arn := platform.ARN(text)
	_, service, _, account, resource, ok := arn.Split()
	if !ok || service != "iam" && service != "sts" || !isAccount(account) || strings.ContainsAny(text, "*?") {
		return false
	}
	if resource == "root" {
		p.accounts = append(p.accounts, account)
	} else {
		p.arns = append(p.arns, arn)
	}
	return true
}

func isAccount(text string) bool {
	return len(text) == 12 && strings.Trim(text, "0123456789") == ""
}

// conditions reads Condition: operator → key → one value or a list.
func (p *parser) conditions(value json.RawMessage, place string) ([]condition, error) {
	byOperator, err := readObject(value, place)
	if err != nil {
		return nil, err
	}
	var conditions []condition
	for _, o := range byOperator {
		shape, ok := readOperator(o.name)
		if !ok {
			return nil, malformed(place, "Invalid Condition type : %s.", o.name)
		}
		byKey, err := readObject(o.value, place+"."+o.name)
		if err != nil {
			return nil, err
		}
		for _, k := range byKey {
			c := shape
			if err := p.condition(&c, k, place+"."+o.name+"."+k.name); err != nil {
				return nil, err
			}
			conditions = append(conditions, c)
		}
	}
	return conditions, nil
}

// readOperator takes ForAllValues:StringLikeIfExists apart.
func readOperator(name string) (c condition, ok bool) {
	if rest, found := strings.CutPrefix(name, "ForAllValues:"); found {
		c.quantifier, name = forAllValues, rest
	} else if rest, found := strings.CutPrefix(name, "ForAnyValue:"); found {
		c.quantifier, name = forAnyValue, rest
	}
	if name == null.name {
		c.operator = &null
		return c, c.quantifier == plain
	}
	name, c.ifExists = strings.CutSuffix(name, "IfExists")
	c.operator, ok = operators[name]
	return c, ok
}

func (p *parser) condition(c *condition, k member, place string) error {
	if !strings.Contains(k.name, ":") {
		return malformed(place, "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	}
	c.key = strings.ToLower(k.name)
	p.keys[c.key] = true
	texts, ok := readScalars(k.value)
	if !ok || len(texts) == 0 {
		return malformed(place, "Syntax errors in policy.")
	}
	for _, text := range texts {
		o, reason := c.operator.read(text, p.variables)
		if reason != "" {
			return malformed(place, "Syntax errors in policy. In the condition, %s.", reason)
		}
		p.reads(&o.pattern)
		for i := range o.arn {
			p.reads(&o.arn[i])
		}
		c.operands = append(c.operands, o)
	}
	return nil
}

// readScalars takes one string, number or boolean, or a list of them, as text.
func readScalars(value json.RawMessage) ([]string, bool) {
	list := []json.RawMessage{value}
	if value[0] == '[' && json.Unmarshal(value, &list) != nil {
		return nil, false
	}
	texts := make([]string, len(list))
	for i, v := range list {
		if text, ok := readString(v); ok {
			texts[i] = text
			continue
		}
		if c := v[0]; c == '{' || c == '[' || c == 'n' {
			return nil, false
		}
		texts[i] = string(v)
	}
	return texts, true
}
