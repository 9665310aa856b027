package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/platform"
)

const (
	// stagingFolder is in the folder that is restored, so that files get to their place by renaming.
	stagingFolder = ".stint-restore"
	// segmentChunks is how many chunks one request of a large file fetches.
	segmentChunks   = 4
	fetchSmall      = 24 // files of one segment at once
	fetchLarge      = 2  // files of several
	fetchSegments   = 4  // segments of one file
	copyBytes       = 256 << 10
	searchableMode  = 0o755
	stagedFileFlags = os.O_CREATE | os.O_TRUNC | os.O_WRONLY
)

// staged is where a file waits for the others: named by path and content, so that a file that another generation shares is not
// fetched again.
func (w *wanted) staged() string {
	sum := sha256.Sum256([]byte(w.Path + "\x00" + string(w.info.URI) + "\x00" + w.info.ETag))
	return stagingFolder + "/" + hex.EncodeToString(sum[:16])
}

// fetch brings all files that are not there yet, and verifies them. bad are those whose object is not what it should be.
func (r *restoration) fetch(ctx context.Context) (bad map[*wanted]error, err error) {
	if err := r.root.MkdirAll(stagingFolder, 0o700); err != nil {
		return nil, r.diskError(stagingFolder, err)
	}
	bad = map[*wanted]error{}
	var mu sync.Mutex
	var small, large []*wanted
	for _, w := range r.files {
		if w.Kind != "" {
			continue
		}
		if w.content != nil && w.Size > segmentChunks*w.Chunk {
			large = append(large, w)
		} else {
			small = append(small, w)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for workers, files := range map[int][]*wanted{fetchSmall: small, fetchLarge: large} {
		group.Go(func() error {
			lot, ctx := errgroup.WithContext(ctx)
			lot.SetLimit(workers)
			for _, w := range files {
				if ctx.Err() != nil {
					break
				}
				lot.Go(func() error {
					err := r.get(ctx, w)
					if kind := platform.KindOf(err); err != nil && (kind == platform.NotFound || kind == platform.Conflict) {
						mu.Lock()
						defer mu.Unlock()
						bad[w] = err
						return nil
					}
					return err
				})
			}
			return lot.Wait()
		})
	}
	return bad, group.Wait()
}

// get brings one file.
func (r *restoration) get(ctx context.Context, w *wanted) error {
	r.mu.Lock()
	there := r.staged[w.staged()]
	r.mu.Unlock()
	if there {
		return nil // another generation had it too
	}
	f, err := r.root.OpenFile(w.staged(), stagedFileFlags, 0o600)
	if err != nil {
		return r.diskError(w.Path, err)
	}
	defer f.Close()
	if w.content == nil {
		err = r.Blobs().Download(ctx, w.info, f)
	} else {
		err = r.getChunks(ctx, w, f)
	}
	if err == nil {
		err = r.diskError(w.Path, f.Close())
	}
	if err == nil {
		r.mu.Lock()
		r.staged[w.staged()] = true
		r.mu.Unlock()
	}
	return err
}

func (r *restoration) getChunks(ctx context.Context, w *wanted, f *os.File) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fetchSegments)
	segment := segmentChunks * w.Chunk
	for at := int64(0); at < w.Size && ctx.Err() == nil; at += segment {
		group.Go(func() error { return r.getSegment(ctx, w, f, at, min(segment, w.Size-at)) })
	}
	return group.Wait()
}

// getSegment fetches some chunks, and compares each with its hash on the way.
func (r *restoration) getSegment(ctx context.Context, w *wanted, f *os.File, at, length int64) error {
	asked := length
	if length == w.Size {
		asked = -1 // all of it, which is less work for the store
	}
	in, err := r.Blobs().Open(ctx, w.info.URI, at, asked)
	if err != nil {
		return err
	}
	defer in.Close()
	whole := r.buffers.Get().(*[copyBytes]byte)
	defer r.buffers.Put(whole)
	buffer := whole[:]
	for end := at + length; at < end; at += w.Chunk {
		n := min(w.Chunk, end-at)
		sum, err := r.getChunk(in, f, at, n, buffer)
		if err != nil {
			return err
		}
		if sum != w.Chunks[at/w.Chunk] {
			return platform.Errorf(platform.Conflict, string(w.info.URI), "%s is corrupt: bytes %d to %d do not have the checksum that was written down", w.info.URI, at, at+n)
		}
	}
	return nil
}

func (r *restoration) getChunk(in io.Reader, f *os.File, at, n int64, buffer []byte) (digest, error) {
	h := xxh3.New()
	for left := n; left > 0; {
		got, err := in.Read(buffer[:min(left, int64(len(buffer)))])
		_, _ = h.Write(buffer[:got]) // a hash takes everything
		if _, err := f.WriteAt(buffer[:got], at+n-left); err != nil {
			return digest{}, r.diskError(f.Name(), err)
		}
		left -= int64(got)
		if errors.Is(err, io.EOF) && left > 0 {
			return digest{}, nil // shorter than it should be, so that no hash fits
		}
		if err != nil && left > 0 {
			return digest{}, broken(err)
		}
	}
	return h.Sum128().Bytes(), nil
}

// broken tells a fault of the way from one of the content.
func broken(err error) error {
	if platform.KindOf(err) != platform.Internal {
		return err
	}
	return &platform.Error{Kind: platform.Unavailable, Message: "a download broke off", Cause: err}
}

func (s *Syncer) diskError(name string, err error) error {
	if err == nil {
		return nil
	}
	return platform.Errorf(platform.Internal, name, "restore %s: %w", filepath.Join(s.Dir, name), err)
}

// clear removes what waits.
func (r *restoration) clear() error {
	return r.diskError(stagingFolder, r.root.RemoveAll(stagingFolder))
}

// place puts all into the folder: folders, then files, then links, so that no link is on the way of anything.
func (r *restoration) place() error {
	var folders, files, links []*wanted
	for _, w := range r.files {
		switch w.Kind {
		case folderKind:
			folders = append(folders, w)
		case linkKind:
			links = append(links, w)
		default:
			files = append(files, w)
		}
	}
	byPath := func(a, b *wanted) int { return strings.Compare(a.Path, b.Path) }
	slices.SortFunc(folders, byPath)
	for _, w := range folders {
		if err := r.folder(w.Path); err != nil {
			return err
		}
	}
	for _, w := range files {
		if err := errors.Join(r.folder(path.Dir(w.Path)), r.placeFile(w)); err != nil {
			return err
		}
	}
	for _, w := range links {
		if err := errors.Join(r.folder(path.Dir(w.Path)), r.placeLink(w)); err != nil {
			return err
		}
	}
	for _, w := range slices.Backward(folders) {
		if err := r.root.Chmod(w.Path, fs.FileMode(w.Mode)&fs.ModePerm); err != nil {
			return r.diskError(w.Path, err)
		}
	}
	return nil
}

// folder makes a folder and those above it.
func (r *restoration) folder(name string) error {
	if name == "." || r.folders[name] {
		return nil
	}
	if err := r.folder(path.Dir(name)); err != nil {
		return err
	}
	err := r.root.Mkdir(name, searchableMode)
	if errors.Is(err, fs.ErrExist) {
		if info, err := r.root.Lstat(name); err == nil && !info.IsDir() {
			return platform.Errorf(platform.Invalid, name, "%s is no folder, and a checkpoint has files below it", filepath.Join(r.Dir, name))
		}
		err = nil
	}
	if err != nil {
		return r.diskError(name, err)
	}
	r.folders[name] = true
	return r.give(name)
}

func (r *restoration) give(name string) error {
	if r.Own == nil {
		return nil
	}
	return r.Own(filepath.Join(r.dir, name))
}

func (r *restoration) placeFile(w *wanted) error {
	staged, mode := w.staged(), fs.FileMode(w.Mode)&fs.ModePerm
	if w.Modified != 0 {
		at := time.Unix(0, w.Modified)
		if err := r.root.Chtimes(staged, at, at); err != nil {
			return r.diskError(w.Path, err)
		}
	}
	if err := r.root.Chmod(staged, mode); err != nil {
		return r.diskError(w.Path, err)
	}
	if err := r.root.Rename(staged, w.Path); err != nil {
		return r.diskError(w.Path, fmt.Errorf("put it into place: %w", err))
	}
	return r.give(w.Path)
}

func (r *restoration) placeLink(w *wanted) error {
	if info, err := r.root.Lstat(w.Path); err == nil && !info.IsDir() {
		if err := r.root.Remove(w.Path); err != nil {
			return r.diskError(w.Path, err)
		}
	}
	if err := r.root.Symlink(w.Link, w.Path); err != nil {
		return r.diskError(w.Path, err)
	}
	return r.give(w.Path)
}

// begin makes what was restored the base of the next generation.
func (r *restoration) begin() error {
	own := &laneState{}
	others := map[string]bool{}
	for _, l := range r.lanes {
		if l.host == r.Host {
			own = l
			continue
		}
		for key := range l.named {
			others[key] = true
		}
	}
	r.number, r.last, r.kept, r.prior = 0, nil, nil, map[string]entry{}
	if l := r.catalog.lanes[r.Host]; l != nil {
		for _, at := range l.manifests {
			r.number = max(r.number, at.number)
		}
	}
	if base := own.current(); base != nil {
		r.last, r.newest = base.manifest, base.generation()
		for _, e := range base.Files {
			r.prior[e.Path] = e
		}
		r.kept = []keptGeneration{kept(base.at, base.manifest)}
	}
	r.knowFlats(own, others)
	r.fillPool()
	return r.knowFolder()
}

// knowFlats sorts out whose the flat objects are.
func (r *restoration) knowFlats(own *laneState, others map[string]bool) {
	r.flats, r.made, r.strays = map[string]flatState{}, map[string]bool{}, map[string]string{}
	for key, info := range r.catalog.objects {
		if own.made[key] || own.intended[key] && !others[key] {
			r.made[key] = true
		}
		if flat(key) {
			r.flats[key] = flatState{etag: info.ETag, mine: !others[key] || own.made[key], shared: !r.made[key]}
		}
		if flat(key) && !others[key] && !r.made[key] && r.strayed(key) {
			r.strays[key] = info.ETag
		}
	}
	r.rememberGone()
}

// strayed tells that an object was put there by hand, and restored or written over by a file of the same name. No generation
// relies on it; and should the file be removed from the folder, the object must not come back.
func (r *restoration) strayed(key string) bool {
	if w := r.files[key]; w != nil && w.lane == nil {
		return true
	}
	prior := r.prior[key]
	return prior.content != nil && prior.Key != key
}

func (r *restoration) rememberGone() {
	if r.last == nil {
		return
	}
	for _, g := range r.last.Gone {
		if r.catalog.objects[g.Path].ETag == g.ETag {
			r.strays[g.Path] = g.ETag
		}
	}
}

// fillPool finds what a syncer with the same State shipped and did not commit.
func (r *restoration) fillPool() {
	r.pool = map[int64][]*content{}
	var had []*content
	for _, c := range r.journal.load() {
		if !r.catalog.holds(c) {
			continue
		}
		had = append(had, c)
		r.pool[c.Size] = append(r.pool[c.Size], c)
		r.made[c.Key] = true
		if flat(c.Key) {
			r.flats[c.Key] = flatState{etag: c.ETag, mine: true}
		}
	}
	if err := r.journal.reset(had); err != nil {
		r.Log.Warn("what is shipped cannot be written down", "error", err)
	}
}

// knowFolder takes the folder as it is now for what was restored.
func (r *restoration) knowFolder() error {
	r.Syncer.files = map[string]*tracked{}
	v, err := r.look()
	if err != nil {
		return err
	}
	for i := range v.all {
		see := &v.all[i]
		t, w := r.Syncer.files[see.path], r.files[see.path]
		switch {
		case w == nil:
			t.foreign = see.mode.IsDir() // made on the way to a file
		case w.lane == nil || w.lane.host != r.Host:
			t.foreign = true
		case w.Kind == "" && see.file():
			t.content, t.restless = w.content, time.Time{}
			r.grown[see.path] = growth{see.inode, t.since}
		}
	}
	return nil
}
