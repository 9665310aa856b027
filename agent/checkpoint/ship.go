package checkpoint

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/platform"
)

const (
	// chunkBytes is the stretch of a file that is shipped as a whole when a byte of it changed. S3 wants 5 MiB at least.
	chunkBytes = 8 << 20
	// pieceChunks is how many chunks one request carries when all are new.
	pieceChunks = 2
	// memoryBudget bounds what is read and not shipped yet, over all files. (Files of more than 150 GB need larger pieces, as S3
	// takes 10,000 of them: there it is 6 pieces of a ten-thousandth of the file.)
	memoryBudget = 96 << 20
	maxPieces    = 9500
	// Files of one piece wait for the store most of their time; larger ones are shipped in parallel pieces.
	smallWorkers = 16
	largeWorkers = 2
	// piecesAhead is how many pieces a store takes before one of them must be done.
	piecesAhead = 7
)

var (
	errSame     = errors.New("the file holds what it held")
	errNotGrown = errors.New("the file did not only grow")
)

// work is a file to be shipped.
type work struct {
	sighting
	old  *content // what was shipped of this path before; unchanged stretches are copied from there
	grew bool     // ship the first size bytes of a file that goes on growing, if they begin with old
	also []string // other names of the same file
	done *content
}

// shipAll ships files, as many as it can. A file that changes meanwhile stays without content, which is no error.
func (s *Syncer) shipAll(ctx context.Context, works []*work) error {
	var small, large []*work
	for _, w := range works {
		if w.size > pieceChunks*s.chunk {
			large = append(large, w)
		} else {
			small = append(small, w)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, lot := range []struct {
		works   []*work
		workers int
	}{{small, smallWorkers}, {large, largeWorkers}} {
		var next atomic.Int64
		for range min(lot.workers, len(lot.works)) {
			group.Go(func() error {
				s.yieldProcessor()
				for ctx.Err() == nil {
					i := int(next.Add(1) - 1)
					if i >= len(lot.works) {
						return nil
					}
					if err := s.ship(ctx, lot.works[i]); err != nil {
						return err
					}
				}
				return context.Cause(ctx)
			})
		}
	}
	return group.Wait()
}

// ship ships one file.
func (s *Syncer) ship(ctx context.Context, w *work) error {
	f, err := s.openWork(w)
	switch {
	case errors.Is(err, errChanged):
		return nil
	case err != nil:
		s.note(fmt.Sprintf("the checkpoint file %s cannot be read: %v", w.path, err))
		return nil
	}
	defer f.Close()
	if c := s.pooled(ctx, f, w); c != nil {
		w.done = c
		return nil
	}
	for {
		to := s.destination(w)
		c, err := s.send(ctx, f, w, to)
		switch {
		case err == nil:
			w.done = c
			s.keep(w, to, c)
			return nil
		case errors.Is(err, errSame):
			w.done = w.old
			return nil
		case errors.Is(err, errChanged), errors.Is(err, errNotGrown):
			return nil
		case errors.Is(err, errReading):
			s.note(fmt.Sprintf("the checkpoint file %s cannot be read: %v", w.path, err))
			return nil
		}
		if err := s.otherWay(ctx, w, to, err); err != nil {
			return err
		}
	}
}

// otherWay finds another way for a file that the store did not take; an error: there is none.
func (s *Syncer) otherWay(ctx context.Context, w *work, to destination, err error) error {
	switch {
	case ctx.Err() != nil, platform.Is(err, platform.Unavailable), platform.Is(err, platform.Denied):
		return err
	case w.old != nil && !w.grew && !platform.Is(err, platform.AlreadyExists):
		w.old = nil // what it was to be composed of is gone, or too much of a patchwork: ship it all
		return nil
	case to.flat:
		return s.flatTaken(ctx, w.path, err)
	default:
		return err
	}
}

func (s *Syncer) openWork(w *work) (*os.File, error) {
	if !w.grew {
		return s.open(&w.sighting)
	}
	fd, err := openBelow(unix.AT_FDCWD, s.dir+"/"+w.path, unix.O_RDONLY)
	if err != nil {
		return nil, errors.Join(errChanged, err)
	}
	return os.NewFile(uintptr(fd), w.path), nil
}

// shipment is one attempt to ship a file.
type shipment struct {
	*Syncer
	ctx    context.Context
	file   *os.File
	work   *work
	begun  *platform.Begun
	got    *content
	pieces int
	run    platform.Piece // the unchanged stretch that was seen last, as long as it may go on
}

// send reads the file once: it hashes, compares and ships on the way.
func (s *Syncer) send(ctx context.Context, f *os.File, w *work, to destination) (*content, error) {
	sh := &shipment{Syncer: s, ctx: ctx, file: f, work: w, begun: to.begun, got: &content{Key: to.key, Size: w.size, Chunk: s.chunk}}
	info, err := s.Blobs().Compose(ctx, s.uri(to.key), sh.all, platform.Composing{New: true, Fresh: w.old == nil, Begun: to.begun})
	s.settleBegun(w, to)
	if err != nil {
		return nil, err
	}
	s.progress()
	if info.Size != w.size {
		return nil, platform.Errorf(platform.Internal, string(info.URI), "%s has %d bytes, not %d", info.URI, info.Size, w.size)
	}
	sh.got.ETag = info.ETag
	return sh.got, nil
}

var errReading = errors.New("reading failed")

// all gives the pieces of the file. The last of them comes after the proof that the file did not change while it was read.
func (sh *shipment) all(yield func(platform.Piece, error) bool) {
	size := sh.work.size
	length := pieceChunks * sh.chunk
	if size/length > maxPieces {
		length = (size/maxPieces/sh.chunk + 1) * sh.chunk
	}
	if size == 0 {
		if err := sh.unchanged(); err != nil {
			yield(platform.Piece{}, err)
		}
		return
	}
	for at := int64(0); at < size; at += length {
		n := min(length, size-at)
		b, err := sh.memory.get(sh.ctx, int(n))
		if err != nil {
			yield(platform.Piece{}, err)
			return
		}
		pieces, err := sh.read(b, at)
		if err == nil && at+n == size {
			err = sh.unchanged()
			if err == nil {
				pieces, err = sh.last(pieces)
			}
		}
		b.share(len(pieces))
		if err != nil {
			b.drop(len(pieces))
			yield(platform.Piece{}, err)
			return
		}
		if !sh.give(b, pieces, yield) {
			return
		}
	}
}

// give hands pieces on; those of new bytes have a share in the memory.
func (sh *shipment) give(b *buffer, pieces []platform.Piece, yield func(platform.Piece, error) bool) bool {
	for i, p := range pieces {
		if p.Data == nil {
			b.drop(1)
		} else {
			p.Sent = func() { b.drop(1) }
			sh.shipped.Add(int64(len(p.Data)))
			if err := sh.limit.take(sh.ctx, len(p.Data)); err != nil {
				b.drop(len(pieces) - i)
				yield(platform.Piece{}, err)
				return false
			}
		}
		sh.pieces++
		if sh.pieces > piecesAhead+len(sh.begun.Parts) {
			sh.progress() // the store has taken one before
		}
		if !yield(p, nil) {
			b.drop(len(pieces) - i - 1)
			return false
		}
	}
	return true
}

// read fills the buffer from the file at an offset, hashes it chunk by chunk, and gives the pieces that are complete. An
// unchanged stretch that may go on in the next buffer waits.
func (sh *shipment) read(b *buffer, at int64) (pieces []platform.Piece, err error) {
	if _, err := sh.file.ReadAt(b.data, at); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errChanged
		}
		return nil, errors.Join(errReading, err)
	}
	if !sh.hurry.Load() {
		_ = unix.Fadvise(int(sh.file.Fd()), at, int64(len(b.data)), unix.FADV_DONTNEED) // leave the page cache to the training
	}
	fresh := 0 // bytes at the end of what was looked at that are new and not given yet
	for from := 0; from < len(b.data); from += int(sh.chunk) {
		chunk := b.data[from:min(from+int(sh.chunk), len(b.data))]
		d := digestOf(chunk)
		i := len(sh.got.Chunks)
		sh.got.Chunks = append(sh.got.Chunks, d)
		if sh.work.grew && !sh.begins(i, chunk, d) {
			return nil, errNotGrown
		}
		if !sh.known(i, d, len(chunk)) {
			pieces = sh.endRun(pieces)
			fresh += len(chunk)
			continue
		}
		pieces = sh.data(pieces, b.data[from-fresh:from], i)
		fresh = 0
		if sh.run.Length == 0 {
			sh.run = platform.Piece{From: platform.BlobInfo{URI: sh.uri(sh.work.old.Key), Size: sh.work.old.Size, ETag: sh.work.old.ETag}, Offset: at + int64(from)}
		}
		sh.run.Length += int64(len(chunk))
	}
	return sh.data(pieces, b.data[len(b.data)-fresh:], len(sh.got.Chunks)), nil
}

// known tells whether the old version has the same chunk in the same place.
func (sh *shipment) known(i int, d digest, length int) bool {
	old := sh.work.old
	if old == nil || old.Chunk != sh.chunk || i >= len(old.Chunks) || old.Chunks[i] != d {
		return false
	}
	return int64(length) == min(sh.chunk, old.Size-int64(i)*sh.chunk)
}

// begins tells whether a chunk goes on as the old version did.
func (sh *shipment) begins(i int, chunk []byte, d digest) bool {
	old := sh.work.old
	if old == nil || i >= len(old.Chunks) {
		return true
	}
	if left := old.Size - int64(i)*sh.chunk; left < int64(len(chunk)) {
		d = digestOf(chunk[:left])
	}
	return old.Chunks[i] == d
}

// data adds a piece of new bytes, which end before the chunk of that number.
func (sh *shipment) data(pieces []platform.Piece, data []byte, end int) []platform.Piece {
	if len(data) == 0 {
		return pieces
	}
	sum := xxh3.New()
	for _, d := range sh.got.Chunks[end-(len(data)+int(sh.chunk)-1)/int(sh.chunk) : end] {
		_, _ = sum.Write(d[:]) // a hash takes everything
	}
	return append(pieces, platform.Piece{ID: hex.EncodeToString(sum.Sum(nil)), Data: data})
}

func (sh *shipment) endRun(pieces []platform.Piece) []platform.Piece {
	if sh.run.Length == 0 {
		return pieces
	}
	p := sh.run
	p.ID = fmt.Sprintf("%s %s %d+%d", p.From.URI, p.From.ETag, p.Offset, p.Length)
	sh.run = platform.Piece{}
	return append(pieces, p)
}

// last ends a file. One that holds what it held needs no new object.
func (sh *shipment) last(pieces []platform.Piece) ([]platform.Piece, error) {
	if sh.run.Length == sh.work.size && sh.work.old.Size == sh.work.size {
		return nil, errSame
	}
	return sh.endRun(pieces), nil
}

// unchanged fails with errChanged unless the file is still the one that was seen, up to the bytes that are to be shipped.
func (sh *shipment) unchanged() error {
	now, err := sightingOf(sh.file, sh.work.path)
	if err != nil {
		return errors.Join(errReading, err)
	}
	if sh.work.grew {
		if now.inode != sh.work.inode || now.size < sh.work.size {
			return errChanged
		}
		return nil
	}
	if !now.same(&sh.work.sighting) {
		// A new name alone, or a new link to it, changes nothing of the content: the next look will find the name.
		return errChanged
	}
	return nil
}
