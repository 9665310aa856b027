package transform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// sessionLife is how long an attempt's credentials live. A container keeps what it was started with.
const sessionLife = 365 * 24 * time.Hour

// launch writes down the attempts that a job lacks, as many as there is room for, and tells whether there was too little. An
// attempt holds all that its instance type has, processors among it: unlike an endpoint, it works all the time.
func (c *Controller) launch(ctx context.Context, name string, machine platform.Capacity) (full bool, err error) {
	var taken []platform.AgentID
	release := func() {
		for _, id := range taken {
			c.Room.Release(string(id))
		}
		taken = nil
	}
	_, err = c.change(ctx, name, func(job *platform.TransformJob) (platform.Tx, bool, error) {
		release() // of a try that somebody else's change undid
		full = false
		var tx platform.Tx
		st, now := &job.Status, c.Clock.Now()
		for share := range st.Shares {
			if !idle(job, share) || now.Before(st.Shares[share].RetryAt) {
				continue
			}
			runtime, further, err := st.Resolve(c.Runtimes)
			if err != nil { // conclude tells the user
				return tx, len(tx.Puts) > 0, nil
			}
			a := platform.TransformAttempt{
				Number: len(st.Attempts) + 1, Share: share, Agent: agentID(job, len(st.Attempts)+1), Runtime: runtime, Further: further,
				Capacity: st.Need.Clamp(machine), Launched: now,
			}
			if full = !c.Room.Take(string(a.Agent), a.Capacity, machine); full {
				break
			}
			taken = append(taken, a.Agent)
			a.LogStream = fmt.Sprintf("%s/i-%s-%d", name, instanceID(a.Agent), now.Unix())
			put, err := c.newSession(st, &a, now)
			if err != nil {
				return tx, false, err
			}
			tx.Puts = append(tx.Puts, put)
			st.Attempts = append(st.Attempts, a)
		}
		return tx, len(tx.Puts) > 0, nil
	})
	if err != nil {
		release()
	}
	if platform.Is(err, platform.NotFound) {
		return false, nil
	}
	if len(taken) > 0 { // what was written down is to be started
		c.loop.Enqueue(name)
	}
	return full, err
}

// newSession makes credentials of the model's role for one attempt.
func (c *Controller) newSession(st *platform.TransformStatus, a *platform.TransformAttempt, now time.Time) (platform.Put, error) {
	s, err := platform.NewSession(c.Random, now, sessionLife)
	if err != nil {
		return platform.Put{}, err
	}
	a.SessionID, s.Role, s.Name = s.ID, st.Role.ResourceName(), "SageMaker"
	rec, err := s.Record()
	return platform.Put{Record: rec}, err
}

// agentID names an attempt for all time.
func agentID(job *platform.TransformJob, number int) platform.AgentID {
	name := *job.Spec.TransformJobName
	sum := sha256.Sum256(fmt.Appendf(nil, "%s@%d", job.Status.ARN, job.Status.Created.UnixNano()))
	return platform.AgentID(fmt.Sprintf("%s-%s-%d", name[:min(len(name), 44)], hex.EncodeToString(sum[:5]), number))
}

// instanceID is how logs name an instance: as those of the cloud are, by hexadecimal digits.
func instanceID(id platform.AgentID) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

// host is the name by which an attempt's processes know their machine.
func host(share int) string { return fmt.Sprintf("algo-%d", share+1) }

// start starts the agent of an attempt. One that cannot be started is over, and costs nothing.
func (c *Controller) start(ctx context.Context, job *platform.TransformJob, a *platform.TransformAttempt) error {
	owner := keyOf(*job.Spec.TransformJobName)
	err := c.Runner.Start(ctx, platform.AgentSpec{
		ID: a.Agent, Owner: owner, Host: host(a.Share), Capacity: a.Capacity, Token: c.Key.Token(owner.Kind, owner.Name, a.Number, a.Agent),
	})
	if err == nil || platform.Is(err, platform.Unavailable) || ctx.Err() != nil {
		return err
	}
	c.Log.Error("an agent could not be started", "transform", owner.Name, "error", err)
	return c.giveUp(ctx, owner.Name, a.Number, c.Clock.Now(), "the machine could not start the job's agent: "+err.Error())
}

// opening is the ledger entry that an attempt began with; it follows from the attempt alone.
func opening(job *platform.TransformJob, a *platform.TransformAttempt) platform.LedgerEntry {
	return platform.LedgerEntry{
		Line: string(a.Agent), Event: platform.LineOpened, At: a.Started, Resource: job.Status.ARN, Attempt: a.Number,
		InstanceType: job.InstanceType(), Count: 1, Purchase: platform.OnDemand, Rate: job.Status.Rate, OnDemandRate: job.Status.Rate,
	}
}

// begin notes the first sign of life of an attempt, from when it is billed.
func begin(job *platform.TransformJob, a *platform.TransformAttempt, at time.Time, tx *platform.Tx) {
	if !a.Started.IsZero() {
		return
	}
	if a.Started = at; at.Before(a.Launched) {
		a.Started = a.Launched
	}
	if job.Status.Started.IsZero() {
		job.Status.Started = a.Started
	}
	tx.Ledger = append(tx.Ledger, opening(job, a))
}

// end closes an attempt: its ledger line, its credentials, its room; and says what its outcome means for its share.
func (c *Controller) end(ctx context.Context, job *platform.TransformJob, a *platform.TransformAttempt, o platform.Outcome, at time.Time, tx *platform.Tx) error {
	if at.Before(a.Launched) {
		at = a.Launched
	}
	a.Ended, a.Outcome = at, &o
	if !a.Started.IsZero() {
		closed := bill.Close(opening(job, a), at)
		tx.Ledger, a.Ended = append(tx.Ledger, closed), closed.At
	}
	if err := control.EndSession(ctx, c.Store, a.SessionID, tx); err != nil {
		return err
	}
	c.Room.Release(string(a.Agent))
	c.judge(job, a)
	return nil
}
