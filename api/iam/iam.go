// Package iam serves AWS Identity and Access Management: users, their access keys, roles, inline policies and the policy
// simulator.
//
// Users, roles and keys are records of the store. Every change is compare-and-swap, and is told to the parent package's
// Identities before it is answered, so that the next call of anybody sees it. There are no groups, no managed policies and
// no permissions boundaries: requests that carry them are refused, never obeyed by half.
package iam

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/iam"
)

// AWS's quotas, in characters without white space where they are of documents.
const (
	maxUserPolicies = 2048
	maxRolePolicies = 10240
	maxTrust        = 2048
	maxKeys         = 2 // of one user
)

// attempts is how often a change is tried again when somebody else changed the record in between.
const attempts = 5

type service struct {
	store      platform.Store
	identities *api.Identities
	random     io.Reader
}

// New makes the service. random must be a cryptographic source.
func New(store platform.Store, identities *api.Identities, random io.Reader) *api.Service {
	s := &service{store: store, identities: identities, random: random}
	return &api.Service{
		Model:  &model.Service,
		Words:  api.IAMWords,
		Global: true,
		// None names an Action: the resource's ARN holds its path, which only its record tells, so each handler asks for
		// "iam:" and its own name once it has the record.
		Operations: map[string]api.Operation{
			"CreateUser":               {Handle: api.Handle(s.createUser)},
			"GetUser":                  {Handle: api.Handle(s.getUser)},
			"ListUsers":                {Handle: api.Handle(s.listUsers)},
			"DeleteUser":               {Handle: api.HandleVoid(s.deleteUser)},
			"CreateAccessKey":          {Handle: api.Handle(s.createAccessKey)},
			"ListAccessKeys":           {Handle: api.Handle(s.listAccessKeys)},
			"UpdateAccessKey":          {Handle: api.HandleVoid(s.updateAccessKey)},
			"DeleteAccessKey":          {Handle: api.HandleVoid(s.deleteAccessKey)},
			"CreateRole":               {Handle: api.Handle(s.createRole)},
			"GetRole":                  {Handle: api.Handle(s.getRole)},
			"ListRoles":                {Handle: api.Handle(s.listRoles)},
			"DeleteRole":               {Handle: api.HandleVoid(s.deleteRole)},
			"UpdateAssumeRolePolicy":   {Handle: api.HandleVoid(s.updateAssumeRolePolicy)},
			"PutRolePolicy":            {Handle: api.HandleVoid(s.putRolePolicy)},
			"GetRolePolicy":            {Handle: api.Handle(s.getRolePolicy)},
			"ListRolePolicies":         {Handle: api.Handle(s.listRolePolicies)},
			"DeleteRolePolicy":         {Handle: api.HandleVoid(s.deleteRolePolicy)},
			"PutUserPolicy":            {Handle: api.HandleVoid(s.putUserPolicy)},
			"GetUserPolicy":            {Handle: api.Handle(s.getUserPolicy)},
			"ListUserPolicies":         {Handle: api.Handle(s.listUserPolicies)},
			"DeleteUserPolicy":         {Handle: api.HandleVoid(s.deleteUserPolicy)},
			"ListAttachedRolePolicies": {Handle: api.Handle(s.listAttachedRolePolicies)},
			"ListAttachedUserPolicies": {Handle: api.Handle(s.listAttachedUserPolicies)},
			"SimulatePrincipalPolicy":  {Handle: api.Handle(s.simulatePrincipalPolicy)},
		},
	}
}

// entity is a user or a role, as read.
type entity struct {
	record platform.Record
	user   *platform.User // one of the two
	role   *platform.Role
}

func userKey(name string) platform.Key { return platform.Key{Kind: platform.KindUser, Name: name} }
func roleKey(name string) platform.Key { return platform.Key{Kind: platform.KindRole, Name: name} }

func readEntity(rec platform.Record) (*entity, error) {
	e := &entity{record: rec}
	var err error
	if rec.Kind == platform.KindUser {
		e.user = new(platform.User)
		err = json.Unmarshal(rec.Doc, e.user)
	} else {
		e.role = new(platform.Role)
		err = json.Unmarshal(rec.Doc, e.role)
	}
	if err != nil {
		return nil, platform.Errorf(platform.Internal, rec.Name, "%s record: %w", rec.Kind, err)
	}
	return e, nil
}

func (e *entity) arn(site platform.Site) platform.ARN {
	if e.user != nil {
		return e.user.ARN(site)
	}
	return e.role.ARN(site)
}

// policies is the map of inline policies, made when there is none.
func (e *entity) policies() map[string]string {
	var held *map[string]string
	if e.user != nil {
		held = &e.user.Policies
	} else {
		held = &e.role.Policies
	}
	if *held == nil {
		*held = make(map[string]string)
	}
	return *held
}

// put is the change that writes the entity back.
func (e *entity) put(call *api.Call) platform.Put {
	written := e.record
	if e.user != nil {
		written.Doc = api.UserRecord(*e.user).Doc
	} else {
		written.Doc = api.RoleRecord(*e.role).Doc
	}
	written.Modified = call.Now
	return platform.Put{Record: written}
}

// permitted reads a user or role and asks whether the caller may do this operation to it. One that does not exist is asked
// for as if it had no path, and only then NotFound: who may not look learns nothing.
func (s *service) permitted(ctx context.Context, call *api.Call, key platform.Key) (*entity, error) {
	sort := "user"
	if key.Kind == platform.KindRole {
		sort = "role"
	}
	rec, missing := s.store.Get(ctx, key)
	if missing != nil && !platform.Is(missing, platform.NotFound) {
		return nil, missing
	}
	arn := call.Site.GlobalARN("iam", sort+"/"+key.Name)
	var e *entity
	if missing == nil {
		var err error
		if e, err = readEntity(rec); err != nil {
			return nil, err
		}
		arn = e.arn(call.Site)
	}
	if err := call.Authorize(ctx, "iam:"+call.Operation, arn, nil); err != nil {
		return nil, err
	}
	if missing != nil {
		return nil, platform.Errorf(platform.NotFound, string(arn), "The %s with name %s cannot be found.", sort, key.Name)
	}
	return e, nil
}

// change reads a user or role, lets f alter it and writes it back, again when somebody else was quicker.
func (s *service) change(ctx context.Context, call *api.Call, key platform.Key, f func(*entity) error) error {
	var err error
	for range attempts {
		var e *entity
		if e, err = s.permitted(ctx, call, key); err != nil {
			return err
		}
		if err = f(e); err != nil {
			return err
		}
		if err = s.commit(ctx, platform.Tx{Puts: []platform.Put{e.put(call)}}); !platform.Is(err, platform.Conflict) {
			return err
		}
	}
	return err
}

// commit applies a change and lets everybody see it.
func (s *service) commit(ctx context.Context, tx platform.Tx) error {
	err := s.store.Commit(ctx, tx)
	// Also after an error: it may have been applied all the same.
	for _, p := range tx.Puts {
		s.identities.Forget(p.Record.Key)
	}
	for _, d := range tx.Deletes {
		s.identities.Forget(d.Key)
	}
	if platform.Is(err, platform.Conflict) {
		return &platform.Error{Kind: platform.Conflict, Cause: err, Message: "The request was rejected because multiple requests to change this object were submitted simultaneously. Wait a few minutes and submit your request again."}
	}
	return err
}

// revoke adds to tx the removal of all sessions of a user or role that is going, so that none comes alive again with a
// later bearer of its name.
func (s *service) revoke(ctx context.Context, tx *platform.Tx, going func(*platform.Session) bool) error {
	q := platform.Query{Kind: platform.KindSession}
	for {
		page, err := s.store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, rec := range page.Records {
			session, err := platform.ReadSession(rec)
			if err != nil {
				return err
			}
			if going(&session) {
				tx.Deletes = append(tx.Deletes, platform.Delete{Key: rec.Key, Revision: rec.Revision})
			}
		}
		if q.Token = page.Next; q.Token == "" {
			return nil
		}
	}
}

// unsupported refuses an operation's parameter.
func unsupported(call *api.Call, parameter string) error {
	return platform.Errorf(platform.NotSupported, "", "%s with %s is not supported by this server", call.Operation, parameter)
}

// readTags refuses a key that is given twice; IAM ignores the case of keys.
func readTags(tags []model.Tag) (map[string]string, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	kept, seen := make(map[string]string, len(tags)), make(map[string]bool, len(tags))
	for _, t := range tags {
		if seen[strings.ToLower(*t.Key)] {
			return nil, api.WithCode("InvalidInput", platform.Errorf(platform.Invalid, *t.Key, "Duplicate tag keys found. Please note that Tag keys are case insensitive."))
		}
		kept[*t.Key], seen[strings.ToLower(*t.Key)] = *t.Value, true
	}
	return kept, nil
}

// moment is a time as IAM shows it, in whole seconds.
func moment(t time.Time) *shapes.Timestamp { return shapes.NewTimestamp(t.Truncate(time.Second)) }
