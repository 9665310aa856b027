package platform

import (
	"context"
	"encoding/json"
	"time"
)

// Assignment is what an agent is to do. It is asked for again after a reconnect: endpoints may have moved.
type Assignment struct {
	Agent     AgentID         `json:"agent"`
	Kind      Kind            `json:"kind"` // KindTrainingJob, KindEndpoint or KindTransformJob
	Name      string          `json:"name"`
	ARN       ARN             `json:"arn"`
	Site      Site            `json:"site"`
	Host      string          `json:"host"`  // algo-1
	Hosts     []string        `json:"hosts"` // sorted, this one among them
	Spec      json.RawMessage `json:"spec"`  // the create request, as validated; of an endpoint's instance its ModelContainers; of a transform job a TransformTask
	Runtime   Runtime         `json:"runtime"`
	Further   []Runtime       `json:"furtherRuntimes,omitempty"` // of the containers after the first, where there are several
	CPUs      int             `json:"cpus"`                      // whole cores the job may count on, for SM_NUM_CPUS
	Endpoint  string          `json:"endpoint"`                  // all services, for the user's code
	S3        string          `json:"s3Endpoint"`                // the store's own port
	Session   Session         `json:"session"`                   // the execution role's credentials, for inputs, outputs and the user's code
	Output    URI             `json:"output"`                    // where model.tar.gz and output.tar.gz go: {S3OutputPath}/{job}/output
	LogGroup  string          `json:"logGroup"`
	LogStream string          `json:"logStream"`
	MaxRun    Seconds         `json:"maxRunSeconds"`            // of the user's code in this attempt; 0 = unbounded
	Health    Seconds         `json:"healthSeconds,omitempty"`  // of an endpoint's instance: from the container's start until it must answer /ping
	Fetch     Seconds         `json:"fetchSeconds,omitempty"`   // of an endpoint's instance: that fetching its model may take
	Longest   Seconds         `json:"longestSeconds,omitempty"` // of an endpoint's instance: that an invocation may take; 0 = 60
	Memory    int64           `json:"memoryBytes,omitempty"`    // of an endpoint's instance: what its container may use
	StopGrace Seconds         `json:"stopGraceSeconds"`         // between SIGTERM and SIGKILL
	Purchase  Purchase        `json:"purchase"`
	// Checkpoints is nil when the job has no CheckpointConfig.
	Checkpoints *CheckpointPlan `json:"checkpoints,omitempty"`
}

// Seconds is a duration in whole seconds, as AWS counts them.
type Seconds int64

// Duration converts.
func (s Seconds) Duration() time.Duration { return time.Duration(s) * time.Second }

// Phase is where an agent stands with its job.
type Phase string

// The phases, in order. An agent may go from any of them to its Outcome.
const (
	PhaseDownloading Phase = "Downloading"
	PhaseTraining    Phase = "Training" // the user's process has been started
	PhaseUploading   Phase = "Uploading"
	PhaseInService   Phase = "InService" // of an endpoint's instance: the container answers /ping
	// PhaseTransforming is of a transform job: the container answers /ping, and objects are being transformed.
	PhaseTransforming Phase = "Transforming"
)

// OutcomeKind says how a job ended on one host.
type OutcomeKind string

// The outcomes.
const (
	Succeeded          OutcomeKind = "Succeeded"
	AlgorithmError     OutcomeKind = "AlgorithmError"      // the user's code failed
	ClientError        OutcomeKind = "ClientError"         // what the user asked for cannot be had: a missing key, a bucket, a runtime
	InternalError      OutcomeKind = "InternalServerError" // the platform failed
	StopObeyed         OutcomeKind = "Stopped"
	MaxRuntimeExceeded OutcomeKind = "MaxRuntimeExceeded"
	Interrupted        OutcomeKind = "Interrupted" // the notice of an interruption was obeyed; nothing was uploaded but checkpoints
)

// Outcome is the last thing an agent reports.
type Outcome struct {
	Kind     OutcomeKind `json:"kind"`
	ExitCode int         `json:"exitCode"`         // of the user's process; 128+n when signal n ended it
	Reason   string      `json:"reason,omitempty"` // for FailureReason, at most 1,024 characters
	Model    URI         `json:"model,omitempty"`  // what was uploaded, if anything
	Output   URI         `json:"output,omitempty"`
	Kept     string      `json:"kept,omitempty"` // folder on the agent's machine that holds what could not be uploaded; it is not removed
}

// MetricValue is one match of a metric definition in the log.
type MetricValue struct {
	Name  string    `json:"name"`
	Value float64   `json:"value"`
	At    time.Time `json:"at"`
}

// Report is one fact from an agent. Seq counts from 1 without gaps; exactly one of the facts is set.
// Agents write reports down before they send them, and send them in order until they are acknowledged.
type Report struct {
	Seq     int64         `json:"seq"`
	At      time.Time     `json:"at"`
	Phase   Phase         `json:"phase,omitempty"`
	Address string        `json:"address,omitempty"` // with PhaseInService: host:port of the container
	Message string        `json:"message,omitempty"` // with Phase: what people see as the status message; alone: a warning on the job
	Logs    []LogEvent    `json:"logs,omitempty"`
	Stream  string        `json:"stream,omitempty"` // with Logs that are not the user's, or of one of several containers: what is appended to the stream's name
	Metrics []MetricValue `json:"metrics,omitempty"`
	// Figures are of an endpoint's instance; the control plane adds the dimensions.
	Figures []Datum  `json:"figures,omitempty"`
	Outcome *Outcome `json:"outcome,omitempty"`
	// Checkpoint is told once its set is whole in the object store.
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
	// Progress is all that is done with of a transform job's share, told once it is in the object store.
	Progress *TransformProgress `json:"progress,omitempty"`
}

// Ack answers a delivery.
type Ack struct {
	Seq  int64 `json:"seq"`  // every report up to here is durable
	Stop bool  `json:"stop"` // the job is to stop: end the child with grace, upload what there is, report StopObeyed
	Gone bool  `json:"gone"` // this agent is not wanted any more (its attempt was given up): end at once, upload nothing
	// Interrupt is the notice that the agent's capacity will be taken: tell the user's code, end it in time, bring the last
	// checkpoint home and report Interrupted before Until. It is repeated in every answer.
	Interrupt *Interruption `json:"interrupt,omitempty"`
}

// AgentLink is the control plane as an agent sees it. token proves which agent asks; an unknown one is Denied.
// Unavailable and Internal are worth retrying for ever, Denied is not.
type AgentLink interface {
	Assignment(ctx context.Context, token string) (Assignment, error)
	// Deliver hands over reports in order, possibly none (a heartbeat). Reports already acknowledged are ignored, so a
	// delivery may be repeated. A gap in Seq is Invalid and nothing is taken.
	Deliver(ctx context.Context, token string, reports []Report) (Ack, error)
}
