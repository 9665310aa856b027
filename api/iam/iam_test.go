package iam_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/iam"
	"github.com/stint-ml/stint/api/sts"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform"
)

func open(t testing.TB, store platform.Store) *apitest.Door {
	return apitest.Open(t, store, func(d *apitest.Door) []*api.Service {
		return []*api.Service{iam.New(d.Store, d.Identities, d.Random), sts.New(d.Store, d.Random)}
	})
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	apitest.PlayAll(t, func(t *testing.T, _ string) *apitest.Door { return open(t, memory.New()) })
}

// interrupted is a store in which something else happens just before a commit.
type interrupted struct {
	platform.Store
	before func()
}

func (s *interrupted) Commit(ctx context.Context, tx platform.Tx) error {
	if f := s.before; f != nil {
		s.before = nil
		f()
	}
	return s.Store.Commit(ctx, tx)
}

// as calls an operation as root and wants a status.
func as(t *testing.T, d *apitest.Door, want int, action string, parameters ...string) string {
	t.Helper()
	form := url.Values{"Action": {action}}
	for i := 0; i < len(parameters); i += 2 {
		form.Set(parameters[i], parameters[i+1])
	}
	status, body := d.Query(t, apitest.Of(d.Root), "iam", form)
	if status != want {
		t.Fatalf("%s: %d %s", action, status, body)
	}
	return body
}

const some = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`

func TestAKeyIsNotMadeForAUserWhoIsGoing(t *testing.T) {
	t.Parallel()
	store := &interrupted{Store: memory.New()}
	d := open(t, store)
	as(t, d, http.StatusOK, "CreateUser", "UserName", "alice")
	store.before = func() {
		rec, err := store.Store.Get(t.Context(), platform.Key{Kind: platform.KindUser, Name: "alice"})
		if err == nil {
			err = store.Store.Commit(t.Context(), platform.Tx{Deletes: []platform.Delete{{Key: rec.Key, Revision: rec.Revision}}})
		}
		if err != nil {
			t.Error(err)
		}
	}
	as(t, d, http.StatusNotFound, "CreateAccessKey", "UserName", "alice")
	page, err := store.List(t.Context(), platform.Query{Kind: platform.KindAccessKey})
	if err != nil || len(page.Records) != 1 {
		t.Errorf("%d keys, want root's alone; %v", len(page.Records), err)
	}
}

func TestConcurrentChangesAllCount(t *testing.T) {
	t.Parallel()
	store := &interrupted{Store: memory.New()}
	d := open(t, store)
	as(t, d, http.StatusOK, "CreateUser", "UserName", "alice")
	store.before = func() {
		as(t, d, http.StatusOK, "PutUserPolicy", "UserName", "alice", "PolicyName", "b", "PolicyDocument", some)
	}
	as(t, d, http.StatusOK, "PutUserPolicy", "UserName", "alice", "PolicyName", "a", "PolicyDocument", some)
	if names := as(t, d, http.StatusOK, "ListUserPolicies", "UserName", "alice"); !strings.Contains(names, "<member>a</member><member>b</member>") {
		t.Errorf("a policy was lost: %s", names)
	}
	// A user whose record changed while it was being deleted stays.
	as(t, d, http.StatusOK, "CreateUser", "UserName", "bob")
	store.before = func() { as(t, d, http.StatusOK, "CreateAccessKey", "UserName", "bob") }
	if body := as(t, d, http.StatusConflict, "DeleteUser", "UserName", "bob"); !strings.Contains(body, "ConcurrentModification") {
		t.Error(body)
	}
	as(t, d, http.StatusOK, "GetUser", "UserName", "bob")
}

func TestQuotasOfPolicies(t *testing.T) {
	t.Parallel()
	d := open(t, memory.New())
	as(t, d, http.StatusOK, "CreateUser", "UserName", "alice")
	sized := func(n int) string { // n bytes and much white space
		const frame = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:","Resource":"*"}}`
		return strings.Replace(frame, `"s3:"`, strings.Repeat(" ", 500)+`"s3:`+strings.Repeat("x", n-len(frame))+`"`, 1)
	}
	as(t, d, http.StatusOK, "PutUserPolicy", "UserName", "alice", "PolicyName", "a", "PolicyDocument", sized(1024))
	as(t, d, http.StatusOK, "PutUserPolicy", "UserName", "alice", "PolicyName", "b", "PolicyDocument", sized(1024))
	if body := as(t, d, http.StatusConflict, "PutUserPolicy", "UserName", "alice", "PolicyName", "c", "PolicyDocument", some); !strings.Contains(body, "Maximum policy size of 2048 bytes exceeded for user alice") {
		t.Error(body)
	}
	as(t, d, http.StatusOK, "PutRolePolicy", "RoleName", api.DefaultRole, "PolicyName", "big", "PolicyDocument", sized(9000))
	as(t, d, http.StatusConflict, "PutRolePolicy", "RoleName", api.DefaultRole, "PolicyName", "bigger", "PolicyDocument", sized(2000))
	trust := strings.Replace(sized(2100), `"Resource":"*"`, `"Principal":"*"`, 1)
	if body := as(t, d, http.StatusConflict, "CreateRole", "RoleName", "r", "AssumeRolePolicyDocument", trust); !strings.Contains(body, "Cannot exceed quota for ACLSizePerRole: 2048") {
		t.Error(body)
	}
}

// deaf is a store that tells nobody of changes.
type deaf struct{ platform.Store }

func (deaf) Watch(platform.Kind) (<-chan platform.Key, func()) {
	silent := make(chan platform.Key)
	return silent, sync.OnceFunc(func() { close(silent) })
}

// TestTheNextCallSeesTheChange does without the store's notices, which come a moment later.
func TestTheNextCallSeesTheChange(t *testing.T) {
	t.Parallel()
	d := open(t, deaf{memory.New()})
	as(t, d, http.StatusOK, "CreateUser", "UserName", "alice")
	key, err := platform.NewAccessKey(d.Random, d.Clock.Now(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: api.KeyRecord(key)}}}); err != nil {
		t.Fatal(err)
	}
	alice := func(want int) {
		t.Helper()
		if status, body := d.Query(t, apitest.Of(key), "iam", url.Values{"Action": {"GetUser"}}); status != want {
			t.Errorf("%d %s", status, body)
		}
	}
	alice(http.StatusForbidden)
	as(t, d, http.StatusOK, "PutUserPolicy", "UserName", "alice", "PolicyName", "p", "PolicyDocument", strings.Replace(some, "s3:", "iam:", 1))
	alice(http.StatusOK)
	as(t, d, http.StatusOK, "DeleteAccessKey", "UserName", "alice", "AccessKeyId", key.ID)
	alice(http.StatusForbidden)
}
