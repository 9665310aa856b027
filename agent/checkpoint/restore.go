package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// laneState is what a host's bookkeeping says.
type laneState struct {
	host      string
	manifests []*loaded       // those that can be read, the newest first
	named     map[string]bool // every key and path that they or the intents name
	made      map[string]bool // the objects that a manifest says are this host's
	intended  map[string]bool // the flat objects that an intent says may be
	blind     bool            // there is a manifest that cannot be read
	notes     []string        // what cannot be read
	err       error           // the store is away
}

type loaded struct {
	*manifest
	at stamp
}

// current is the generation to be restored: the newest one left.
func (l *laneState) current() *loaded {
	if len(l.manifests) == 0 {
		return nil
	}
	return l.manifests[0]
}

// readLane reads a host's manifests and intents.
func (s *Syncer) readLane(ctx context.Context, l *lane) *laneState {
	r := &laneState{host: l.host, named: map[string]bool{}, made: map[string]bool{}, intended: map[string]bool{}}
	for _, at := range l.manifests {
		m, err := s.readManifest(ctx, at)
		switch kind := platform.KindOf(err); {
		case err == nil:
			r.manifests = append(r.manifests, &loaded{m, at})
			for _, e := range m.Files {
				r.named[e.Path] = true
				if e.Flat {
					r.made[e.Path] = true
				}
				if e.content != nil {
					r.named[e.Key], r.made[e.Key] = true, true
				}
			}
		case kind == platform.Invalid || kind == platform.NotFound:
			r.blind = true
			r.notes = append(r.notes, fmt.Sprintf("generation %d of %s was passed over: %v", at.number, l.host, err))
		default:
			r.err = err
			return r
		}
	}
	r.err = s.readIntents(ctx, l, r)
	return r
}

func (s *Syncer) readIntents(ctx context.Context, l *lane, r *laneState) error {
	for _, at := range l.intents {
		var paths []string
		err := s.read(ctx, at.key, &paths)
		if kind := platform.KindOf(err); err != nil && kind != platform.Invalid && kind != platform.NotFound {
			return err
		}
		for _, p := range paths {
			r.named[p], r.intended[p] = true, true
		}
	}
	return nil
}

// restoration is one call of Restore.
type restoration struct {
	*Syncer
	catalog *catalog
	lanes   []*laneState // this host's first
	files   map[string]*wanted
	passed  int
	root    *os.Root
	staged  map[string]bool // what was fetched and verified
	folders map[string]bool // that were made
	buffers sync.Pool       // *[copyBytes]byte
}

// wanted is something that is to be in the folder.
type wanted struct {
	entry
	lane *laneState // nil: put below the prefix by hand
	info platform.BlobInfo
}

// Restore claims the prefix for this attempt and brings the last complete set of every host into the folder, verified. What is
// in the folder already stays, unless a restored file takes its place. Conflict means that a later attempt of the job has
// claimed the prefix. After any other error Restore may be called again.
func (s *Syncer) Restore(ctx context.Context) (Restored, error) {
	// 1. Claim, then look: what the attempt before commits from now on is nobody's base.
	if err := s.ready(); err != nil {
		return Restored{}, err
	}
	if err := s.takeClaim(ctx); err != nil {
		return Restored{}, err
	}
	c, err := s.catalog(ctx)
	if err != nil {
		return Restored{}, err
	}
	r := &restoration{Syncer: s, catalog: c, staged: map[string]bool{}, folders: map[string]bool{}, buffers: sync.Pool{New: func() any { return new([copyBytes]byte) }}}
	if err := r.readLanes(ctx); err != nil {
		return Restored{}, err
	}
	if r.root, err = os.OpenRoot(s.dir); err != nil {
		return Restored{}, platform.Errorf(platform.Invalid, s.Dir, "the checkpoint folder %s cannot be opened: %w", s.Dir, err)
	}
	defer r.root.Close()
	// 2. Take the newest generation of each host that is whole.
	for {
		r.union()
		bad, err := r.fetch(ctx)
		if err != nil {
			return Restored{}, errors.Join(err, r.clear())
		}
		if len(bad) == 0 {
			break
		}
		r.fallBack(bad)
	}
	// 3. Put it into place, and begin from there.
	if err := errors.Join(r.place(), r.clear()); err != nil {
		return Restored{}, err
	}
	if err := r.begin(); err != nil {
		return Restored{}, err
	}
	return r.told(), nil
}

// readLanes reads what every host says, and drops the generations of which something is missing by the listing.
func (r *restoration) readLanes(ctx context.Context) error {
	for _, l := range r.catalog.lanes {
		state := r.readLane(ctx, l)
		if state.err != nil {
			return state.err
		}
		for _, n := range state.notes {
			r.passed++
			r.note(n)
		}
		r.lanes = append(r.lanes, state)
	}
	mine := func(l *laneState) int {
		if l.host == r.Host {
			return 0
		}
		return 1
	}
	slices.SortFunc(r.lanes, func(a, b *laneState) int { return cmp.Or(cmp.Compare(mine(a), mine(b)), cmp.Compare(a.host, b.host)) })
	for _, l := range r.lanes {
		for m := l.current(); m != nil; m = l.current() {
			why := r.incomplete(m.manifest)
			if why == "" {
				break
			}
			if !r.pass(l, why) {
				break
			}
		}
	}
	return nil
}

// incomplete tells what is missing of a generation.
func (r *restoration) incomplete(m *manifest) string {
	for _, e := range m.Files {
		if e.content == nil || r.catalog.holds(e.content) {
			continue
		}
		if _, there := r.catalog.objects[e.Key]; !there {
			return fmt.Sprintf("%s is missing, which holds %s", r.uri(e.Key), e.Path)
		}
		return fmt.Sprintf("%s is not what it was, and should hold %s", r.uri(e.Key), e.Path)
	}
	return ""
}

// pass drops the newest generation of a host, and says so. When none is left that is whole, the files are taken as they lie
// below the prefix: that is what a user wants who has removed or replaced some of them by hand.
func (r *restoration) pass(l *laneState, why string) bool {
	r.passed++
	m := l.current()
	if len(l.manifests) > 1 {
		next := l.manifests[1]
		r.note(fmt.Sprintf("generation %d of the checkpoints of %s is not whole: %s. The one before is used, generation %d of %s", m.Number, l.host, why,
			next.Number, next.At.Format(time.RFC3339)))
		l.manifests = l.manifests[1:]
		return true
	}
	r.note(fmt.Sprintf("generation %d of the checkpoints of %s is not whole: %s. There is no other; its files are taken as they lie below %s", m.Number, l.host, why, r.Prefix))
	for _, e := range m.Files {
		if e.content != nil && !r.catalog.holds(e.content) {
			delete(l.named, e.Path)
		}
	}
	kept := *m.manifest
	kept.Files = slices.DeleteFunc(slices.Clone(m.Files), func(e entry) bool { return e.content != nil && !r.catalog.holds(e.content) })
	l.manifests = []*loaded{{&kept, m.at}}
	return false
}

// union decides which file lies at each path: this host's own; else that of another host, the one written last; else what
// was put below the prefix by hand.
func (r *restoration) union() {
	r.files = map[string]*wanted{}
	removed, known := map[byHand]bool{}, map[byHand]bool{}
	blind := false
	for _, l := range r.lanes {
		m := l.current()
		if m == nil {
			continue
		}
		blind = blind || l.blind
		for _, g := range m.ByHand {
			known[g] = true
		}
		for _, g := range m.Gone {
			removed[g] = true
		}
		r.add(l, m)
	}
	for key, info := range r.catalog.objects {
		what := byHand{key, info.ETag}
		switch {
		case !flat(key), r.named(key), removed[what]:
		case blind && !known[what]:
			r.note(fmt.Sprintf("%s is not restored: it may be a file of a generation of which the manifest cannot be read", info.URI))
		default:
			r.byHand(key, info)
		}
	}
	r.resolve()
}

// add takes what a host has, where no other has something better.
func (r *restoration) add(l *laneState, m *loaded) {
	for _, e := range m.Files {
		had := r.files[e.Path]
		if had != nil && (had.lane.host == r.Host || had.Modified >= e.Modified) {
			continue
		}
		w := &wanted{entry: e, lane: l}
		if e.content != nil {
			w.info = platform.BlobInfo{URI: r.uri(e.Key), Size: e.Size, ETag: e.ETag}
		}
		r.files[e.Path] = w
	}
}

// named tells whether a host has anything to do with a key: then it is, or was, or was to be a file of that host.
func (r *restoration) named(key string) bool {
	for _, l := range r.lanes {
		if l.named[key] {
			return true
		}
	}
	return r.files[key] != nil
}

var slashes = regexp.MustCompile("/+")

// byHand takes an object that no host made, as AWS does.
func (r *restoration) byHand(key string, info platform.BlobInfo) {
	clean := strings.TrimSuffix(key, "/")
	if clean == "" {
		return
	}
	clean = strings.TrimPrefix(slashes.ReplaceAllString(clean, "/"), "/")
	if !syncable(clean) {
		r.note(fmt.Sprintf("%s is not restored: its name cannot be one of a file in %s", info.URI, r.Dir))
		return
	}
	if strings.HasSuffix(key, "/") {
		if r.files[clean] == nil {
			r.files[clean] = &wanted{entry: entry{Path: clean, Kind: folderKind, Mode: 0o755}}
		}
		return
	}
	r.files[clean] = &wanted{entry: entry{Path: clean, Mode: 0o644}, info: info}
}

// resolve drops what would have to be a file and a folder at once: what is this host's own stays, else what is deeper.
func (r *restoration) resolve() {
	for p, w := range r.files {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			above := r.files[dir]
			if above == nil || above.Kind == folderKind {
				continue
			}
			lose := dir
			if above.lane != nil && above.lane.host == r.Host && (w.lane == nil || w.lane.host != r.Host) {
				lose = p
			}
			r.note(fmt.Sprintf("the checkpoint file %s is not restored: %s is a file of another host", lose, dir))
			delete(r.files, lose)
			if lose == p {
				break
			}
		}
	}
}

// fallBack passes over the generations of which something turned out to be bad.
func (r *restoration) fallBack(bad map[*wanted]error) {
	told := map[*laneState]bool{}
	for w, err := range bad {
		if w.lane == nil {
			delete(r.catalog.objects, w.Path) // it is gone, or replaced this moment
			r.note(fmt.Sprintf("%s is not restored: %v", w.info.URI, err))
			continue
		}
		delete(r.catalog.objects, w.Key) // so that no other generation takes it for good
		if told[w.lane] {
			continue
		}
		told[w.lane] = true
		for why := err.Error(); why != ""; why = r.incomplete(w.lane.current().manifest) {
			if !r.pass(w.lane, why) {
				break
			}
		}
	}
}

// told sums up.
func (r *restoration) told() Restored {
	t := Restored{Passed: r.passed}
	if r.last != nil {
		t.Generation = r.last.generation()
	}
	for _, w := range r.files {
		if w.Kind == "" {
			t.Files++
			t.Bytes += w.info.Size
		}
	}
	return t
}
