package endpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stint-ml/stint/control"
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
	// found says that an earlier process has begun its record and this one's data plane has told nothing of it yet.
	found bool
	// recorded says that there may be a record.
	recorded bool
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
	if err := c.recall(ctx, e); err != nil {
		return nil, err
	}
	flows := c.count(e)
	return flows, c.book(ctx, e, over)
}

// count takes what the data plane has counted since it was asked last.
func (c *Controller) count(e *platform.Endpoint) map[string]platform.Flow {
	flows := c.Routes.Flows(*e.Spec.EndpointName)
	all := c.used[*e.Spec.EndpointName]
	for id, f := range flows {
		v := servesAs(e, id)
		for _, purchase := range []platform.Purchase{platform.OnUse, platform.ProvisionedUse} {
			key := usageKey(e, id, purchase)
			if all[key] == nil && v != nil && v.Serverless != nil {
				all[key] = &used{of: usageOf(e, v, purchase)}
			}
			if u := all[key]; u != nil {
				u.Work, u.over, u.found = u.Plus(f.Worked[purchase]), f.Over, false
			}
		}
	}
	return flows
}

// recall finds, once in the life of a process, what earlier ones have begun to write down of an endpoint. From then on this one
// knows all there is: nobody else writes it.
func (c *Controller) recall(ctx context.Context, e *platform.Endpoint) error {
	name := *e.Spec.EndpointName
	if c.used[name] != nil {
		return nil
	}
	begun := map[platform.Key]*used{}
	err := control.Each(ctx, c.Store, platform.Query{Kind: platform.KindUsage, NamePrefix: usagePrefix(e)}, func(r platform.Record) error {
		u, err := usageIn(r, r.Key, platform.LedgerEntry{}, r.Created)
		begun[r.Key] = &used{of: u.Line, found: true, recorded: true}
		return err
	})
	if err == nil {
		c.used[name] = begun
	}
	return err
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
	all := c.used[*e.Spec.EndpointName]
	for key, u := range all {
		id, _, _ := strings.Cut(strings.TrimPrefix(key.Name, usagePrefix(e)), "/")
		u.over = u.over || everything || u.found && servesAs(e, id) == nil
		over, err := c.bookOne(ctx, key, u)
		if err != nil {
			return fmt.Errorf("write down what %s has used: %w", key.Name, err)
		}
		if over {
			delete(all, key)
		}
	}
	return nil
}

// bookOne adds work to its record, or begins one; a record that is over or an hour old becomes an entry of the ledger. It tells
// whether all is written down for good.
func (c *Controller) bookOne(ctx context.Context, key platform.Key, u *used) (over bool, err error) {
	for u.recorded || u.Invocations > 0 {
		rec, err := c.Store.Get(ctx, key)
		if err != nil && !platform.Is(err, platform.NotFound) {
			return false, err
		}
		u.reckon(rec.Revision)
		tx, err := u.write(rec, key, c.Clock.Now())
		if err != nil {
			return false, err
		}
		if len(tx.Puts)+len(tx.Deletes) == 0 { // there is no news
			u.recorded = rec.Revision > 0
			break
		}
		u.tried, u.recorded = &tried{rec.Revision, u.Work}, true
		if err := c.Store.Commit(ctx, tx); err != nil {
			return false, err
		}
		u.Work, u.tried, u.recorded = platform.Work{}, nil, len(tx.Puts) > 0
		if !u.over {
			break
		} // else what has a record now is closed
	}
	return u.over, nil
}

// write adds work to its record, begins one, or makes a record an entry of the ledger.
func (u *used) write(rec platform.Record, key platform.Key, now time.Time) (tx platform.Tx, err error) {
	usage, err := usageIn(rec, key, u.of, now)
	if err != nil {
		return tx, err
	}
	usage.Work = usage.Plus(u.Work)
	switch {
	case rec.Revision > 0 && (u.over || now.Sub(usage.Line.From) >= usageLine):
		tx.Ledger = []platform.LedgerEntry{bill.Use(usage.Usage, now)}
		tx.Deletes = []platform.Delete{{Key: key, Revision: rec.Revision}}
	case u.Invocations > 0:
		tx.Puts, err = usage.put(rec, key, now)
	}
	return tx, err
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

// reckon takes off what a commit of an unknown end has written down after all, as the record's revision says.
func (u *used) reckon(revision int64) {
	if u.tried != nil && revision != u.tried.revision {
		u.Work = u.Minus(u.tried.work)
	}
	u.tried = nil
}
