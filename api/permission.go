package api

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
)

// compiledPolicies keeps compiled policies by their documents. A document never changes its meaning, so nothing here is
// ever stale; a changed policy is another document.
type compiledPolicies struct {
	mu   sync.RWMutex
	kept map[document]*authorize.Policy
}

type document struct {
	use  authorize.Use
	text string
}

// policy compiles a document, or remembers it. Documents in the store were checked when they were put there, so one that
// does not compile is a fault of ours: Internal.
func (c *compiledPolicies) policy(text string, use authorize.Use) (*authorize.Policy, error) {
	key := document{use, text}
	c.mu.RLock()
	p := c.kept[key]
	c.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	p, err := authorize.Parse("", text, use)
	if err != nil {
		return nil, platform.Errorf(platform.Internal, "", "a stored policy is malformed: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil || len(c.kept) >= maxCompiled {
		c.kept = make(map[document]*authorize.Policy)
	}
	c.kept[key] = p
	return p, nil
}

// grounds are a principal's policies, compiled.
type grounds struct {
	identity []*authorize.Policy
	session  *authorize.Policy // nil does not narrow
	// contextual: some policy reads context keys, so they must be gathered.
	contextual bool
}

// anything is what root may do, spelled as a policy, for sessions of root that a session policy narrows.
const anything = `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`

func (i *Identities) grounds(p *platform.Principal) (g grounds, err error) {
	documents := p.Policies
	if p.Kind == platform.RootPrincipal {
		documents = []string{anything}
	}
	g.identity = make([]*authorize.Policy, len(documents))
	for n, text := range documents {
		if g.identity[n], err = i.compiled.policy(text, authorize.ForIdentity); err != nil {
			return grounds{}, err
		}
		g.contextual = g.contextual || len(g.identity[n].ContextKeys()) > 0
	}
	if p.Boundary != "" {
		if g.session, err = i.compiled.policy(p.Boundary, authorize.ForIdentity); err != nil {
			return grounds{}, err
		}
		g.contextual = g.contextual || len(g.session.ContextKeys()) > 0
	}
	return g, nil
}

// Decide evaluates the principal's own policies, and its session policy if it has one. conditions holds the context keys
// of the request, in lower case; those that describe the principal are added. It only fails for reasons of ours.
func (i *Identities) Decide(ctx context.Context, p platform.Principal, action string, resource platform.ARN, conditions map[string][]string) (authorize.Decision, error) {
	return i.decide(&p, action, resource, func() (map[string][]string, error) {
		keys, err := i.principalKeys(ctx, &p)
		maps.Copy(keys, conditions)
		return keys, err
	})
}

// Authorize is Decide with the answer as an error: nil, or Denied in AWS's words.
func (i *Identities) Authorize(ctx context.Context, p platform.Principal, action string, resource platform.ARN, conditions map[string][]string) error {
	d, err := i.Decide(ctx, p, action, resource, conditions)
	if err != nil {
		return err
	}
	return refusal(&p, action, resource, d)
}

// decide gathers the context only when a policy reads it.
func (i *Identities) decide(p *platform.Principal, action string, resource platform.ARN, context func() (map[string][]string, error)) (authorize.Decision, error) {
	if p.Kind == platform.RootPrincipal && p.Boundary == "" {
		return authorize.Decision{Outcome: authorize.Allowed}, nil
	}
	g, err := i.grounds(p)
	if err != nil {
		return authorize.Decision{}, err
	}
	r := authorize.Request{Principal: p.ARN, Action: action, Resource: resource}
	if g.contextual {
		if r.Context, err = context(); err != nil {
			return authorize.Decision{}, err
		}
	}
	return authorize.Evaluate(&r, g.identity, nil, g.session), nil
}

// refusal words a decision: nil when it allows.
func refusal(p *platform.Principal, action string, resource platform.ARN, d authorize.Decision) error {
	because := ""
	switch d.Outcome {
	case authorize.Allowed:
		return nil
	case authorize.ExplicitDeny:
		because = fmt.Sprintf("with an explicit deny in %s %s", article(d.Source), d.Source)
	default:
		because = fmt.Sprintf("because no %s allows the %s action", d.Source, action)
	}
	return platform.Errorf(platform.Denied, string(resource), "User: %s is not authorized to perform: %s on resource: %s %s", p.ARN, action, resource, because)
}

func article(s authorize.Source) string {
	if s == authorize.IdentityPolicy {
		return "an"
	}
	return "a"
}

// principalKeys are the context keys that describe a principal. It fails rather than leave one out: a Deny may hang on it.
func (i *Identities) principalKeys(ctx context.Context, p *platform.Principal) (map[string][]string, error) {
	keys := map[string][]string{
		"aws:userid":           {p.ID},
		"aws:principalaccount": {i.site.Account},
		"aws:principalarn":     {string(p.ARN)},
	}
	switch p.Kind {
	case platform.RootPrincipal:
		keys["aws:principaltype"] = []string{"Account"}
	case platform.UserPrincipal:
		keys["aws:principaltype"] = []string{"User"}
		keys["aws:username"] = []string{p.Name}
	case platform.SessionPrincipal:
		role, err := i.role(ctx, p.Name)
		if platform.Is(err, platform.NotFound) { // it was deleted since the caller was identified
			return nil, platform.Errorf(platform.Denied, p.Name, "The security token included in the request is invalid.")
		}
		if err != nil {
			return nil, err
		}
		keys["aws:principaltype"] = []string{"AssumedRole"}
		keys["aws:principalarn"] = []string{string(role.arn)} // AWS names the role here, not the session
	}
	return keys, nil
}
