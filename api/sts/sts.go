// Package sts serves AWS Security Token Service: who am I, and temporary credentials for a role or for oneself.
//
// Sessions are records of the store like any other; what a session may do is decided where every call is authorized, in
// the parent package.
package sts

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/sts"
)

const (
	defaultRoleLife  = time.Hour
	maxChainedLife   = time.Hour // of a role assumed with another role's credentials
	defaultTokenLife = 12 * time.Hour
	maxRootTokenLife = time.Hour
	maxSessionPolicy = 2048 // characters
)

type service struct {
	store  platform.Store
	random io.Reader
}

// New makes the service. random must be a cryptographic source.
func New(store platform.Store, random io.Reader) *api.Service {
	s := &service{store: store, random: random}
	return &api.Service{
		Model:  &model.Service,
		Words:  api.IAMWords,
		Global: true,
		// None names an Action: the first and the last need no permission, and who may assume a role is its trust policy's
		// to say as well.
		Operations: map[string]api.Operation{
			"GetCallerIdentity": {Handle: api.Handle(getCallerIdentity)},
			"AssumeRole":        {Handle: api.Handle(s.assumeRole)},
			"GetSessionToken":   {Handle: api.Handle(s.getSessionToken)},
		},
	}
}

func getCallerIdentity(_ context.Context, call *api.Call, _ *model.GetCallerIdentityRequest) (*model.GetCallerIdentityResponse, error) {
	return &model.GetCallerIdentityResponse{
		UserId:  &call.Principal.ID,
		Account: &call.Site.Account,
		Arn:     new(string(call.Principal.ARN)),
	}, nil
}

func (s *service) assumeRole(ctx context.Context, call *api.Call, in *model.AssumeRoleRequest) (*model.AssumeRoleResponse, error) {
	if err := refuseUnsupported(in); err != nil {
		return nil, err
	}
	// 1. May the caller? An unknown role is refused in the same words.
	arn := platform.ARN(*in.RoleArn)
	conditions := map[string][]string{"sts:rolesessionname": {*in.RoleSessionName}}
	if in.ExternalId != nil {
		conditions["sts:externalid"] = []string{*in.ExternalId}
	}
	if err := call.AuthorizeAssume(ctx, arn, conditions); err != nil {
		return nil, err
	}
	role, err := s.role(ctx, arn.ResourceName())
	if err != nil {
		return nil, err
	}
	// 2. Is what it asks for within bounds?
	life, err := roleLife(call, in, role)
	if err != nil {
		return nil, err
	}
	if err := checkSessionPolicy(in.Policy); err != nil {
		return nil, err
	}
	// 3. Make the session, and keep it before anybody hears of it.
	session, err := s.mint(ctx, call.Now, life, platform.Session{Role: role.Name, Name: *in.RoleSessionName, Policy: shapes.Value(in.Policy)})
	if err != nil {
		return nil, err
	}
	out := &model.AssumeRoleResponse{
		Credentials: credentials(session),
		AssumedRoleUser: &model.AssumedRoleUser{
			AssumedRoleId: new(role.ID + ":" + session.Name),
			Arn:           new(string(call.Site.GlobalARN("sts", "assumed-role/"+role.Name+"/"+session.Name))),
		},
	}
	if in.Policy != nil {
		out.PackedPolicySize = new(int32(100 * len(*in.Policy) / maxSessionPolicy))
	}
	return out, nil
}

// refuseUnsupported refuses what would narrow or mark a session and cannot be honoured: leaving it out in silence could
// give more than was asked for.
func refuseUnsupported(in *model.AssumeRoleRequest) error {
	for _, o := range []struct {
		given bool
		what  string
	}{
		{len(in.PolicyArns) > 0, "AssumeRole with PolicyArns"},
		{len(in.Tags) > 0 || len(in.TransitiveTagKeys) > 0, "AssumeRole with session tags"},
		{in.SourceIdentity != nil, "AssumeRole with SourceIdentity"},
		{len(in.ProvidedContexts) > 0, "AssumeRole with ProvidedContexts"},
		{in.SerialNumber != nil || in.TokenCode != nil, "AssumeRole with multi-factor authentication"},
	} {
		if o.given {
			return platform.Errorf(platform.NotSupported, *in.RoleArn, "%s is not supported by this server", o.what)
		}
	}
	return nil
}

func (s *service) role(ctx context.Context, name string) (platform.Role, error) {
	var r platform.Role
	rec, err := s.store.Get(ctx, platform.Key{Kind: platform.KindRole, Name: name})
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(rec.Doc, &r); err != nil {
		return r, platform.Errorf(platform.Internal, name, "role record: %w", err)
	}
	return r, nil
}

func roleLife(call *api.Call, in *model.AssumeRoleRequest, role platform.Role) (time.Duration, error) {
	if in.DurationSeconds == nil {
		return defaultRoleLife, nil
	}
	life := platform.Seconds(*in.DurationSeconds).Duration()
	switch {
	case life > platform.Seconds(role.MaxSessionSeconds).Duration():
		return 0, platform.Errorf(platform.Invalid, role.Name, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	case life > maxChainedLife && call.Principal.Kind == platform.SessionPrincipal:
		return 0, platform.Errorf(platform.Invalid, role.Name, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	default:
		return life, nil
	}
}

func checkSessionPolicy(document *string) error {
	if document == nil {
		return nil
	}
	if len(*document) > maxSessionPolicy {
		return api.WithCode("PackedPolicyTooLarge", platform.Errorf(platform.Invalid, "", "The session policy has %d characters; at most %d are allowed.", len(*document), maxSessionPolicy))
	}
	_, err := authorize.Parse("", *document, authorize.ForIdentity)
	return api.WithCode("MalformedPolicyDocument", err)
}

func (s *service) getSessionToken(ctx context.Context, call *api.Call, in *model.GetSessionTokenRequest) (*model.GetSessionTokenResponse, error) {
	switch {
	case call.Temporary:
		return nil, platform.Errorf(platform.Denied, "", "Cannot call GetSessionToken with session credentials")
	case in.SerialNumber != nil || in.TokenCode != nil:
		return nil, platform.Errorf(platform.NotSupported, "", "GetSessionToken with multi-factor authentication is not supported by this server")
	}
	life := defaultTokenLife
	if in.DurationSeconds != nil {
		life = platform.Seconds(*in.DurationSeconds).Duration()
	}
	if call.Principal.Kind == platform.RootPrincipal {
		life = min(life, maxRootTokenLife) // as AWS does, without a word
	}
	session, err := s.mint(ctx, call.Now, life, platform.Session{User: call.Principal.Name})
	if err != nil {
		return nil, err
	}
	return &model.GetSessionTokenResponse{Credentials: credentials(session)}, nil
}

// mint makes credentials for whom the template names and stores them.
func (s *service) mint(ctx context.Context, now time.Time, life time.Duration, template platform.Session) (platform.Session, error) {
	session, err := platform.NewSession(s.random, now, life)
	if err != nil {
		return session, err
	}
	session.Role, session.User, session.Name, session.Policy = template.Role, template.User, template.Name, template.Policy
	session.Expires = session.Expires.Truncate(time.Second) // what the answer can say
	record, err := session.Record()
	if err != nil {
		return session, err
	}
	return session, s.store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: record}}})
}

func credentials(s platform.Session) *model.Credentials {
	return &model.Credentials{AccessKeyId: &s.ID, SecretAccessKey: &s.Secret, SessionToken: &s.Token, Expiration: shapes.NewTimestamp(s.Expires)}
}
