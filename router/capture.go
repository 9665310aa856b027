package router

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Data capture: a sample of the requests to a variant and of its answers goes to S3 as lines of JSON, as "Data capture" of the
// developer guide has them. A request that is captured adds its line to a page in memory when its answer has come to its end; all
// else is done beside, a page at a time. What the store cannot follow is dropped, and counted.

// The bounds of data capture.
const (
	captureAge   = 5 * time.Second // how long a line waits at most; also what a kill may cost
	captureFile  = 8 << 20         // bytes that are not waited with any longer: what a file has, its lines do not share the cost of
	captureQueue = 32 << 20        // bytes of lines that wait for the store, of one variant
	captureEach  = 1 << 20         // bytes of a request, and of an answer; what is longer is not captured
	captureTold  = time.Minute     // losses are told of at most so often
	captureLast  = 10 * time.Second
	pageGrown    = 512 << 10
	scratchKept  = 64 << 10 // of what a request used to make its line, so much is kept for the next one
)

// recorder is all captures of a Router.
type recorder struct {
	blobs   func(role platform.ARN) (platform.Blobs, error)
	clock   platform.Clock
	log     *slog.Logger
	mu      sync.Mutex
	tapes   map[tapeOf]*tape
	stopped bool
	quit    chan struct{}
	writers sync.WaitGroup
}

// tapeOf is where captured lines go: routes that are replaced and agree in it go on with the same tape.
type tapeOf struct {
	endpoint, variant string
	destination       platform.URI
	role              platform.ARN
}

// tape is what waits to be written to one place. While anything waits it has a goroutine.
type tape struct {
	*recorder
	tapeOf
	full chan struct{}

	mu      sync.Mutex
	pages   []*page // lines are added to the last one
	spare   []*page // that were written; their memory serves again
	waiting int     // bytes of pages
	saving  int     // bytes that are being written
	writing bool

	lost, long int64 // since it was told last: for want of room or by the store; because they were too long
	told       time.Time
}

// page is lines that become a file.
type page struct {
	since time.Time // the time of its first line; all are of that hour
	text  []byte
	lines int64
}

func newRecorder(c Config) *recorder {
	return &recorder{blobs: c.Blobs, clock: c.Clock, log: c.Log, tapes: map[tapeOf]*tape{}, quit: make(chan struct{})}
}

// tape finds or makes the one of a place.
func (r *recorder) tape(of tapeOf) *tape {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tapes[of]
	if t == nil {
		t = &tape{recorder: r, tapeOf: of, full: make(chan struct{}, 1)}
		r.tapes[of] = t
	}
	return t
}

// keep lets go of the tapes of an endpoint that its route, nil for none, does not use any more. What waits in them is written.
func (r *recorder) keep(name string, route *endpoint) {
	used := map[*tape]bool{}
	for side := route; side != nil; side = side.next {
		for _, v := range side.variants {
			if v.capturing != nil {
				used[v.capturing.tape] = true
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for of, t := range r.tapes {
		if of.endpoint == name && !used[t] {
			delete(r.tapes, of)
		}
	}
}

// stop writes what waits, as far as the store takes it in time.
func (r *recorder) stop() {
	r.mu.Lock()
	if !r.stopped {
		r.stopped = true
		close(r.quit)
	}
	r.mu.Unlock()
	r.writers.Wait()
}

// enter lets one more write, unless that is over.
func (r *recorder) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.writers.Add(1)
	}
	return !r.stopped
}

// capturing is what a route says of a variant's capture; nil for none.
func (r *recorder) capturing(endpoint string, v platform.RouteVariant) *capturing {
	if v.Capture == nil || r.blobs == nil {
		return nil
	}
	return &capturing{v.Capture, r.tape(tapeOf{endpoint, v.Name, v.Capture.Destination, v.Capture.Role})}
}

// capturing is a variant's capture.
type capturing struct {
	*platform.Capture
	tape *tape
}

// sampled decides whether an invocation is captured.
func (c *capturing) sampled() bool {
	return c != nil && (c.Percent >= 100 || rand.IntN(100) < c.Percent)
}

// taken is an invocation that is being captured. It is used again for others.
type taken struct {
	*capturing
	output, line []byte
	long         bool // there is more than is captured
}

var takings = sync.Pool{New: func() any { return new(taken) }}

// take begins to capture an invocation. drop or end follows.
func (c *capturing) take() *taken {
	t := takings.Get().(*taken)
	t.capturing = c
	return t
}

// drop ends the capture of an invocation that is not kept.
func (c *taken) drop() {
	if cap(c.output)+cap(c.line) > scratchKept {
		c.output, c.line = nil, nil
	}
	*c = taken{output: c.output[:0], line: c.line[:0]}
	takings.Put(c)
}

// note keeps what an answer's reader has read.
func (c *taken) note(p []byte) {
	switch {
	case c.long || !c.Output:
	case len(c.output)+len(p) > captureEach:
		c.long = true
	default:
		c.output = append(c.output, p...)
	}
}

// end puts an invocation on the tape whose answer has come to its end.
func (c *taken) end(in *platform.Invocation, header map[string][]string, at time.Time) {
	defer c.drop()
	if c.long || c.Input && (in.Spool != nil || len(in.Body) > captureEach) {
		c.tape.miss()
		return
	}
	x := exchange{at: at, header: in.Header, returned: header, input: in.Body, output: c.output, how: c.Capture}
	c.line = x.appendLine(c.line)
	c.tape.put(c.line, at)
}

// miss counts an invocation that was too long.
func (t *tape) miss() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.long++
	t.wake()
}

// put queues a line, unless there is no room.
func (t *tape) put(line []byte, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting+t.saving+len(line) > captureQueue {
		t.lost++
	} else {
		t.open(len(line), at).add(line)
		t.waiting += len(line)
	}
	if t.waiting >= captureFile {
		select {
		case t.full <- struct{}{}:
		default:
		}
	}
	t.wake()
}

// open gives the page for a line; the caller holds the lock. There is room for what comes until a full page is taken, so that this does
// not become a file of its own.
func (t *tape) open(size int, at time.Time) *page {
	if last := len(t.pages) - 1; last >= 0 {
		p := t.pages[last]
		if len(p.text)+size <= captureFile+captureEach && p.since.Truncate(time.Hour).Equal(at.Truncate(time.Hour)) {
			return p
		}
	}
	p := &page{}
	if last := len(t.spare) - 1; last >= 0 {
		p, t.spare = t.spare[last], t.spare[:last]
	}
	p.since = at
	t.pages = append(t.pages, p)
	return p
}

// add adds a line. What has grown to pageGrown gets all the memory of a page at once, as to grow by and by is to copy again and again.
func (p *page) add(line []byte) {
	if need := len(p.text) + len(line); need > cap(p.text) && need > pageGrown {
		p.text = slices.Grow(p.text, max(captureFile+captureEach-len(p.text), len(line)))
	}
	p.text = append(p.text, line...)
	p.lines++
}

// wake sees to it that somebody writes; the caller holds the lock.
func (t *tape) wake() {
	if !t.writing && t.enter() {
		t.writing = true
		go t.write()
	}
}

// write writes what waits, time and again, until nothing does.
func (t *tape) write() {
	defer t.writers.Done()
	for last := false; ; {
		// 1. Let lines come together.
		due, release := t.clock.After(captureAge)
		select {
		case <-due:
		case <-t.full:
		case <-t.quit:
			last = true
		}
		release()
		// 2. Take them, or end. As many pages as come at a time are kept for the next ones: none, when there is nothing.
		t.mu.Lock()
		select {
		case <-t.full: // it was filled further meanwhile
		default:
		}
		pages := t.pages
		t.pages, t.saving, t.waiting = nil, t.waiting, 0
		t.writing = len(pages) > 0
		t.tell(last)
		t.spare = slices.Delete(t.spare, 0, max(0, len(t.spare)-len(pages)))
		t.mu.Unlock()
		if len(pages) == 0 {
			return
		}
		// 3. Write them.
		t.saveAll(pages, last)
	}
}

// saveAll writes pages one after the other; the last time there is a limit for all of them.
func (t *tape) saveAll(pages []*page, last bool) {
	ctx, cancel := context.Background(), func() {}
	if last {
		ctx, cancel = context.WithTimeout(ctx, captureLast)
	}
	defer cancel()
	for _, p := range pages {
		t.finish(p, t.save(ctx, p))
	}
}

// finish counts a page as written, or lost.
func (t *tape) finish(p *page, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.saving -= len(p.text)
	if err != nil {
		t.lost += p.lines // and its memory is let go of: what was broken off may still read it
		return
	}
	t.spare = append(t.spare, &page{text: p.text[:0]})
}

// save writes a page as a file.
func (t *tape) save(ctx context.Context, p *page) error {
	blobs, err := t.blobs(t.role)
	if err == nil {
		whole := func(yield func(platform.Piece, error) bool) { yield(platform.Piece{Data: p.text}, nil) }
		_, err = blobs.Compose(ctx, t.file(p.since), whole, platform.Composing{Opaque: true})
	}
	if err != nil {
		t.log.Warn("captured data could not be written and is lost", slog.String("endpoint", t.endpoint), slog.String("variant", t.variant),
			slog.String("destination", string(t.destination)), slog.Int64("lines", p.lines), slog.Any("error", err))
	}
	return err
}

// file names a file by the time of its first line.
func (t *tape) file(at time.Time) platform.URI {
	return t.destination.Join(t.endpoint, t.variant, at.Format("2006/01/02/15"), at.Format("04-05-000")+"-"+string(appendUUID(nil))+".jsonl")
}

// tell tells of losses now and then; the caller holds the lock.
func (t *tape) tell(last bool) {
	now := t.clock.Now()
	if t.lost+t.long == 0 || now.Sub(t.told) < captureTold && !last {
		return
	}
	t.log.Warn("some invocations were not captured", slog.String("endpoint", t.endpoint), slog.String("variant", t.variant),
		slog.Int64("lost", t.lost), slog.Int64("too_long", t.long))
	t.lost, t.long, t.told = 0, 0, now
}
