package checkpoint

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/platform"
)

const (
	// auditEvery is how often all that lies below the prefix is compared with what should be there: the price is a listing.
	auditEvery = 10 * time.Minute
	// publishEvery is how often a file that goes on changing is copied to its flat object while the job runs.
	publishEvery = 5 * time.Minute
	tidyWorkers  = 8
)

// tidy removes what nothing needs any more. It is called after a commit, and again until all is done; each step may be broken
// off. It fails with Conflict when a later attempt has claimed the host.
func (s *Syncer) tidy(ctx context.Context) error {
	// 1. From here on things are destroyed: not by one who was superseded.
	if err := s.fence(ctx); err != nil {
		return err
	}
	// 2. Now and then, see what really is there.
	if now := s.Clock.Now(); s.audited.IsZero() || now.Sub(s.audited) >= auditEvery {
		if err := s.audit(ctx); err != nil {
			return err
		}
		s.audited = now
	}
	// 3. Objects go before the manifests that named them, or they would be taken for the user's; then intents, in the same way.
	var garbage []string
	for key := range s.made {
		if !s.needed(key) {
			garbage = append(garbage, key)
		}
	}
	if err := s.deleteAll(ctx, garbage); err != nil {
		return err
	}
	for _, key := range garbage {
		delete(s.made, key)
		if flat(key) {
			delete(s.flats, key)
		}
	}
	for _, stamps := range []*[]stamp{&s.stale, &s.oldClaims} {
		if err := s.deleteStamps(ctx, stamps); err != nil {
			return err
		}
	}
	return s.deleteIntents(ctx)
}

// deleteIntents removes those of which the last manifest says the same: whose the flat objects are.
func (s *Syncer) deleteIntents(ctx context.Context) error {
	var still []intent
	for i, in := range s.intents {
		if slices.ContainsFunc(in.paths, func(p string) bool { return s.made[p] && !s.prior[p].ownsFlat() }) {
			still = append(still, in)
			continue
		}
		if err := s.delete(ctx, in.key); err != nil {
			s.intents = append(still, s.intents[i:]...)
			return err
		}
	}
	s.intents = still
	return nil
}

// ownsFlat tells that a manifest with the entry says that the flat object of its path is the host's.
func (e entry) ownsFlat() bool { return e.content != nil && (e.Flat || e.Key == e.Path) }

// needed tells whether an object of this host is to stay: a kept generation names it, or it is the flat object of a file of the
// newest generation, to be brought up to date.
func (s *Syncer) needed(key string) bool {
	return s.isNamed(key) || flat(key) && s.prior[key].content != nil
}

func (s *Syncer) deleteAll(ctx context.Context, keys []string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(tidyWorkers)
	for _, key := range keys {
		group.Go(func() error { return s.delete(ctx, key) })
	}
	return group.Wait()
}

func (s *Syncer) deleteStamps(ctx context.Context, stamps *[]stamp) error {
	for len(*stamps) > 0 {
		if err := s.delete(ctx, (*stamps)[0].key); err != nil {
			return err
		}
		*stamps = (*stamps)[1:]
	}
	return nil
}

// audit compares what is there with what should be. What is missing or another is shipped again; what an earlier attempt left
// behind is removed.
func (s *Syncer) audit(ctx context.Context) error {
	c, err := s.catalog(ctx)
	if err != nil {
		return err
	}
	s.findLost(c)
	own := c.lanes[s.Host]
	if own == nil {
		return nil
	}
	s.sweepObjects(own)
	for _, m := range own.manifests {
		if m.term < s.term && !s.isKept(m) {
			s.stale = append(s.stale, m)
		}
	}
	return s.sweepIntents(ctx, c, own)
}

// findLost has shipped again what the last generation has lost.
func (s *Syncer) findLost(c *catalog) {
	if s.last == nil {
		return
	}
	lost := 0
	for i, e := range s.last.Files {
		if e.content == nil || c.holds(e.content) {
			continue
		}
		lost++
		s.last.Files[i].content = nil // so that the next look finds a difference
		if t := s.files[e.Path]; t != nil {
			t.content = nil
		}
		delete(s.made, e.Key)
		if info, there := c.objects[e.Path]; there {
			s.flats[e.Path] = flatState{etag: info.ETag, shared: true}
		} else {
			delete(s.flats, e.Path)
		}
		old := s.prior[e.Path]
		old.content = nil
		s.prior[e.Path] = old
	}
	if lost > 0 {
		s.note(fmt.Sprintf("%s below %s were removed or replaced by somebody else; what the folder holds is saved again", plural(lost, "checkpoint object", "checkpoint objects"), s.Prefix))
		s.pool = nil
	}
}

// holds tells whether the object of a content is there.
func (c *catalog) holds(of *content) bool {
	info, there := c.objects[of.Key]
	return there && info.ETag == of.ETag && info.Size == of.Size
}

// sweepObjects takes over what earlier attempts made, to be removed as if it were ours.
func (s *Syncer) sweepObjects(own *lane) {
	for _, o := range own.objects {
		if o.term < s.term {
			s.made[o.key] = true
		}
	}
	s.pool = nil // what is not used by now will not be
}

func (s *Syncer) isKept(m stamp) bool {
	for _, k := range s.kept {
		if k.stamp == m {
			return true
		}
	}
	return false
}

// sweepIntents takes over flat objects that an earlier attempt made for a generation that never came about. Another host may have
// made the object of the same path: then it is left alone.
func (s *Syncer) sweepIntents(ctx context.Context, c *catalog, own *lane) error {
	left := slices.DeleteFunc(slices.Clone(own.intents), func(in stamp) bool {
		return in.term >= s.term || slices.ContainsFunc(s.intents, func(had intent) bool { return had.stamp == in })
	})
	if len(left) == 0 {
		return nil
	}
	others, err := s.namedByOthers(ctx, c)
	if err != nil {
		return err
	}
	for _, in := range left {
		var paths []string
		if err := s.read(ctx, in.key, &paths); err != nil && platform.KindOf(err) != platform.Invalid {
			return err
		}
		for _, p := range paths {
			info, there := c.objects[p]
			if !there || others[p] || !syncable(p) {
				continue
			}
			s.made[p] = true
			if f := s.flats[p]; !f.mine {
				s.flats[p] = flatState{etag: info.ETag, mine: true}
			}
		}
		s.intents = append(s.intents, intent{in, paths})
	}
	return nil
}

// namedByOthers is what other hosts have made, or may have made.
func (s *Syncer) namedByOthers(ctx context.Context, c *catalog) (map[string]bool, error) {
	named := map[string]bool{}
	for host, l := range c.lanes {
		if host == s.Host {
			continue
		}
		r := s.readLane(ctx, l)
		if r.err != nil {
			return nil, r.err
		}
		for key := range r.named {
			named[key] = true
		}
	}
	return named, nil
}

// publish brings flat objects up to date by copies within the store, where no kept generation needs what they hold. all also does
// it for files that will go on changing.
func (s *Syncer) publish(ctx context.Context, all bool) error {
	var due []string
	now := s.Clock.Now()
	for i := range s.last.Files {
		e := &s.last.Files[i]
		if s.outdated(e) && !s.isNamed(e.Path) && (all || now.Sub(s.published[e.Path]) >= publishEvery) {
			due = append(due, e.Path)
		}
	}
	if len(due) == 0 {
		return nil
	}
	if err := s.fence(ctx); err != nil {
		return err
	}
	if err := s.intendFlat(ctx, due); err != nil {
		return err
	}
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range min(tidyWorkers, len(due)) {
		group.Go(func() error {
			for i := int(next.Add(1) - 1); i < len(due); i = int(next.Add(1) - 1) {
				if err := s.publishOne(ctx, due[i], now); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// outdated tells that the flat object of a file is to be made or replaced.
func (s *Syncer) outdated(e *entry) bool {
	if e.content == nil || e.Key == e.Path || !flattable(e.Path) {
		return false
	}
	f, taken := s.flats[e.Path]
	return !taken || f.mine && f.from != e.Key
}

// isNamed tells whether a kept generation names an object.
func (s *Syncer) isNamed(key string) bool {
	for _, k := range s.kept {
		if k.names[key] {
			return true
		}
	}
	return false
}

func (s *Syncer) publishOne(ctx context.Context, path string, now time.Time) error {
	s.mu.Lock()
	e, f := s.prior[path], s.flats[path]
	s.mu.Unlock()
	if e.content == nil {
		return nil
	}
	from := platform.BlobInfo{URI: s.uri(e.Key), Size: e.Size, ETag: e.ETag}
	info, err := s.Blobs().Compose(ctx, s.uri(path), copyOf(from), platform.Composing{New: f.etag == ""})
	if platform.Is(err, platform.Unavailable) || platform.Is(err, platform.Denied) {
		return err
	}
	if err != nil && f.etag == "" {
		// The generation has the file all the same.
		s.Log.Info("not brought up to date", "object", s.uri(path), "error", err)
		return s.flatTaken(ctx, path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published[path] = now
	if err != nil {
		s.Log.Info("not brought up to date", "object", s.uri(path), "error", err)
		return nil
	}
	s.flats[path] = flatState{etag: info.ETag, mine: true, shared: f.shared, from: e.Key}
	s.made[path] = true
	delete(s.strays, path)
	return nil
}

func copyOf(from platform.BlobInfo) iter.Seq2[platform.Piece, error] {
	return func(yield func(platform.Piece, error) bool) {
		if from.Size > 0 {
			yield(platform.Piece{From: from, Length: from.Size}, nil)
		}
	}
}

// publishAll brings all flat objects up to date, and keeps both generations. Where the one before needs what a flat object holds,
// that is copied out of the way, and the manifest written again to say so.
func (s *Syncer) publishAll(ctx context.Context) error {
	if s.last == nil {
		return nil
	}
	if err := s.tidy(ctx); err != nil {
		return err
	}
	if err := s.unblock(ctx); err != nil {
		return err
	}
	return s.publish(ctx, true)
}

// unblock copies what kept generations need of outdated flat objects out of the way. After renaming, the last one may be among them.
func (s *Syncer) unblock(ctx context.Context) error {
	blocked := map[string]*content{}
	for i := range s.last.Files {
		if e := &s.last.Files[i]; s.outdated(e) && s.isNamed(e.Path) {
			blocked[e.Path] = nil
		}
	}
	for i := range s.kept {
		if err := s.relocate(ctx, &s.kept[i], blocked); err != nil {
			return err
		}
	}
	return nil
}

// relocate copies what a generation has in some flat objects to objects of our own.
func (s *Syncer) relocate(ctx context.Context, k *keptGeneration, moved map[string]*content) error {
	m, affected := *k.manifest, false
	m.Files = slices.Clone(m.Files)
	for i := range m.Files {
		e := &m.Files[i]
		if e.content == nil {
			continue
		}
		to, out := moved[e.Key]
		if !out {
			continue
		}
		if to == nil {
			var err error
			if to, err = s.copyAside(ctx, e.content); err != nil {
				return err
			}
			moved[e.Key] = to
		}
		e.content, affected = to, true
	}
	if !affected {
		return nil
	}
	at := k.revised()
	if _, err := s.write(ctx, at.key, &m); err != nil {
		s.stale = append(s.stale, at)
		return err
	}
	if k.manifest == s.last {
		s.adopt(&m)
	}
	old := []stamp{k.stamp}
	*k = kept(at, &m)
	return s.deleteStamps(ctx, &old) // before what it names is replaced
}

// copyAside copies a flat object to one of our own.
func (s *Syncer) copyAside(ctx context.Context, from *content) (*content, error) {
	s.serial++
	c := *from
	c.Key = s.stamped(objectsFolder, s.serial).key
	s.made[c.Key] = true
	info, err := s.Blobs().Compose(ctx, s.uri(c.Key), copyOf(platform.BlobInfo{URI: s.uri(from.Key), Size: from.Size, ETag: from.ETag}), platform.Composing{New: true})
	c.ETag = info.ETag
	return &c, err
}

// intendFlat is intend for copies.
func (s *Syncer) intendFlat(ctx context.Context, paths []string) error {
	var works []*work
	for _, p := range paths {
		works = append(works, &work{sighting: sighting{path: p}})
	}
	return s.intend(ctx, works)
}
