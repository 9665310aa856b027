package api

import (
	"context"

	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
)

// PassRole checks, before anything is started with a role, that the caller may hand it to the service and that the service
// could assume it. The refusals are Denied for the caller's fault and Invalid for the role's.
func (c *Call) PassRole(ctx context.Context, role platform.ARN, service string) error {
	if err := c.identities.ownRole(role); err != nil {
		return err
	}
	err := c.Authorize(ctx, "iam:PassRole", role, map[string][]string{"iam:passedtoservice": {service}})
	if err != nil {
		return err
	}
	return c.identities.AssumableBy(ctx, role, service)
}

// AssumableBy reports whether a service, such as sagemaker.amazonaws.com, may act as a role of this account: nil, or
// Invalid in AWS's words.
func (i *Identities) AssumableBy(ctx context.Context, role platform.ARN, service string) error {
	if err := i.ownRole(role); err != nil {
		return err
	}
	d, err := i.trusts(ctx, role, &authorize.Request{Service: service, Action: "sts:AssumeRole", Resource: role}, grounds{})
	if err != nil && !platform.Is(err, platform.NotFound) {
		return err
	}
	if err != nil || d.Outcome != authorize.Allowed {
		return platform.Errorf(platform.Invalid, string(role), "Could not assume role %s. Please ensure that the role exists and allows principal '%s' to assume the role.", role, service)
	}
	return nil
}

// AuthorizeAssume asks whether the caller may assume a role of this account: its trust policy must allow it and, where
// that names only the account, the caller's own policies too. conditions adds context keys, in lower case. Whatever is
// amiss, an unknown role included, is the same Denied: a stranger learns nothing about which roles exist.
func (c *Call) AuthorizeAssume(ctx context.Context, role platform.ARN, conditions map[string][]string) error {
	p := &c.Principal
	g, err := c.identities.grounds(p)
	if err != nil {
		return err
	}
	r := authorize.Request{Principal: p.ARN, Action: "sts:AssumeRole", Resource: role}
	if r.Context, err = c.conditions(ctx, conditions); err != nil {
		return err
	}
	if p.Kind == platform.SessionPrincipal {
		r.Role = platform.ARN(r.Context["aws:principalarn"][0])
	}
	d, err := c.identities.trusts(ctx, role, &r, g)
	if err != nil && !platform.Is(err, platform.NotFound) {
		return err
	}
	if err != nil || d.Outcome != authorize.Allowed {
		return platform.Errorf(platform.Denied, string(role), "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", p.ARN, role)
	}
	return nil
}

// trusts evaluates a role's trust policy; NotFound when there is no role of exactly this ARN.
func (i *Identities) trusts(ctx context.Context, role platform.ARN, r *authorize.Request, g grounds) (authorize.Decision, error) {
	found, err := i.role(ctx, role.ResourceName())
	if err != nil {
		return authorize.Decision{}, err
	}
	if found.arn != role {
		return authorize.Decision{}, platform.Errorf(platform.NotFound, string(role), "no role has the ARN %s", role)
	}
	trust, err := i.compiled.policy(found.trust, authorize.ForTrust)
	if err != nil {
		return authorize.Decision{}, err
	}
	return authorize.EvaluateTrust(r, trust, g.identity, g.session), nil
}

// ownRole checks that an ARN names a role of this account.
func (i *Identities) ownRole(role platform.ARN) error {
	partition, service, _, account, resource, ok := role.Split()
	if !ok || service != "iam" || len(resource) <= len("role/") || resource[:len("role/")] != "role/" {
		return platform.Errorf(platform.Invalid, string(role), "%q is not the ARN of a role; it should look like %s", string(role), i.site.GlobalARN("iam", "role/NAME"))
	}
	if account != i.site.Account || partition != i.site.Partition {
		return platform.Errorf(platform.Invalid, string(role), "Cross-account pass role is not allowed.")
	}
	return nil
}
