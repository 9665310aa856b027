package training

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/platform"
)

// sessionSpare is how much longer a job's credentials live than it may run, for downloads, uploads and a server that is away.
const sessionSpare = 7 * 24 * time.Hour

// launch opens an attempt and starts its agent. What was decided on may have changed since: a job that is not waiting any
// more is left alone.
func (c *Controller) launch(ctx context.Context, name string, purchase platform.Purchase, machine platform.Capacity) error {
	job, err := c.change(ctx, name, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		if st := &job.Status; st.State.Ended() || st.Ending() || st.Open() != nil || c.expired(job) {
			return platform.Tx{}, false, nil
		}
		runtime, err := c.Runtimes.Resolve(job.Image())
		if err != nil {
			return platform.Tx{}, true, c.failWaiting(job, err)
		}
		return c.open(ctx, job, purchase, runtime, machine)
	})
	if err != nil {
		return err
	}
	if job.Status.Open() == nil {
		c.view.forget(name)
		c.loop.Enqueue(name)
		return nil
	}
	c.view.hold(job)
	return c.start(ctx, job)
}

// open adds the next attempt to a job, with credentials of its own; it leaves everything as it is when what the attempt was to
// be bought as is not to be had any more.
func (c *Controller) open(
	ctx context.Context, job *platform.TrainingJob, purchase platform.Purchase, runtime platform.Runtime, machine platform.Capacity,
) (platform.Tx, bool, error) {
	st := &job.Status
	attempt, err := c.attempt(ctx, job, purchase)
	if err != nil || attempt == nil {
		return platform.Tx{}, false, err
	}
	now := c.Clock.Now()
	session, put, err := c.newSession(job, now)
	if err != nil {
		return platform.Tx{}, false, err
	}
	attempt.SessionID, attempt.Runtime, attempt.Capacity = session.ID, runtime, st.Need.Clamp(machine)
	if attempt.Number == 1 && attempt.Capacity != st.Need {
		st.Warnings = append(st.Warnings, fmt.Sprintf("%s asks for %v; this machine gives %v", job.InstanceType(), st.Need, attempt.Capacity))
	}
	st.Attempts = append(st.Attempts, *attempt)
	if err := st.Enter(platform.JobStarting, now, "Launching requested ML instances"); err != nil {
		return platform.Tx{}, false, err
	}
	return platform.Tx{Puts: []platform.Put{put}}, true, nil
}

// attempt makes a job's next attempt as far as it follows from the job and the market; nil when spot capacity is not to be
// had any more.
func (c *Controller) attempt(ctx context.Context, job *platform.TrainingJob, purchase platform.Purchase) (*platform.Attempt, error) {
	st, now := &job.Status, c.Clock.Now()
	number := len(st.Attempts) + 1
	if number > 1 { // checkpoints know their order by it, and logs are named by its second
		if earliest := st.Attempts[number-2].Launched.Add(time.Second); now.Before(earliest) {
			now = earliest
		}
	}
	a := &platform.Attempt{
		Number: number, Agent: agentID(job, number), Purchase: purchase, Prices: []platform.Price{{Rate: st.Rate}}, Launched: now,
		LogStream: fmt.Sprintf("%s/algo-1-%d", *job.Spec.TrainingJobName, now.Unix()),
	}
	meanUp := meanOnDemand
	if purchase == platform.Spot {
		pool, err := c.pool(ctx, job)
		if err != nil || !pool.offer.Available {
			return nil, err
		}
		a.Prices[0].Rate, meanUp = pool.offer.Rate, pool.history.MeanUp()
	}
	if job.CheckpointURI() != "" {
		a.Every = platform.Seconds(spot.CheckpointEvery(checkpointCost, meanUp) / time.Second)
	}
	return a, nil
}

// agentID names an attempt for all time: a job that is deleted and made again under its name is another job, as it was
// created at another time.
func agentID(job *platform.TrainingJob, attempt int) platform.AgentID {
	name := *job.Spec.TrainingJobName
	sum := sha256.Sum256(fmt.Appendf(nil, "%s@%d", job.Status.ARN, job.Status.Created.UnixNano()))
	return platform.AgentID(fmt.Sprintf("%s-%s-%d", name[:min(len(name), 44)], hex.EncodeToString(sum[:5]), attempt))
}

// newSession makes credentials of the job's execution role for one attempt.
func (c *Controller) newSession(job *platform.TrainingJob, now time.Time) (platform.Session, platform.Put, error) {
	s, err := platform.NewSession(c.Random, now, job.MaxRuntime().Duration()+sessionSpare)
	if err != nil {
		return s, platform.Put{}, err
	}
	s.Role, s.Name = platform.ARN(*job.Spec.RoleArn).ResourceName(), "SageMaker"
	rec, err := s.Record()
	return s, platform.Put{Record: rec}, err
}

// start starts the agent of the open attempt, or sees that it was started. An attempt whose agent cannot be started is over,
// and costs nothing.
func (c *Controller) start(ctx context.Context, job *platform.TrainingJob) error {
	open, owner := job.Status.Open(), platform.Key{Kind: platform.KindTrainingJob, Name: *job.Spec.TrainingJobName}
	err := c.Runner.Start(ctx, platform.AgentSpec{
		ID: open.Agent, Owner: owner, Host: "algo-1", Capacity: open.Capacity, Previous: previous(&job.Status),
		Token: c.Key.Token(owner.Kind, owner.Name, open.Number, open.Agent),
	})
	if err == nil || platform.Is(err, platform.Unavailable) || ctx.Err() != nil {
		return err
	}
	c.Log.Error("an agent could not be started", "job", owner.Name, "error", err)
	return c.giveUp(ctx, owner.Name, open.Agent, c.Clock.Now(), "the machine could not start the job's agent: "+err.Error())
}

// previous is the last agent before the open attempt's that came so far as to run the user's code.
func previous(st *platform.TrainingStatus) platform.AgentID {
	for i := len(st.Attempts) - 2; i >= 0; i-- {
		if !st.Attempts[i].Running.IsZero() {
			return st.Attempts[i].Agent
		}
	}
	return ""
}

// tend looks after the agent of a job's open attempt, and tells when to look again.
func (c *Controller) tend(ctx context.Context, job *platform.TrainingJob) (time.Duration, error) {
	open, name := job.Status.Open(), *job.Spec.TrainingJobName
	agent, err := control.FindAgent(ctx, c.Runner, open.Agent)
	switch {
	case platform.Is(err, platform.NotFound) && open.Started.IsZero(): // a crash came between writing the attempt down and starting it
		return 0, c.start(ctx, job)
	case platform.Is(err, platform.NotFound):
		return 0, c.giveUp(ctx, name, open.Agent, c.Clock.Now(), "the machine has lost the job's agent")
	case err != nil:
		return 0, err
	case !agent.Running:
		return 0, c.bury(ctx, job, agent)
	case job.Status.Ending():
		return 0, c.Runner.Stop(ctx, open.Agent)
	case open.Notice == nil:
		return c.watchSpot(ctx, job)
	}
	again, err := c.evict(ctx, open)
	if again > 0 || err != nil {
		return again, err
	}
	agent.Ended = open.Notice.Until
	return 0, c.bury(ctx, job, agent)
}

// bury ends the attempt of an agent that has ended. What the agent wrote down and could not deliver still counts, and may hold
// the outcome.
func (c *Controller) bury(ctx context.Context, job *platform.TrainingJob, agent platform.AgentStatus) error {
	open, name := job.Status.Open(), *job.Spec.TrainingJobName
	if box, ok := c.Runner.(platform.Undelivered); ok {
		reports, err := box.Reports(ctx, open.Agent, open.ReportSeq)
		if err != nil {
			return err
		}
		if _, err := c.take(ctx, name, open.Number, reports); err != nil {
			return err
		}
	}
	return c.giveUp(ctx, name, open.Agent, agent.Ended, "the job's agent ended without a report: "+agent.Detail)
}

// giveUp closes an attempt whose agent will never report an outcome, unless that has happened already.
func (c *Controller) giveUp(ctx context.Context, name string, agent platform.AgentID, at time.Time, reason string) error {
	_, err := c.change(ctx, name, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		open := job.Status.Open()
		if open == nil || open.Agent != agent {
			return platform.Tx{}, false, nil
		}
		o, end := platform.Outcome{Kind: platform.InternalError, Reason: reason}, at
		if n := open.Notice; n != nil && !job.Status.Ending() {
			o = platform.Outcome{Kind: platform.Interrupted, Reason: n.Reason}
			if end.After(n.Until) { // the capacity was not the job's any more
				end = n.Until
			}
		}
		var tx platform.Tx
		err := c.finish(ctx, job, o, end, &tx)
		return tx, true, err
	})
	return err
}

// begin notes the first sign of life of an attempt, from when it is billed.
func (c *Controller) begin(job *platform.TrainingJob, at time.Time, tx *platform.Tx) {
	open := job.Status.Open()
	if !open.Started.IsZero() {
		return
	}
	if at.Before(open.Launched) {
		at = open.Launched
	}
	open.Started = at
	if job.Status.Started.IsZero() {
		job.Status.Started = at
	}
	tx.Ledger = append(tx.Ledger, bill.Begin(job, open)...)
}

// finish closes the open attempt with its outcome, its ledger line and its credentials, and moves the job on.
func (c *Controller) finish(ctx context.Context, job *platform.TrainingJob, o platform.Outcome, at time.Time, tx *platform.Tx) error {
	open := job.Status.Open()
	// An attempt ends after all that is known of it, by whatever clock its end is told.
	for _, known := range []time.Time{open.Launched, open.Running, checkpointed(open)} {
		if at.Before(known) {
			at = known
		}
	}
	open.Ended, open.Outcome = at, &o
	if !open.Started.IsZero() {
		entries, billable := bill.Finish(job, open, at)
		tx.Ledger = append(tx.Ledger, entries...)
		job.Status.Billable += billable
	}
	if err := control.EndSession(ctx, c.Store, open.SessionID, tx); err != nil {
		return err
	}
	return conclude(job, o)
}

// checkpointed is when the attempt's last checkpoint was taken, if there is one.
func checkpointed(a *platform.Attempt) (at time.Time) {
	if a.Checkpoint != nil {
		at = a.Checkpoint.At
	}
	return at
}

// removeAgents lets the runner forget the agents of a job that has ended or is gone. One that still runs has a moment to
// see that it is done; then it is not wanted any more. What an agent kept for its user stays until the job is deleted.
func (c *Controller) removeAgents(ctx context.Context, name string, job *platform.TrainingJob) error {
	agents, err := control.AgentsOf(ctx, c.Runner, platform.Key{Kind: platform.KindTrainingJob, Name: name})
	if err != nil {
		return err
	}
	kept := map[platform.AgentID]bool{}
	if job != nil {
		for _, a := range job.Status.Attempts {
			kept[a.Agent] = a.Outcome != nil && a.Outcome.Kept != ""
		}
	}
	for _, a := range agents {
		if a.Running || kept[a.ID] {
			continue
		}
		if err := c.Runner.Remove(ctx, a.ID); err != nil {
			return err
		}
		c.deliveries.Forget(a.ID)
	}
	return nil
}
