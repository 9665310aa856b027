package iam

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/iam"
)

func (s *service) putUserPolicy(ctx context.Context, call *api.Call, in *model.PutUserPolicyRequest) error {
	return s.putPolicy(ctx, call, userKey(*in.UserName), *in.PolicyName, *in.PolicyDocument)
}

func (s *service) putRolePolicy(ctx context.Context, call *api.Call, in *model.PutRolePolicyRequest) error {
	return s.putPolicy(ctx, call, roleKey(*in.RoleName), *in.PolicyName, *in.PolicyDocument)
}

func (s *service) putPolicy(ctx context.Context, call *api.Call, key platform.Key, name, document string) error {
	return s.change(ctx, call, key, func(e *entity) error {
		if _, err := authorize.Parse(name, document, authorize.ForIdentity); err != nil {
			return api.WithCode("MalformedPolicyDocument", err)
		}
		e.policies()[name] = document
		limit, sort := maxUserPolicies, "user"
		if e.role != nil {
			limit, sort = maxRolePolicies, "role"
		}
		total := 0
		for _, d := range e.policies() {
			total += size(d)
		}
		if total > limit {
			return platform.Errorf(platform.LimitExceeded, key.Name, "Maximum policy size of %d bytes exceeded for %s %s", limit, sort, key.Name)
		}
		return nil
	})
}

// size counts a document as AWS does, without white space.
func size(document string) int {
	n := len(document)
	for _, c := range []string{" ", "\n", "\t", "\r"} {
		n -= strings.Count(document, c)
	}
	return n
}

func (s *service) getUserPolicy(ctx context.Context, call *api.Call, in *model.GetUserPolicyRequest) (*model.GetUserPolicyResponse, error) {
	document, err := s.getPolicy(ctx, call, userKey(*in.UserName), *in.PolicyName)
	return &model.GetUserPolicyResponse{UserName: in.UserName, PolicyName: in.PolicyName, PolicyDocument: &document}, err
}

func (s *service) getRolePolicy(ctx context.Context, call *api.Call, in *model.GetRolePolicyRequest) (*model.GetRolePolicyResponse, error) {
	document, err := s.getPolicy(ctx, call, roleKey(*in.RoleName), *in.PolicyName)
	return &model.GetRolePolicyResponse{RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: &document}, err
}

func (s *service) getPolicy(ctx context.Context, call *api.Call, key platform.Key, name string) (string, error) {
	e, err := s.permitted(ctx, call, key)
	if err != nil {
		return "", err
	}
	document, found := e.policies()[name]
	if !found {
		return "", noPolicy(e, name)
	}
	return percentEncode(document), nil
}

func noPolicy(e *entity, name string) error {
	sort := "user"
	if e.role != nil {
		sort = "role"
	}
	return platform.Errorf(platform.NotFound, name, "The %s policy with name %s cannot be found.", sort, name)
}

// percentEncode encodes a document as RFC 3986 says, which IAM answers and SDKs undo; a plus would stay one.
func percentEncode(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}

func (s *service) deleteUserPolicy(ctx context.Context, call *api.Call, in *model.DeleteUserPolicyRequest) error {
	return s.deletePolicy(ctx, call, userKey(*in.UserName), *in.PolicyName)
}

func (s *service) deleteRolePolicy(ctx context.Context, call *api.Call, in *model.DeleteRolePolicyRequest) error {
	return s.deletePolicy(ctx, call, roleKey(*in.RoleName), *in.PolicyName)
}

func (s *service) deletePolicy(ctx context.Context, call *api.Call, key platform.Key, name string) error {
	return s.change(ctx, call, key, func(e *entity) error {
		if _, found := e.policies()[name]; !found {
			return noPolicy(e, name)
		}
		delete(e.policies(), name)
		return nil
	})
}

func (s *service) listUserPolicies(ctx context.Context, call *api.Call, in *model.ListUserPoliciesRequest) (*model.ListUserPoliciesResponse, error) {
	names, marker, err := s.policyNames(ctx, call, userKey(*in.UserName), in.Marker, in.MaxItems)
	return &model.ListUserPoliciesResponse{PolicyNames: names, Marker: marker, IsTruncated: new(marker != nil)}, err
}

func (s *service) listRolePolicies(ctx context.Context, call *api.Call, in *model.ListRolePoliciesRequest) (*model.ListRolePoliciesResponse, error) {
	names, marker, err := s.policyNames(ctx, call, roleKey(*in.RoleName), in.Marker, in.MaxItems)
	return &model.ListRolePoliciesResponse{PolicyNames: names, Marker: marker, IsTruncated: new(marker != nil)}, err
}

func (s *service) policyNames(ctx context.Context, call *api.Call, key platform.Key, marker *string, maxItems *int32) ([]string, *string, error) {
	e, err := s.permitted(ctx, call, key)
	if err != nil {
		return nil, nil, err
	}
	return slice(slices.Sorted(maps.Keys(e.policies())), marker, maxItems)
}

// Attached policies are managed ones, of which there are none.

func (s *service) listAttachedUserPolicies(ctx context.Context, call *api.Call, in *model.ListAttachedUserPoliciesRequest) (*model.ListAttachedUserPoliciesResponse, error) {
	_, err := s.permitted(ctx, call, userKey(*in.UserName))
	return &model.ListAttachedUserPoliciesResponse{AttachedPolicies: []model.AttachedPolicy{}, IsTruncated: new(false)}, err
}

func (s *service) listAttachedRolePolicies(ctx context.Context, call *api.Call, in *model.ListAttachedRolePoliciesRequest) (*model.ListAttachedRolePoliciesResponse, error) {
	_, err := s.permitted(ctx, call, roleKey(*in.RoleName))
	return &model.ListAttachedRolePoliciesResponse{AttachedPolicies: []model.AttachedPolicy{}, IsTruncated: new(false)}, err
}
