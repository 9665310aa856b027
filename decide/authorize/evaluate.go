package authorize

import "github.com/stint-ml/stint/platform"

// Request is one question: may this principal do this action to this resource now?
type Request struct {
	Principal platform.ARN // the caller; arn:…:sts::A:assumed-role/R/S for a session
	Role      platform.ARN // the role behind a session; a policy that names the role means its sessions too
	Service   string       // the caller when it is a service: sagemaker.amazonaws.com; Principal is then empty
	Action    string       // s3:GetObject
	Resource  platform.ARN // "*" for actions without one
	// Context holds what conditions and policy variables read. Keys are in lower case ("aws:sourceip"): IAM ignores
	// their case.
	Context map[string][]string
}

// Outcome is the answer.
type Outcome uint8

// The outcomes. What no statement allows is denied, so that is the zero value.
const (
	ImplicitDeny Outcome = iota
	ExplicitDeny
	Allowed
)

// Source says which sort of policy decided.
type Source uint8

// The sources.
const (
	IdentityPolicy Source = iota
	SessionPolicy
	ResourcePolicy // a role's trust policy among them
)

// String is the name that AWS's messages use.
func (s Source) String() string {
	return [...]string{"identity-based policy", "session policy", "resource-based policy"}[s]
}

// Decision is an outcome and its reason.
type Decision struct {
	Outcome Outcome
	// Source decided: it allows, it denies or, with ImplicitDeny, it is the one whose allowance is missing.
	Source    Source
	Policy    string // the name of the policy that holds the matched statement; empty with ImplicitDeny
	Statement string // its Sid or, without one, its place: Statement[0]; empty with ImplicitDeny
}

// Evaluate decides for a resource of the principal's own account. A Deny anywhere wins. Else the identity policies must
// allow, or a resource policy that names the principal itself; and the session policy, when there is one, must allow
// as well. A session policy of nil does not narrow.
func Evaluate(r *Request, identity, resource []*Policy, session *Policy) Decision {
	identityMatch := scan(r, identity, false)
	if identityMatch.denied {
		return identityMatch.decision(ExplicitDeny, IdentityPolicy)
	}
	resourceMatch := scan(r, resource, true)
	if resourceMatch.denied {
		return resourceMatch.decision(ExplicitDeny, ResourcePolicy)
	}
	if session != nil {
		sessionMatch := scan(r, []*Policy{session}, false)
		if sessionMatch.denied {
			return sessionMatch.decision(ExplicitDeny, SessionPolicy)
		}
		if sessionMatch.reach == notNamed && (identityMatch.reach != notNamed || resourceMatch.reach == byName) {
			return Decision{Outcome: ImplicitDeny, Source: SessionPolicy}
		}
	}
	switch {
	case identityMatch.reach != notNamed:
		return identityMatch.decision(Allowed, IdentityPolicy)
	case resourceMatch.reach == byName:
		return resourceMatch.decision(Allowed, ResourcePolicy)
	default:
		return Decision{Outcome: ImplicitDeny, Source: IdentityPolicy}
	}
}

// EvaluateTrust decides whether the principal may assume a role: the trust policy must allow it always. When it does so
// by naming the principal's account rather than the principal, the identity policies must allow it too.
func EvaluateTrust(r *Request, trust *Policy, identity []*Policy, session *Policy) Decision {
	d := Evaluate(r, identity, []*Policy{trust}, session)
	if d.Outcome != Allowed || d.Source == ResourcePolicy {
		return d
	}
	trusted := scan(r, []*Policy{trust}, true)
	if trusted.reach == notNamed {
		return Decision{Outcome: ImplicitDeny, Source: ResourcePolicy}
	}
	return trusted.decision(Allowed, ResourcePolicy)
}

// match is what a scan found: the first Deny or, without one, the Allow that reaches the caller most directly.
type match struct {
	denied    bool
	reach     reach
	policy    *Policy
	statement *statement
}

func (m *match) decision(o Outcome, s Source) Decision {
	return Decision{Outcome: o, Source: s, Policy: m.policy.name, Statement: m.statement.id}
}

func scan(r *Request, policies []*Policy, withPrincipal bool) match {
	var best match
	for _, p := range policies {
		for i := range p.statements {
			s := &p.statements[i]
			if !s.deny && best.reach == byName {
				continue // nothing to gain; only a Deny can still matter
			}
			reach := byName
			if withPrincipal {
				reach = s.names(r)
			}
			if reach == notNamed || reach <= best.reach && !s.deny || !s.applies(r) {
				continue
			}
			if s.deny {
				return match{denied: true, policy: p, statement: s}
			}
			best = match{reach: reach, policy: p, statement: s}
		}
	}
	return best
}

func (s *statement) names(r *Request) reach {
	if s.principals == nil {
		return notNamed
	}
	reach := s.principals.match(r)
	if !s.notPrincipals {
		return reach
	}
	if reach == notNamed {
		return byName
	}
	return notNamed
}

// applies reports whether action, resource and conditions match. Where an unresolved policy variable leaves it open,
// an Allow does not apply, and a Deny takes the variable as different from everything.
func (s *statement) applies(r *Request) bool {
	if matched, _ := s.actions.match(r.Action, nil); !matched {
		return false
	}
	if len(s.resources.list) > 0 {
		matched, decided := s.resources.match(string(r.Resource), r.Context)
		if !matched || !decided && !s.deny {
			return false
		}
	}
	for i := range s.conditions {
		holds, decided := s.conditions[i].holds(r.Context)
		if !holds || !decided && !s.deny {
			return false
		}
	}
	return true
}
