package platform

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/stint-ml/stint/shapes/sagemaker"
)

// The kinds of records of inference. Each is named by its resource's name; an endpoint's State is its EndpointStatus.
const (
	KindModel          Kind = "model"
	KindEndpointConfig Kind = "endpoint-config"
	KindEndpoint       Kind = "endpoint"
)

// Origin is what Stint adds to a resource that is only written down.
type Origin struct {
	ARN     ARN       `json:"arn"`
	Creator ARN       `json:"creator"`
	Created time.Time `json:"created"`
}

// Model is a model as stored.
type Model struct {
	Spec sagemaker.CreateModelInput `json:"spec"`
	Origin
}

// EndpointConfig is an endpoint configuration as stored.
type EndpointConfig struct {
	Spec sagemaker.CreateEndpointConfigInput `json:"spec"`
	Origin
}

// EndpointState is AWS's EndpointStatus.
type EndpointState string

// The states of an endpoint.
const (
	EndpointCreating  EndpointState = "Creating"
	EndpointInService EndpointState = "InService"
	EndpointUpdating  EndpointState = "Updating"
	EndpointFailed    EndpointState = "Failed"
	EndpointDeleting  EndpointState = "Deleting"

	EndpointRollingBack          EndpointState = "RollingBack"
	EndpointUpdateRollbackFailed EndpointState = "UpdateRollbackFailed" // serves with some instances of either configuration
)

// EndpointTransitions is the table of legal moves; docs/states draws it. An endpoint that has been deleted is gone.
var EndpointTransitions = map[EndpointState][]EndpointState{
	EndpointCreating:  {EndpointInService, EndpointFailed, EndpointDeleting},
	EndpointInService: {EndpointUpdating, EndpointDeleting},
	EndpointUpdating:  {EndpointInService, EndpointFailed, EndpointRollingBack, EndpointDeleting},
	EndpointFailed:    {EndpointUpdating, EndpointDeleting},
	EndpointDeleting:  nil,

	EndpointRollingBack:          {EndpointInService, EndpointUpdateRollbackFailed, EndpointDeleting},
	EndpointUpdateRollbackFailed: {EndpointUpdating, EndpointInService, EndpointDeleting},
}

// Endpoint is an endpoint as stored: the validated request and what became of it.
type Endpoint struct {
	Spec   sagemaker.CreateEndpointInput `json:"spec"` // EndpointConfigName is the one that was asked for last
	Status EndpointStatus                `json:"status"`
	Tags   map[string]string             `json:"-"` // its record's, which are changed there only
}

// TagSleep is the tag of an endpoint that says after how long without a request its instances are given back, until the next
// request comes: a duration such as 15m. It holds for variants that have instances of their own.
const TagSleep = "stint:scale-to-zero"

// SleepAfter is how long the endpoint idles before it sleeps, 0 when it never does.
func (e *Endpoint) SleepAfter() time.Duration {
	d, err := time.ParseDuration(e.Tags[TagSleep])
	if err != nil || d < 0 { // the API takes no such tag
		return 0
	}
	return d
}

// EndpointStatus is everything that Stint adds to the request.
type EndpointStatus struct {
	Origin
	State         EndpointState `json:"state"`
	Changed       time.Time     `json:"changed"` // of State
	FailureReason string        `json:"failureReason,omitempty"`
	Config        string        `json:"config"`            // the configuration in force: Serving's
	Serving       *Deployment   `json:"serving,omitempty"` // what answers
	Coming        *Deployment   `json:"coming,omitempty"`  // what is brought up to take its place
	Leaving       []Replica     `json:"leaving,omitempty"` // answer what they have and nothing new
	Rollout       *Rollout      `json:"rollout,omitempty"` // how far Coming has come
	// Policy is how the last update was to be done, nil: all at once.
	Policy   *sagemaker.DeploymentConfig `json:"policy,omitempty"`
	Launched int                         `json:"launched"` // instances ever: the number of the last one
}

// Deployment is a configuration at work, with its models as they were when it was taken.
type Deployment struct {
	Config   string    `json:"config"`
	Began    time.Time `json:"began"`
	Variants []Variant `json:"variants"`
	// Async is set when it takes asynchronous invocations, and those only; such a deployment has one variant.
	Async *sagemaker.AsyncInferenceConfig `json:"async,omitempty"`
	// Capture is the configuration's, nil: nothing is captured.
	Capture *sagemaker.DataCaptureConfig `json:"capture,omitempty"`
}

// Variant is one production variant of a deployment.
type Variant struct {
	Name string `json:"name"`
	ModelContainers
	Role       ARN          `json:"role"`
	Type       InstanceType `json:"type"`
	Weight     float64      `json:"weight"`
	Desired    int          `json:"desired"`         // instances, unless the variant is serverless or asleep
	Limit      int          `json:"limit,omitempty"` // of them, while an update replaces them in batches; 0: none
	Serverless *Serverless  `json:"serverless,omitempty"`
	Asked      int          `json:"asked,omitempty"`  // instances of a serverless variant that its requests have asked for
	Asleep     bool         `json:"asleep,omitempty"` // its instances are given back until a request comes
	Need       Capacity     `json:"need"`             // of one instance, before it is clamped to the machine
	Rate       HourlyRate   `json:"rate"`             // on demand, of one instance, as the catalogue had it
	// HealthTimeout bounds the time from the container's start until it answers /ping.
	HealthTimeout Seconds `json:"healthTimeoutSeconds"`
	// FetchTimeout bounds the time that fetching the model may take; 0 is the agent's own bound.
	FetchTimeout Seconds   `json:"fetchTimeoutSeconds,omitempty"`
	Replicas     []Replica `json:"replicas,omitempty"`
	Failures     int       `json:"failures,omitempty"` // instances in a row that ended without having been ready
	Hopeless     string    `json:"hopeless,omitempty"` // why no more is tried while the deployment comes up
	RetryAt      time.Time `json:"retryAt,omitzero"`   // no instance is launched before
	Roomless     string    `json:"roomless,omitempty"` // what an instance needed and there was, when it began to wait for room
}

// WaitingForRoom begins what Variant.Roomless says.
const WaitingForRoom = "waiting for room: "

// Serverless is how a variant is served that has no instances of its own.
type Serverless struct {
	MemoryMiB      int64      `json:"memoryMiB"`
	MaxConcurrency int        `json:"maxConcurrency"`        // invocations at once, each of which has an instance to itself
	Provisioned    int        `json:"provisioned,omitempty"` // instances that are always there
	Use            HourlyRate `json:"use"`                   // of an instance while it works
	ProvisionedUse HourlyRate `json:"provisionedUse"`        // of a provisioned one while it works; while it is there it costs Variant.Rate
}

// Wanted is how many instances of the variant are to be there now.
func (v *Variant) Wanted() int {
	switch {
	case v.Serverless != nil:
		return max(v.Serverless.Provisioned, min(v.Asked, v.Serverless.MaxConcurrency))
	case v.Asleep:
		return 0
	case v.Limit > 0:
		return min(v.Limit, v.Desired)
	}
	return v.Desired
}

// Replica is one instance of a variant: an agent of a variant and the container beside it.
type Replica struct {
	Number    int          `json:"number"` // from 1, over the endpoint's life
	Variant   string       `json:"variant"`
	Agent     AgentID      `json:"agent"`
	SessionID string       `json:"sessionId"` // record of the credentials it was given
	Runtime   Runtime      `json:"runtime"`
	Further   []Runtime    `json:"furtherRuntimes,omitempty"` // of the containers after the first
	Capacity  Capacity     `json:"capacity"`                  // as clamped to the machine
	Type      InstanceType `json:"type"`
	Rate      HourlyRate   `json:"rate"`
	Launched  time.Time    `json:"launched"`
	Purchase  Purchase     `json:"purchase,omitempty"` // none is OnDemand; of a serverless variant it is OnUse or Provisioned
	Started   time.Time    `json:"started,omitzero"`   // the agent's first report: billing begins, unless it is paid for by use
	Ready     time.Time    `json:"ready,omitzero"`     // the container answered /ping
	Address   string       `json:"address,omitempty"`  // host:port of the container, once it is ready
	ReportSeq int64        `json:"reportSeq"`
	LogStream string       `json:"logStream"`
	Left      time.Time    `json:"left,omitzero"` // from when it gets nothing new
	Message   string       `json:"message,omitempty"`
}

// ReadEndpoint decodes a record of KindEndpoint.
func ReadEndpoint(r Record) (*Endpoint, error) {
	e := &Endpoint{Tags: r.Tags}
	if err := json.Unmarshal(r.Doc, e); err != nil {
		return nil, Errorf(Internal, r.Name, "endpoint record: %w", err)
	}
	return e, nil
}

// Record lays the endpoint over the record it was read from (a zero one for a new endpoint), ready to be committed at now.
func (e *Endpoint) Record(was Record, now time.Time) (Record, error) {
	doc, err := json.Marshal(e)
	if err != nil {
		return was, Errorf(Internal, string(e.Status.ARN), "endpoint record: %w", err)
	}
	was.Kind, was.Name, was.State, was.Doc = KindEndpoint, *e.Spec.EndpointName, string(e.Status.State), doc
	was.Created, was.Modified = e.Status.Created, now
	return was, nil
}

// Enter moves the endpoint to a state at a time; staying is no move. An illegal move is an Internal error and changes nothing.
func (s *EndpointStatus) Enter(to EndpointState, at time.Time) error {
	if s.State == to {
		return nil
	}
	legal := s.State == ""
	for _, next := range EndpointTransitions[s.State] {
		legal = legal || next == to
	}
	if !legal {
		return Errorf(Internal, string(s.ARN), "endpoint cannot go from %s to %s", s.State, to)
	}
	s.State, s.Changed = to, at
	return nil
}

// Each calls f for every instance that has not ended, wherever it stands.
func (s *EndpointStatus) Each(f func(*Replica)) {
	for _, d := range []*Deployment{s.Serving, s.Coming} {
		if d == nil {
			continue
		}
		for v := range d.Variants {
			for i := range d.Variants[v].Replicas {
				f(&d.Variants[v].Replicas[i])
			}
		}
	}
	for i := range s.Leaving {
		f(&s.Leaving[i])
	}
}

// Replica finds an instance by its number, nil when it has ended.
func (s *EndpointStatus) Replica(number int) (found *Replica) {
	s.Each(func(i *Replica) {
		if i.Number == number {
			found = i
		}
	})
	return found
}

// Remove forgets an instance that has ended.
func (s *EndpointStatus) Remove(number int) {
	without := func(list []Replica) []Replica {
		var left []Replica
		for _, i := range list {
			if i.Number != number {
				left = append(left, i)
			}
		}
		return left
	}
	for _, d := range []*Deployment{s.Serving, s.Coming} {
		if d == nil {
			continue
		}
		for v := range d.Variants {
			d.Variants[v].Replicas = without(d.Variants[v].Replicas)
		}
	}
	s.Leaving = without(s.Leaving)
}

// Whole reports whether every variant has all its instances ready.
func (d *Deployment) Whole() bool {
	for v := range d.Variants {
		if d.Variants[v].Ready() < d.Variants[v].Wanted() {
			return false
		}
	}
	return true
}

// Route is where the requests to an endpoint go.
type Route struct {
	ARN      ARN
	Async    bool // takes asynchronous invocations only; others take none
	Variants []RouteVariant
	// While an update shifts traffic: where the Share, 0 to 1, of the requests goes. What one side cannot answer the other does.
	Next  []RouteVariant
	Share float64
}

// RouteVariant is one choice of a Route.
type RouteVariant struct {
	Name    string
	Config  string // the configuration that it is of
	Weight  float64
	OfMany  bool // its instances serve many models: an invocation has to name one
	Direct  bool // its instances have several containers: an invocation has to name one
	Targets []Target
	Elastic *Elastic // nil: it has the instances that it has
	Capture *Capture // nil: nothing is captured
}

// Target is a container that answers.
type Target struct {
	Agent   AgentID
	Address string // host:port
}

// Routes is the data plane as the control plane sees it. Requests that are under way at a target that goes are finished.
type Routes interface {
	Set(endpoint string, r Route)
	Remove(endpoint string)
	// Flows tells of the endpoint's elastic variants, by Elastic.ID, those that were routed to earlier among them.
	Flows(endpoint string) map[string]Flow
	// Stirred delivers the name of an endpoint soon after a request began to wait at it, or after the first one following a
	// silence; it is lossy.
	Stirred() <-chan string
}

// Drains is what Routes may tell besides: whether a container that requests went to still has some under way, or may be handed
// one that was let in before the route changed. It has none for long after its route went: each request is bounded in time.
type Drains interface {
	Busy(agent AgentID) bool
}

// Invocation is one request to an endpoint, by a caller who may.
type Invocation struct {
	Endpoint string
	Variant  string              // empty: by weight
	Model    string              // of many that the endpoint has, or which of several containers is asked directly, as its header says; empty: none is named
	Header   map[string][]string // what the container is to see, in HTTP's canonical form
	Body     []byte
	Spool    Spool     // instead of Body, what is too large to be held
	Arrived  time.Time // at the server
	Async    bool      // from an endpoint's queue
	// Limit bounds the time until the whole answer is there; 0 is AWS's for requests in real time.
	Limit time.Duration
}

// Spool is bytes that are kept somewhere else than in memory.
type Spool interface {
	io.ReaderAt
	Size() int64
}

// Answer is what a container answered, as soon as its header is there; the body streams and must be closed.
type Answer struct {
	Variant string
	Target  Target
	Status  int
	Header  map[string][]string
	Body    io.ReadCloser
}

// The reasons for which an invocation is not answered that are nobody's mistake.
var (
	ErrBusy    = errors.New("every container has as many invocations under way as it may have")
	ErrTooLate = errors.New("the container did not answer in time")
)

// Invoker is the data plane as the API sees it. NotFound: no such endpoint or variant; Unavailable: no container can be
// reached, with ErrBusy as cause when all have enough to do; an error with ErrTooLate or any other: the container has the
// request and gave no answer.
type Invoker interface {
	Invoke(ctx context.Context, in Invocation) (*Answer, error)
}
