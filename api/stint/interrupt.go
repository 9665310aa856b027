package stint

import (
	"cmp"
	"context"
	"fmt"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

// defaultNotice is AWS's.
const defaultNotice platform.Seconds = 120

// InterruptTrainingJobRequest names a managed spot job that runs on spot capacity.
type InterruptTrainingJobRequest struct {
	TrainingJobName *string `json:"TrainingJobName,omitzero"`
	NoticeSeconds   *int32  `json:"NoticeSeconds,omitzero"` // from now until the capacity goes; the server's own when not given
	Reason          *string `json:"Reason,omitzero"`        // is shown in the job's history
}

// InterruptTrainingJobResponse tells what the job is told.
type InterruptTrainingJobResponse struct {
	TrainingJobArn   string            `json:"TrainingJobArn"`
	InterruptionTime *shapes.Timestamp `json:"InterruptionTime"` // the attempt will have ended
}

// interrupt gives notice to the attempt of a spot job that runs, as a market does that takes capacity back. It is written
// down and obeyed like any other: the control plane knows no difference.
func (s *service) interrupt(ctx context.Context, call *api.Call, in *InterruptTrainingJobRequest) (*InterruptTrainingJobResponse, error) {
	notice := cmp.Or(s.Notice, defaultNotice)
	if in.NoticeSeconds != nil {
		notice = platform.Seconds(*in.NoticeSeconds)
	}
	reason := "the capacity was called back by request"
	if in.Reason != nil {
		reason = *in.Reason
	}
	given := platform.Interruption{At: call.Now, Until: call.Now.Add(notice.Duration()), Reason: reason}
	for {
		rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindTrainingJob, Name: *in.TrainingJobName})
		if platform.Is(err, platform.NotFound) {
			return nil, platform.Errorf(platform.NotFound, *in.TrainingJobName, "Requested resource not found.")
		}
		if err != nil {
			return nil, err
		}
		job, err := platform.ReadTrainingJob(rec)
		if err != nil {
			return nil, err
		}
		if why := spared(job); why != "" {
			return nil, platform.Errorf(platform.Invalid, rec.Name, "Training job %s cannot be interrupted: %s", rec.Name, why)
		}
		job.Status.Open().Notice = &given
		if rec, err = job.Record(rec, call.Now); err != nil {
			return nil, err
		}
		if err = s.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}}); err == nil {
			return &InterruptTrainingJobResponse{TrainingJobArn: string(job.Status.ARN), InterruptionTime: shapes.NewTimestamp(given.Until)}, nil
		}
		if !platform.Is(err, platform.Conflict) { // else somebody changed the job in between: look again
			return nil, err
		}
	}
}

// spared says why a job has no spot capacity that could be taken away; empty when it has.
func spared(job *platform.TrainingJob) string {
	open := job.Status.Open()
	switch {
	case !job.IsSpot():
		return "it is not managed spot training"
	case job.Status.State != platform.JobInProgress:
		return fmt.Sprintf("it is in status %s", job.Status.State)
	case open == nil:
		return fmt.Sprintf("it does not run; it waits for capacity in status %s", job.Status.Phase)
	case open.Purchase != platform.Spot:
		return "it runs on demand at present, on capacity that is not called back"
	case open.Notice != nil:
		return fmt.Sprintf("it has notice already, until %s: %s", open.Notice.Until.UTC().Format("15:04:05 MST"), open.Notice.Reason)
	}
	return ""
}
