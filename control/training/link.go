package training

import (
	"context"
	"encoding/json"
	"time"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// LogGroup is where the logs of training jobs go.
const LogGroup = "/aws/sagemaker/TrainingJobs"

// MetricNamespace is where the metrics of training jobs go.
const MetricNamespace = "/aws/sagemaker/TrainingJobs"

// maxWarnings bounds what a job's record keeps of what was said along the way.
const maxWarnings = 20

var _ platform.AgentLink = (*Controller)(nil)

// bearer finds the job and the attempt that a token proves.
func (c *Controller) bearer(ctx context.Context, token string) (*platform.TrainingJob, *platform.Attempt, error) {
	denied := platform.Errorf(platform.Denied, "", "this token belongs to no attempt of any job")
	claim, err := control.ReadToken(token)
	if err != nil {
		return nil, nil, err
	}
	job, _, err := c.read(ctx, claim.Owner.Name)
	if platform.Is(err, platform.NotFound) || claim.Owner.Kind != platform.KindTrainingJob {
		return nil, nil, denied
	}
	if err != nil {
		return nil, nil, err
	}
	if claim.Attempt > len(job.Status.Attempts) {
		return nil, nil, denied
	}
	attempt := &job.Status.Attempts[claim.Attempt-1]
	if !c.Key.Proves(claim, attempt.Agent) {
		return nil, nil, denied
	}
	return job, attempt, nil
}

// Assignment tells an agent what to do.
func (c *Controller) Assignment(ctx context.Context, token string) (platform.Assignment, error) {
	job, attempt, err := c.bearer(ctx, token)
	if err != nil {
		return platform.Assignment{}, err
	}
	if !attempt.Ended.IsZero() {
		return platform.Assignment{}, platform.Errorf(platform.Denied, string(job.Status.ARN), "attempt %d has ended", attempt.Number)
	}
	session, err := control.Session(ctx, c.Store, attempt.SessionID)
	if err != nil {
		return platform.Assignment{}, err
	}
	spec, err := json.Marshal(&job.Spec)
	if err != nil {
		return platform.Assignment{}, platform.Errorf(platform.Internal, string(job.Status.ARN), "encode the request: %w", err)
	}
	services, s3 := c.Endpoints()
	name := *job.Spec.TrainingJobName
	task := platform.Assignment{
		Agent: attempt.Agent, Kind: platform.KindTrainingJob, Name: name, ARN: job.Status.ARN, Site: c.Site,
		Host: "algo-1", Hosts: []string{"algo-1"}, Spec: spec, Runtime: attempt.Runtime,
		CPUs:     int(max(1, attempt.Capacity.MilliCPU/1000)),
		Endpoint: services, S3: s3, Session: session,
		Output:   platform.URI(*job.Spec.OutputDataConfig.S3OutputPath).Join(name, "output"),
		LogGroup: LogGroup, LogStream: attempt.LogStream,
		MaxRun: c.maxRun(job), StopGrace: c.StopGrace, Purchase: attempt.Purchase,
	}
	if uri := job.CheckpointURI(); uri != "" {
		task.Checkpoints = &platform.CheckpointPlan{
			URI: uri, Path: job.CheckpointPath(), Epoch: attempt.Launched.UnixMilli(), Every: attempt.Every,
		}
	}
	return task, nil
}

// maxRun is how long the user's code may run in the open attempt. MaxRuntimeInSeconds bounds the work that counts: what earlier
// attempts did and lost does not use it up. An agent that the server cannot reach still ends when a spot job's time is over.
func (c *Controller) maxRun(job *platform.TrainingJob) platform.Seconds {
	left := job.MaxRuntime().Duration() - job.Status.Kept()
	if at := job.Expires(); !at.IsZero() {
		left = min(left, at.Sub(c.Clock.Now()))
	}
	return platform.Seconds(max(1, (left+time.Second-1)/time.Second)) // 0 would be no bound
}

// Deliver takes an agent's reports.
func (c *Controller) Deliver(ctx context.Context, token string, reports []platform.Report) (platform.Ack, error) {
	job, attempt, err := c.bearer(ctx, token)
	if err != nil {
		return platform.Ack{}, err
	}
	return c.take(ctx, *job.Spec.TrainingJobName, attempt.Number, reports)
}

// take makes the reports of an attempt durable: first logs and metrics, which know themselves what they have already, then
// in one transaction whatever changes the job. A crash in between makes the agent deliver again, and nothing is doubled.
func (c *Controller) take(ctx context.Context, name string, number int, reports []platform.Report) (platform.Ack, error) {
	job, _, err := c.read(ctx, name)
	if err != nil {
		return platform.Ack{}, err
	}
	attempt := job.Status.Attempts[number-1]
	seq, err := c.deliveries.Take(attempt.Agent, attempt.ReportSeq, reports, func(fresh []platform.Report) (err error) {
		if !attempt.Ended.IsZero() {
			return nil
		}
		// 1. Logs and metrics.
		for _, r := range fresh {
			if err := c.ship(ctx, job, &attempt, r); err != nil {
				return err
			}
		}
		// 2. What changes the job.
		if concernsJob(fresh) || attempt.Lines < len(attempt.Prices) {
			job, err = c.advance(ctx, name, number, fresh)
		}
		return err
	})
	if err != nil {
		return platform.Ack{}, err
	}
	return answer(job, &attempt, seq), nil
}

// advance applies reports to the job, as long as their attempt is the open one.
func (c *Controller) advance(ctx context.Context, name string, number int, reports []platform.Report) (*platform.TrainingJob, error) {
	return c.change(ctx, name, func(job *platform.TrainingJob) (platform.Tx, bool, error) {
		open := job.Status.Open()
		if open == nil || open.Number != number {
			return platform.Tx{}, false, nil
		}
		var tx platform.Tx
		err := c.apply(ctx, job, reports, &tx)
		return tx, true, err
	})
}

// ship stores what a report adds to the log and to the metrics.
func (c *Controller) ship(ctx context.Context, job *platform.TrainingJob, a *platform.Attempt, r platform.Report) error {
	if len(r.Logs) > 0 {
		err := c.Logs.Append(ctx, platform.LogBatch{
			Group: LogGroup, Stream: a.LogStream, Producer: string(a.Agent), Seq: r.Seq, Events: r.Logs,
		})
		if err != nil {
			return err
		}
	}
	if len(r.Metrics) == 0 {
		return nil
	}
	data := make([]platform.Datum, len(r.Metrics))
	for i, m := range r.Metrics {
		data[i] = platform.Datum{At: m.At, Value: m.Value, Unit: "None", Series: platform.Series{
			Namespace: MetricNamespace, Name: m.Name,
			Dimensions: map[string]string{"TrainingJobName": *job.Spec.TrainingJobName},
		}}
	}
	return c.Metrics.PutData(ctx, string(a.Agent), r.Seq, data)
}

// concernsJob tells whether any report changes the job's record; logs alone do not.
func concernsJob(reports []platform.Report) bool {
	for _, r := range reports {
		if r.Phase != "" || r.Message != "" || len(r.Metrics) > 0 || r.Outcome != nil || r.Checkpoint != nil {
			return true
		}
	}
	return false
}

// apply lays reports over the job's record.
func (c *Controller) apply(ctx context.Context, job *platform.TrainingJob, reports []platform.Report, tx *platform.Tx) error {
	for _, r := range reports {
		open := job.Status.Open()
		if open == nil {
			return nil // reports after the outcome say nothing
		}
		open.ReportSeq = r.Seq
		tx.Ledger = append(tx.Ledger, bill.Pass(job, open, r.At)...)
		for _, m := range r.Metrics {
			job.Status.SetMetric(m)
		}
		switch {
		case r.Phase != "":
			c.begin(job, r.At, tx)
			if err := enterPhase(job, open, r); err != nil {
				return err
			}
		case r.Message != "" && len(job.Status.Warnings) < maxWarnings:
			job.Status.Warnings = append(job.Status.Warnings, r.Message)
		}
		if r.Checkpoint != nil && !r.Checkpoint.At.Before(checkpointed(open)) {
			open.Checkpoint = r.Checkpoint
		}
		if r.Outcome != nil {
			if err := c.finish(ctx, job, *r.Outcome, r.At, tx); err != nil {
				return err
			}
		}
	}
	return nil
}

// phases maps what an agent says to what the API shows.
var phases = map[platform.Phase]struct {
	phase   platform.JobPhase
	message string
}{
	platform.PhaseDownloading: {platform.JobDownloading, "Downloading input data"},
	platform.PhaseTraining:    {platform.JobTraining, "Training image download completed. Training in progress."},
	platform.PhaseUploading:   {platform.JobUploading, "Uploading generated training model"},
}

// enterPhase follows an agent's phase. A job that is stopping shows nothing of it but the upload.
func enterPhase(job *platform.TrainingJob, open *platform.Attempt, r platform.Report) error {
	p, ok := phases[r.Phase]
	if !ok {
		return platform.Errorf(platform.Invalid, string(job.Status.ARN), "agents know no phase %q", r.Phase)
	}
	if r.Phase == platform.PhaseTraining && open.Running.IsZero() {
		open.Running = r.At
	}
	if job.Status.State == platform.JobStopping && r.Phase != platform.PhaseUploading {
		return nil
	}
	message := r.Message
	if message == "" {
		message = p.message
	}
	return job.Status.Enter(p.phase, r.At, message)
}
