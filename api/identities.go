package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

const (
	// maxAge is how long a cached record is believed. Changes are heard of at once; this bounds the harm of one that
	// was not, since the store's notifications may be lost.
	maxAge = 10 * time.Second
	// maxCached bounds the records kept in mind, maxCompiled the policies.
	maxCached   = 20_000
	maxCompiled = 4_096
	// Expired sessions are kept for a while, so that their holders read "expired" rather than "unknown".
	sweepEvery      = time.Hour
	keepExpired     = 24 * time.Hour
	shortestSession = 15 * time.Minute
)

// identityKinds are the records that the cache holds.
var identityKinds = []platform.Kind{platform.KindUser, platform.KindRole, platform.KindAccessKey, platform.KindSession}

// Identities knows who may call: access keys, sessions, users and roles, and the policies that bind them. It reads them
// from the store and keeps what it read in mind while it is started; then it hears of changes. A change made in this
// process counts at once when the writer calls Forget. Its methods are safe for concurrent use.
type Identities struct {
	store    platform.Store
	site     platform.Site
	clock    platform.Clock
	log      *slog.Logger
	compiled compiledPolicies

	mu         sync.RWMutex
	generation uint64 // counts what was forgotten, so that a read begun before a change is not kept after it
	kept       map[platform.Key]keptRecord
	following  bool
	stops      []func()

	background sync.WaitGroup
}

// keptRecord is a decoded record: *credential or *subject.
type keptRecord struct {
	value any
	read  time.Time
}

// NewIdentities makes an Identities that keeps nothing in mind until Start.
func NewIdentities(store platform.Store, site platform.Site, clock platform.Clock, log *slog.Logger) *Identities {
	return &Identities{store: store, site: site, clock: clock, log: log, kept: make(map[platform.Key]keptRecord)}
}

// Start begins to follow the store. A second Start does nothing.
func (i *Identities) Start() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.following {
		return
	}
	i.following = true
	for _, kind := range identityKinds {
		changed, stop := i.store.Watch(kind)
		i.stops = append(i.stops, stop)
		i.background.Go(func() {
			for key := range changed {
				i.Forget(key)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.stops = append(i.stops, cancel)
	i.background.Go(func() { i.sweepNowAndThen(ctx) })
}

// Stop ends what Start began and waits for it. Without Start, and a second time, it does nothing.
func (i *Identities) Stop() {
	i.mu.Lock()
	stops := i.stops
	i.stops, i.following = nil, false
	clear(i.kept)
	i.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	i.background.Wait()
}

// Forget drops what is in mind of a record. Whoever changes an identity record calls it after the commit and before the
// answer, so that the next call sees the change.
func (i *Identities) Forget(key platform.Key) {
	i.mu.Lock()
	i.generation++
	delete(i.kept, key)
	i.mu.Unlock()
}

// record gives a decoded record, from mind or from the store.
func (i *Identities) record(ctx context.Context, key platform.Key, decode func(platform.Record) (any, error)) (any, error) {
	now := i.clock.Now()
	i.mu.RLock()
	found, ok := i.kept[key]
	generation := i.generation
	i.mu.RUnlock()
	// A clock that was set back makes the age negative; read again then too.
	if age := now.Sub(found.read); ok && age >= 0 && age < maxAge {
		return found.value, nil
	}
	rec, err := i.store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	value, err := decode(rec)
	if err != nil {
		return nil, platform.Errorf(platform.Internal, key.Name, "%s record: %w", key.Kind, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.following || i.generation != generation {
		return value, nil
	}
	if len(i.kept) >= maxCached {
		i.makeRoom()
	}
	i.kept[key] = keptRecord{value, now}
	return value, nil
}

// makeRoom drops a tenth, whichever the map gives first: what is in use comes back with one read.
func (i *Identities) makeRoom() {
	drop := len(i.kept)/10 + 1
	for key := range i.kept {
		if drop--; drop < 0 {
			return
		}
		delete(i.kept, key)
	}
}

// credential is an access key or a session, as calls are verified with.
type credential struct {
	secret, token string
	active        bool
	user          string // whose key; "" is root, unless role is set
	role          string
	name          string    // role session name
	policy        string    // session policy
	expires       time.Time // zero: never
}

func readAccessKey(rec platform.Record) (any, error) {
	var k platform.AccessKey
	err := json.Unmarshal(rec.Doc, &k)
	return &credential{secret: k.Secret, active: k.Active, user: k.User}, err
}

func readSession(rec platform.Record) (any, error) {
	s, err := platform.ReadSession(rec)
	return &credential{secret: s.Secret, token: s.Token, active: true, user: s.User, role: s.Role, name: s.Name, policy: s.Policy, expires: s.Expires}, err
}

// subject is a user or a role, as calls are authorized with.
type subject struct {
	arn      platform.ARN
	id       string
	policies []string // in the order of their names
	trust    string   // of a role
}

func (i *Identities) readUser(rec platform.Record) (any, error) {
	var u platform.User
	err := json.Unmarshal(rec.Doc, &u)
	return &subject{arn: u.ARN(i.site), id: u.ID, policies: sorted(u.Policies)}, err
}

func (i *Identities) readRole(rec platform.Record) (any, error) {
	var r platform.Role
	err := json.Unmarshal(rec.Doc, &r)
	return &subject{arn: r.ARN(i.site), id: r.ID, policies: sorted(r.Policies), trust: r.Trust}, err
}

func sorted(policies map[string]string) []string {
	documents := make([]string, 0, len(policies))
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		documents = append(documents, policies[name])
	}
	return documents
}

func (i *Identities) user(ctx context.Context, name string) (*subject, error) {
	value, err := i.record(ctx, platform.Key{Kind: platform.KindUser, Name: name}, i.readUser)
	if err != nil {
		return nil, err
	}
	return value.(*subject), nil
}

func (i *Identities) role(ctx context.Context, name string) (*subject, error) {
	value, err := i.record(ctx, platform.Key{Kind: platform.KindRole, Name: name}, i.readRole)
	if err != nil {
		return nil, err
	}
	return value.(*subject), nil
}

// credential finds an access key or session, which its first four letters tell apart.
func (i *Identities) credential(ctx context.Context, accessKeyID string) (*credential, error) {
	key, decode := platform.Key{Kind: platform.KindAccessKey, Name: accessKeyID}, readAccessKey
	if len(accessKeyID) > 4 && accessKeyID[:4] == "ASIA" {
		key.Kind, decode = platform.KindSession, readSession
	}
	value, err := i.record(ctx, key, decode)
	if err != nil {
		return nil, err
	}
	return value.(*credential), nil
}

// Authenticate gives the secret of an access key or a session, the session's token (empty for a long-term key) and whose
// it is. NotFound: no such key, an inactive one, or its user or role is gone. Denied: it has expired.
func (i *Identities) Authenticate(ctx context.Context, accessKeyID string) (secret, token string, principal platform.Principal, err error) {
	c, principal, err := i.identify(ctx, accessKeyID)
	if err != nil {
		return "", "", platform.Principal{}, err
	}
	if !c.expires.IsZero() && !i.clock.Now().Before(c.expires) {
		return "", "", platform.Principal{}, platform.Errorf(platform.Denied, accessKeyID, "The security token included in the request is expired")
	}
	return c.secret, c.token, principal, nil
}

// identify is Authenticate without a look at the expiry.
func (i *Identities) identify(ctx context.Context, accessKeyID string) (*credential, platform.Principal, error) {
	unknown := func() error {
		return platform.Errorf(platform.NotFound, accessKeyID, "The security token included in the request is invalid.")
	}
	c, err := i.credential(ctx, accessKeyID)
	if err != nil && !platform.Is(err, platform.NotFound) {
		return nil, platform.Principal{}, err
	}
	if err != nil || !c.active {
		return nil, platform.Principal{}, unknown()
	}
	var s *subject
	switch {
	case c.role != "":
		s, err = i.role(ctx, c.role)
	case c.user != "":
		s, err = i.user(ctx, c.user)
	default:
		root := i.site.GlobalARN("iam", "root")
		return c, platform.Principal{Kind: platform.RootPrincipal, ARN: root, ID: i.site.Account, Boundary: c.policy}, nil
	}
	if err != nil && !platform.Is(err, platform.NotFound) {
		return nil, platform.Principal{}, err
	}
	if err != nil {
		return nil, platform.Principal{}, unknown()
	}
	if c.role == "" {
		return c, platform.Principal{Kind: platform.UserPrincipal, ARN: s.arn, ID: s.id, Name: c.user, Policies: s.policies, Boundary: c.policy}, nil
	}
	return c, platform.Principal{
		Kind:     platform.SessionPrincipal,
		ARN:      i.site.GlobalARN("sts", "assumed-role/"+c.role+"/"+c.name),
		ID:       s.id + ":" + c.name,
		Name:     c.role,
		Policies: s.policies,
		Boundary: c.policy,
	}, nil
}

// sweepNowAndThen deletes what nobody can use any more.
func (i *Identities) sweepNowAndThen(ctx context.Context) {
	for {
		fired, stop := i.clock.After(sweepEvery)
		select {
		case <-ctx.Done():
			stop()
			return
		case <-fired:
		}
		if err := i.Sweep(ctx); err != nil && ctx.Err() == nil {
			i.log.WarnContext(ctx, "expired sessions could not be swept", "error", err)
		}
	}
}

// Sweep deletes the records of sessions that expired more than a day ago.
func (i *Identities) Sweep(ctx context.Context) error {
	now := i.clock.Now()
	q := platform.Query{Kind: platform.KindSession, CreatedBefore: now.Add(-keepExpired - shortestSession)}
	for {
		page, err := i.store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, rec := range page.Records {
			s, err := platform.ReadSession(rec)
			if err != nil {
				return err
			}
			if now.Sub(s.Expires) < keepExpired {
				continue
			}
			err = i.store.Commit(ctx, platform.Tx{Deletes: []platform.Delete{{Key: rec.Key, Revision: rec.Revision}}})
			if err != nil && !platform.Is(err, platform.Conflict) { // somebody else deleted it
				return err
			}
		}
		if q.Token = page.Next; q.Token == "" {
			return nil
		}
	}
}
