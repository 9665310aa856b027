package platform

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/stint-ml/stint/shapes/sagemaker"
)

// KindTrainingJob records are named by the job's name; State is the TrainingJobStatus.
const KindTrainingJob Kind = "training-job"

// JobState is AWS's TrainingJobStatus.
type JobState string

// The states.
const (
	JobInProgress JobState = "InProgress"
	JobStopping   JobState = "Stopping"
	JobCompleted  JobState = "Completed"
	JobFailed     JobState = "Failed"
	JobStopped    JobState = "Stopped"
)

// Ended reports whether the state is final.
func (s JobState) Ended() bool { return s == JobCompleted || s == JobFailed || s == JobStopped }

// JobPhase is AWS's SecondaryStatus.
type JobPhase string

// The phases of a training job.
const (
	JobStarting       JobPhase = "Starting"
	JobDownloading    JobPhase = "Downloading"
	JobTraining       JobPhase = "Training"
	JobUploading      JobPhase = "Uploading"
	JobRestarting     JobPhase = "Restarting"
	JobInterrupted    JobPhase = "Interrupted"
	JobPhaseStopping  JobPhase = "Stopping"
	JobPhaseStopped   JobPhase = "Stopped"
	JobMaxRuntime     JobPhase = "MaxRuntimeExceeded"
	JobMaxWait        JobPhase = "MaxWaitTimeExceeded"
	JobPhaseFailed    JobPhase = "Failed"
	JobPhaseCompleted JobPhase = "Completed"
)

// TrainingTransitions is the table of legal moves; docs/states draws it. A phase may always be entered again with a new
// message, which is not a move.
var TrainingTransitions = map[JobPhase][]JobPhase{
	JobStarting:       {JobDownloading, JobTraining, JobInterrupted, JobRestarting, JobPhaseStopping, JobPhaseStopped, JobMaxWait, JobPhaseFailed},
	JobDownloading:    {JobTraining, JobInterrupted, JobRestarting, JobPhaseStopping, JobPhaseFailed},
	JobTraining:       {JobUploading, JobInterrupted, JobRestarting, JobPhaseStopping, JobPhaseFailed},
	JobUploading:      {JobPhaseCompleted, JobInterrupted, JobRestarting, JobPhaseStopping, JobPhaseStopped, JobMaxRuntime, JobMaxWait, JobPhaseFailed},
	JobRestarting:     {JobStarting, JobPhaseStopping, JobPhaseStopped, JobMaxWait, JobPhaseFailed},
	JobInterrupted:    {JobStarting, JobPhaseStopping, JobPhaseStopped, JobMaxWait, JobPhaseFailed},
	JobPhaseStopping:  {JobUploading, JobPhaseStopped, JobMaxRuntime, JobMaxWait, JobPhaseCompleted, JobPhaseFailed},
	JobPhaseStopped:   nil,
	JobMaxRuntime:     nil,
	JobMaxWait:        nil,
	JobPhaseFailed:    nil,
	JobPhaseCompleted: nil,
}

// TrainingJob is a job as stored: the validated request and what became of it.
type TrainingJob struct {
	Spec   sagemaker.CreateTrainingJobRequest `json:"spec"`
	Status TrainingStatus                     `json:"status"`
}

// TrainingStatus is everything that Stint adds to the request.
type TrainingStatus struct {
	ARN           ARN               `json:"arn"`
	State         JobState          `json:"state"`
	Phase         JobPhase          `json:"phase"`
	Transitions   []PhaseTransition `json:"transitions"`
	FailureReason string            `json:"failureReason,omitempty"`
	Warnings      []string          `json:"warnings,omitempty"`
	Creator       ARN               `json:"creator"`
	Created       time.Time         `json:"created"`
	Started       time.Time         `json:"started,omitzero"` // the first attempt began to work: TrainingStartTime
	Ended         time.Time         `json:"ended,omitzero"`   // TrainingEndTime
	StopRequested bool              `json:"stopRequested,omitempty"`
	WaitedOut     bool              `json:"waitedOut,omitempty"` // MaxWaitTimeInSeconds has passed: the job is stopped as if by request
	Fallback      bool              `json:"fallback,omitempty"`  // a managed spot job may run on demand to meet its deadline: tag stint:fallback=on-demand at creation
	Deadline      time.Time         `json:"deadline,omitzero"`   // when a managed spot job should be done, if earlier than it Expires: tag stint:deadline at creation
	Need          Capacity          `json:"need"`                // of one instance, before it is clamped to the machine
	Rate          HourlyRate        `json:"rate"`                // on-demand, of one instance, as the catalogue had it when the job was created
	Attempts      []Attempt         `json:"attempts,omitempty"`
	Model         URI               `json:"model,omitempty"`
	Output        URI               `json:"output,omitempty"`
	Metrics       []MetricValue     `json:"metrics,omitempty"` // last value of each metric
	Billable      Seconds           `json:"billableSeconds"`   // of attempts that ended: Σ seconds × price ÷ on-demand price
}

// PhaseTransition is one line of SecondaryStatusTransitions.
type PhaseTransition struct {
	Phase   JobPhase  `json:"phase"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end,omitzero"`
	Message string    `json:"message"`
}

// Attempt is one launch of the job. At most the last one is open.
type Attempt struct {
	Number    int       `json:"number"` // from 1
	Agent     AgentID   `json:"agent"`
	SessionID string    `json:"sessionId"` // record of the credentials it was given
	Runtime   Runtime   `json:"runtime"`   // as it was resolved at launch
	Capacity  Capacity  `json:"capacity"`  // as clamped to the machine
	Purchase  Purchase  `json:"purchase"`
	Prices    []Price   `json:"prices,omitempty"` // what an instance-hour costs: one for an attempt on demand; a spot attempt gets another with each change
	Lines     int       `json:"lines,omitempty"`  // of the prices, from the first: those whose ledger line is opened; all before the last of them are closed
	Launched  time.Time `json:"launched"`         // later than any launch before it, whatever the clock did
	Started   time.Time `json:"started,omitzero"` // the agent's first report: billing begins
	Running   time.Time `json:"running,omitzero"` // the user's process started
	Ended     time.Time `json:"ended,omitzero"`
	Seconds   Seconds   `json:"seconds,omitempty"` // from Started to Ended, every started one counted
	Outcome   *Outcome  `json:"outcome,omitempty"`
	ReportSeq int64     `json:"reportSeq"` // highest report applied
	LogStream string    `json:"logStream"`

	Notice     *Interruption `json:"notice,omitempty"`     // its capacity is being taken away
	Checkpoint *Checkpoint   `json:"checkpoint,omitempty"` // the last whole set that it brought home
	Every      Seconds       `json:"every,omitempty"`      // how often a checkpoint was worth its cost when it was launched
}

// Price is what an instance-hour costs from a moment on. Each price has a ledger line of its own.
type Price struct {
	From time.Time  `json:"from,omitzero"` // zero for the first: from the attempt's first second
	Rate HourlyRate `json:"rate"`
}

// Line names the ledger line of the attempt's n-th price, from 0. The first is named by the agent alone.
func (a *Attempt) Line(n int) string {
	if n == 0 {
		return string(a.Agent)
	}
	return string(a.Agent) + "/" + strconv.Itoa(n+1)
}

// Kept is the working time of the attempt that is not lost when it ends without finishing: up to its last checkpoint.
func (a *Attempt) Kept() time.Duration {
	if a.Checkpoint == nil || a.Running.IsZero() {
		return 0
	}
	return max(0, a.Checkpoint.At.Sub(a.Running))
}

// ReadTrainingJob decodes a record of KindTrainingJob.
func ReadTrainingJob(r Record) (*TrainingJob, error) {
	job := new(TrainingJob)
	if err := json.Unmarshal(r.Doc, job); err != nil {
		return nil, Errorf(Internal, r.Name, "training job record: %w", err)
	}
	return job, nil
}

// Record lays the job over the record it was read from (a zero one for a new job), ready to be committed at now.
func (j *TrainingJob) Record(was Record, now time.Time) (Record, error) {
	doc, err := json.Marshal(j)
	if err != nil {
		return was, Errorf(Internal, string(j.Status.ARN), "training job record: %w", err)
	}
	was.Kind, was.Name, was.State, was.Doc = KindTrainingJob, *j.Spec.TrainingJobName, string(j.Status.State), doc
	was.Created, was.Modified = j.Status.Created, now
	return was, nil
}

// Open gives the attempt that has not ended, or nil.
func (s *TrainingStatus) Open() *Attempt {
	if n := len(s.Attempts); n > 0 && s.Attempts[n-1].Ended.IsZero() {
		return &s.Attempts[n-1]
	}
	return nil
}

// Enter moves the job to a phase at a time. Entering the phase it is in only changes the message. An illegal move is an
// Internal error and changes nothing. Time never runs backwards in the history: an earlier at counts as the last start.
func (s *TrainingStatus) Enter(p JobPhase, at time.Time, message string) error {
	if n := len(s.Transitions); n > 0 {
		last := &s.Transitions[n-1]
		if last.Phase == p {
			last.Message = message
			return nil
		}
		if !slices.Contains(TrainingTransitions[s.Phase], p) {
			return Errorf(Internal, string(s.ARN), "training job cannot go from %s to %s", s.Phase, p)
		}
		if at.Before(last.Start) {
			at = last.Start
		}
		last.End = at
	}
	s.Transitions = append(s.Transitions, PhaseTransition{Phase: p, Start: at, Message: message})
	s.Phase = p
	s.State = s.stateOf(p)
	if s.State.Ended() {
		s.Transitions[len(s.Transitions)-1].End = at
		s.Ended = at
	}
	return nil
}

// stateOf tells the state that a phase belongs to; uploading after a stop is still stopping.
func (s *TrainingStatus) stateOf(p JobPhase) JobState {
	switch p {
	case JobPhaseCompleted:
		return JobCompleted
	case JobPhaseFailed:
		return JobFailed
	case JobPhaseStopped, JobMaxRuntime, JobMaxWait:
		return JobStopped
	case JobPhaseStopping:
		return JobStopping
	case JobUploading:
		if s.State == JobStopping {
			return JobStopping
		}
	}
	return JobInProgress
}

// Image is the training image that the request names; empty when it names an algorithm instead.
func (j *TrainingJob) Image() string {
	if a := j.Spec.AlgorithmSpecification; a != nil && a.TrainingImage != nil {
		return *a.TrainingImage
	}
	return ""
}

// InstanceType is the type that the request asks for; empty when it asks for none.
func (j *TrainingJob) InstanceType() InstanceType {
	if r := j.Spec.ResourceConfig; r != nil && r.InstanceType != nil {
		return InstanceType(*r.InstanceType)
	}
	return ""
}

// defaultMaxRuntime is what AWS allows a job that names no limit: one day.
const defaultMaxRuntime Seconds = 86400

// MaxRuntime bounds the user's code.
func (j *TrainingJob) MaxRuntime() Seconds {
	if s := j.Spec.StoppingCondition; s != nil && s.MaxRuntimeInSeconds != nil {
		return Seconds(*s.MaxRuntimeInSeconds)
	}
	return defaultMaxRuntime
}

// IsSpot reports whether the job is managed spot training.
func (j *TrainingJob) IsSpot() bool {
	return j.Spec.EnableManagedSpotTraining != nil && *j.Spec.EnableManagedSpotTraining
}

// Expires is when a managed spot job has waited and run as long as it may: MaxWaitTimeInSeconds after its creation, which
// covers all attempts. Zero for any other job.
func (j *TrainingJob) Expires() time.Time {
	s := j.Spec.StoppingCondition
	if !j.IsSpot() || s == nil || s.MaxWaitTimeInSeconds == nil {
		return time.Time{}
	}
	return j.Status.Created.Add(Seconds(*s.MaxWaitTimeInSeconds).Duration())
}

// Kept is the working time of ended attempts that need not be done again.
func (s *TrainingStatus) Kept() (sum time.Duration) {
	for i := range s.Attempts {
		if !s.Attempts[i].Ended.IsZero() {
			sum += s.Attempts[i].Kept()
		}
	}
	return sum
}

// Seconds is how long the job's ended attempts lasted together: TrainingTimeInSeconds. Waiting is no part of it.
func (s *TrainingStatus) Seconds() (sum Seconds) {
	for i := range s.Attempts {
		sum += s.Attempts[i].Seconds
	}
	return sum
}

// Ending reports whether the job is to stop, by request or because its time is over.
func (s *TrainingStatus) Ending() bool { return s.StopRequested || s.WaitedOut }

// CheckpointURI is where the job's checkpoints are kept; empty when it has no CheckpointConfig.
func (j *TrainingJob) CheckpointURI() URI {
	if c := j.Spec.CheckpointConfig; c != nil && c.S3Uri != nil {
		return URI(*c.S3Uri)
	}
	return ""
}

// defaultCheckpointPath is where user code finds and leaves checkpoints unless the request names another folder.
const defaultCheckpointPath = "/opt/ml/checkpoints"

// CheckpointPath is the folder of the job's checkpoints as its code sees it.
func (j *TrainingJob) CheckpointPath() string {
	if c := j.Spec.CheckpointConfig; c != nil && c.LocalPath != nil && *c.LocalPath != "" {
		return *c.LocalPath
	}
	return defaultCheckpointPath
}

// Retries is how often a job that the platform failed is tried again.
func (j *TrainingJob) Retries() int {
	if r := j.Spec.RetryStrategy; r != nil && r.MaximumRetryAttempts != nil {
		return int(*r.MaximumRetryAttempts)
	}
	return 0
}

// SetMetric keeps the last value of each metric.
func (s *TrainingStatus) SetMetric(m MetricValue) {
	for i := range s.Metrics {
		if s.Metrics[i].Name == m.Name {
			s.Metrics[i] = m
			return
		}
	}
	s.Metrics = append(s.Metrics, m)
}
