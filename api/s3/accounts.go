package s3

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/s3err"

	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
)

// Accounts is who may call and what IAM lets them do. It is asked on every request and may cache; what it forgets at
// once is refused at once, since nothing is cached on this side.
type Accounts interface {
	// Authenticate gives the secret of an access key or a session, the session's token (empty for a long-term key) and
	// whose it is. NotFound: no such key, or an inactive one. Denied: it has expired.
	Authenticate(ctx context.Context, accessKeyID string) (secret, token string, principal platform.Principal, err error)
	// Decide evaluates the principal's own policies, and its session policy if it has one. Bucket policies are not its
	// business. Keys of conditions are in lower case.
	Decide(ctx context.Context, principal platform.Principal, action string, resource platform.ARN, conditions map[string][]string) (authorize.Decision, error)
}

// identities shows Accounts to versitygw, through the optional interfaces that it has for services with IAM semantics.
type identities struct {
	accounts Accounts
	site     platform.Site
}

var (
	_ auth.IAMService         = (*identities)(nil)
	_ auth.SigningKeyProvider = (*identities)(nil)
	_ auth.PolicyEvaluator    = (*identities)(nil)
	_ auth.FixedBucketOwner   = (*identities)(nil)
	_ auth.PrincipalResolver  = (*identities)(nil)
)

var errExpired = s3err.APIError{Code: "ExpiredToken", Description: "The provided token has expired.", HTTPStatusCode: 400}

// DeriveSigningKey finds the caller and gives the key its signature is checked with. A session needs its token, a
// long-term key must not carry one.
func (i *identities) DeriveSigningKey(access, token, date, region, service string) ([]byte, auth.Account, error) {
	secret, wanted, principal, err := i.accounts.Authenticate(context.Background(), access)
	switch {
	case platform.Is(err, platform.NotFound):
		return nil, auth.Account{}, auth.ErrNoSuchUser
	case platform.Is(err, platform.Denied):
		return nil, auth.Account{}, errExpired
	case err != nil:
		return nil, auth.Account{}, err
	case subtle.ConstantTimeCompare([]byte(token), []byte(wanted)) != 1:
		return nil, auth.Account{}, auth.ErrInvalidSessionToken
	}
	key := []byte("AWS4" + secret)
	for _, part := range []string{date, region, service, "aws4_request"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return key, i.account(access, token, principal), nil
}

func (i *identities) account(access, token string, p platform.Principal) auth.Account {
	a := auth.Account{Access: access, Role: auth.RoleUser, SessionToken: token, IsSession: token != "", Arn: string(p.ARN)}
	switch {
	case p.Kind == platform.RootPrincipal && p.Boundary == "":
		a.Role = auth.RoleAdmin
	case p.Kind == platform.SessionPrincipal:
		a.RoleArn = string(i.site.GlobalARN("iam", "role/"+p.Name))
	}
	return a
}

// EvaluatePolicy asks IAM about every action on every resource. The caller is looked up again: versitygw hands over
// nothing but the key.
func (i *identities) EvaluatePolicy(access, _ string, actions []auth.Action, resources []string, conditions map[string][]string) (auth.PolicyEvaluation, error) {
	ctx := context.Background()
	_, _, principal, err := i.accounts.Authenticate(ctx, access)
	if platform.Is(err, platform.NotFound) || platform.Is(err, platform.Denied) {
		return auth.PolicyEvaluation{}, s3err.GetAPIError(s3err.ErrAccessDenied)
	}
	if err != nil {
		return auth.PolicyEvaluation{}, err
	}
	lower := make(map[string][]string, len(conditions))
	for k, v := range conditions {
		lower[strings.ToLower(k)] = v
	}
	if prefix := lower["s3:prefix"]; len(prefix) == 1 {
		lower["s3:prefix"] = []string{plainPrefix(prefix[0])} // as it will be listed
	}
	e := auth.PolicyEvaluation{PrincipalArn: string(principal.ARN), HasSessionPolicy: principal.Boundary != ""}
	for _, resource := range resources {
		arn := i.site.BucketARN(strings.TrimPrefix(resource, auth.ResourceArnPrefix))
		e.Decisions = append(e.Decisions, nil)
		e.SessionDecisions = append(e.SessionDecisions, nil)
		last := len(e.Decisions) - 1
		for _, action := range actions {
			own, session, err := i.decide(ctx, principal, string(action), arn, lower)
			if err != nil {
				return auth.PolicyEvaluation{}, err
			}
			e.Decisions[last] = appendOutcome(e.Decisions[last], own)
			e.SessionDecisions[last] = appendOutcome(e.SessionDecisions[last], session)
		}
	}
	return e, nil
}

// decide tells apart what the principal's own policies say and what its session policy says: a bucket policy may stand in
// for the first, never for the second. Without a session policy, session means nothing.
func (i *identities) decide(ctx context.Context, p platform.Principal, action string, resource platform.ARN, conditions map[string][]string) (own, session authorize.Outcome, err error) {
	boundary := p.Boundary
	p.Boundary = ""
	d, err := i.accounts.Decide(ctx, p, action, resource, conditions)
	if err != nil || boundary == "" {
		return d.Outcome, authorize.ImplicitDeny, err
	}
	own = d.Outcome
	if own == authorize.Allowed {
		p.Boundary = boundary // both together now say what the session policy says
	} else {
		p.Policies = []string{boundary} // root does not come here: it is always allowed
	}
	d, err = i.accounts.Decide(ctx, p, action, resource, conditions)
	return own, d.Outcome, err
}

// appendOutcome adds one outcome in versitygw's numbers: 0 no match, 1 allow, 2 deny. Its type for them has no name
// outside its package.
func appendOutcome[T ~int](row []T, o authorize.Outcome) []T {
	switch o {
	case authorize.Allowed:
		return append(row, 1)
	case authorize.ExplicitDeny:
		return append(row, 2)
	default:
		return append(row, 0)
	}
}

// BucketOwner is the account, whoever made the bucket.
func (i *identities) BucketOwner() auth.Account {
	return auth.Account{Access: i.site.Account, Role: auth.RoleAdmin, Arn: string(i.site.GlobalARN("iam", "root"))}
}

// ResolvePrincipals gives those principals of a bucket policy that cannot be meant: other than the account, its users,
// roles and sessions. Whether the user or role exists is not asked; a policy may be written first.
func (i *identities) ResolvePrincipals(principals []string) ([]string, error) {
	var unknown []string
	for _, p := range principals {
		if p != i.site.Account && !i.mayBePrincipal(platform.ARN(p)) {
			unknown = append(unknown, p)
		}
	}
	return unknown, nil
}

func (i *identities) mayBePrincipal(arn platform.ARN) bool {
	_, service, _, account, resource, ok := arn.Split()
	if !ok || account != i.site.Account {
		return false
	}
	kind, name, _ := strings.Cut(resource, "/")
	switch service + " " + kind {
	case "iam root":
		return resource == "root"
	case "iam user", "iam role", "sts assumed-role":
		return name != ""
	default:
		return false
	}
}

// GetUserAccount finds an access key's owner without its secret.
func (i *identities) GetUserAccount(access string) (auth.Account, error) {
	if access == i.site.Account {
		return i.BucketOwner(), nil
	}
	_, _, principal, err := i.accounts.Authenticate(context.Background(), access)
	if platform.Is(err, platform.NotFound) || platform.Is(err, platform.Denied) {
		return auth.Account{}, auth.ErrNoSuchUser
	}
	if err != nil {
		return auth.Account{}, err
	}
	return i.account(access, "", principal), nil
}

// ResolveAccounts gives those access keys that do not exist; only lists of grantees ask, and those are disabled.
func (i *identities) ResolveAccounts(keys []string) ([]string, error) {
	var missing []string
	for _, key := range keys {
		if _, err := i.GetUserAccount(key); err != nil {
			missing = append(missing, key)
		}
	}
	return missing, nil
}

// Accounts are managed by the IAM API, never here.
var errUnmanaged = s3err.GetAPIError(s3err.ErrAdminMethodNotSupported)

// CreateAccount is refused.
func (i *identities) CreateAccount(auth.Account) error { return errUnmanaged }

// UpdateUserAccount is refused.
func (i *identities) UpdateUserAccount(string, auth.MutableProps) error { return errUnmanaged }

// DeleteUserAccount is refused.
func (i *identities) DeleteUserAccount(string) error { return errUnmanaged }

// ListUserAccounts is refused.
func (i *identities) ListUserAccounts() ([]auth.Account, error) { return nil, errUnmanaged }

// Shutdown has nothing to do.
func (i *identities) Shutdown() error { return nil }
