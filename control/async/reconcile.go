package async

import (
	"context"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	// ahead is how many invocations are under way for each that containers may have at once: while one is with a container, the next
	// one's input is fetched and the answer of the one before is put away.
	ahead = 2
	// expiring is how many invocations are told at once that their time is over; they need no container.
	expiring = 16
	// The back-off of an endpoint whose containers or whose objects cannot be had.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
	dropBatch  = 500
)

// view is what matters here of an endpoint's record.
type view struct {
	revision int64
	there    bool // it serves or will, and owes answers
	async    bool
	of       time.Time // when it was created
	variant  string
	role     platform.ARN
	output   sagemaker.AsyncInferenceOutputConfig
	ready    int // instances
	at       int // invocations that containers may have at once
}

// look reads the record of an endpoint; what is known of it already is not decoded again.
func (c *Controller) look(ctx context.Context, name string, known view) (view, error) {
	rec, err := c.Store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: name})
	if platform.Is(err, platform.NotFound) {
		return view{}, nil
	}
	if err != nil {
		return known, err
	}
	if known.there && known.revision == rec.Revision && known.of.Equal(rec.Created) {
		return known, nil
	}
	e, err := platform.ReadEndpoint(rec)
	if err != nil {
		return known, err
	}
	v := view{revision: rec.Revision, there: e.Status.State != platform.EndpointDeleting, of: e.Status.Created}
	if d := e.Status.Serving; d != nil && d.Async != nil && len(d.Variants) > 0 {
		v.serves(d)
		v.count(&e.Status)
	}
	return v, nil
}

// serves takes over what a deployment says.
func (v *view) serves(d *platform.Deployment) {
	served := &d.Variants[0]
	v.async, v.variant, v.role, v.output = true, served.Name, served.Role, *d.Async.OutputConfig
}

// count finds out how many invocations containers may have. While an update shifts traffic, the side that has too little for its share
// of the requests bounds them all.
func (v *view) count(st *platform.EndpointStatus) {
	serving := &st.Serving.Variants[0]
	v.ready = serving.Ready()
	if r := st.Rollout; r != nil && r.Share > 0 && st.Coming != nil && len(st.Coming.Variants) > 0 {
		bound := float64(st.Coming.Variants[0].Ready()) / r.Share
		if r.Share < 1 {
			bound = min(bound, float64(v.ready)/(1-r.Share))
		}
		v.ready = int(bound)
	}
	v.at = v.ready * concurrency(st.Serving)
	if serving.Asleep {
		v.at = max(v.at, 1) // the one that comes wakes it
	}
}

// concurrency is how many invocations an instance may have at once: what is configured, else two for each processor, so that none
// waits while an answer is on its way.
func concurrency(d *platform.Deployment) int {
	if client := d.Async.ClientConfig; client != nil && client.MaxConcurrentInvocationsPerInstance != nil {
		return int(*client.MaxConcurrentInvocationsPerInstance)
	}
	return int(max(1, 2*d.Variants[0].Need.MilliCPU/1000))
}

// reconcile brings the queue of one endpoint forward, or for the loop's own name looks at everything.
func (c *Controller) reconcile(ctx context.Context, name string) (time.Duration, error) {
	if name == control.ResyncName {
		return 0, c.resync(ctx)
	}
	// 1. Look at the endpoint. What became known before that and is not owed by it is owed by nobody.
	c.mu.Lock()
	l := c.lines[name]
	seen, known := c.seq, view{}
	if l != nil {
		known = l.view
	}
	c.mu.Unlock()
	v, err := c.look(ctx, name, known)
	if err != nil {
		return 0, err
	}
	if l == nil && !v.async {
		return 0, nil // nothing is owed, and nothing will be
	}
	// 2. Choose what is to be dropped, and what is to be begun.
	now := c.Clock.Now()
	c.mu.Lock()
	l = c.line(name)
	l.view = v
	l.gate.resize(v.at)
	dropped := l.orphans(seen)
	begin := l.take(now)
	again := l.next(now)
	if !v.there && l.waiting.len() == 0 && l.working == 0 {
		delete(c.lines, name)
	}
	news := l.starves()
	c.mu.Unlock()
	// 3. Do it.
	for _, e := range begin {
		c.loop.Go(func(ctx context.Context) { c.work(ctx, l, e, v) })
	}
	if news {
		c.publish(ctx)
	}
	return again, c.drop(ctx, name, dropped)
}

// orphans takes those out of the queue that belong to an endpoint that is gone; the caller holds the controller's lock.
func (l *line) orphans(seen int) (gone []*entry) {
	for e := l.waiting.first(); e != nil && e.seq <= seen && !(l.view.there && e.of.Equal(l.view.of)); e = l.waiting.first() {
		l.waiting.remove(e)
		gone = append(gone, e)
	}
	return gone
}

// take takes out of the queue what is to be begun now; the caller holds the controller's lock.
func (l *line) take(now time.Time) (begin []*entry) {
	chosen := func(e *entry) {
		l.waiting.remove(e)
		l.working++
		begin = append(begin, e)
	}
	bound := ahead * l.view.at
	for e := l.waiting.expired(now); e != nil && l.working < bound+expiring; e = l.waiting.expired(now) {
		chosen(e)
	}
	for e := l.waiting.first(); e != nil && l.working < bound && !now.Before(l.hold) && e.of.Equal(l.view.of); e = l.waiting.first() {
		chosen(e)
	}
	return begin
}

// next is when to look again without any news; the caller holds the controller's lock.
func (l *line) next(now time.Time) time.Duration {
	if l.waiting.len() == 0 {
		return 0
	}
	wait := max(0, l.waiting.expiries.top().expires.Sub(now)) // 0: the end of what is under way is the news to wait for
	if held := l.hold.Sub(now); held > 0 && (wait == 0 || held < wait) {
		wait = held
	}
	return wait
}

// starves notes whether invocations wait and there is no instance, and tells whether that is new; the caller holds the controller's lock.
func (l *line) starves() bool {
	was := l.starved
	l.starved = l.view.async && l.view.ready == 0 && l.waiting.len()+l.working > 0
	return l.starved && !was
}

// drop deletes the records of invocations whose endpoint is gone, as AWS drops them: without a word.
func (c *Controller) drop(ctx context.Context, name string, gone []*entry) error {
	if len(gone) > 0 {
		c.Log.Info("the queue of an endpoint that was deleted is dropped", "endpoint", name, "invocations", len(gone))
	}
	for len(gone) > 0 {
		batch := gone[:min(len(gone), dropBatch)]
		gone = gone[len(batch):]
		var tx platform.Tx
		for _, e := range batch {
			tx.Deletes = append(tx.Deletes, platform.Delete{Key: platform.Key{Kind: platform.KindAsyncInvocation, Name: e.id}, Revision: 1})
		}
		err := c.Store.Commit(ctx, tx)
		for _, e := range batch {
			c.tracker.Forget(e.id) // what could not be deleted is found again by the next resync
		}
		if err != nil {
			c.loop.Enqueue(control.ResyncName)
			return err
		}
	}
	return nil
}

// done takes a piece of work back: it is over, or waits again.
func (c *Controller) done(l *line, e *entry, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.working--
	if over {
		c.tracker.Forget(e.id)
		l.retries = 0
	} else {
		l.waiting.push(e)
		l.hold = c.Clock.Now().Add(min(firstRetry<<min(l.retries, 16), lastRetry))
		l.retries++
	}
	c.loop.Enqueue(l.name)
}
