package transform

import (
	"context"
	"encoding/json"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

var _ platform.AgentLink = (*Controller)(nil)

// bearer finds the job and the attempt that a token proves.
func (c *Controller) bearer(ctx context.Context, token string) (*platform.TransformJob, *platform.TransformAttempt, error) {
	denied := platform.Errorf(platform.Denied, "", "this token belongs to no attempt of any transform job")
	claim, err := control.ReadToken(token)
	if err != nil {
		return nil, nil, err
	}
	job, err := c.read(ctx, claim.Owner.Name)
	if platform.Is(err, platform.NotFound) || claim.Owner.Kind != platform.KindTransformJob {
		return nil, nil, denied
	}
	if err != nil {
		return nil, nil, err
	}
	a := job.Status.Attempt(claim.Attempt)
	if a == nil || !c.Key.Proves(claim, a.Agent) {
		return nil, nil, denied
	}
	return job, a, nil
}

// Assignment tells an agent what to do.
func (c *Controller) Assignment(ctx context.Context, token string) (platform.Assignment, error) {
	job, a, err := c.bearer(ctx, token)
	if err != nil {
		return platform.Assignment{}, err
	}
	if !a.Ended.IsZero() {
		return platform.Assignment{}, platform.Errorf(platform.Denied, string(job.Status.ARN), "attempt %d has ended", a.Number)
	}
	session, err := control.Session(ctx, c.Store, a.SessionID)
	if err != nil {
		return platform.Assignment{}, err
	}
	st := &job.Status
	spec, err := json.Marshal(platform.TransformTask{
		Request: job.Spec, ModelContainers: st.ModelContainers, Share: a.Share, Shares: len(st.Shares), Progress: st.Shares[a.Share].Progress,
	})
	if err != nil {
		return platform.Assignment{}, platform.Errorf(platform.Internal, string(st.ARN), "encode the task: %w", err)
	}
	services, s3 := c.Endpoints()
	return platform.Assignment{
		Agent: a.Agent, Kind: platform.KindTransformJob, Name: *job.Spec.TransformJobName, ARN: st.ARN, Site: c.Site,
		Host: host(a.Share), Hosts: []string{host(a.Share)}, Spec: spec, Runtime: a.Runtime, Further: a.Further,
		CPUs: int(max(1, a.Capacity.MilliCPU/1000)), Endpoint: services, S3: s3, Session: session,
		Output: platform.URI(*job.Spec.TransformOutput.S3OutputPath), LogGroup: LogGroup, LogStream: a.LogStream, StopGrace: c.StopGrace,
	}, nil
}

// Deliver takes an agent's reports.
func (c *Controller) Deliver(ctx context.Context, token string, reports []platform.Report) (platform.Ack, error) {
	job, a, err := c.bearer(ctx, token)
	if err != nil {
		return platform.Ack{}, err
	}
	return c.take(ctx, *job.Spec.TransformJobName, a.Number, reports)
}

// take makes the reports of an attempt durable: first logs, which know themselves what they have already, then in one
// transaction whatever changes the job. A crash in between makes the agent deliver again, and nothing is doubled.
func (c *Controller) take(ctx context.Context, name string, number int, reports []platform.Report) (platform.Ack, error) {
	job, err := c.read(ctx, name)
	if err != nil {
		return platform.Ack{}, err
	}
	a := *job.Status.Attempt(number)
	seq, err := c.deliveries.Take(a.Agent, a.ReportSeq, reports, func(fresh []platform.Report) (err error) {
		if !a.Ended.IsZero() {
			return nil
		}
		if err := c.ship(ctx, &a, fresh); err != nil || !concerns(fresh) {
			return err
		}
		job, err = c.change(ctx, name, func(job *platform.TransformJob) (platform.Tx, bool, error) {
			var tx platform.Tx
			err := c.apply(ctx, job, number, fresh, &tx)
			return tx, true, err
		})
		return err
	})
	return platform.Ack{Seq: seq, Stop: stopping(job), Gone: !a.Ended.IsZero()}, err
}

// ship stores what reports add to the log.
func (c *Controller) ship(ctx context.Context, a *platform.TransformAttempt, reports []platform.Report) error {
	for _, r := range reports {
		if len(r.Logs) == 0 {
			continue
		}
		batch := platform.LogBatch{Group: LogGroup, Stream: a.LogStream, Producer: string(a.Agent), Seq: r.Seq, Events: r.Logs}
		if r.Stream != "" {
			batch.Stream += "/" + r.Stream
		}
		if err := c.Logs.Append(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// concerns tells whether any report changes the job's record; logs alone do not.
func concerns(reports []platform.Report) bool {
	for _, r := range reports {
		if r.Phase != "" || r.Message != "" || r.Outcome != nil || r.Progress != nil {
			return true
		}
	}
	return false
}

// maxWarnings bounds what a job's record keeps of what was said along the way.
const maxWarnings = 20

// apply lays reports over a job.
func (c *Controller) apply(ctx context.Context, job *platform.TransformJob, number int, reports []platform.Report, tx *platform.Tx) error {
	a := job.Status.Attempt(number)
	for _, r := range reports {
		if !a.Ended.IsZero() {
			return nil // reports after the outcome say nothing
		}
		a.ReportSeq = r.Seq
		share := &job.Status.Shares[a.Share]
		switch {
		case r.Phase != "":
			begin(job, a, r.At, tx)
		case r.Message != "" && len(job.Status.Warnings) < maxWarnings:
			job.Status.Warnings = append(job.Status.Warnings, r.Message)
		}
		if r.Progress != nil && r.Progress.Objects > share.Progress.Objects {
			share.Progress, share.Idle = *r.Progress, 0
		}
		if r.Outcome != nil {
			if err := c.end(ctx, job, a, *r.Outcome, r.At, tx); err != nil {
				return err
			}
		}
	}
	return nil
}
