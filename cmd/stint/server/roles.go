package server

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	blobs "github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/platform"
)

// roleLife is how long credentials live with which the server acts as a model's role; they are renewed as long as they are used.
const roleLife = 12 * time.Hour

// roleStores are the object store as the roles of models see it: what the server writes for an endpoint, its role must be allowed to.
type roleStores struct {
	store            platform.Store
	endpoint, region string
	mu               sync.Mutex
	known            map[platform.ARN]platform.Blobs
}

func (s *Server) openRoles(context.Context) error {
	s.roles = &roleStores{store: s.store, endpoint: s.S3Endpoint(), region: s.Site.Region, known: map[platform.ARN]platform.Blobs{}}
	return nil
}

func (r *roleStores) of(role platform.ARN) (platform.Blobs, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.known[role]; b != nil {
		return b, nil
	}
	b, err := blobs.New(blobs.Config{Endpoint: r.endpoint, Region: r.region, Own: true, Credentials: func(ctx context.Context) (blobs.Credentials, error) {
		return r.assume(ctx, role)
	}})
	if err != nil {
		return nil, err
	}
	r.known[role] = b
	return b, nil
}

// assume makes credentials of a role. They are forgotten, as any others, when they have expired.
func (r *roleStores) assume(ctx context.Context, role platform.ARN) (blobs.Credentials, error) {
	session, err := platform.NewSession(rand.Reader, platform.SystemClock{}.Now(), roleLife)
	if err != nil {
		return blobs.Credentials{}, err
	}
	session.Role, session.Name = role.ResourceName(), "SageMaker"
	rec, err := session.Record()
	if err != nil {
		return blobs.Credentials{}, err
	}
	if err := r.store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}}); err != nil {
		return blobs.Credentials{}, err
	}
	return blobs.Credentials{AccessKeyID: session.ID, SecretAccessKey: session.Secret, SessionToken: session.Token, Expires: session.Expires}, nil
}
