package endpoint

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// sessionLife is how long a replica's credentials live. A container keeps what it was started with.
const sessionLife = 365 * 24 * time.Hour

// launch writes down the replicas that are missing, as many as there is room for. It gives when to look again: for room, or
// for the end of a back-off.
func (c *Controller) launch(ctx context.Context, name string, now time.Time) (e *platform.Endpoint, again time.Duration, err error) {
	machine, err := c.Runner.Capacity(ctx)
	if err != nil {
		return nil, 0, err
	}
	e, err = c.change(ctx, name, func(e *platform.Endpoint) (platform.Tx, bool, error) {
		var tx platform.Tx
		noted := false
		again = 0
		for _, d := range []*platform.Deployment{e.Status.Serving, e.Status.Coming} {
			if d == nil {
				continue
			}
			for v := range d.Variants {
				variant := &d.Variants[v]
				hopeless, roomless := variant.Hopeless, variant.Roomless
				wait, err := c.fill(e, variant, machine, now, &tx)
				if err != nil {
					return tx, false, err
				}
				noted = noted || hopeless != variant.Hopeless || roomless != variant.Roomless
				again = sooner(again, wait)
			}
		}
		return tx, noted || len(tx.Puts) > 0, nil
	})
	return e, again, err
}

// fill adds a variant's missing replicas. That it waits for room is written down when the wait begins, and once more when it is over.
func (c *Controller) fill(e *platform.Endpoint, v *platform.Variant, machine platform.Capacity, now time.Time, tx *platform.Tx) (time.Duration, error) {
	for len(v.Replicas) < v.Wanted() && v.Hopeless == "" {
		if wait := v.RetryAt.Sub(now); wait > 0 {
			return wait, nil
		}
		runtime, further, err := v.Resolve(c.Runtimes)
		if err != nil {
			v.Hopeless = err.Error()
			return time.Millisecond, nil
		}
		number := e.Status.Launched + 1
		id := agentID(e, number)
		given := v.Need.Clamp(machine)
		if !c.Room.Take(string(id), held(given), machine) {
			v.Roomless = cmp.Or(v.Roomless, wanting(v, held(given), c.Room.Free(machine), machine))
			return roomless, nil
		}
		session, err := platform.NewSession(c.Random, now, sessionLife)
		if err != nil {
			return 0, err
		}
		session.Role, session.Name = v.Role.ResourceName(), "SageMaker"
		rec, err := session.Record()
		if err != nil {
			return 0, err
		}
		tx.Puts = append(tx.Puts, platform.Put{Record: rec})
		e.Status.Launched = number
		v.Replicas = append(v.Replicas, platform.Replica{
			Number: number, Variant: v.Name, Agent: id, SessionID: session.ID, Runtime: runtime, Further: further, Capacity: given,
			Type: v.Type, Rate: v.Rate, Purchase: purchase(v), Launched: now, LogStream: fmt.Sprintf("%s/i-%s", v.Name, instanceID(id)),
		})
	}
	v.Roomless = ""
	return 0, nil
}

// wanting says what an instance waits for.
func wanting(v *platform.Variant, need, free, machine platform.Capacity) string {
	what := "an instance of " + string(v.Type)
	if v.Serverless != nil {
		what = "an instance"
	}
	if need.GPUs > free.GPUs {
		return platform.WaitingForRoom + fmt.Sprintf("%s needs %d accelerators, and %d of the machine's %d are free", what, need.GPUs, max(free.GPUs, 0), machine.GPUs)
	}
	gib := func(bytes int64) float64 { return float64(max(bytes, 0)) / (1 << 30) }
	return platform.WaitingForRoom + fmt.Sprintf("%s needs %.4g GiB of memory, and %.4g of the machine's %.4g GiB are free",
		what, gib(need.MemoryBytes), gib(free.MemoryBytes), gib(machine.MemoryBytes))
}

// purchase is how the next instance of a variant is paid for.
func purchase(v *platform.Variant) platform.Purchase {
	switch {
	case v.Serverless == nil:
		return platform.OnDemand
	case provisioned(v) < v.Serverless.Provisioned:
		return platform.Provisioned
	}
	return platform.OnUse
}

// held is what a replica keeps from others: memory and accelerators. An endpoint that idles must not keep the machine's
// processors from work that waits; it is bound by its share of them when it works.
func held(c platform.Capacity) platform.Capacity {
	c.MilliCPU = 0
	return c
}

// agentID names a replica for all time: an endpoint that is deleted and made again under its name is another one.
func agentID(e *platform.Endpoint, number int) platform.AgentID {
	name := *e.Spec.EndpointName
	sum := sha256.Sum256(fmt.Appendf(nil, "%s@%d", e.Status.ARN, e.Status.Created.UnixNano()))
	return platform.AgentID(fmt.Sprintf("%s-%s-%d", name[:min(len(name), 44)], hex.EncodeToString(sum[:5]), number))
}

// instanceID is how logs name a replica: as the instances of the cloud are, by hexadecimal digits.
func instanceID(id platform.AgentID) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

// start starts the agent of a replica. One that cannot be started is over, and costs nothing.
func (c *Controller) start(ctx context.Context, e *platform.Endpoint, r platform.Replica) error {
	owner := platform.Key{Kind: platform.KindEndpoint, Name: *e.Spec.EndpointName}
	limit := r.Capacity
	err := c.Runner.Start(ctx, platform.AgentSpec{
		ID: r.Agent, Owner: owner, Host: "algo-1", Capacity: limit, Token: c.Key.Token(owner.Kind, owner.Name, r.Number, r.Agent),
	})
	if err == nil || platform.Is(err, platform.Unavailable) || ctx.Err() != nil {
		return err
	}
	c.Log.Error("an agent could not be started", "endpoint", owner.Name, "error", err)
	_, err = c.change(ctx, owner.Name, func(e *platform.Endpoint) (platform.Tx, bool, error) {
		if e.Status.Replica(r.Number) == nil {
			return platform.Tx{}, false, nil
		}
		var tx platform.Tx
		outcome := platform.Outcome{Kind: platform.InternalError, Reason: "the machine could not start the instance's agent: " + err.Error()}
		return tx, true, c.end(ctx, e, r.Number, outcome, c.Clock.Now(), &tx)
	})
	return err
}

// opening is the ledger entry that a replica began with; it follows from the replica alone.
func opening(e *platform.Endpoint, r *platform.Replica) platform.LedgerEntry {
	return platform.LedgerEntry{
		Line: string(r.Agent), Event: platform.LineOpened, At: r.Started, Resource: e.Status.ARN, Attempt: r.Number,
		InstanceType: r.Type, Count: 1, Purchase: cmp.Or(r.Purchase, platform.OnDemand), Rate: r.Rate, OnDemandRate: r.Rate,
	}
}

// end closes a replica: its ledger line, its credentials, its place. What it failed at decides whether another is tried.
func (c *Controller) end(ctx context.Context, e *platform.Endpoint, number int, o platform.Outcome, at time.Time, tx *platform.Tx) error {
	r := e.Status.Replica(number)
	if !r.Started.IsZero() && r.Purchase != platform.OnUse {
		tx.Ledger = append(tx.Ledger, bill.Close(opening(e, r), at))
	}
	if err := control.EndSession(ctx, c.Store, r.SessionID, tx); err != nil {
		return err
	}
	if r.Left.IsZero() {
		c.judge(e, *r, o)
	}
	c.Room.Release(string(r.Agent))
	e.Status.Remove(number)
	return nil
}

// judge says what the unwanted end of a replica means for its variant.
func (c *Controller) judge(e *platform.Endpoint, r platform.Replica, o platform.Outcome) {
	for _, d := range []*platform.Deployment{e.Status.Serving, e.Status.Coming} {
		if d == nil {
			continue
		}
		for i := range d.Variants {
			v := &d.Variants[i]
			if !has(v, r.Number) {
				continue
			}
			c.Log.Warn("an instance has ended", "endpoint", *e.Spec.EndpointName, "variant", v.Name, "outcome", o.Kind, "reason", o.Reason)
			if !r.Ready.IsZero() {
				v.Failures = 0
				return
			}
			v.Failures++
			v.RetryAt = c.Clock.Now().Add(min(firstRetry<<min(v.Failures-1, 16), lastRetry))
			own := o.Kind == platform.InternalError
			if d == e.Status.Coming && (!own || v.Failures >= triesOfPlatform) {
				v.Hopeless = o.Reason
			}
			return
		}
	}
}

func has(v *platform.Variant, number int) bool {
	for i := range v.Replicas {
		if v.Replicas[i].Number == number {
			return true
		}
	}
	return false
}
