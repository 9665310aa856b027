package s3_test

import (
	"context"
	"sync"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/s3"
	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
)

var site = platform.Site{Partition: "aws", Region: "us-east-1", Account: "123456789012"}

// The server wires these two together.
var _ s3.Accounts = (*api.Identities)(nil)

// accounts is IAM as these tests need it: keys that can be added and revoked while the server runs.
type accounts struct {
	mu   sync.Mutex
	keys map[string]account
}

type account struct {
	secret, token string
	principal     platform.Principal
	expired       bool
}

func (a *accounts) add(id string, k account) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys == nil {
		a.keys = map[string]account{}
	}
	if k.secret == "" {
		k.secret = "secret-of-" + id
	}
	a.keys[id] = k
	return id
}

func (a *accounts) revoke(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.keys, id)
}

func (a *accounts) Authenticate(_ context.Context, id string) (string, string, platform.Principal, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := a.keys[id]
	if !ok {
		return "", "", platform.Principal{}, platform.Errorf(platform.NotFound, id, "no such key")
	}
	if k.expired {
		return "", "", platform.Principal{}, platform.Errorf(platform.Denied, id, "expired")
	}
	return k.secret, k.token, k.principal, nil
}

func (a *accounts) Decide(_ context.Context, p platform.Principal, action string, resource platform.ARN, conditions map[string][]string) (authorize.Decision, error) {
	documents := p.Policies
	if p.Kind == platform.RootPrincipal {
		documents = []string{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`}
	}
	policies, err := parse(documents...)
	if err != nil {
		return authorize.Decision{}, err
	}
	r := &authorize.Request{Principal: p.ARN, Action: action, Resource: resource, Context: conditions}
	if p.Boundary == "" {
		return authorize.Evaluate(r, policies, nil, nil), nil
	}
	boundary, err := parse(p.Boundary)
	if err != nil {
		return authorize.Decision{}, err
	}
	return authorize.Evaluate(r, policies, nil, boundary[0]), nil
}

func parse(documents ...string) (policies []*authorize.Policy, err error) {
	for _, document := range documents {
		policy, err := authorize.Parse("test", document, authorize.ForIdentity)
		if err != nil {
			return nil, err
		}
		policies = append(policies, policy)
	}
	return policies, nil
}

func root() platform.Principal {
	return platform.Principal{Kind: platform.RootPrincipal, ARN: site.GlobalARN("iam", "root"), ID: site.Account}
}

func user(name string, policies ...string) platform.Principal {
	return platform.Principal{Kind: platform.UserPrincipal, ARN: site.GlobalARN("iam", "user/"+name), ID: "AIDA" + name, Name: name, Policies: policies}
}
