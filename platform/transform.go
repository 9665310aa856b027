package platform

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/stint-ml/stint/shapes/sagemaker"
)

// KindTransformJob records are named by the job's name; State is the TransformJobStatus, whose words are those of JobState.
const KindTransformJob Kind = "transform-job"

// TransformTransitions is the table of legal moves; docs/states draws it.
var TransformTransitions = map[JobState][]JobState{
	JobInProgress: {JobStopping, JobCompleted, JobFailed},
	JobStopping:   {JobStopped, JobCompleted, JobFailed},
	JobCompleted:  nil,
	JobFailed:     nil,
	JobStopped:    nil,
}

// TransformJob is a batch transform job as stored: the validated request and what became of it.
type TransformJob struct {
	Spec   sagemaker.CreateTransformJobRequest `json:"spec"`
	Status TransformStatus                     `json:"status"`
}

// TransformStatus is everything that Stint adds to the request.
type TransformStatus struct {
	Origin
	State         JobState  `json:"state"`
	Changed       time.Time `json:"changed"`          // of State
	Started       time.Time `json:"started,omitzero"` // the first attempt began to work: TransformStartTime
	Ended         time.Time `json:"ended,omitzero"`   // TransformEndTime
	FailureReason string    `json:"failureReason,omitempty"`
	Warnings      []string  `json:"warnings,omitempty"`
	// The containers and Role are the model's as they were when the job was created.
	ModelContainers
	Role     ARN                `json:"role"`
	Need     Capacity           `json:"need"` // of one instance, before it is clamped to the machine
	Rate     HourlyRate         `json:"rate"` // on demand, of one instance, as the catalogue had it
	Shares   []TransformShare   `json:"shares"`
	Attempts []TransformAttempt `json:"attempts,omitempty"`
}

// TransformShare is the part of the input that one instance transforms.
type TransformShare struct {
	Progress TransformProgress `json:"progress"`
	Outcome  *Outcome          `json:"outcome,omitempty"` // there is nothing more to do
	Idle     int               `json:"idle,omitempty"`    // attempts in a row that the platform failed before they had finished an object
	RetryAt  time.Time         `json:"retryAt,omitzero"`  // no attempt is launched before
}

// TransformProgress is which objects of a share are done with, so that another attempt leaves them alone. They are worked on in
// the order of their URIs, a few at once, so it is small however many there are.
type TransformProgress struct {
	Through URI    `json:"through,omitempty"` // all up to this one
	Beyond  []URI  `json:"beyond,omitempty"`  // and these after it, in order
	Objects int64  `json:"objects,omitempty"` // how many are done with
	Failed  int64  `json:"failed,omitempty"`  // of those, how many could not be transformed
	Reason  string `json:"reason,omitempty"`  // why the first of these could not; it begins with the kind of error
}

// Done reports whether an object is done with.
func (p *TransformProgress) Done(u URI) bool {
	if u <= p.Through {
		return true
	}
	_, found := slices.BinarySearch(p.Beyond, u)
	return found
}

// TransformAttempt is one launch of an agent for a share.
type TransformAttempt struct {
	Number    int       `json:"number"` // from 1, over all shares
	Share     int       `json:"share"`  // from 0
	Agent     AgentID   `json:"agent"`
	SessionID string    `json:"sessionId"` // record of the credentials it was given
	Runtime   Runtime   `json:"runtime"`
	Further   []Runtime `json:"furtherRuntimes,omitempty"` // of the containers after the first
	Capacity  Capacity  `json:"capacity"`                  // as clamped to the machine
	Launched  time.Time `json:"launched"`
	Started   time.Time `json:"started,omitzero"` // the agent's first report: billing begins
	Ended     time.Time `json:"ended,omitzero"`
	Outcome   *Outcome  `json:"outcome,omitempty"`
	ReportSeq int64     `json:"reportSeq"`
	LogStream string    `json:"logStream"`
}

// TransformTask is the Spec of the assignment of a transform job's agent.
type TransformTask struct {
	Request sagemaker.CreateTransformJobRequest `json:"request"`
	ModelContainers
	Share    int               `json:"share"`  // from 0
	Shares   int               `json:"shares"` // in all
	Progress TransformProgress `json:"progress"`
}

// ReadTransformJob decodes a record of KindTransformJob.
func ReadTransformJob(r Record) (*TransformJob, error) {
	job := new(TransformJob)
	if err := json.Unmarshal(r.Doc, job); err != nil {
		return nil, Errorf(Internal, r.Name, "transform job record: %w", err)
	}
	return job, nil
}

// Record lays the job over the record it was read from (a zero one for a new job), ready to be committed at now.
func (j *TransformJob) Record(was Record, now time.Time) (Record, error) {
	doc, err := json.Marshal(j)
	if err != nil {
		return was, Errorf(Internal, string(j.Status.ARN), "transform job record: %w", err)
	}
	was.Kind, was.Name, was.State, was.Doc = KindTransformJob, *j.Spec.TransformJobName, string(j.Status.State), doc
	was.Created, was.Modified = j.Status.Created, now
	return was, nil
}

// InstanceType is the type that the request asks for.
func (j *TransformJob) InstanceType() InstanceType {
	return InstanceType(*j.Spec.TransformResources.InstanceType)
}

// Enter moves the job to a state at a time; staying is no move. An illegal move is an Internal error and changes nothing.
func (s *TransformStatus) Enter(to JobState, at time.Time) error {
	if s.State == to {
		return nil
	}
	if s.State != "" && !slices.Contains(TransformTransitions[s.State], to) {
		return Errorf(Internal, string(s.ARN), "transform job cannot go from %s to %s", s.State, to)
	}
	s.State, s.Changed = to, at
	if to.Ended() {
		s.Ended = at
	}
	return nil
}

// Attempt finds an attempt by its number, nil when there is none.
func (s *TransformStatus) Attempt(number int) *TransformAttempt {
	if number < 1 || number > len(s.Attempts) {
		return nil
	}
	return &s.Attempts[number-1]
}

// Open gives the attempt of a share that has not ended, or nil.
func (s *TransformStatus) Open(share int) *TransformAttempt {
	for i := range s.Attempts {
		if a := &s.Attempts[i]; a.Share == share && a.Ended.IsZero() {
			return a
		}
	}
	return nil
}

// Each calls f for every attempt that has not ended.
func (s *TransformStatus) Each(f func(*TransformAttempt)) {
	for i := range s.Attempts {
		if s.Attempts[i].Ended.IsZero() {
			f(&s.Attempts[i])
		}
	}
}
