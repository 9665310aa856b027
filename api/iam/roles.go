package iam

import (
	"context"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/iam"
)

const defaultMaxSession = 3600 // seconds

func (s *service) createRole(ctx context.Context, call *api.Call, in *model.CreateRoleRequest) (*model.CreateRoleResponse, error) {
	r := platform.Role{
		Name: *in.RoleName, Path: pathOf(in.Path), Description: shapes.Value(in.Description), Created: call.Now,
		Trust: *in.AssumeRolePolicyDocument, MaxSessionSeconds: defaultMaxSession,
	}
	if in.MaxSessionDuration != nil {
		r.MaxSessionSeconds = *in.MaxSessionDuration
	}
	if err := call.Authorize(ctx, "iam:CreateRole", r.ARN(call.Site), nil); err != nil {
		return nil, err
	}
	if in.PermissionsBoundary != nil {
		return nil, unsupported(call, "PermissionsBoundary")
	}
	if err := checkTrust(r.Trust); err != nil {
		return nil, err
	}
	tags, err := readTags(in.Tags)
	if err != nil {
		return nil, err
	}
	if r.ID, err = platform.NewID(s.random, "AROA"); err != nil {
		return nil, err
	}
	rec := api.RoleRecord(r)
	rec.Tags = tags
	err = s.commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
	if platform.Is(err, platform.AlreadyExists) {
		return nil, platform.Errorf(platform.AlreadyExists, r.Name, "Role with name %s already exists.", r.Name)
	}
	if err != nil {
		return nil, err
	}
	return &model.CreateRoleResponse{Role: showRole(call, &r, tags)}, nil
}

// checkTrust checks a trust policy before it is kept.
func checkTrust(document string) error {
	if size(document) > maxTrust {
		return platform.Errorf(platform.LimitExceeded, "", "Cannot exceed quota for ACLSizePerRole: %d", maxTrust)
	}
	_, err := authorize.Parse("", document, authorize.ForTrust)
	return api.WithCode("MalformedPolicyDocument", err)
}

func showRole(call *api.Call, r *platform.Role, tags map[string]string) *model.Role {
	out := &model.Role{
		Path: &r.Path, RoleName: &r.Name, RoleId: &r.ID, Arn: new(string(r.ARN(call.Site))), CreateDate: moment(r.Created),
		AssumeRolePolicyDocument: new(percentEncode(r.Trust)), MaxSessionDuration: &r.MaxSessionSeconds, Tags: showTags(tags),
	}
	if r.Description != "" {
		out.Description = &r.Description
	}
	return out
}

func (s *service) getRole(ctx context.Context, call *api.Call, in *model.GetRoleRequest) (*model.GetRoleResponse, error) {
	e, err := s.permitted(ctx, call, roleKey(*in.RoleName))
	if err != nil {
		return nil, err
	}
	return &model.GetRoleResponse{Role: showRole(call, e.role, e.record.Tags)}, nil
}

func (s *service) listRoles(ctx context.Context, call *api.Call, in *model.ListRolesRequest) (*model.ListRolesResponse, error) {
	if err := call.Authorize(ctx, "iam:ListRoles", call.Site.GlobalARN("iam", "role"+pathOf(in.PathPrefix)), nil); err != nil {
		return nil, err
	}
	out := &model.ListRolesResponse{Roles: []model.Role{}}
	marker, err := s.page(ctx, platform.KindRole, in.Marker, in.MaxItems, func(e *entity) {
		if hasPrefix(e.role.Path, in.PathPrefix) {
			out.Roles = append(out.Roles, *showRole(call, e.role, nil))
		}
	})
	out.Marker, out.IsTruncated = marker, new(marker != nil)
	return out, err
}

// deleteRole demands, as AWS does, that policies went before. The role's sessions end with it.
func (s *service) deleteRole(ctx context.Context, call *api.Call, in *model.DeleteRoleRequest) error {
	e, err := s.permitted(ctx, call, roleKey(*in.RoleName))
	if err != nil {
		return err
	}
	if len(e.policies()) > 0 {
		return platform.Errorf(platform.InUse, e.role.Name, "Cannot delete entity, must delete policies first.")
	}
	tx := platform.Tx{Deletes: []platform.Delete{{Key: e.record.Key, Revision: e.record.Revision}}}
	if err := s.revoke(ctx, &tx, func(session *platform.Session) bool { return session.Role == e.role.Name }); err != nil {
		return err
	}
	return s.commit(ctx, tx)
}

func (s *service) updateAssumeRolePolicy(ctx context.Context, call *api.Call, in *model.UpdateAssumeRolePolicyRequest) error {
	return s.change(ctx, call, roleKey(*in.RoleName), func(e *entity) error {
		e.role.Trust = *in.PolicyDocument
		return checkTrust(e.role.Trust)
	})
}
