package training

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// sessionSpare is how much longer a job's credentials live than it may run, for downloads, uploads and a server that is away.
const sessionSpare = 7 * 24 * time.Hour

// launch opens an attempt and starts its agent. What was decided on may have changed since: a job that is not waiting any
// more is left alone.
func (c *Controller) launch(ctx context.Context, name string, machine platform.Capacity) error {
	job, err := c.change(ctx, name, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		st := &job.Status
		if st.State.Ended() || st.StopRequested || st.Open() != nil {
			return platform.Tx{}, false, nil
		}
		runtime, err := c.Runtimes.Resolve(job.Image())
		if err != nil {
			return platform.Tx{}, true, c.failWaiting(job, err)
		}
		now := c.Clock.Now()
		session, put, err := c.newSession(job, now)
		if err != nil {
			return platform.Tx{}, false, err
		}
		number := len(st.Attempts) + 1
		given := st.Need.Clamp(machine)
		if number == 1 && given != st.Need {
			st.Warnings = append(st.Warnings, fmt.Sprintf("%s asks for %v; this machine gives %v", job.InstanceType(), st.Need, given))
		}
		st.Attempts = append(st.Attempts, platform.Attempt{
			Number: number, Agent: agentID(job, number), SessionID: session.ID, Runtime: runtime,
			Capacity: given, Purchase: platform.OnDemand, Launched: now,
			LogStream: fmt.Sprintf("%s/algo-1-%d", name, now.Unix()),
		})
		if err := st.Enter(platform.JobStarting, now, "Launching requested ML instances"); err != nil {
			return platform.Tx{}, false, err
		}
		return platform.Tx{Puts: []platform.Put{put}}, true, nil
	})
	if err != nil {
		return err
	}
	open := job.Status.Open()
	if open == nil {
		c.view.forget(place(job))
		c.loop.Enqueue(name)
		return nil
	}
	c.view.hold(place(job), open.Capacity)
	return c.start(ctx, job)
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
		ID: open.Agent, Owner: owner, Host: "algo-1", Capacity: open.Capacity,
		Token: c.Key.Token(owner.Kind, owner.Name, open.Number, open.Agent),
	})
	if err == nil || platform.Is(err, platform.Unavailable) || ctx.Err() != nil {
		return err
	}
	c.Log.Error("an agent could not be started", "job", owner.Name, "error", err)
	return c.giveUp(ctx, owner.Name, open.Agent, c.Clock.Now(), "the machine could not start the job's agent: "+err.Error())
}

// tend looks after the agent of a job's open attempt.
func (c *Controller) tend(ctx context.Context, job *platform.TrainingJob) error {
	open, name := job.Status.Open(), *job.Spec.TrainingJobName
	agent, err := c.agent(ctx, open.Agent)
	switch {
	case platform.Is(err, platform.NotFound): // a crash came between writing the attempt down and starting it
		return c.start(ctx, job)
	case err != nil:
		return err
	case agent.Running && job.Status.StopRequested:
		return c.Runner.Stop(ctx, open.Agent)
	case agent.Running:
		return nil
	}
	// The agent has ended. What it wrote down and could not deliver still counts, and may hold the outcome.
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
		var tx platform.Tx
		err := c.finish(ctx, job, platform.Outcome{Kind: platform.InternalError, Reason: reason}, at, &tx)
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
	tx.Ledger = append(tx.Ledger, opening(job, open))
}

// opening is the ledger entry that an attempt began with; it follows from the attempt alone, so that the entry which closes
// the line can be made from it again.
func opening(job *platform.TrainingJob, a *platform.Attempt) platform.LedgerEntry {
	return platform.LedgerEntry{
		Line: string(a.Agent), Event: platform.LineOpened, At: a.Started, Resource: job.Status.ARN, Attempt: a.Number,
		InstanceType: job.InstanceType(), Count: 1, Purchase: a.Purchase, Rate: job.Status.Rate, OnDemandRate: job.Status.Rate,
	}
}

// finish closes the open attempt with its outcome, its ledger line and its credentials, and moves the job on.
func (c *Controller) finish(ctx context.Context, job *platform.TrainingJob, o platform.Outcome, at time.Time, tx *platform.Tx) error {
	open := job.Status.Open()
	if !open.Started.IsZero() {
		closed := bill.Close(opening(job, open), at)
		tx.Ledger = append(tx.Ledger, closed)
		open.Seconds, at = platform.Seconds(closed.Seconds), closed.At
		job.Status.Billable += bill.Billable(open.Seconds, closed.Rate, closed.OnDemandRate)
	} else if at.Before(open.Launched) {
		at = open.Launched
	}
	open.Ended, open.Outcome = at, &o
	session := platform.Key{Kind: platform.KindSession, Name: open.SessionID}
	if rec, err := c.Store.Get(ctx, session); err == nil {
		tx.Deletes = append(tx.Deletes, platform.Delete{Key: session, Revision: rec.Revision})
	} else if !platform.Is(err, platform.NotFound) {
		return err
	}
	return conclude(job, o, at)
}

// conclude says what an outcome means for the job.
func conclude(job *platform.TrainingJob, o platform.Outcome, at time.Time) error {
	st := &job.Status
	st.Model, st.Output = o.Model, o.Output
	fail := func(reason string) error {
		st.FailureReason = clip(reason)
		return st.Enter(platform.JobPhaseFailed, at, "Training job failed")
	}
	if o.Kind == platform.StopObeyed && !st.StopRequested {
		o = platform.Outcome{Kind: platform.InternalError, Reason: "the machine told the job's agent to end", Model: o.Model, Output: o.Output}
	}
	switch o.Kind {
	case platform.Succeeded:
		return enterBy(st, platform.JobUploading, platform.JobPhaseCompleted, at, "Training job completed")
	case platform.StopObeyed:
		return enterBy(st, platform.JobPhaseStopping, platform.JobPhaseStopped, at, "Training job stopped")
	case platform.MaxRuntimeExceeded:
		return enterBy(st, platform.JobPhaseStopping, platform.JobMaxRuntime, at, "Training job runtime exceeded MaxRuntimeInSeconds provided")
	case platform.AlgorithmError, platform.ClientError:
		return fail(withKind(o))
	}
	switch {
	case st.StopRequested:
		return enterBy(st, platform.JobPhaseStopping, platform.JobPhaseStopped, at, "Training job stopped; "+o.Reason)
	case o.Kept == "" && len(st.Attempts) <= job.Retries():
		return st.Enter(platform.JobRestarting, at, "Restarting: "+o.Reason)
	default:
		return fail(withKind(o))
	}
}

// enterBy goes to a final phase, through the one that comes before it when there is no straight way: an agent need not have
// reported every phase it went through.
func enterBy(st *platform.TrainingStatus, before, last platform.JobPhase, at time.Time, message string) error {
	if !slices.Contains(platform.TrainingTransitions[st.Phase], last) {
		if err := st.Enter(before, at, ""); err != nil {
			return err
		}
	}
	return st.Enter(last, at, message)
}

// withKind puts the kind before the reason, as AWS does, unless the agent has.
func withKind(o platform.Outcome) string {
	kind := string(o.Kind)
	if len(o.Reason) >= len(kind) && o.Reason[:len(kind)] == kind {
		return o.Reason
	}
	return kind + ": " + o.Reason
}

// removeAgents lets the runner forget the agents of a job that has ended or is gone. One that still runs has a moment to
// see that it is done; then it is not wanted any more. What an agent kept for its user stays until the job is deleted.
func (c *Controller) removeAgents(ctx context.Context, name string, job *platform.TrainingJob) error {
	agents, err := c.Runner.List(ctx)
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
		if a.Owner != (platform.Key{Kind: platform.KindTrainingJob, Name: name}) || a.Running || kept[a.ID] {
			continue
		}
		if err := c.Runner.Remove(ctx, a.ID); err != nil {
			return err
		}
		c.mu.Lock()
		delete(c.delivery, a.ID)
		c.mu.Unlock()
	}
	return nil
}
