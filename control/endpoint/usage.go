package endpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// What serverless variants use is counted by the data plane in memory, and written down every second while requests come: a
// kill of the server costs at most that, in the user's favour. The ledger gets an entry an hour, and one when a variant ends.

const usageLine = time.Hour

// used is work of a serverless variant that is not written down yet.
type used struct {
	platform.Work
	of   platform.LedgerEntry // what its line says of the variant
	over bool                 // nothing more will come
	// tried is a commit of which nobody knows whether it was done; nobody else writes the record.
	tried *tried
}

// tried is what a commit was to add to a record of a revision.
type tried struct {
	revision int64
	work     platform.Work
}

// settle takes what the data plane has counted and writes it down: for good, when the endpoint is over.
func (c *Controller) settle(ctx context.Context, e *platform.Endpoint, over bool) (map[string]platform.Flow, error) {
	flows := c.count(e)
	return flows, c.book(ctx, e, over)
}

// count takes what the data plane has counted since it was asked last.
func (c *Controller) count(e *platform.Endpoint) map[string]platform.Flow {
	flows := c.Routes.Flows(*e.Spec.EndpointName)
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, f := range flows {
		for _, purchase := range []platform.Purchase{platform.OnUse, platform.ProvisionedUse} {
			key := usageKey(e, id, purchase)
			u := c.used[key]
			if v := servesAs(e, id); u == nil && v != nil && v.Serverless != nil {
				u = &used{of: usageOf(e, v, purchase)}
				c.used[key] = u
			}
			if u != nil {
				u.Work, u.over = u.Plus(f.Worked[purchase]), f.Over
			}
		}
	}
	return flows
}

func usageKey(e *platform.Endpoint, id string, purchase platform.Purchase) platform.Key {
	return platform.Key{Kind: platform.KindUsage, Name: usagePrefix(e) + id + "/" + string(purchase)}
}

func usagePrefix(e *platform.Endpoint) string { return *e.Spec.EndpointName + "/" }

// usageOf is what the ledger says of a serverless variant's use.
func usageOf(e *platform.Endpoint, v *platform.Variant, purchase platform.Purchase) platform.LedgerEntry {
	rate := v.Serverless.Use
	if purchase == platform.ProvisionedUse {
		rate = v.Serverless.ProvisionedUse
	}
	return platform.LedgerEntry{Resource: e.Status.ARN, InstanceType: v.Type, Count: 1, Purchase: purchase, Rate: rate, OnDemandRate: rate}
}

// servesAs finds the variant that has an id, nil when it serves no more.
func servesAs(e *platform.Endpoint, id string) *platform.Variant {
	for _, d := range []*platform.Deployment{e.Status.Serving, e.Status.Coming} {
		for i := 0; d != nil && i < len(d.Variants); i++ {
			if elasticID(d, &d.Variants[i]) == id {
				return &d.Variants[i]
			}
		}
	}
	return nil
}

// book writes down what the serverless variants of an endpoint have used, and closes what is over: everything, when the
// endpoint is.
func (c *Controller) book(ctx context.Context, e *platform.Endpoint, everything bool) error {
	ctx = context.WithoutCancel(ctx) // a commit of which nobody knows whether it was done would be done again
	page, err := c.Store.List(ctx, platform.Query{Kind: platform.KindUsage, NamePrefix: usagePrefix(e)})
	if err != nil {
		return err
	}
	records := map[platform.Key]platform.Record{}
	fresh := map[platform.Key]used{}
	for _, rec := range page.Records {
		id, _, _ := strings.Cut(strings.TrimPrefix(rec.Name, usagePrefix(e)), "/")
		records[rec.Key], fresh[rec.Key] = rec, used{over: servesAs(e, id) == nil} // an earlier process may have begun it
	}
	c.mu.Lock()
	for key, u := range c.used {
		if strings.HasPrefix(key.Name, usagePrefix(e)) {
			fresh[key] = *u
		}
	}
	c.mu.Unlock()
	for key, u := range fresh {
		u.over = u.over || everything
		if err := c.bookOne(ctx, records[key], key, u); err != nil {
			return fmt.Errorf("write down what %s has used: %w", key.Name, err)
		}
	}
	return nil
}

// bookOne adds work to its record, or begins one; a record that is over or an hour old becomes an entry of the ledger.
func (c *Controller) bookOne(ctx context.Context, rec platform.Record, key platform.Key, u used) error {
	now := c.Clock.Now()
	u = c.reckon(rec, key, u)
	usage, err := usageIn(rec, key, u.of, now)
	if err != nil {
		return err
	}
	usage.Work = usage.Plus(u.Work)
	var tx platform.Tx
	switch {
	case rec.Revision > 0 && (u.over || now.Sub(usage.Line.From) >= usageLine):
		tx.Ledger = []platform.LedgerEntry{bill.Use(usage.Usage, now)}
		tx.Deletes = []platform.Delete{{Key: key, Revision: rec.Revision}}
	case u.Invocations == 0: // there is no news
		c.booked(key, platform.Work{}, u.over)
		return nil
	default:
		if tx.Puts, err = usage.put(rec, key, now); err != nil {
			return err
		}
	}
	c.trying(key, &tried{rec.Revision, u.Work})
	if err := c.Store.Commit(ctx, tx); err != nil {
		return err
	}
	c.booked(key, u.Work, u.over && len(tx.Ledger) > 0)
	if u.over && len(tx.Puts) > 0 { // it has a record now
		return c.closeUsage(ctx, key, u)
	}
	return nil
}

// closeUsage turns a record that has just been written into an entry of the ledger.
func (c *Controller) closeUsage(ctx context.Context, key platform.Key, u used) error {
	rec, err := c.Store.Get(ctx, key)
	if err != nil {
		return err
	}
	return c.bookOne(ctx, rec, key, used{of: u.of, over: true})
}

// usageRecord is a usage with how it is written down.
type usageRecord struct{ platform.Usage }

// put lays the usage over its record.
func (u usageRecord) put(rec platform.Record, key platform.Key, now time.Time) ([]platform.Put, error) {
	doc, err := json.Marshal(u.Usage)
	if err != nil {
		return nil, platform.Errorf(platform.Internal, key.Name, "usage record: %w", err)
	}
	if rec.Revision == 0 {
		rec.Key, rec.Created = key, now
	}
	rec.Modified, rec.Doc = now, doc
	return []platform.Put{{Record: rec}}, nil
}

// usageIn reads what a record holds; without one the use begins now.
func usageIn(rec platform.Record, key platform.Key, of platform.LedgerEntry, now time.Time) (usageRecord, error) {
	var u usageRecord
	u.Line = of
	if rec.Revision == 0 {
		u.Line.Line, u.Line.From = fmt.Sprintf("%s/%d", key.Name, now.UnixNano()), now
		return u, nil
	}
	if err := json.Unmarshal(rec.Doc, &u.Usage); err != nil {
		return u, platform.Errorf(platform.Internal, key.Name, "usage record: %w", err)
	}
	return u, nil
}

// reckon takes off what a commit of an unknown end has written down after all.
func (c *Controller) reckon(rec platform.Record, key platform.Key, u used) used {
	if t := u.tried; t != nil && rec.Revision != t.revision {
		c.booked(key, t.work, false)
		u.Work = u.Minus(t.work)
	}
	return u
}

// trying remembers a commit until its end is known.
func (c *Controller) trying(key platform.Key, t *tried) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u := c.used[key]; u != nil {
		u.tried = t
	}
}

// booked takes off what is written down now, and forgets what is over.
func (c *Controller) booked(key platform.Key, work platform.Work, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.used[key]
	if u == nil {
		return
	}
	u.Work, u.tried = u.Minus(work), nil
	if over && u.Work == (platform.Work{}) {
		delete(c.used, key)
	}
}
