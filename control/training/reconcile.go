package training

import (
	"context"
	"fmt"
	"time"

	"github.com/stint-ml/stint/decide/schedule"
	"github.com/stint-ml/stint/platform"
)

// Reconcile brings one job forward, or for the loop's own names looks at the queue or at everything.
func (c *Controller) Reconcile(ctx context.Context, name string) (time.Duration, error) {
	switch name {
	case scheduleName:
		return 0, c.schedule(ctx)
	case resyncName:
		return 0, c.Resync(ctx)
	}
	job, revision, err := c.read(ctx, name)
	if platform.Is(err, platform.NotFound) {
		c.view.gone(name)
		return 0, c.removeAgents(ctx, name, nil)
	}
	if err != nil {
		return 0, err
	}
	// 1. An ended job needs nothing but its traces swept away.
	if job.Status.State.Ended() {
		c.view.forget(place(job))
		c.loop.Enqueue(scheduleName)
		return 0, c.removeAgents(ctx, name, job)
	}
	// 2. An open attempt has an agent: see that it was started, is told to stop, and still lives.
	if open := job.Status.Open(); open != nil {
		c.view.hold(place(job), open.Capacity)
		return 0, c.tend(ctx, job)
	}
	// 3. A job that waits and is to stop has stopped; one that can never run has failed.
	if ended, err := c.endWaiting(ctx, job); ended || err != nil {
		return 0, err
	}
	// 4. Anything else waits for room.
	c.view.wait(place(job), revision)
	c.loop.Enqueue(scheduleName)
	return 0, nil
}

// place is where a job stands in the queue.
func place(job *platform.TrainingJob) waiting {
	return waiting{created: job.Status.Created, name: *job.Spec.TrainingJobName, need: job.Status.Need}
}

// schedule starts what fits, in the order of arrival.
func (c *Controller) schedule(ctx context.Context) error {
	if len(c.view.queue) == 0 {
		return nil
	}
	machine, err := c.Runner.Capacity(ctx)
	if err != nil {
		return err
	}
	// 1. Take the head of the queue. More than a machine of many cores can start at once is not worth looking at.
	heads := c.view.queue[:min(len(c.view.queue), 64)]
	queue := make([]schedule.Waiting, len(heads))
	for i, w := range heads {
		queue[i] = schedule.Waiting{Name: w.name, Need: w.need.Clamp(machine)}
	}
	// 2. Ask who may start, and launch them.
	free := machine.Minus(c.view.used())
	for _, name := range schedule.Plan(free, queue) {
		if err := c.launch(ctx, name, machine); err != nil {
			return fmt.Errorf("launch %s: %w", name, err)
		}
	}
	return nil
}

// endWaiting ends a waiting job that is to stop or whose runtime cannot be had.
func (c *Controller) endWaiting(ctx context.Context, job *platform.TrainingJob) (bool, error) {
	if !job.Status.StopRequested {
		if _, err := c.Runtimes.Resolve(job.Image()); err == nil {
			return false, nil
		}
	}
	_, err := c.change(ctx, *job.Spec.TrainingJobName, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		if job.Status.State.Ended() || job.Status.Open() != nil {
			return platform.Tx{}, false, nil
		}
		if job.Status.StopRequested {
			return platform.Tx{}, true, job.Status.Enter(platform.JobPhaseStopped, c.Clock.Now(), "Training job stopped")
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
	job.Status.FailureReason = clip("ClientError: " + reason.Error())
	return job.Status.Enter(platform.JobPhaseFailed, c.Clock.Now(), "Training job failed")
}

// clip cuts a failure reason to the 1,024 characters that AWS keeps.
func clip(reason string) string {
	if r := []rune(reason); len(r) > 1024 {
		return string(r[:1024])
	}
	return reason
}
