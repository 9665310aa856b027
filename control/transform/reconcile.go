package transform

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

// roomless is how long a job for which there is no room waits at most before it looks again.
const roomless = 2 * time.Second

// Reconcile brings one job forward, or for the loop's own names looks at the line or at everything.
func (c *Controller) Reconcile(ctx context.Context, name string) (time.Duration, error) {
	switch name {
	case scheduleName:
		return c.schedule(ctx)
	case control.ResyncName:
		return 0, c.tracker.Resync(ctx)
	}
	agents, err := control.AgentsOf(ctx, c.Runner, keyOf(name))
	if err != nil {
		return 0, err
	}
	job, err := c.read(ctx, name)
	if platform.Is(err, platform.NotFound) {
		delete(c.line, name)
		return 0, c.sweep(ctx, agents, nil)
	}
	if err != nil {
		return 0, err
	}
	// 1. An ended job needs nothing but its traces swept away.
	if job.Status.State.Ended() {
		delete(c.line, name)
		return 0, c.sweep(ctx, agents, job)
	}
	// 2. What has ended is over; its last words count.
	if err := c.noteEnds(ctx, job, agents); err != nil {
		return 0, err
	}
	// 3. A job of which nothing is left to do has ended; one that can never run has failed.
	if job, err = c.change(ctx, name, c.conclude); err != nil {
		return 0, err
	}
	// 4. Agents are as the attempts say.
	if err := c.actOn(ctx, job, agents); err != nil {
		return 0, err
	}
	// 5. What has no attempt waits for room, in the order of arrival.
	wants, again := c.wants(job)
	if delete(c.line, name); wants {
		c.line[name] = job.Status.Created
		c.loop.Enqueue(scheduleName)
	}
	return again, nil
}

// wants tells whether a share of a job is to be launched now, and otherwise when one will be.
func (c *Controller) wants(job *platform.TransformJob) (now bool, again time.Duration) {
	for i := range job.Status.Shares {
		if !idle(job, i) {
			continue
		}
		wait := job.Status.Shares[i].RetryAt.Sub(c.Clock.Now())
		if wait <= 0 {
			now = true
		} else if again == 0 || wait < again {
			again = wait
		}
	}
	return now, again
}

// idle tells whether a share has work to do and nobody who does it.
func idle(job *platform.TransformJob, share int) bool {
	st := &job.Status
	return st.State == platform.JobInProgress && st.Shares[share].Outcome == nil && st.Open(share) == nil && !hopeless(st)
}

// schedule launches those in line, the earliest first. Nobody passes one who finds no room: a job that needs much would wait
// for ever.
func (c *Controller) schedule(ctx context.Context) (time.Duration, error) {
	if len(c.line) == 0 {
		return 0, nil
	}
	machine, err := c.Runner.Capacity(ctx)
	if err != nil {
		return 0, err
	}
	names := slices.SortedFunc(maps.Keys(c.line), func(a, b string) int {
		return cmp.Or(c.line[a].Compare(c.line[b]), cmp.Compare(a, b))
	})
	for _, name := range names {
		full, err := c.launch(ctx, name, machine)
		if err != nil {
			return 0, fmt.Errorf("launch %s: %w", name, err)
		}
		if full {
			return roomless, nil
		}
		delete(c.line, name)
	}
	return 0, nil
}

// noteEnds closes every attempt whose agent has ended, and every one whose agent the machine has lost.
func (c *Controller) noteEnds(ctx context.Context, job *platform.TransformJob, agents map[platform.AgentID]platform.AgentStatus) error {
	name := *job.Spec.TransformJobName
	var over []platform.TransformAttempt
	job.Status.Each(func(a *platform.TransformAttempt) {
		if agent, known := agents[a.Agent]; known && !agent.Running || !known && !a.Started.IsZero() {
			over = append(over, *a)
		}
	})
	for _, a := range over {
		agent, known := agents[a.Agent]
		at, reason := c.Clock.Now(), "the machine has lost the job's agent"
		if known {
			at, reason = agent.Ended, "the job's agent ended without a report: "+agent.Detail
		}
		if box, ok := c.Runner.(platform.Undelivered); ok && known {
			reports, err := box.Reports(ctx, a.Agent, a.ReportSeq)
			if err != nil {
				return err
			}
			if _, err := c.take(ctx, name, a.Number, reports); err != nil {
				return err
			}
		}
		if err := c.giveUp(ctx, name, a.Number, at, reason); err != nil {
			return err
		}
	}
	return nil
}

// giveUp closes an attempt whose agent will never report an outcome, unless that has happened already.
func (c *Controller) giveUp(ctx context.Context, name string, number int, at time.Time, reason string) error {
	_, err := c.change(ctx, name, func(job *platform.TransformJob) (platform.Tx, bool, error) {
		a := job.Status.Attempt(number)
		if a == nil || !a.Ended.IsZero() {
			return platform.Tx{}, false, nil
		}
		var tx platform.Tx
		return tx, true, c.end(ctx, job, a, platform.Outcome{Kind: platform.InternalError, Reason: reason}, at, &tx)
	})
	return err
}

// actOn starts and stops agents so that they are as the job's attempts say, and sweeps away those that are done.
func (c *Controller) actOn(ctx context.Context, job *platform.TransformJob, agents map[platform.AgentID]platform.AgentStatus) error {
	var failure error
	job.Status.Each(func(a *platform.TransformAttempt) {
		if failure != nil {
			return
		}
		c.Room.Hold(string(a.Agent), a.Capacity)
		switch agent, known := agents[a.Agent]; {
		case !known: // just written down, or a crash came before it was started
			failure = c.start(ctx, job, a)
		case agent.Running && stopping(job):
			failure = c.Runner.Stop(ctx, a.Agent)
		}
	})
	if failure != nil {
		return failure
	}
	return c.sweep(ctx, agents, job)
}

// sweep lets the runner forget the agents that have ended and that no open attempt is of any more.
func (c *Controller) sweep(ctx context.Context, agents map[platform.AgentID]platform.AgentStatus, job *platform.TransformJob) error {
	open := map[platform.AgentID]bool{}
	if job != nil {
		job.Status.Each(func(a *platform.TransformAttempt) { open[a.Agent] = true })
	}
	for id, a := range agents {
		if open[id] {
			continue
		}
		if a.Running { // it has told its outcome and is about to end, or its record was lost to it
			if job == nil {
				if err := c.Runner.Stop(ctx, id); err != nil {
					return err
				}
			}
			continue
		}
		c.Room.Release(string(id))
		if err := c.Runner.Remove(ctx, id); err != nil {
			return err
		}
		c.deliveries.Forget(id)
	}
	return nil
}
