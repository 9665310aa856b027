package router

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Data capture: a sample of the requests to a variant and of its answers goes to S3 as lines of JSON, as "Data capture" of the
// developer guide has them. A request only puts what it has in memory anyway into a queue; all else is done beside. What the
// store cannot follow is dropped, and counted.

// The bounds of data capture.
const (
	captureAge   = 5 * time.Second // how long a line waits at most; also what a kill may cost
	captureFile  = 4 << 20         // bytes that are not waited with any longer
	captureQueue = 32 << 20        // bytes that wait for the store, of one variant
	captureEach  = 1 << 20         // bytes of a request, and of an answer; what is longer is not captured
	captureTold  = time.Minute     // losses are told of at most so often
	captureLast  = 10 * time.Second
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
	waiting []exchange
	bytes   int // of waiting, and of what is being written
	writing bool

	lost, long int64 // since it was told last: for want of room or by the store; because they were too long
	told       time.Time
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

// taken is an invocation that is being captured.
type taken struct {
	*capturing
	output []byte
	long   bool // there is more than is captured
}

// take begins to capture an invocation whose answer has so many bytes, if it says so.
func (c *capturing) take(length int64) *taken {
	t := &taken{capturing: c}
	if c.Output && length > 0 && length <= captureEach {
		t.output = make([]byte, 0, length)
	}
	return t
}

// note keeps what an answer's reader has read.
func (c *taken) note(p []byte) {
	switch {
	case c.long || !c.Output:
	case len(c.output)+len(p) > captureEach:
		c.long, c.output = true, nil
	default:
		c.output = append(c.output, p...)
	}
}

// end puts an invocation on the tape whose answer has come to its end.
func (c *taken) end(in *platform.Invocation, header map[string][]string, at time.Time) {
	x := exchange{at: at, header: in.Header, returned: header, how: c.Capture}
	if c.Input {
		x.input = in.Body
		c.long = c.long || in.Spool != nil || len(in.Body) > captureEach
	}
	if c.Output {
		x.output = c.output
	}
	c.tape.put(x, c.long)
}

// put queues what was captured, unless there is no room.
func (t *tape) put(x exchange, long bool) {
	size := x.size()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case long:
		t.long++
	case t.bytes+size > captureQueue:
		t.lost++
	default:
		t.waiting = append(t.waiting, x)
		t.bytes += size
	}
	if t.bytes >= captureFile {
		select {
		case t.full <- struct{}{}:
		default:
		}
	}
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
		// 2. Take them, or end.
		t.mu.Lock()
		batch, size := t.waiting, t.bytes
		t.waiting = nil
		t.writing = len(batch) > 0
		t.tell(last)
		t.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		// 3. Write them.
		failed := t.save(batch, last)
		t.mu.Lock()
		t.bytes -= size
		t.lost += failed
		t.mu.Unlock()
	}
}

// save writes a batch, a file for each hour in it, and gives how many lines the store has not taken.
func (t *tape) save(batch []exchange, last bool) (failed int64) {
	ctx, cancel := context.Background(), func() {}
	if last {
		ctx, cancel = context.WithTimeout(ctx, captureLast)
	}
	defer cancel()
	blobs, err := t.blobs(t.role)
	for len(batch) > 0 {
		n := 1
		hour := batch[0].at.Truncate(time.Hour)
		for n < len(batch) && batch[n].at.Truncate(time.Hour).Equal(hour) {
			n++
		}
		if err == nil {
			err = blobs.Upload(ctx, t.file(batch[0].at), bytes.NewReader(lines(batch[:n])))
		}
		if err != nil {
			t.log.Warn("captured data could not be written and is lost", slog.String("endpoint", t.endpoint), slog.String("variant", t.variant),
				slog.String("destination", string(t.destination)), slog.Int("lines", n), slog.Any("error", err))
			failed += int64(n)
			err = nil
			if blobs == nil {
				return failed + int64(len(batch)-n)
			}
		}
		batch = batch[n:]
	}
	return failed
}

// file names a file by the time of its first line.
func (t *tape) file(at time.Time) platform.URI {
	return t.destination.Join(t.endpoint, t.variant, at.Format("2006/01/02/15"), at.Format("04-05-000")+"-"+newUUID()+".jsonl")
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
