// Package notify delivers notifications: what others have written down to be told to a topic is told, and then forgotten.
//
// A message is delivered at least once; one that is delivered again, because the server was killed at the wrong moment, has the same id.
// A topic whose subscriber does not answer is tried less and less often and holds up no other; what it has not taken within an hour of
// its time is given up. What a topic's subscribers are is the driver's to know.
package notify

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

const (
	perTopic = 4         // deliveries to a topic at once
	giveUp   = time.Hour // after which what could not be delivered is not tried again
	// The back-off of a topic whose subscriber does not take what it is told.
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// Config is what a Controller works with.
type Config struct {
	Store   platform.Store
	Topics  platform.Topics
	Metrics platform.Metrics // where notifications that were given up are counted
	Clock   platform.Clock
	Log     *slog.Logger
}

// Controller delivers the notifications of all topics.
type Controller struct {
	Config
	loop    control.Loop
	tracker control.Tracker

	mu     sync.Mutex // of the rest
	topics map[string]*topic
}

// topic is what is to be told to one topic, in order.
type topic struct {
	waiting []string // ids
	busy    int
	retries int // in a row
	hold    time.Time
	unheard bool // it has been said that nobody has subscribed
}

// New makes a Controller; nothing runs until Start.
func New(cfg Config) *Controller {
	c := &Controller{Config: cfg, topics: map[string]*topic{}}
	c.loop = control.Loop{Name: "notify", Clock: cfg.Clock, Log: cfg.Log, Reconcile: c.reconcile}
	c.tracker = control.Tracker{
		Loop: &c.loop, Kind: platform.KindNotification, Learn: c.learn, Store: cfg.Store, Clock: cfg.Clock, Log: cfg.Log,
	}
	return c
}

// Start takes up what any earlier process has left.
func (c *Controller) Start(ctx context.Context) error { return c.tracker.Start(ctx) }

// Stop ends the deliveries under way and waits for it. Stopping twice, or without a start, is fine.
func (c *Controller) Stop() { c.tracker.Stop() }

// learn puts a notification behind the others of its topic.
func (c *Controller) learn(rec platform.Record, _ bool) error {
	n, err := platform.ReadNotification(rec)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[string(n.Topic)]
	if t == nil {
		t = &topic{}
		c.topics[string(n.Topic)] = t
	}
	t.waiting = append(t.waiting, n.ID)
	c.loop.Enqueue(string(n.Topic))
	return nil
}

// reconcile begins what may be delivered to one topic now, or for the loop's own name looks at everything.
func (c *Controller) reconcile(ctx context.Context, name string) (time.Duration, error) {
	if name == control.ResyncName {
		return 0, c.tracker.Resync(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[name]
	if t == nil {
		return 0, nil
	}
	if wait := t.hold.Sub(c.Clock.Now()); wait > 0 {
		return wait, nil
	}
	bound := perTopic
	if t.retries > 0 {
		bound = 1 // whether it answers again, one can tell
	}
	for len(t.waiting) > 0 && t.busy < bound {
		id := t.waiting[0]
		t.waiting = t.waiting[1:]
		t.busy++
		c.loop.Go(func(ctx context.Context) { c.deliver(ctx, name, t, id) })
	}
	return 0, nil
}

// deliver tries once to tell a topic of one notification.
func (c *Controller) deliver(ctx context.Context, name string, t *topic, id string) {
	over, err := c.tell(ctx, t, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	t.busy--
	switch {
	case err == nil:
		t.retries = 0
	default:
		t.hold = c.Clock.Now().Add(min(firstRetry<<min(t.retries, 16), lastRetry))
		t.retries++
	}
	if over {
		c.tracker.Forget(id)
	} else {
		t.waiting = append([]string{id}, t.waiting...)
	}
	c.loop.Enqueue(name)
}

// tell publishes a notification and forgets it. An error holds up the topic; whether the notification is over is another matter.
func (c *Controller) tell(ctx context.Context, t *topic, id string) (over bool, err error) {
	rec, err := c.Store.Get(ctx, platform.Key{Kind: platform.KindNotification, Name: id})
	if platform.Is(err, platform.NotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	n, err := platform.ReadNotification(rec)
	if err != nil {
		return false, err
	}
	err = c.Topics.Publish(ctx, *n)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return false, err
	case platform.Is(err, platform.NotFound):
		c.sayUnheard(t, n, err)
	case c.Clock.Now().Sub(n.At) < giveUp:
		c.Log.Debug("a notification was not taken; will try again", "topic", n.Topic, "about", n.About, "error", err)
		return false, err
	default:
		c.Log.Warn("a notification was not taken for too long and is given up", "topic", n.Topic, "about", n.About, "error", err)
		c.failed(ctx, n)
	}
	gone := c.Store.Commit(ctx, platform.Tx{Deletes: []platform.Delete{{Key: rec.Key, Revision: rec.Revision}}})
	if gone != nil && !platform.Is(gone, platform.Conflict) && !platform.Is(gone, platform.NotFound) {
		return false, gone
	}
	if platform.Is(err, platform.NotFound) {
		return true, nil
	}
	return true, err
}

// sayUnheard warns once that nobody has subscribed to a topic.
func (c *Controller) sayUnheard(t *topic, n *platform.Notification, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.unheard {
		c.Log.Warn("notifications of a topic go to nobody", "topic", n.Topic, "about", n.About, "error", err)
	}
	t.unheard = true
}

// failed counts a notification that was given up, as the metrics of asynchronous endpoints have it.
func (c *Controller) failed(ctx context.Context, n *platform.Notification) {
	err := c.Metrics.PutData(ctx, "", 0, []platform.Datum{{
		Series: platform.Series{Namespace: "AWS/SageMaker", Name: "NotificationFailures", Dimensions: map[string]string{"EndpointName": n.About.ResourceName()}},
		At:     c.Clock.Now(), Value: 1, Unit: "Count",
	}})
	if err != nil {
		c.Log.Warn("a metric could not be written", "error", err)
	}
}
