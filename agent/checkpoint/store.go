package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/stint-ml/stint/platform"
)

// The folders of a host below our own folder in the store.
const (
	claimsFolder    = "claims"
	manifestsFolder = "manifests"
	intentsFolder   = "intents"
	objectsFolder   = "objects"
)

// uri is the object of a key below the prefix.
func (s *Syncer) uri(key string) platform.URI {
	return platform.URI(strings.TrimSuffix(string(s.Prefix), "/") + "/" + key)
}

func (s *Syncer) own(folder string) string { return bookkeeping + "/" + s.Host + "/" + folder + "/" }

// stamp is a claim, manifest or intent by its name. Later ones are greater.
type stamp struct {
	term, number int64
	revision     int64 // of a manifest that was written again, as the same content lies elsewhere
	key          string
}

func (t stamp) compare(o stamp) int {
	return cmp.Or(cmp.Compare(t.term, o.term), cmp.Compare(t.number, o.number), cmp.Compare(t.revision, o.revision))
}

func (s *Syncer) stamped(folder string, number int64) stamp {
	return stamp{term: s.term, number: number, key: fmt.Sprintf("%s%010d-%012d", s.own(folder), s.term, number)}
}

// revised is the stamp of a manifest that is written again.
func (t stamp) revised() stamp {
	t.key = strings.TrimSuffix(t.key, fmt.Sprintf("-%d", t.revision))
	t.revision++
	t.key += fmt.Sprintf("-%d", t.revision)
	return t
}

// lane is what a host keeps below our folder; the newest comes first.
type lane struct {
	host      string
	claims    []stamp
	manifests []stamp
	intents   []stamp
	objects   []stamp
}

// catalog is all that lies below the prefix.
type catalog struct {
	objects map[string]platform.BlobInfo
	lanes   map[string]*lane
}

func (s *Syncer) catalog(ctx context.Context) (*catalog, error) { return s.list(ctx, "") }

// list is the catalog of what lies below a folder.
func (s *Syncer) list(ctx context.Context, folder string) (*catalog, error) {
	c := &catalog{objects: map[string]platform.BlobInfo{}, lanes: map[string]*lane{}}
	base := s.uri("")
	for info, err := range s.Blobs().List(ctx, s.uri(folder)) {
		if err != nil {
			return nil, err
		}
		key := strings.TrimPrefix(string(info.URI), string(base))
		c.objects[key] = info
		c.sort(key)
	}
	for _, l := range c.lanes {
		for _, stamps := range [][]stamp{l.claims, l.manifests, l.intents} {
			slices.SortFunc(stamps, func(a, b stamp) int { return b.compare(a) })
		}
	}
	s.progress()
	return c, nil
}

// sort puts a key of ours where it belongs.
func (c *catalog) sort(key string) {
	parts := strings.Split(key, "/")
	if parts[0] != bookkeeping || len(parts) != 4 {
		return
	}
	l := c.lanes[parts[1]]
	if l == nil {
		l = &lane{host: parts[1]}
		c.lanes[parts[1]] = l
	}
	t := stamp{key: key}
	if n, _ := fmt.Sscanf(parts[3], "%d-%d-%d", &t.term, &t.number, &t.revision); n < 2 {
		return // none of ours
	}
	into := map[string]*[]stamp{claimsFolder: &l.claims, manifestsFolder: &l.manifests, intentsFolder: &l.intents, objectsFolder: &l.objects}[parts[2]]
	if into != nil {
		*into = append(*into, t)
	}
}

// flat tells whether a key is a file's, and not ours.
func flat(key string) bool { return !strings.HasPrefix(key, bookkeeping+"/") }

// read fetches a document of ours.
func (s *Syncer) read(ctx context.Context, key string, into any) error {
	r, err := s.Blobs().Open(ctx, s.uri(key), 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	err = decode(r, into)
	if err != nil && ctx.Err() == nil && platform.KindOf(err) != platform.Unavailable {
		return platform.Errorf(platform.Invalid, string(s.uri(key)), "%s cannot be read: %w", s.uri(key), err)
	}
	return err
}

// readManifest fetches a manifest and sees that it makes sense.
func (s *Syncer) readManifest(ctx context.Context, at stamp) (*manifest, error) {
	m := &manifest{}
	if err := s.read(ctx, at.key, m); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, platform.Errorf(platform.Invalid, string(s.uri(at.key)), "%s cannot be used: %w", s.uri(at.key), err)
	}
	return m, nil
}

// write stores a document of ours under a key that must be new.
func (s *Syncer) write(ctx context.Context, key string, doc any) (platform.BlobInfo, error) {
	data, err := encode(doc)
	if err != nil {
		return platform.BlobInfo{}, err
	}
	info, err := s.Blobs().Compose(ctx, s.uri(key), onePiece(data), platform.Composing{New: true})
	if err == nil {
		s.progress()
	}
	return info, err
}

func onePiece(data []byte) iter.Seq2[platform.Piece, error] {
	return func(yield func(platform.Piece, error) bool) {
		if len(data) > 0 {
			yield(platform.Piece{Data: data}, nil)
		}
	}
}

func (s *Syncer) delete(ctx context.Context, key string) error {
	err := s.Blobs().Delete(ctx, s.uri(key))
	if err == nil {
		s.progress()
	}
	return err
}

// claim says who writes for a host.
type claim struct {
	Job   platform.ARN `json:"job"`
	Epoch int64        `json:"epoch"`
}

// takeClaim makes this syncer the one that writes for its host. Terms order all attempts of all jobs that ever used the prefix.
func (s *Syncer) takeClaim(ctx context.Context) error {
	for {
		newest, _, err := s.newestClaim(ctx)
		if err != nil {
			return err
		}
		if newest.term > 0 {
			var held claim
			if err := s.read(ctx, newest.key, &held); err != nil && platform.KindOf(err) != platform.Invalid {
				return err
			}
			if held.Job == s.Job && held.Epoch > s.Epoch {
				return s.superseded(held)
			}
		}
		s.term = newest.term + 1
		_, err = s.write(ctx, s.stamped(claimsFolder, 0).key, claim{s.Job, s.Epoch})
		if !platform.Is(err, platform.AlreadyExists) {
			return err
		}
	}
}

// newestClaim is the one with the highest term, and all the others.
func (s *Syncer) newestClaim(ctx context.Context) (newest stamp, older []stamp, err error) {
	c, err := s.list(ctx, s.own(claimsFolder))
	if err != nil {
		return stamp{}, nil, err
	}
	l := c.lanes[s.Host]
	if l == nil || len(l.claims) == 0 {
		return stamp{}, nil, nil
	}
	return l.claims[0], l.claims[1:], nil
}

func (s *Syncer) superseded(by claim) error {
	who := fmt.Sprintf("attempt %d of %s", by.Epoch, by.Job)
	if by.Job == s.Job {
		who = fmt.Sprintf("a later attempt (%d) of this job", by.Epoch)
	}
	return platform.Errorf(platform.Conflict, string(s.Prefix), "the checkpoint location %s is written by %s now", s.Prefix, who)
}

// fence fails with Conflict when a later attempt has claimed the host. It stands between every commit and whatever destroys
// something: what a later attempt builds on was committed before it claimed, and so is kept by the one who finds no claim.
func (s *Syncer) fence(ctx context.Context) error {
	newest, older, err := s.newestClaim(ctx)
	if err != nil {
		return err
	}
	if newest.term > s.term {
		var by claim
		if err := s.read(ctx, newest.key, &by); err != nil && platform.KindOf(err) != platform.Invalid {
			return err
		}
		return s.superseded(by)
	}
	s.oldClaims = older
	return nil
}

// Probe finds out whether the prefix can be listed, written, read and cleared. It leaves nothing behind. Denied and NotFound say
// what is wrong with the location in words for the job's owner.
func (s *Syncer) Probe(ctx context.Context) error {
	u := s.uri(bookkeeping + "/" + s.Host + "/probe")
	word, err := json.Marshal(claim{s.Job, s.Epoch})
	if err != nil {
		return err
	}
	blobs := s.Blobs()
	fail := func(verb string, err error) error {
		if err == nil {
			return nil
		}
		told := platform.Errorf(platform.KindOf(err), string(s.Prefix), "the checkpoint location %s cannot be %s: %w", s.Prefix, verb, err)
		switch told.Kind {
		case platform.Denied:
			told.Message += fmt.Sprintf(". The job's role needs s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject below %s.", s.Prefix)
		case platform.NotFound:
			told.Message += ". Create the bucket, or correct CheckpointConfig.S3Uri."
		}
		return told
	}
	for _, err := range blobs.List(ctx, u) {
		if err != nil {
			return fail("listed", err)
		}
	}
	if err := blobs.Upload(ctx, u, bytes.NewReader(word)); err != nil {
		return fail("written", err)
	}
	err = fail("read", func() error {
		r, err := blobs.Open(ctx, u, 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, word) {
			err = platform.Errorf(platform.Conflict, string(u), "%s holds something else than was just written", u)
		}
		return err
	}())
	if cleared := blobs.Delete(context.WithoutCancel(ctx), u); err == nil {
		err = fail("cleared", cleared)
	}
	return err
}
