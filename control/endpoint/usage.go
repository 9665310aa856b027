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

// used is what a variant's containers have worked that is not written down yet.
type used struct {
	milliseconds, invocations int64
	over                      bool                 // nothing more will come
	of                        platform.LedgerEntry // what its line says of the variant; without a resource it is paid for by its time
}

// count takes what the data plane has counted since it was asked last.
func (c *Controller) count(e *platform.Endpoint) map[string]platform.Flow {
	name := *e.Spec.EndpointName
	flows := c.Routes.Flows(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, f := range flows {
		u := c.used[usageKey(name, id)]
		if u == nil {
			u = &used{}
			c.used[usageKey(name, id)] = u
		}
		if v := servesAs(e, id); v != nil && v.Serverless != nil {
			u.of = usageOf(e, v)
		}
		u.milliseconds += f.Milliseconds
		u.invocations += f.Invocations
		u.over = f.Over
	}
	return flows
}

func usageKey(endpoint, id string) platform.Key {
	return platform.Key{Kind: platform.KindUsage, Name: endpoint + "/" + id}
}

// book writes down what the serverless variants of an endpoint have used, and closes what is over: everything, when the endpoint is.
func (c *Controller) book(ctx context.Context, e *platform.Endpoint, everything bool) error {
	ctx = context.WithoutCancel(ctx) // a commit of which nobody knows whether it was done would be done again
	name := *e.Spec.EndpointName
	q := platform.Query{Kind: platform.KindUsage, NamePrefix: name + "/"}
	page, err := c.Store.List(ctx, q)
	if err != nil {
		return err
	}
	known := map[platform.Key]platform.Record{}
	for _, rec := range page.Records {
		known[rec.Key] = rec
	}
	for key, u := range c.toBook(e, known) {
		if err := c.bookOne(ctx, e, known[key], key, u, everything); err != nil {
			return err
		}
	}
	return nil
}

// toBook gives what there may be to write down of an endpoint: what was counted, and records, also those of an earlier process.
func (c *Controller) toBook(e *platform.Endpoint, known map[platform.Key]platform.Record) map[platform.Key]used {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[platform.Key]used{}
	for key := range known {
		_, id, _ := strings.Cut(key.Name, "/")
		out[key] = used{over: servesAs(e, id) == nil}
	}
	for key, u := range c.used {
		if strings.HasPrefix(key.Name, *e.Spec.EndpointName+"/") {
			out[key] = *u
		}
	}
	return out
}

// bookOne adds what was counted to a record, or begins one, or turns it into an entry of the ledger.
func (c *Controller) bookOne(ctx context.Context, e *platform.Endpoint, rec platform.Record, key platform.Key, u used, everything bool) error {
	now := c.Clock.Now()
	var usage platform.Usage
	switch {
	case rec.Revision > 0:
		if err := json.Unmarshal(rec.Doc, &usage); err != nil {
			return platform.Errorf(platform.Internal, key.Name, "usage record: %w", err)
		}
	case u.milliseconds > 0 && u.of.Resource != "":
		usage.Line = u.of
		usage.Line.Line, usage.Line.From = fmt.Sprintf("%s/%d", key.Name, now.UnixNano()), now
	default: // nothing was used, or it is paid for by its time
		c.booked(key, u)
		return nil
	}
	usage.Milliseconds += u.milliseconds
	usage.Invocations += u.invocations
	var tx platform.Tx
	switch {
	case everything || u.over || now.Sub(usage.Line.From) >= usageLine:
		tx.Ledger = []platform.LedgerEntry{bill.Use(usage, now)}
		if rec.Revision > 0 {
			tx.Deletes = []platform.Delete{{Key: key, Revision: rec.Revision}}
		}
	case u.milliseconds == 0:
		return nil
	default:
		doc, err := json.Marshal(usage)
		if err != nil {
			return platform.Errorf(platform.Internal, key.Name, "usage record: %w", err)
		}
		if rec.Revision == 0 {
			rec.Key, rec.Created = key, now
		}
		rec.Modified, rec.Doc = now, doc
		tx.Puts = []platform.Put{{Record: rec}}
	}
	if err := c.Store.Commit(ctx, tx); err != nil {
		return fmt.Errorf("write down what %s has used: %w", key.Name, err)
	}
	c.booked(key, u)
	return nil
}

// booked takes off what is written down now.
func (c *Controller) booked(key platform.Key, u used) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.used[key]
	if left == nil {
		return
	}
	left.milliseconds -= u.milliseconds
	left.invocations -= u.invocations
	if left.over && left.milliseconds == 0 {
		delete(c.used, key)
	}
}

// servesAs finds the variant that has an id, nil when it serves no more.
func servesAs(e *platform.Endpoint, id string) *platform.Variant {
	for _, d := range []*platform.Deployment{e.Status.Serving, e.Status.Coming} {
		for i := range variants(d) {
			if elasticID(d, &d.Variants[i]) == id {
				return &d.Variants[i]
			}
		}
	}
	return nil
}

func variants(d *platform.Deployment) []platform.Variant {
	if d == nil {
		return nil
	}
	return d.Variants
}

// usageOf is what the ledger says of a serverless variant's use.
func usageOf(e *platform.Endpoint, v *platform.Variant) platform.LedgerEntry {
	return platform.LedgerEntry{
		Resource: e.Status.ARN, InstanceType: v.Type, Count: 1, Purchase: platform.OnUse, Rate: v.Serverless.Rate, OnDemandRate: v.Serverless.Rate,
	}
}
