package iam

import (
	"context"
	"encoding/json"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/iam"
)

func (s *service) createUser(ctx context.Context, call *api.Call, in *model.CreateUserRequest) (*model.CreateUserResponse, error) {
	u := platform.User{Name: *in.UserName, Path: pathOf(in.Path), Created: call.Now}
	if err := call.Authorize(ctx, "iam:CreateUser", u.ARN(call.Site), nil); err != nil {
		return nil, err
	}
	if in.PermissionsBoundary != nil {
		return nil, unsupported(call, "PermissionsBoundary")
	}
	tags, err := readTags(in.Tags)
	if err != nil {
		return nil, err
	}
	if u.ID, err = platform.NewID(s.random, "AIDA"); err != nil {
		return nil, err
	}
	rec := api.UserRecord(u)
	rec.Tags = tags
	err = s.commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
	if platform.Is(err, platform.AlreadyExists) {
		return nil, platform.Errorf(platform.AlreadyExists, u.Name, "User with name %s already exists.", u.Name)
	}
	if err != nil {
		return nil, err
	}
	return &model.CreateUserResponse{User: showUser(call, &u, tags)}, nil
}

// pathOf is the path given, else the root.
func pathOf(path *string) string {
	if path == nil {
		return "/"
	}
	return *path
}

func showUser(call *api.Call, u *platform.User, tags map[string]string) *model.User {
	return &model.User{
		Path: &u.Path, UserName: &u.Name, UserId: &u.ID, Arn: new(string(u.ARN(call.Site))),
		CreateDate: moment(u.Created), Tags: showTags(tags),
	}
}

func (s *service) getUser(ctx context.Context, call *api.Call, in *model.GetUserRequest) (*model.GetUserResponse, error) {
	name, err := userOrCaller(call, in.UserName)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return s.getRoot(ctx, call)
	}
	e, err := s.permitted(ctx, call, userKey(name))
	if err != nil {
		return nil, err
	}
	return &model.GetUserResponse{User: showUser(call, e.user, e.record.Tags)}, nil
}

// getRoot shows the root user, who is as old as the oldest key there is. AWS gives it no name.
func (s *service) getRoot(ctx context.Context, call *api.Call) (*model.GetUserResponse, error) {
	keys, err := s.keysOf(ctx, "")
	if err != nil {
		return nil, err
	}
	u := &model.User{Path: new("/"), UserId: &call.Site.Account, Arn: new(string(call.Principal.ARN))}
	if len(keys) > 0 {
		u.CreateDate = moment(keys[0].Created)
	}
	return &model.GetUserResponse{User: u}, nil
}

// userOrCaller is the user named, else the caller: "" is root. A role has no keys and is no user.
func userOrCaller(call *api.Call, name *string) (string, error) {
	switch {
	case name != nil:
		return *name, nil
	case call.Principal.Kind == platform.SessionPrincipal:
		return "", platform.Errorf(platform.Invalid, "", "Must specify userName when calling with non-User credentials")
	default:
		return call.Principal.Name, nil
	}
}

func (s *service) listUsers(ctx context.Context, call *api.Call, in *model.ListUsersRequest) (*model.ListUsersResponse, error) {
	if err := call.Authorize(ctx, "iam:ListUsers", call.Site.GlobalARN("iam", "user"+pathOf(in.PathPrefix)), nil); err != nil {
		return nil, err
	}
	out := &model.ListUsersResponse{Users: []model.User{}}
	marker, err := s.page(ctx, platform.KindUser, in.Marker, in.MaxItems, func(e *entity) {
		if hasPrefix(e.user.Path, in.PathPrefix) {
			out.Users = append(out.Users, *showUser(call, e.user, nil))
		}
	})
	out.Marker, out.IsTruncated = marker, new(marker != nil)
	return out, err
}

// deleteUser demands, as AWS does, that keys and policies went before.
func (s *service) deleteUser(ctx context.Context, call *api.Call, in *model.DeleteUserRequest) error {
	e, err := s.permitted(ctx, call, userKey(*in.UserName))
	if err != nil {
		return err
	}
	keys, err := s.keysOf(ctx, e.user.Name)
	switch {
	case err != nil:
		return err
	case len(keys) > 0:
		return platform.Errorf(platform.InUse, e.user.Name, "Cannot delete entity, must delete access keys first.")
	case len(e.policies()) > 0:
		return platform.Errorf(platform.InUse, e.user.Name, "Cannot delete entity, must delete policies first.")
	}
	tx := platform.Tx{Deletes: []platform.Delete{{Key: e.record.Key, Revision: e.record.Revision}}}
	if err := s.revoke(ctx, &tx, func(session *platform.Session) bool { return session.Role == "" && session.User == e.user.Name }); err != nil {
		return err
	}
	return s.commit(ctx, tx)
}

func (s *service) createAccessKey(ctx context.Context, call *api.Call, in *model.CreateAccessKeyRequest) (*model.CreateAccessKeyResponse, error) {
	name, err := userOrCaller(call, in.UserName)
	if err != nil {
		return nil, err
	}
	var key platform.AccessKey
	for range attempts {
		if key, err = s.addKey(ctx, call, name); !platform.Is(err, platform.Conflict) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return &model.CreateAccessKeyResponse{AccessKey: &model.AccessKey{
		UserName: userName(key.User), AccessKeyId: &key.ID, SecretAccessKey: &key.Secret,
		Status: status(key.Active), CreateDate: moment(key.Created),
	}}, nil
}

// addKey writes the user's record back with the key, unchanged but for its revision: so a user that is being deleted, and
// another key that is being made, get in each other's way as they must.
func (s *service) addKey(ctx context.Context, call *api.Call, name string) (platform.AccessKey, error) {
	var tx platform.Tx
	if name != "" {
		e, err := s.permitted(ctx, call, userKey(name))
		if err != nil {
			return platform.AccessKey{}, err
		}
		tx.Puts = append(tx.Puts, e.put(call))
	}
	keys, err := s.keysOf(ctx, name)
	if err != nil {
		return platform.AccessKey{}, err
	}
	if len(keys) >= maxKeys {
		return platform.AccessKey{}, platform.Errorf(platform.LimitExceeded, name, "Cannot exceed quota for AccessKeysPerUser: %d", maxKeys)
	}
	key, err := platform.NewAccessKey(s.random, call.Now, name)
	if err != nil {
		return key, err
	}
	tx.Puts = append(tx.Puts, platform.Put{Record: api.KeyRecord(key)})
	return key, s.commit(ctx, tx)
}

// keysOf gives a user's keys, the oldest first; "" is root.
func (s *service) keysOf(ctx context.Context, user string) ([]platform.AccessKey, error) {
	page, err := s.store.List(ctx, platform.Query{Kind: platform.KindAccessKey, States: []string{api.KeyOwner(user)}})
	if err != nil {
		return nil, err
	}
	keys := make([]platform.AccessKey, len(page.Records))
	for i, rec := range page.Records {
		if keys[i], err = readKey(rec); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func readKey(rec platform.Record) (platform.AccessKey, error) {
	var k platform.AccessKey
	if err := json.Unmarshal(rec.Doc, &k); err != nil {
		return k, platform.Errorf(platform.Internal, rec.Name, "access key record: %w", err)
	}
	return k, nil
}

func (s *service) listAccessKeys(ctx context.Context, call *api.Call, in *model.ListAccessKeysRequest) (*model.ListAccessKeysResponse, error) {
	name, err := userOrCaller(call, in.UserName)
	if err != nil {
		return nil, err
	}
	if name != "" {
		if _, err := s.permitted(ctx, call, userKey(name)); err != nil {
			return nil, err
		}
	}
	keys, err := s.keysOf(ctx, name)
	if err != nil {
		return nil, err
	}
	out := &model.ListAccessKeysResponse{AccessKeyMetadata: []model.AccessKeyMetadata{}, IsTruncated: new(false)} // never more than a page
	for _, k := range keys {
		out.AccessKeyMetadata = append(out.AccessKeyMetadata, model.AccessKeyMetadata{
			UserName: userName(k.User), AccessKeyId: &k.ID, Status: status(k.Active), CreateDate: moment(k.Created),
		})
	}
	return out, nil
}

func (s *service) updateAccessKey(ctx context.Context, call *api.Call, in *model.UpdateAccessKeyRequest) error {
	if *in.Status == model.StatusTypeExpired {
		return api.WithCode("InvalidInput", platform.Errorf(platform.Invalid, *in.AccessKeyId, "The status of an access key can be set to Active or Inactive."))
	}
	return s.onKey(ctx, call, in.UserName, *in.AccessKeyId, func(k platform.AccessKey, rec platform.Record) platform.Tx {
		k.Active = *in.Status == model.StatusTypeActive
		rec.Doc, rec.Modified = api.KeyRecord(k).Doc, call.Now
		return platform.Tx{Puts: []platform.Put{{Record: rec}}}
	})
}

func (s *service) deleteAccessKey(ctx context.Context, call *api.Call, in *model.DeleteAccessKeyRequest) error {
	return s.onKey(ctx, call, in.UserName, *in.AccessKeyId, func(_ platform.AccessKey, rec platform.Record) platform.Tx {
		return platform.Tx{Deletes: []platform.Delete{{Key: rec.Key, Revision: rec.Revision}}}
	})
}

// onKey applies a change to an access key of a user.
func (s *service) onKey(ctx context.Context, call *api.Call, user *string, id string, change func(platform.AccessKey, platform.Record) platform.Tx) error {
	name, err := userOrCaller(call, user)
	if err != nil {
		return err
	}
	if name != "" {
		if _, err := s.permitted(ctx, call, userKey(name)); err != nil {
			return err
		}
	}
	for range attempts {
		rec, missing := s.store.Get(ctx, platform.Key{Kind: platform.KindAccessKey, Name: id})
		if missing != nil && !platform.Is(missing, platform.NotFound) {
			return missing
		}
		var k platform.AccessKey
		if missing == nil {
			if k, err = readKey(rec); err != nil {
				return err
			}
		}
		if missing != nil || k.User != name {
			return platform.Errorf(platform.NotFound, id, "The Access Key with id %s cannot be found.", id)
		}
		if err = s.commit(ctx, change(k, rec)); !platform.Is(err, platform.Conflict) {
			return err
		}
	}
	return err
}

// userName is absent for root.
func userName(name string) *string {
	if name == "" {
		return nil
	}
	return &name
}

func status(active bool) *model.StatusType {
	if active {
		return new(model.StatusTypeActive)
	}
	return new(model.StatusTypeInactive)
}
