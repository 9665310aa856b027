package training

import (
	"context"
	"encoding/json"
	"time"

	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/platform"
)

// kindSpotPool records are named by their instance type and hold what is known of its past availability.
const kindSpotPool platform.Kind = "spot-pool"

// savePool is how much of a pool's history a crash may cost: it is written when the pool's state changes, and this often.
const savePool = 10 * time.Minute

// pool is the spot capacity of one instance type.
type pool struct {
	offer    platform.Offer // as last asked
	history  *spot.History  // also read by the policies of the pool's jobs
	revision int64          // of its record
	saved    time.Time
	was      bool  // what was last noted in the history
	refused  error // why the market has nothing to do with the type
}

// pool asks what the market offers to a job, and notes in the pool's history whether capacity is to be had: what the market
// offers and this machine has room for.
func (c *Controller) pool(ctx context.Context, job *platform.TrainingJob) (*pool, error) {
	p, err := c.loadPool(ctx, job.InstanceType())
	if err != nil {
		return nil, err
	}
	if p.offer, err = c.ask(ctx, p, job.InstanceType(), job.Status.Rate); err != nil {
		return nil, err
	}
	now := c.Clock.Now()
	had := p.offer.Available && !c.view.poolHeldUp(job.InstanceType())
	p.history.Observe(now, had)
	if had == p.was && now.Sub(p.saved) < savePool {
		return p, nil
	}
	return p, c.savePool(ctx, job.InstanceType(), p, had, now)
}

// ask gets the market's offer. A type that it does not know is never offered.
func (c *Controller) ask(ctx context.Context, p *pool, t platform.InstanceType, onDemand platform.HourlyRate) (platform.Offer, error) {
	if c.Market == nil {
		return platform.Offer{}, nil
	}
	offer, err := c.Market.Offer(ctx, t, onDemand)
	if !platform.Is(err, platform.Invalid) {
		return offer, err
	}
	p.refused = err
	return platform.Offer{}, nil
}

// loadPool reads what earlier processes have learned.
func (c *Controller) loadPool(ctx context.Context, t platform.InstanceType) (*pool, error) {
	if p := c.pools[t]; p != nil {
		return p, nil
	}
	p := &pool{history: &spot.History{}}
	rec, err := c.Store.Get(ctx, platform.Key{Kind: kindSpotPool, Name: string(t)})
	switch {
	case platform.Is(err, platform.NotFound):
	case err != nil:
		return nil, err
	default:
		p.revision = rec.Revision
		if err := json.Unmarshal(rec.Doc, p.history); err != nil { // it is knowledge, not truth: begin anew
			c.Log.Warn("the history of a spot pool cannot be read", "type", t, "error", err)
			p.history = &spot.History{}
		}
	}
	c.pools[t] = p
	return p, nil
}

// savePool writes a pool's history down. Losing a race or a disk costs knowledge, and holds up no job.
func (c *Controller) savePool(ctx context.Context, t platform.InstanceType, p *pool, had bool, now time.Time) error {
	p.was, p.saved = had, now
	doc, err := json.Marshal(p.history)
	if err != nil {
		return platform.Errorf(platform.Internal, string(t), "spot pool record: %w", err)
	}
	key := platform.Key{Kind: kindSpotPool, Name: string(t)}
	err = c.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: platform.Record{
		Key: key, Revision: p.revision, Created: now, Modified: now, Doc: doc,
	}}}})
	if err == nil {
		p.revision++
		return nil
	}
	if rec, readErr := c.Store.Get(ctx, key); readErr == nil {
		p.revision = rec.Revision
	}
	c.Log.Warn("the history of a spot pool could not be saved", "type", t, "error", err)
	return nil
}

// lookAtMarket has the jobs looked at that a change of their pool's offer concerns: all of them when capacity comes or goes;
// of those who wait, at another price only the ones that may also run on demand.
func (c *Controller) lookAtMarket(ctx context.Context) error {
	type change struct{ came, price bool }
	changes := map[platform.InstanceType]change{}
	for name, j := range c.view.spot {
		ch, asked := changes[j.pool]
		if !asked {
			p, err := c.loadPool(ctx, j.pool)
			if err != nil {
				return err
			}
			offer, err := c.ask(ctx, p, j.pool, j.rate)
			if err != nil {
				return err
			}
			ch = change{offer.Available != p.offer.Available, offer.Rate != p.offer.Rate}
			changes[j.pool] = ch
		}
		_, open := c.view.open[name]
		if ch.came || ch.price && (open || j.fallback) {
			c.loop.Enqueue(name)
		}
	}
	return nil
}
