package training

import (
	"context"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

const (
	// noticeGrace is how long after the end of a notice the reports of an agent that obeyed it may still be under way.
	noticeGrace = 5 * time.Second
	// killPatience is how long a killed agent may still be seen before its attempt is given up all the same: its machine is
	// gone, or as good as gone. Its checkpoints lose against those of a later attempt.
	killPatience = 30 * time.Second
)

// notify gives the open attempt of a job notice that its capacity will be taken away. One that has notice or is to stop
// anyhow is left alone. The agent hears of it with its next delivery.
func (c *Controller) notify(ctx context.Context, name, reason string) error {
	job, err := c.change(ctx, name, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		open := job.Status.Open()
		if open == nil || open.Notice != nil || job.Status.Ending() {
			return platform.Tx{}, false, nil
		}
		now := c.Clock.Now()
		open.Notice = &platform.Interruption{At: now, Until: now.Add(c.Notice.Duration()), Reason: reason}
		return platform.Tx{}, true, nil
	})
	if err != nil {
		return err
	}
	if job.Status.Open() != nil {
		c.view.hold(job)
	}
	c.loop.Enqueue(name)
	return nil
}

// evict sees that an agent with notice goes in time: it returns how long that can still take, or 0 once the agent is gone or
// will not be waited for any more.
func (c *Controller) evict(ctx context.Context, open *platform.Attempt) (time.Duration, error) {
	over := c.Clock.Now().Sub(open.Notice.Until.Add(noticeGrace))
	if over < 0 {
		return -over, nil
	}
	if err := c.Runner.Kill(ctx, open.Agent); err != nil {
		return 0, err
	}
	agent, err := control.FindAgent(ctx, c.Runner, open.Agent)
	switch {
	case platform.Is(err, platform.NotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case agent.Running && over < killPatience:
		return time.Second, nil
	}
	return 0, nil
}

// answer is what an attempt's agent is told, whatever it delivers. A stop outweighs an interruption: what the job has is to
// be uploaded.
func answer(job *platform.TrainingJob, a *platform.Attempt, seq int64) platform.Ack {
	ack := platform.Ack{Seq: seq, Stop: job.Status.Ending(), Gone: !a.Ended.IsZero()}
	if !ack.Stop {
		ack.Interrupt = a.Notice
	}
	return ack
}
