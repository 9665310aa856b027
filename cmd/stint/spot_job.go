package main

import (
	"context"
	"fmt"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// isSpot reports whether a job is managed spot training.
func isSpot(job *sagemaker.DescribeTrainingJobResponse) bool {
	return shapes.Value(job.EnableManagedSpotTraining)
}

// spotOffer is what the market offers now of what a spot job waits for; nil of any other job, and where there is no market.
func spotOffer(ctx context.Context, c *client.Client, job *sagemaker.DescribeTrainingJobResponse, attempts []stint.TrainingAttempt) *stint.SpotOffer {
	if !isSpot(job) || ended(*job.TrainingJobStatus) || openAttempt(attempts) != nil || job.ResourceConfig == nil {
		return nil
	}
	answer, err := c.SpotOffers(ctx, string(shapes.Value(job.ResourceConfig.InstanceType)))
	if err != nil || len(answer.Offers) == 0 { // a job can be described without it
		return nil
	}
	return &answer.Offers[0]
}

// openAttempt is the attempt that has not ended.
func openAttempt(attempts []stint.TrainingAttempt) *stint.TrainingAttempt {
	if n := len(attempts); n > 0 && attempts[n-1].EndTime == nil {
		return &attempts[n-1]
	}
	return nil
}

// printAttempts shows the launches of a job, if there is more to them than the history tells.
func (a *app) printAttempts(job *describedJob) {
	if job.Attempts == nil || len(job.Attempts.Attempts) == 0 || !isSpot(job.DescribeTrainingJobResponse) && len(job.Attempts.Attempts) < 2 {
		return
	}
	p := a.onOut
	a.print("\n%s", p.bold("Attempts"))
	t := table{head: []string{"", "PURCHASE", "LAUNCHED", ">BILLED", ">KEPT", "CHECKPOINT", "ENDED"}}
	for _, at := range job.Attempts.Attempts {
		saved, end := "none", at.Outcome
		if c := at.Checkpoint; c != nil {
			saved = fmt.Sprintf("generation %d, %s", c.Generation, bytesOf(c.Bytes))
		}
		if at.OutcomeReason != "" {
			end += ": " + oneLine(at.OutcomeReason)
		}
		t.add(fmt.Sprint(at.Number), at.Purchase, moment(at.LaunchTime), a.billed(at), seconds(at.KeptSeconds), saved, end)
	}
	for _, line := range t.lines(p) {
		a.print("  %s", line)
	}
}

// billed is how long an attempt is billed for, so far.
func (a *app) billed(at stint.TrainingAttempt) string {
	switch {
	case at.EndTime != nil:
		return seconds(at.Seconds)
	case at.StartTime == nil:
		return "not yet"
	}
	return duration(a.now().Sub(at.StartTime.Time)) + " …"
}

// managedSpot tells how a spot job stands with its capacity, its checkpoints and its time.
func (a *app) managedSpot(job *describedJob) [][2]string {
	spot := job.Attempts
	if spot == nil || !isSpot(job.DescribeTrainingJobResponse) {
		return nil
	}
	rows := [][2]string{{"may wait until", moment(spot.Expires)}}
	if spot.Fallback == "on-demand" {
		rows = append(rows, [2]string{"may run on demand", "to be done by " + moment(spot.Deadline)})
	}
	if c := job.CheckpointConfig; c != nil {
		rows = append(rows, [2]string{"checkpoints", shapes.Value(c.S3Uri)})
	} else {
		rows = append(rows, [2]string{"checkpoints", a.onOut.yellow("none: each interruption begins the work again")})
	}
	return append(rows, [2]string{"last checkpoint", a.lastCheckpoint(spot.Attempts)}, [2]string{"kept", kept(spot)}, [2]string{"now", a.spotNow(job)})
}

func (a *app) lastCheckpoint(attempts []stint.TrainingAttempt) string {
	for i := len(attempts) - 1; i >= 0; i-- {
		if c := attempts[i].Checkpoint; c != nil {
			return fmt.Sprintf("generation %d, %s ago, %s of %s, of which %s were sent", c.Generation, age(a.now().Sub(c.Time.Time)), plural(int(c.Files), "file"),
				bytesOf(c.Bytes), bytesOf(c.ShippedBytes))
		}
	}
	return ""
}

func kept(spot *stint.GetTrainingJobAttemptsResponse) string {
	if len(spot.Attempts) == 0 {
		return ""
	}
	return seconds(spot.KeptSeconds) + " of training"
}

// spotNow tells what a job does now, and what it will do next.
func (a *app) spotNow(job *describedJob) string {
	open := openAttempt(job.Attempts.Attempts)
	fallback := job.Attempts.Fallback == "on-demand"
	switch {
	case ended(*job.TrainingJobStatus):
		return ""
	case shapes.Value(job.TrainingJobStatus) == sagemaker.TrainingJobStatusStopping:
		return "stopping"
	case open != nil && open.Interruption != nil:
		return fmt.Sprintf("its capacity goes at %s: %s", moment(open.Interruption.InterruptionTime), oneLine(open.Interruption.Reason))
	case open != nil && open.Purchase == "spot":
		return "runs on spot until it is called back" + only(fallback, ", or must move to hold its deadline")
	case open != nil:
		return "runs on demand; goes back to spot, after a checkpoint, when that is cheaper and safe"
	}
	return waitsFor(job.offer, fallback)
}

// waitsFor tells what a job waits for that has no capacity.
func waitsFor(o *stint.SpotOffer, fallback bool) string {
	wish := "waits for spot capacity"
	switch {
	case o != nil && o.Available && fallback:
		wish = "waits for room on spot, or for a better moment" // which is the policy's matter
	case o != nil && o.Available:
		wish = "waits for room; spot capacity is offered"
	case o != nil:
		wish += ", of which none is offered"
	}
	return wish + only(fallback, "; runs on demand before its deadline is in danger")
}

// only is a text under a condition.
func only(condition bool, text string) string {
	if condition {
		return text
	}
	return ""
}
