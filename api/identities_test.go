package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire/sigv4"
)

// put stores a record, replacing what is there, behind everybody's back.
func put(t testing.TB, store platform.Store, rec platform.Record) {
	t.Helper()
	if old, err := store.Get(t.Context(), rec.Key); err == nil {
		rec.Revision = old.Revision
	}
	if err := store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}}); err != nil {
		t.Fatal(err)
	}
}

// member makes a user with one policy and one key.
func member(t testing.TB, d *apitest.Door, name, policy string) (platform.User, platform.AccessKey) {
	t.Helper()
	u := platform.User{Name: name, Path: "/", ID: "AIDA" + name, Created: d.Clock.Now(), Policies: map[string]string{"p": policy}}
	k, err := platform.NewAccessKey(d.Random, d.Clock.Now(), name)
	if err != nil {
		t.Fatal(err)
	}
	put(t, d.Store, api.UserRecord(u))
	put(t, d.Store, api.KeyRecord(k))
	return u, k
}

// session makes a session of a role.
func session(t testing.TB, d *apitest.Door, role string, life time.Duration) platform.Session {
	t.Helper()
	s, err := platform.NewSession(d.Random, d.Clock.Now(), life)
	if err != nil {
		t.Fatal(err)
	}
	s.Role, s.Name = role, "s"
	rec, err := s.Record()
	if err != nil {
		t.Fatal(err)
	}
	put(t, d.Store, rec)
	return s
}

func allow(actions string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"` + actions + `","Resource":"*"}}`
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestChangesBehindTheBackAreNoticed(t *testing.T) {
	t.Parallel()
	d := open(t)
	u, k := member(t, d, "alice", allow("sagemaker:*"))
	status := func(c sigv4.Credentials) int {
		status, _ := d.JSON(t, c, "sagemaker", describeTarget, describeBody("j"))
		return status
	}
	if got := status(apitest.Of(k)); got != http.StatusOK {
		t.Fatalf("status %d before any change", got)
	}
	// Nobody calls Forget: the store's own notice has to do.
	u.Policies["p"] = allow("s3:*")
	put(t, d.Store, api.UserRecord(u))
	eventually(t, "the change of the policy", func() bool { return status(apitest.Of(k)) == http.StatusBadRequest })

	u.Policies["p"] = allow("*")
	put(t, d.Store, api.UserRecord(u))
	eventually(t, "the change back", func() bool { return status(apitest.Of(k)) == http.StatusOK })

	k.Active = false
	put(t, d.Store, api.KeyRecord(k))
	eventually(t, "the end of the key", func() bool { return status(apitest.Of(k)) == http.StatusForbidden })

	s := session(t, d, api.DefaultRole, time.Hour)
	c := sigv4.Credentials{AccessKeyID: s.ID, SecretAccessKey: s.Secret, SessionToken: s.Token}
	if got := status(c); got != http.StatusOK {
		t.Fatalf("status %d for a session", got)
	}
	role, err := d.Store.Get(t.Context(), platform.Key{Kind: platform.KindRole, Name: api.DefaultRole})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Store.Commit(t.Context(), platform.Tx{Deletes: []platform.Delete{{Key: role.Key, Revision: role.Revision}}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the role", func() bool { return status(c) == http.StatusForbidden })
}

// deaf is a store that tells nobody of changes and counts reads.
type deaf struct {
	platform.Store
	reads atomic.Int64
}

func (d *deaf) Watch(platform.Kind) (<-chan platform.Key, func()) {
	silent := make(chan platform.Key)
	return silent, sync.OnceFunc(func() { close(silent) })
}

func (d *deaf) Get(ctx context.Context, key platform.Key) (platform.Record, error) {
	d.reads.Add(1)
	return d.Store.Get(ctx, key)
}

func TestWhatIsInMindAges(t *testing.T) {
	t.Parallel()
	store := &deaf{Store: memory.New()}
	d := apitest.Prepare(t, store)
	u, k := member(t, d, "alice", allow("s3:*"))
	policies := func() string {
		_, _, p, err := d.Identities.Authenticate(t.Context(), k.ID)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(p.Policies, "")
	}
	policies()
	before := store.reads.Load()
	u.Policies["p"] = allow("logs:*")
	rec := api.UserRecord(u)
	rec.Revision = 1
	if err := store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}}); err != nil {
		t.Fatal(err)
	}
	if got := policies(); got != allow("s3:*") || store.reads.Load() != before {
		t.Errorf("a record in mind was read again: %s", got)
	}
	d.Clock.Advance(11 * time.Second)
	if got := policies(); got != allow("logs:*") {
		t.Errorf("after a while: %s", got)
	}
	u.Policies["p"] = allow("iam:*")
	put(t, d.Store, api.UserRecord(u))
	d.Identities.Forget(platform.Key{Kind: platform.KindUser, Name: "alice"})
	if got := policies(); got != allow("iam:*") {
		t.Errorf("after Forget: %s", got)
	}
	d.Clock.Advance(-time.Hour)
	u.Policies["p"] = allow("sts:*")
	put(t, d.Store, api.UserRecord(u))
	if got := policies(); got != allow("sts:*") {
		t.Errorf("after the clock was set back: %s", got)
	}
}

func TestNothingIsKeptInMindWithoutStart(t *testing.T) {
	t.Parallel()
	store := &deaf{Store: memory.New()}
	d := apitest.Prepare(t, store)
	d.Identities.Stop()
	d.Identities.Stop()
	_, k := member(t, d, "alice", allow("s3:*"))
	for range 2 {
		before := store.reads.Load()
		if _, _, _, err := d.Identities.Authenticate(t.Context(), k.ID); err != nil {
			t.Fatal(err)
		}
		if n := store.reads.Load() - before; n != 2 {
			t.Errorf("%d reads, want the key's and the user's", n)
		}
	}
}

// slow is a store whose reads of one record wait for a sign.
type slow struct {
	platform.Store
	key           platform.Key
	reading, goOn chan struct{}
}

func (s *slow) Get(ctx context.Context, key platform.Key) (platform.Record, error) {
	rec, err := s.Store.Get(ctx, key)
	if key == s.key {
		s.reading <- struct{}{}
		<-s.goOn
	}
	return rec, err
}

func TestAReadOvertakenByAChangeIsNotKept(t *testing.T) {
	t.Parallel()
	inner := memory.New()
	d := apitest.Prepare(t, inner)
	u, k := member(t, d, "alice", allow("s3:*"))
	store := &slow{Store: inner, key: platform.Key{Kind: platform.KindUser, Name: "alice"}, reading: make(chan struct{}, 10), goOn: make(chan struct{})}
	identities := api.NewIdentities(store, apitest.Site, d.Clock, d.Logger())
	identities.Start()
	t.Cleanup(identities.Stop)
	answer := make(chan string, 1)
	ask := func() {
		_, _, p, err := identities.Authenticate(context.Background(), k.ID)
		if err != nil {
			t.Error(err)
		}
		answer <- strings.Join(p.Policies, "")
	}
	go ask()
	<-store.reading // it has read the old policy
	u.Policies["p"] = allow("logs:*")
	put(t, inner, api.UserRecord(u))
	identities.Forget(store.key)
	close(store.goOn)
	<-answer
	go ask()
	if got := <-answer; got != allow("logs:*") {
		t.Errorf("the old policy was kept: %s", got)
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	d := open(t)
	_, k := member(t, d, "alice", allow("s3:*"))
	s := session(t, d, api.DefaultRole, time.Hour)
	for _, want := range []struct {
		id, secret, token string
		principal         platform.Principal
	}{
		{s.ID, s.Secret, s.Token, platform.Principal{Kind: platform.SessionPrincipal, ARN: "arn:aws:sts::123456789012:assumed-role/StintExecutionRole/s", Name: api.DefaultRole}},
		{k.ID, k.Secret, "", platform.Principal{Kind: platform.UserPrincipal, ARN: "arn:aws:iam::123456789012:user/alice", Name: "alice"}},
		{d.Root.ID, d.Root.Secret, "", platform.Principal{Kind: platform.RootPrincipal, ARN: "arn:aws:iam::123456789012:root"}},
	} {
		secret, token, p, err := d.Identities.Authenticate(t.Context(), want.id)
		if err != nil {
			t.Fatal(err)
		}
		if p.ID == "" || (len(p.Policies) == 1) == (p.Kind == platform.RootPrincipal) {
			t.Errorf("%s: id %q and %d policies", p.ARN, p.ID, len(p.Policies))
		}
		got := platform.Principal{Kind: p.Kind, ARN: p.ARN, Name: p.Name}
		if secret != want.secret || token != want.token || !reflect.DeepEqual(got, want.principal) {
			t.Errorf("got %+v, want %+v", got, want.principal)
		}
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	t.Parallel()
	d := open(t)
	_, k := member(t, d, "alice", allow("s3:*"))
	idle := k
	idle.ID, idle.Active = "AKIAINACTIVE", false
	put(t, d.Store, api.KeyRecord(idle))
	orphan := k
	orphan.ID, orphan.User = "AKIAORPHAN", "nobody"
	put(t, d.Store, api.KeyRecord(orphan))
	lost := session(t, d, "NoSuchRole", time.Hour)
	old := session(t, d, api.DefaultRole, -time.Second)
	for id, want := range map[string]platform.ErrorKind{
		"": platform.NotFound, "AKIANOBODY": platform.NotFound, "ASIANOBODY": platform.NotFound, "ASIA": platform.NotFound,
		idle.ID: platform.NotFound, orphan.ID: platform.NotFound, lost.ID: platform.NotFound, old.ID: platform.Denied,
	} {
		if _, _, _, err := d.Identities.Authenticate(t.Context(), id); !platform.Is(err, want) {
			t.Errorf("%q: %v, want kind %s", id, err, want)
		}
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	d := open(t)
	bucket := platform.ARN("arn:aws:s3:::b/k")
	user := platform.Principal{Kind: platform.UserPrincipal, ARN: "arn:aws:iam::123456789012:user/alice", Name: "alice", Policies: []string{allow("s3:Get*")}}
	narrowed := user
	narrowed.Boundary = allow("logs:*")
	root := platform.Principal{Kind: platform.RootPrincipal, ARN: "arn:aws:iam::123456789012:root"}
	narrowedRoot := root
	narrowedRoot.Boundary = allow("logs:*")
	conditional := user
	conditional.Policies = []string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"s3:prefix":"x","aws:username":"alice"}}}}`}
	assumed := platform.Principal{
		Kind: platform.SessionPrincipal, ARN: "arn:aws:sts::123456789012:assumed-role/StintExecutionRole/s", Name: api.DefaultRole,
		Policies: []string{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:Put*","Resource":"*","Condition":{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/StintExecutionRole"}}}]}`},
	}
	orphaned := assumed
	orphaned.Name = "NoSuchRole"
	damaged := user
	damaged.Policies = []string{`{`}
	tests := []struct {
		name       string
		p          platform.Principal
		action     string
		conditions map[string][]string
		want       string
	}{
		{"allowed", user, "s3:GetObject", nil, ""},
		{"not allowed", user, "s3:PutObject", nil, "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: s3:PutObject on resource: arn:aws:s3:::b/k because no identity-based policy allows the s3:PutObject action"},
		{"narrowed", narrowed, "s3:GetObject", nil, "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: s3:GetObject on resource: arn:aws:s3:::b/k because no session policy allows the s3:GetObject action"},
		{"root", root, "s3:PutObject", nil, ""},
		{"narrowed root", narrowedRoot, "s3:PutObject", nil, "User: arn:aws:iam::123456789012:root is not authorized to perform: s3:PutObject on resource: arn:aws:s3:::b/k because no session policy allows the s3:PutObject action"},
		{"condition holds", conditional, "s3:ListBucket", map[string][]string{"s3:prefix": {"x"}}, ""},
		{"condition does not", conditional, "s3:ListBucket", nil, "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: s3:ListBucket on resource: arn:aws:s3:::b/k because no identity-based policy allows the s3:ListBucket action"},
		{"session by its role", assumed, "s3:PutObject", nil, "User: arn:aws:sts::123456789012:assumed-role/StintExecutionRole/s is not authorized to perform: s3:PutObject on resource: arn:aws:s3:::b/k with an explicit deny in an identity-based policy"},
		{"session whose role has gone", orphaned, "s3:GetObject", nil, "The security token included in the request is invalid."},
		{"damaged policy", damaged, "s3:GetObject", nil, "a stored policy is malformed: Syntax errors in policy. The document is not valid JSON: unexpected end of JSON input. (line 1, column 1)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := d.Identities.Authorize(t.Context(), test.p, test.action, bucket, test.conditions); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	d := open(t)
	short, day, long := session(t, d, api.DefaultRole, time.Hour), session(t, d, api.DefaultRole, 24*time.Hour), session(t, d, api.DefaultRole, 72*time.Hour)
	alive := func(s platform.Session) bool {
		_, err := d.Store.Get(t.Context(), platform.Key{Kind: platform.KindSession, Name: s.ID})
		return err == nil
	}
	d.Clock.Advance(24 * time.Hour)
	if err := d.Identities.Sweep(t.Context()); err != nil || !alive(short) {
		t.Errorf("a session that expired 23 hours ago was swept, or %v", err)
	}
	d.Clock.Advance(2 * time.Hour)
	if err := d.Identities.Sweep(t.Context()); err != nil || alive(short) || !alive(day) || !alive(long) {
		t.Errorf("alive: short %v, a day's %v, long %v; %v", alive(short), alive(day), alive(long), err)
	}
}

func TestBootstrap(t *testing.T) {
	t.Parallel()
	d := apitest.Prepare(t, memory.New())
	again := func() platform.AccessKey {
		k, err := api.Bootstrap(t.Context(), d.Store, apitest.Site, d.Random, d.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if got := again(); got != d.Root {
		t.Errorf("a second start gave %s, the first %s", got.ID, d.Root.ID)
	}
	// A role that an owner has changed stays as it is, and a lost key is replaced.
	rec, err := d.Store.Get(t.Context(), platform.Key{Kind: platform.KindRole, Name: api.DefaultRole})
	if err != nil {
		t.Fatal(err)
	}
	var r platform.Role
	if err := json.Unmarshal(rec.Doc, &r); err != nil {
		t.Fatal(err)
	}
	r.Description = "mine"
	put(t, d.Store, api.RoleRecord(r))
	gone := d.Root
	gone.Active = false
	put(t, d.Store, api.KeyRecord(gone))
	fresh := again()
	if fresh.ID == d.Root.ID || !fresh.Active || fresh.User != "" {
		t.Errorf("the replacement is %+v", fresh)
	}
	rec, err = d.Store.Get(t.Context(), rec.Key)
	if err != nil || !strings.Contains(string(rec.Doc), "mine") {
		t.Errorf("the role was written over: %s, %v", rec.Doc, err)
	}
	if got := again(); got != fresh {
		t.Errorf("then %s, want %s", got.ID, fresh.ID)
	}
}

func TestChinaPartition(t *testing.T) {
	t.Parallel()
	site := platform.Site{Partition: "aws-cn", Region: "cn-north-1", Account: "123456789012"}
	d := apitest.Prepare(t, memory.New())
	store := memory.New()
	if _, err := api.Bootstrap(t.Context(), store, site, d.Random, d.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	identities := api.NewIdentities(store, site, d.Clock, d.Logger())
	if err := identities.AssumableBy(t.Context(), "arn:aws-cn:iam::123456789012:role/StintExecutionRole", "sagemaker.amazonaws.com"); err != nil {
		t.Error(err)
	}
	if err := identities.AssumableBy(t.Context(), "arn:aws:iam::123456789012:role/StintExecutionRole", "sagemaker.amazonaws.com"); !platform.Is(err, platform.Invalid) {
		t.Errorf("a role of another partition: %v", err)
	}
}

func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	d := open(t)
	u, k := member(t, d, "alice", allow("*"))
	done := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			u.Policies = map[string]string{"p": allow("*")}
			put(t, d.Store, api.UserRecord(u))
			d.Identities.Forget(platform.Key{Kind: platform.KindUser, Name: "alice"})
		}
	})
	var calling sync.WaitGroup
	for range 4 {
		calling.Go(func() {
			for range 50 {
				if status, body := d.JSON(t, apitest.Of(k), "sagemaker", describeTarget, describeBody("j")); status != http.StatusOK {
					t.Errorf("%d %s", status, body)
				}
			}
		})
	}
	calling.Wait()
	close(done)
	changing.Wait()
}
