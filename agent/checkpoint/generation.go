package checkpoint

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stint-ml/stint/platform"
)

// tracked is what is known of a path in the folder.
type tracked struct {
	sighting
	since    time.Time // since when it has been seen like this
	restless time.Time // since when it has not been whole; zero when it is
	content  *content  // what it holds, once that is in the store
	foreign  bool      // as it was restored, and not this host's: of another host, or put below the prefix by hand
}

// keptGeneration is a generation that can be restored as long as what it names stays.
type keptGeneration struct {
	stamp
	*manifest
	names map[string]bool
}

func kept(at stamp, m *manifest) keptGeneration {
	k := keptGeneration{at, m, make(map[string]bool, len(m.Files))}
	for _, e := range m.Files {
		if e.content != nil {
			k.names[e.Key] = true
		}
	}
	return k
}

// ending is how the user's processes ended.
type ending struct {
	killed   bool
	torn     map[Inode]bool // open for writing when they were killed; nil: not known
	lastLook time.Time      // before they ended
	at       time.Time
}

// generate makes a generation of the folder, if it is another than the last one. It ships what is whole, and takes the set when
// nothing has changed between two looks at all of it; what does not come to rest is waited for a bounded time.
func (s *Syncer) generate(ctx context.Context) error {
	if s.term == 0 {
		return platform.Errorf(platform.Internal, string(s.Prefix), "checkpoints are to be restored before they are synced")
	}
	limit := s.Clock.Now().Add(2 * s.Patience)
	before, err := s.look()
	for err == nil {
		// 1. See what has to be shipped, and whether anything is not whole.
		works, wait, restless := s.plan(before)
		if len(works) == 0 && restless == 0 && s.unchanged(before) {
			s.idle()
			return nil
		}
		s.busy()
		late := !s.Clock.Now().Before(limit)
		// 2. Ship what is whole, or wait for what is not.
		if err := s.advance(ctx, works, wait, late); err != nil {
			return err
		}
		// 3. Look again. If all is as it was, and whole, it was so at one moment.
		after, err := s.look()
		if err != nil {
			return err
		}
		works, wait, _ = s.plan(after)
		if late || len(works) == 0 && wait == 0 && s.sameWhole(before, after) {
			// 4. Write it down.
			return s.commit(ctx, after)
		}
		before = after
	}
	return err
}

func (s *Syncer) advance(ctx context.Context, works []*work, wait time.Duration, late bool) error {
	switch {
	case len(works) > 0:
		return s.shipWorks(ctx, works)
	case wait > 0 && !late:
		return s.pause(ctx, wait)
	default:
		return nil
	}
}

// sameWhole tells that nothing changed between two looks, but files that never come to rest.
func (s *Syncer) sameWhole(before, after *view) bool {
	whole := func(v *view) []sighting {
		return slices.DeleteFunc(slices.Clone(v.all), func(see sighting) bool {
			t := s.files[see.path]
			return t != nil && t.file() && t.content == nil && !t.foreign
		})
	}
	return slices.EqualFunc(whole(before), whole(after), func(a, b sighting) bool { return a.same(&b) })
}

// look lists the folder and takes note of what changed.
func (s *Syncer) look() (*view, error) {
	began := s.Clock.Now()
	v, err := look(s.dir)
	if err != nil {
		return nil, platform.Errorf(platform.Invalid, s.Dir, "the checkpoint folder %s cannot be read: %w", s.Dir, err)
	}
	now := s.Clock.Now()
	s.lookTook = now.Sub(began)
	for _, what := range v.skipped {
		s.note("not synced to the checkpoint location: " + what)
	}
	files := make(map[string]*tracked, len(v.all))
	var inodes map[Inode]*tracked
	for i := range v.all {
		see := &v.all[i]
		old := s.files[see.path]
		if old != nil && old.sameContent(see) {
			old.sighting = *see
			files[see.path] = old
			continue
		}
		if inodes == nil {
			inodes = s.byInode()
		}
		files[see.path] = track(see, old, inodes[see.inode], now)
	}
	s.files = files
	return v, nil
}

// track begins to follow a path that was not there, or was another. known is a file of the same inode.
func track(see *sighting, old, known *tracked, now time.Time) *tracked {
	t := &tracked{sighting: *see, since: now, restless: now}
	if old != nil && !old.restless.IsZero() {
		t.restless = old.restless
	}
	if known != nil && see.file() && known.size == see.size && known.modified == see.modified {
		t.content, t.restless = known.content, time.Time{} // a new name, by renaming or linking
	}
	return t
}

func (s *Syncer) byInode() map[Inode]*tracked {
	known := make(map[Inode]*tracked, len(s.files))
	for _, t := range s.files {
		if t.content != nil {
			known[t.inode] = t
		}
	}
	return known
}

// plan sorts the files that are not in the store as they are: those that are whole are to be shipped, the others are restless.
// wait is how long it is worth to wait for the restless ones, 0 when all of them have been waited for long enough.
func (s *Syncer) plan(v *view) (works []*work, wait time.Duration, restless int) {
	var open map[Inode]bool
	asked, now := false, s.Clock.Now()
	for i := range v.all {
		t := s.files[v.all[i].path]
		if !t.file() || t.content != nil || t.foreign {
			continue
		}
		if !asked {
			asked, open = true, s.openForWrite()
		}
		w := &work{sighting: t.sighting, old: s.prior[t.path].content}
		switch {
		case s.isWhole(t, open, now):
			works = ship(works, w)
			continue
		case s.ending == nil && now.Sub(t.restless) < s.Patience:
			wait = max(wait, min(max(s.Settle-now.Sub(t.since), s.Settle/4), s.Settle))
		case s.growable(t, w, now):
			w.grew = true
			works = append(works, w)
		}
		restless++
	}
	return works, wait, restless
}

// ship adds a file to be shipped: once, whatever the number of its names.
func ship(works []*work, w *work) []*work {
	if w.links < 2 {
		return append(works, w)
	}
	i := slices.IndexFunc(works, func(o *work) bool { return o.inode == w.inode })
	if i < 0 {
		return append(works, w)
	}
	works[i].also = append(works[i].also, w.path)
	if works[i].old == nil {
		works[i].old = w.old
	}
	return works
}

// renamedAfter is for how many times Settle a path must have been restless until a file that was renamed to it is whole at once.
// Before that it waits as others do, so that files which are renamed one after the other get into one generation.
const renamedAfter = 2

// isWhole tells whether a file can be shipped: nobody has it open for writing, and it has been quiet for a while, or was renamed
// to a path that is never quiet for so long.
func (s *Syncer) isWhole(t *tracked, open map[Inode]bool, now time.Time) bool {
	switch end := s.ending; {
	case end == nil && open[t.inode]:
		return false
	case end == nil:
		replaced := open != nil && t.moved() && now.Sub(t.restless) >= renamedAfter*s.Settle
		return replaced || now.Sub(t.since) >= s.Settle
	case !end.killed:
		return true
	case end.torn != nil:
		return !end.torn[t.inode]
	default:
		// Nobody saw what was open. Whole is what got its name after it was written, and what was quiet before.
		return t.moved() && t.size > 0 || !t.since.Add(s.Settle).After(end.lastLook)
	}
}

// logAfter is for how many times Patience a file must have been open all the time to be taken for a log, of which a beginning is
// better than nothing. A checkpoint that is written for longer than that is taken for one, too; the generation says so of both.
const logAfter = 10

// growable tells whether a restless file may be one that is only appended to, such as a log. Not too often: what was shipped
// of it before is copied, but its end is shipped again.
func (s *Syncer) growable(t *tracked, w *work, now time.Time) bool {
	grown := s.grown[t.path]
	if s.ending == nil && now.Sub(grown.at) < s.Patience || s.ending != nil && !grown.at.Before(s.ending.at) {
		return false
	}
	if w.old == nil {
		return s.ending == nil && t.size > 0 && now.Sub(t.restless) >= logAfter*s.Patience
	}
	return t.size > w.old.Size && grown.inode == t.inode
}

// growth is a file that was whole, or shipped as far as it had grown.
type growth struct {
	inode Inode
	at    time.Time
}

// openForWrite asks what is open, where that is known.
func (s *Syncer) openForWrite() map[Inode]bool {
	if s.OpenForWrite == nil || s.ending != nil {
		return nil
	}
	open, err := s.OpenForWrite()
	if err != nil {
		s.Log.Warn("which checkpoint files are open for writing is not known", "error", err)
		return nil
	}
	return open
}

// shipWorks ships files, and takes note of what is in the store.
func (s *Syncer) shipWorks(ctx context.Context, works []*work) error {
	if err := s.intend(ctx, works); err != nil {
		return err
	}
	err := s.shipAll(ctx, works)
	now := s.Clock.Now()
	for _, w := range works {
		t := s.files[w.path]
		if w.done != nil || w.grew {
			s.grown[w.path] = growth{w.inode, now}
		}
		if w.done == nil {
			continue
		}
		if w.grew {
			e := s.prior[w.path]
			e.Path, e.Mode, e.Modified, e.content = w.path, uint32(w.mode.Perm()), w.modified, w.done
			s.prior[w.path] = e // the last whole version, as far as a log has any
			continue
		}
		t.content, t.restless = w.done, time.Time{}
		for _, name := range w.also {
			other := s.files[name]
			other.content, other.restless = w.done, time.Time{}
		}
	}
	return err
}

// intend writes down which flat objects are going to be made, so that after a crash nobody takes them for files of the user's.
func (s *Syncer) intend(ctx context.Context, works []*work) error {
	var paths []string
	for _, w := range works {
		if _, taken := s.flats[w.path]; !taken && !s.intended[w.path] && flattable(w.path) {
			paths = append(paths, w.path)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	s.serial++
	at := s.stamped(intentsFolder, s.serial)
	s.intents = append(s.intents, intent{at, paths}) // whether it comes about or not: the answer may be lost
	if _, err := s.write(ctx, at.key, paths); err != nil {
		return err
	}
	for _, p := range paths {
		s.intended[p] = true
	}
	return nil
}

// unchanged tells that the last generation says what there is.
func (s *Syncer) unchanged(v *view) bool {
	m := s.draft(v)
	if s.last == nil {
		return len(m.Files) == 0 && len(m.Gone) == 0
	}
	return slices.EqualFunc(m.Files, s.last.Files, func(a, b entry) bool { return a.equal(&b) }) &&
		slices.Equal(m.Gone, s.last.Gone) && slices.Equal(m.Missing, s.last.Missing)
}

// draft is the manifest of what was seen.
func (s *Syncer) draft(v *view) *manifest {
	m := &manifest{Format: manifestFormat, Term: s.term, Epoch: s.Epoch, Host: s.Host, Job: s.Job, At: s.Clock.Now().UTC()}
	for i := range v.all {
		t := s.files[v.all[i].path]
		if t.foreign {
			continue
		}
		e, whole := s.entryOf(t)
		if !whole {
			m.Missing = append(m.Missing, strings.ToValidUTF8(t.path, "�"))
			continue
		}
		m.Files = append(m.Files, e)
	}
	for path, etag := range s.strays {
		if s.files[path] == nil {
			m.Gone = append(m.Gone, byHand{path, etag})
		} else {
			m.ByHand = append(m.ByHand, byHand{path, etag})
		}
	}
	for _, list := range [][]byHand{m.Gone, m.ByHand} {
		slices.SortFunc(list, func(a, b byHand) int { return strings.Compare(a.Path, b.Path) })
	}
	return m
}

// entryOf is what a manifest says of a path; false when no whole version of it is known.
func (s *Syncer) entryOf(t *tracked) (e entry, whole bool) {
	e = entry{Path: t.path, Mode: uint32(t.mode.Perm()), Modified: t.modified}
	switch {
	case t.mode.IsDir():
		e.Kind, e.Modified = folderKind, 0 // it changes with what is in it
	case !t.file():
		e.Kind, e.Link, e.Modified = linkKind, t.link, 0
	case t.content != nil:
		e.content = s.best(t.path, t.content)
	default:
		e = s.prior[t.path]
		if e.content == nil {
			return e, false
		}
		e.Behind = true
	}
	f := s.flats[t.path]
	e.Flat = e.content != nil && f.mine && !f.shared && f.etag != ""
	if !utf8.ValidString(e.Path) {
		e.Raw = []byte(e.Path)
	}
	return e, true
}

// best is where a file's content lies best: in its flat object, once that was brought up to date.
func (s *Syncer) best(path string, at *content) *content {
	if f := s.flats[path]; f.mine && !f.shared && f.from != "" && f.from == at.Key && at.Key != path {
		c := *at
		c.Key, c.ETag = path, f.etag
		return &c
	}
	return at
}

// commit writes the manifest. From then on the generation is there, and the one before the previous may go.
func (s *Syncer) commit(ctx context.Context, v *view) error {
	if s.unchanged(v) {
		s.idle()
		return nil
	}
	return s.put(ctx, s.draft(v))
}

// put writes a manifest.
func (s *Syncer) put(ctx context.Context, m *manifest) error {
	s.number++ // whatever becomes of it: the number may be used although the answer was lost
	at := s.stamped(manifestsFolder, s.number)
	m.Number = s.number
	if _, err := s.write(ctx, at.key, m); err != nil {
		s.stale = append(s.stale, at)
		return err
	}
	s.adopt(m)
	s.kept = append(s.kept, kept(at, m))
	for len(s.kept) > keptGenerations {
		s.stale = append(s.stale, s.kept[0].stamp)
		s.kept = s.kept[1:]
	}
	clear(s.intended)
	if err := s.journal.reset(nil); err != nil {
		s.Log.Warn("what is shipped cannot be written down", "error", err)
	}
	s.newest = m.generation()
	s.newest.Shipped = s.shipped.Swap(0)
	s.idle()
	s.Log.Info("checkpoint generation", "number", m.Number, "files", s.newest.Files, "bytes", s.newest.Bytes, "shipped", s.newest.Shipped)
	if len(s.newest.Behind) > 0 {
		s.note(fmt.Sprintf("checkpoint files that never come to rest are saved as they last were whole: %s", some(s.newest.Behind)))
	}
	if s.Committed != nil {
		s.Committed(s.newest)
	}
	return nil
}

// adopt makes a manifest that is in the store the last one.
func (s *Syncer) adopt(m *manifest) {
	s.last = m
	s.prior = make(map[string]entry, len(m.Files))
	for _, e := range m.Files {
		s.prior[e.Path] = e
		if t := s.files[e.Path]; e.content != nil && !e.Behind && t != nil {
			t.content = e.content
		}
	}
}

// keptGenerations is how many can be restored at any moment.
const keptGenerations = 2

func some(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
