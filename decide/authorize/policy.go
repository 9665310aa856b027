package authorize

import "github.com/stint-ml/stint/platform"

// Use says where a policy document is attached, which decides what it must and must not hold.
type Use uint8

// The uses.
const (
	ForIdentity Use = iota // of users, roles and sessions: resources, no principal
	ForTrust               // of roles, who may assume them: principals, no resource
	ForResource            // of buckets and the like: principals and resources
)

// Policy is a compiled policy document. It is never changed and may be shared.
type Policy struct {
	name       string
	statements []statement
	keys       []string
}

// Name is what Parse was given: the name of an inline policy, for messages.
func (p *Policy) Name() string { return p.name }

// ContextKeys are the keys that conditions and policy variables read, in lower case, sorted. When no policy reads any, a
// caller need not gather them. The list must not be changed.
func (p *Policy) ContextKeys() []string { return p.keys }

type statement struct {
	id            string // the Sid or, without one, the place: Statement[0]
	deny          bool
	actions       patterns
	resources     patterns
	principals    *principals // nil in identity policies
	notPrincipals bool
	conditions    []condition
}

// patterns is Action or NotAction, Resource or NotResource.
type patterns struct {
	list    []pattern
	negated bool
}

// match reports whether s is meant. decided is false when an unresolved variable leaves that open.
func (p *patterns) match(s string, context map[string][]string) (matched, decided bool) {
	decided = true
	for i := range p.list {
		m, resolved := p.list[i].match(s, context)
		if m {
			return !p.negated, true
		}
		decided = decided && resolved
	}
	return p.negated, decided
}

// principals is the compiled Principal or NotPrincipal element.
type principals struct {
	everyone bool
	accounts []string
	arns     []platform.ARN
	services []string
}

// reach says how a Principal element names the caller.
type reach uint8

const (
	notNamed  reach = iota
	byAccount       // the caller's account is named: its administrator decides further
	byName          // the caller itself, its service, or everyone
)

func (p *principals) match(r *Request) reach {
	if p.everyone {
		return byName
	}
	if r.Service != "" {
		for _, s := range p.services {
			if s == r.Service {
				return byName
			}
		}
		return notNamed
	}
	for _, a := range p.arns {
		if a == r.Principal || a == r.Role && a != "" {
			return byName
		}
	}
	if len(p.accounts) == 0 {
		return notNamed
	}
	_, _, _, account, _, _ := r.Principal.Split()
	for _, a := range p.accounts {
		if a == account {
			return byAccount
		}
	}
	return notNamed
}
