package training

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/platform"
)

const (
	// startPrior stands for the time from launch to the user's code until a job has been measured, and startBound is the most
	// that is believed of a measurement.
	startPrior platform.Seconds = 30
	startBound                  = 30 * time.Minute
	// checkpointCost is what a checkpoint is taken to cost the user's code, and meanOnDemand how long a machine lasts on demand.
	checkpointCost = 10 * time.Second
	meanOnDemand   = 7 * 24 * time.Hour
	// The bounds of the time between two decisions for a job, which is otherwise a four-hundredth of its deadline.
	shortestTick = time.Second
	longestTick  = 10 * time.Minute
	// A policy takes up to a tenth of a second to work out, and hardly depends on the price: it is made again for one that has
	// moved by more than sameRatio, and not more often than every so many ticks. A start that takes longer is a matter of the
	// deadline and counts at once, in steps.
	sameRatio     = 1.1
	ticksOfAPrice = 10
	startStep     = 15 * time.Second
	// finishing is kept free before a deadline for what comes after the user's code: the upload. It is at most a twentieth of
	// the time there is.
	finishing = 30 * time.Second
	// mostRatio stands for the price ratio of spot capacity that costs nothing.
	mostRatio = 100
)

// brain is a job's policy, and what it was made for.
type brain struct {
	job    spot.Job
	policy spot.Policy
	priced time.Time // when its price was taken
}

// waitForSpot puts a managed spot job that waits into the line where it belongs now, or into none, and tells when to ask again.
func (c *Controller) waitForSpot(ctx context.Context, job *platform.TrainingJob) (time.Duration, error) {
	// 1. After attempts that came to nothing it rests.
	st := &job.Status
	if n := fruitless(st); n > 0 {
		if rest := st.Attempts[len(st.Attempts)-1].Ended.Add(restFruitless(n)).Sub(c.Clock.Now()); rest > 0 {
			c.view.idle(job)
			return rest, nil
		}
	}
	// 2. Ask the brain. What is on offer, but not for those who stand in line, is on offer to nobody.
	pool, err := c.pool(ctx, job)
	if err != nil {
		return 0, err
	}
	choice, again, err := c.choose(job, pool, pool.offer.Available && !c.view.heldUp(*job.Spec.TrainingJobName))
	if err != nil {
		return 0, err
	}
	if pool.refused != nil {
		if err := c.warn(ctx, job, "the spot market has no capacity of this type: "+pool.refused.Error()); err != nil {
			return 0, err
		}
	}
	// 3. A job that would rather wait keeps its place in line for spot capacity, as long as there is any.
	switch {
	case choice == spot.OnDemand:
		c.view.wait(job, platform.OnDemand)
	case pool.offer.Available && (choice == spot.Spot || c.view.heldUp(*job.Spec.TrainingJobName)):
		c.view.wait(job, platform.Spot)
	default:
		c.view.idle(job)
	}
	return again, nil
}

// warn tells the user something about a job, once.
func (c *Controller) warn(ctx context.Context, job *platform.TrainingJob, what string) error {
	if slices.Contains(job.Status.Warnings, what) {
		return nil
	}
	_, err := c.change(ctx, *job.Spec.TrainingJobName, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		if job.Status.State.Ended() || slices.Contains(job.Status.Warnings, what) || len(job.Status.Warnings) >= maxWarnings {
			return platform.Tx{}, false, nil
		}
		job.Status.Warnings = append(job.Status.Warnings, what)
		return platform.Tx{}, true, nil
	})
	return err
}

// watchSpot looks at the market on behalf of an attempt that runs: what it costs now, whether its capacity is withdrawn, and
// whether it should rather be somewhere else.
func (c *Controller) watchSpot(ctx context.Context, job *platform.TrainingJob) (time.Duration, error) {
	if !job.IsSpot() {
		return 0, nil
	}
	open, name := job.Status.Open(), *job.Spec.TrainingJobName
	pool, err := c.pool(ctx, job)
	if err != nil {
		return 0, err
	}
	onSpot := open.Purchase == platform.Spot
	if onSpot && !pool.offer.Available {
		return 0, c.notify(ctx, name, "spot capacity of "+string(job.InstanceType())+" is no longer available")
	}
	if onSpot && open.Prices[len(open.Prices)-1].Rate != pool.offer.Rate {
		if err := c.reprice(ctx, name, open.Agent, pool.offer.Rate); err != nil {
			return 0, err
		}
	}
	// Work on demand would only leave its room to those who stand in line for spot capacity already.
	choice, again, err := c.choose(job, pool, pool.offer.Available && (onSpot || !c.view.spotHeldUp()))
	if err != nil {
		return 0, err
	}
	if reason := c.reasonToMove(job, open, choice); reason != "" {
		return again, c.notify(ctx, name, reason)
	}
	return again, nil
}

// reasonToMove tells why an attempt should give its capacity back of its own accord; none when it is where it belongs or the
// move would cost more than it brings.
func (c *Controller) reasonToMove(job *platform.TrainingJob, open *platform.Attempt, choice spot.Choice) string {
	switch {
	case job.Status.Phase == platform.JobUploading: // a finished model is not given up for another price
		return ""
	case open.Purchase == platform.Spot && choice == spot.OnDemand:
		return "moving to on-demand capacity to hold the deadline"
	case open.Purchase == platform.OnDemand && choice == spot.Spot && c.justSaved(open):
		return "moving to spot capacity"
	}
	return ""
}

// justSaved tells whether an attempt would lose next to nothing now: it has just brought a checkpoint home.
func (c *Controller) justSaved(a *platform.Attempt) bool {
	return a.Checkpoint != nil && c.Clock.Now().Sub(a.Checkpoint.At) <= time.Minute
}

// reprice writes down that an attempt costs something else from now on.
func (c *Controller) reprice(ctx context.Context, name string, agent platform.AgentID, rate platform.HourlyRate) error {
	_, err := c.change(ctx, name, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		open := job.Status.Open()
		return platform.Tx{}, open != nil && open.Agent == agent && bill.Reprice(open, rate, c.Clock.Now()), nil
	})
	return err
}

// choose asks where a job belongs now, and tells when to ask again; 0: when something changes. A job that may not fall back to
// on-demand capacity has AWS's own policy: spot capacity whenever there is some.
func (c *Controller) choose(job *platform.TrainingJob, pool *pool, offered bool) (spot.Choice, time.Duration, error) {
	if !job.Status.Fallback {
		if offered {
			return spot.Spot, 0, nil
		}
		return spot.Wait, 0, nil
	}
	b, err := c.brainOf(job, pool)
	if err != nil {
		return spot.Wait, 0, err
	}
	return b.policy.Decide(c.look(job, b.job, offered)), b.job.Tick, nil
}

// look is what the brain is told of a job. Work counts as done once a checkpoint holds it.
func (c *Controller) look(job *platform.TrainingJob, j spot.Job, offered bool) spot.View {
	st, now := &job.Status, c.Clock.Now()
	v := spot.View{Elapsed: max(0, now.Sub(st.Created)), Done: st.Kept(), Offered: offered}
	open := st.Open()
	if open == nil {
		return v
	}
	v.Done += open.Kept()
	v.Running = spot.Spot
	if open.Purchase == platform.OnDemand {
		v.Running = spot.OnDemand
	}
	if open.Running.IsZero() {
		v.Overhead = max(0, j.Changeover-now.Sub(open.Launched))
	}
	return v
}

// brainOf gives a job's policy, working it out when there is none or the world that it was made for has changed.
func (c *Controller) brainOf(job *platform.TrainingJob, pool *pool) (*brain, error) {
	name := *job.Spec.TrainingJobName
	deadline := job.Expires()
	if d := job.Status.Deadline; !d.IsZero() && d.Before(deadline) {
		deadline = d
	}
	j := spot.Job{Work: job.MaxRuntime().Duration(), Deadline: max(deadline.Sub(job.Status.Created), time.Second)}
	j.Deadline -= min(finishing, j.Deadline/20)
	j.Tick = min(max(j.Deadline/400, shortestTick), longestTick)
	// Spot capacity is lost with a notice; on-demand capacity may have to wait until others have had theirs.
	notice := c.Notice.Duration() + noticeGrace
	j.Changeover, j.AtRisk = c.measuredStart(&job.Status)+notice, j.Tick+notice
	j.PriceRatio = priceRatio(job.Status.Rate, pool.offer.Rate)
	b, priced := c.brains[name], c.Clock.Now()
	if b != nil {
		young := priced.Sub(b.priced) < ticksOfAPrice*j.Tick
		if young || math.Abs(math.Log(j.PriceRatio/b.job.PriceRatio)) < math.Log(sameRatio) {
			j.PriceRatio, priced = b.job.PriceRatio, b.priced
		}
		if b.job == j {
			return b, nil
		}
	}
	policy, err := spot.New(c.Policy, j, pool.history)
	if err != nil {
		return nil, err
	}
	b = &brain{j, policy, priced}
	c.brains[name] = b
	return b, nil
}

// priceRatio is how many times the spot price the on-demand price is.
func priceRatio(onDemand, spot platform.HourlyRate) float64 {
	switch {
	case onDemand.Nanos <= 0:
		return 1
	case spot.Nanos <= 0:
		return mostRatio
	}
	return min(float64(onDemand.Nanos)/float64(spot.Nanos), mostRatio)
}

// measuredStart is the longest that the job's attempts took from launch to the user's code, rounded up.
func (c *Controller) measuredStart(st *platform.TrainingStatus) time.Duration {
	var longest time.Duration
	for i := range st.Attempts {
		if a := &st.Attempts[i]; !a.Running.IsZero() {
			longest = max(longest, min(a.Running.Sub(a.Launched), startBound))
		}
	}
	if longest == 0 {
		return c.StartUp.Duration()
	}
	return (longest + startStep - 1) / startStep * startStep
}
