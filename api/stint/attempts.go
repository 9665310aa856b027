package stint

import (
	"cmp"
	"context"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

// GetTrainingJobAttemptsRequest names a training job.
type GetTrainingJobAttemptsRequest struct {
	TrainingJobName *string `json:"TrainingJobName,omitzero"`
}

// GetTrainingJobAttemptsResponse tells of each launch of a job what AWS's Describe has no member for. A job that is no managed
// spot job has no Fallback, Deadline and Expires.
type GetTrainingJobAttemptsResponse struct {
	TrainingJobArn string            `json:"TrainingJobArn"`
	Attempts       []TrainingAttempt `json:"Attempts"`
	KeptSeconds    int64             `json:"KeptSeconds"`       // of training that checkpoints hold
	Fallback       string            `json:"Fallback,omitzero"` // none, or on-demand
	Deadline       *shapes.Timestamp `json:"Deadline,omitzero"` // by which a job that may fall back is to be done
	Expires        *shapes.Timestamp `json:"Expires,omitzero"`  // MaxWaitTimeInSeconds will have passed
}

// TrainingAttempt is one launch.
type TrainingAttempt struct {
	Number        int               `json:"Number"`
	Purchase      string            `json:"Purchase"`
	LaunchTime    *shapes.Timestamp `json:"LaunchTime"`
	StartTime     *shapes.Timestamp `json:"StartTime,omitzero"` // billing began
	TrainingTime  *shapes.Timestamp `json:"TrainingTime,omitzero"`
	EndTime       *shapes.Timestamp `json:"EndTime,omitzero"`
	Seconds       int64             `json:"Seconds"` // of an attempt that has ended
	KeptSeconds   int64             `json:"KeptSeconds"`
	Outcome       string            `json:"Outcome,omitzero"`
	OutcomeReason string            `json:"OutcomeReason,omitzero"`
	Interruption  *Interruption     `json:"Interruption,omitzero"`
	Checkpoint    *Checkpoint       `json:"Checkpoint,omitzero"` // the last whole one that it brought home
}

// Interruption is the notice that an attempt was given.
type Interruption struct {
	NoticeTime       *shapes.Timestamp `json:"NoticeTime"`
	InterruptionTime *shapes.Timestamp `json:"InterruptionTime"`
	Reason           string            `json:"Reason"`
}

// Checkpoint is a whole set of checkpoint files in the object store.
type Checkpoint struct {
	Generation   int64             `json:"Generation"`
	Time         *shapes.Timestamp `json:"Time"` // the moment whose state it holds
	Files        int64             `json:"Files"`
	Bytes        int64             `json:"Bytes"`
	ShippedBytes int64             `json:"ShippedBytes"` // that had to be sent for it
}

func (s *service) attempts(ctx context.Context, _ *api.Call, in *GetTrainingJobAttemptsRequest) (*GetTrainingJobAttemptsResponse, error) {
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
	st := &job.Status
	out := &GetTrainingJobAttemptsResponse{TrainingJobArn: string(st.ARN), Attempts: []TrainingAttempt{}}
	kept := st.Kept()
	if open := st.Open(); open != nil {
		kept += open.Kept()
	}
	out.KeptSeconds = int64(kept.Seconds())
	if job.IsSpot() {
		out.Fallback, out.Expires = "none", timestamp(job.Expires())
		if st.Fallback {
			out.Fallback, out.Deadline = "on-demand", cmp.Or(timestamp(st.Deadline), out.Expires)
		}
	}
	for i := range st.Attempts {
		out.Attempts = append(out.Attempts, attemptOf(&st.Attempts[i]))
	}
	return out, nil
}

// timestamp is a moment on the wire; none when it has not come.
func timestamp(t time.Time) *shapes.Timestamp {
	if t.IsZero() {
		return nil
	}
	return shapes.NewTimestamp(t)
}

func attemptOf(a *platform.Attempt) TrainingAttempt {
	out := TrainingAttempt{
		Number: a.Number, Purchase: string(a.Purchase), LaunchTime: timestamp(a.Launched), StartTime: timestamp(a.Started),
		TrainingTime: timestamp(a.Running), EndTime: timestamp(a.Ended), Seconds: int64(a.Seconds), KeptSeconds: int64(a.Kept().Seconds()),
	}
	if a.Outcome != nil {
		out.Outcome, out.OutcomeReason = string(a.Outcome.Kind), a.Outcome.Reason
	}
	if n := a.Notice; n != nil {
		out.Interruption = &Interruption{NoticeTime: timestamp(n.At), InterruptionTime: timestamp(n.Until), Reason: n.Reason}
	}
	if c := a.Checkpoint; c != nil {
		out.Checkpoint = &Checkpoint{Generation: c.Generation, Time: timestamp(c.At), Files: c.Files, Bytes: c.Bytes, ShippedBytes: c.Shipped}
	}
	return out
}
