package training

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/schedule"
	"github.com/stint-ml/stint/platform"
)

// Reconcile brings one job forward, or for the loop's own names looks at the queue, at the market or at everything.
func (c *Controller) Reconcile(ctx context.Context, name string) (time.Duration, error) {
	switch name {
	case scheduleName:
		return 0, c.schedule(ctx)
	case dueName:
		names, next := c.view.fallDue(c.Clock.Now())
		for _, due := range names {
			c.loop.Enqueue(due)
		}
		return next, nil
	case marketName:
		return 0, c.lookAtMarket(ctx)
	case control.ResyncName:
		return 0, c.Resync(ctx)
	}
	return c.advanceJob(ctx, name)
}

// advanceJob brings one job forward.
func (c *Controller) advanceJob(ctx context.Context, name string) (time.Duration, error) {
	job, revision, err := c.read(ctx, name)
	if platform.Is(err, platform.NotFound) {
		c.forget(name)
		return 0, c.removeAgents(ctx, name, nil)
	}
	if err != nil {
		return 0, err
	}
	// 1. An ended job needs nothing but its traces swept away.
	if job.Status.State.Ended() {
		c.forget(name)
		c.loop.Enqueue(scheduleName)
		return 0, c.removeAgents(ctx, name, job)
	}
	open := job.Status.Open() != nil
	if open { // whatever fails below, its room is taken
		c.view.hold(job)
	}
	// 2. A managed spot job whose time is over is to stop.
	if c.expired(job) && !job.Status.Ending() {
		return 0, c.expire(ctx, name)
	}
	// 3. An open attempt has an agent: see that it was started, is told to stop, and still lives.
	if open {
		again, err := c.tend(ctx, job)
		return c.soonest(job, again), err
	}
	// 4. A job that waits and is to stop has stopped; one that can never run has failed.
	if ended, err := c.endWaiting(ctx, job); ended || err != nil {
		return 0, err
	}
	// 5. Anything else waits.
	return 0, c.wait(ctx, job, revision)
}

// wait puts a job in line for room; a managed spot job only when it is its turn to try.
func (c *Controller) wait(ctx context.Context, job *platform.TrainingJob, revision int64) (err error) {
	var again time.Duration
	if job.IsSpot() {
		if again, err = c.waitForSpot(ctx, job); err != nil {
			return err
		}
	} else {
		c.view.wait(job, platform.OnDemand)
	}
	if c.view.glanced(*job.Spec.TrainingJobName, revision, c.soonest(job, again), c.Clock.Now()) {
		c.loop.Enqueue(dueName)
	}
	c.loop.Enqueue(scheduleName)
	return nil
}

// forget drops what is kept in mind of a job that has ended or is gone.
func (c *Controller) forget(name string) {
	c.view.forget(name)
	delete(c.brains, name)
}

// expired tells whether a managed spot job has waited and run as long as it may.
func (c *Controller) expired(job *platform.TrainingJob) bool {
	at := job.Expires()
	return !at.IsZero() && !c.Clock.Now().Before(at)
}

// soonest is the time until a job is to be looked at again, for its own reason (0: none) or because its time will be over.
func (c *Controller) soonest(job *platform.TrainingJob, again time.Duration) time.Duration {
	at := job.Expires()
	if at.IsZero() || job.Status.Ending() {
		return again
	}
	left := max(at.Sub(c.Clock.Now()), time.Millisecond)
	if again <= 0 {
		return left
	}
	return min(again, left)
}

// expire stops a managed spot job whose time is over; one that waits has ended.
func (c *Controller) expire(ctx context.Context, name string) error {
	_, err := c.change(ctx, name, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		st := &job.Status
		if st.State.Ended() || st.Ending() || !c.expired(job) {
			return platform.Tx{}, false, nil
		}
		st.WaitedOut = true
		at := c.Clock.Now()
		if st.Open() == nil {
			at = job.Expires()
		}
		if err := st.Enter(platform.JobPhaseStopping, at, maxWaitMessage); err != nil || st.Open() != nil {
			return platform.Tx{}, true, err
		}
		return platform.Tx{}, true, concludeStop(st, at, "")
	})
	c.loop.Enqueue(name)
	return err
}

// schedule starts what fits and calls back the spot work whose room is needed.
func (c *Controller) schedule(ctx context.Context) error {
	if len(c.view.line) == 0 {
		c.Room.Fit(roomName, func(platform.Capacity) platform.Capacity { return c.view.used() })
		return nil
	}
	machine, err := c.Runner.Capacity(ctx)
	if err != nil {
		return err
	}
	// 1. Ask who may start and who has to go. What is to start holds its room from now on.
	waits := c.view.waits(machine)
	var plan schedule.Decision
	c.Room.Fit(roomName, func(others platform.Capacity) platform.Capacity {
		free := machine.Minus(c.view.used()).Minus(others)
		plan = schedule.Plan(free, waits, c.view.reclaimable())
		held := c.view.used()
		for _, w := range waits {
			if slices.Contains(plan.Start, w.Name) {
				held = held.Plus(w.Need)
			}
		}
		return held
	})
	purchases := map[string]platform.Purchase{}
	for _, w := range waits {
		purchases[w.Name] = w.Purchase
	}
	// 2. Those who have to go need their notice as soon as can be.
	for _, r := range plan.Reclaim {
		if err := c.notify(ctx, r.Name, fmt.Sprintf("on-demand work needs the room (training job %s)", r.For)); err != nil {
			return fmt.Errorf("reclaim the room of %s: %w", r.Name, err)
		}
	}
	// 3. Launch.
	for _, name := range plan.Start {
		if err := c.launch(ctx, name, purchases[name], machine); err != nil {
			c.loop.Enqueue(name) // it may be launched all the same: its room must be known before anyone else gets it
			return fmt.Errorf("launch %s: %w", name, err)
		}
	}
	c.view.plans++
	return nil
}

// endWaiting ends a waiting job that is to stop or whose runtime cannot be had.
func (c *Controller) endWaiting(ctx context.Context, job *platform.TrainingJob) (bool, error) {
	if !job.Status.Ending() {
		if _, err := c.Runtimes.Resolve(job.Image()); err == nil {
			return false, nil
		}
	}
	_, err := c.change(ctx, *job.Spec.TrainingJobName, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		if job.Status.State.Ended() || job.Status.Open() != nil {
			return platform.Tx{}, false, nil
		}
		if job.Status.Ending() {
			return platform.Tx{}, true, concludeStop(&job.Status, c.Clock.Now(), "")
		}
		_, err := c.Runtimes.Resolve(job.Image())
		return platform.Tx{}, true, c.failWaiting(job, err)
	})
	return true, err
}

// failWaiting fails a job without an attempt for a reason that the user can mend.
func (c *Controller) failWaiting(job *platform.TrainingJob, reason error) error {
	if reason == nil {
		return platform.Errorf(platform.Unavailable, string(job.Status.ARN), "the job's runtime has just become available; trying again")
	}
	return fail(&job.Status, c.Clock.Now(), "ClientError: "+reason.Error())
}
