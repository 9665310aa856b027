package platform

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stint-ml/stint/shapes/applicationautoscaling"
)

// KindScalableTarget records are what application autoscaling may change, with their policies, schedules and past: one record a
// target, so that a change is one write. They are named by TargetName.
const KindScalableTarget Kind = "scalable-target"

// keptActivities bounds a target's past.
const keptActivities = 50

// Dimension is what is scaled of a resource, AWS's ScalableDimension.
type Dimension string

// The dimensions of variants.
const (
	DesiredInstanceCount          Dimension = "sagemaker:variant:DesiredInstanceCount"
	DesiredProvisionedConcurrency Dimension = "sagemaker:variant:DesiredProvisionedConcurrency"
)

// VariantName names a variant of an endpoint.
type VariantName struct {
	Endpoint string `json:"endpoint"`
	Variant  string `json:"variant"`
}

// ResourceID is AWS's name for a variant that is scaled: endpoint/NAME/variant/NAME.
func (v VariantName) ResourceID() string { return "endpoint/" + v.Endpoint + "/variant/" + v.Variant }

// ParseResourceID reads a variant's ResourceID.
func ParseResourceID(id string) (v VariantName, ok bool) {
	part := strings.Split(id, "/")
	if len(part) != 4 || part[0] != "endpoint" || part[1] == "" || part[2] != "variant" || part[3] == "" {
		return VariantName{}, false
	}
	return VariantName{part[1], part[3]}, true
}

// TargetName is the name of a target's record. Those of one endpoint begin with TargetsOf.
func TargetName(v VariantName, d Dimension) string { return v.ResourceID() + ":" + string(d) }

// TargetsOf is how the names of all targets of an endpoint begin.
func TargetsOf(endpoint string) string { return "endpoint/" + endpoint + "/variant/" }

// Scalable is the figure of a variant that a dimension is about; nil when the variant has none of it.
func (v *Variant) Scalable(d Dimension) *int {
	switch {
	case d == DesiredInstanceCount && v.Serverless == nil:
		return &v.Desired
	case d == DesiredProvisionedConcurrency && v.Serverless != nil:
		return &v.Serverless.Provisioned
	default:
		return nil
	}
}

// Find finds a variant of a deployment by its name; nil when there is none, or no deployment.
func (d *Deployment) Find(variant string) *Variant {
	for i := 0; d != nil && i < len(d.Variants); i++ {
		if d.Variants[i].Name == variant {
			return &d.Variants[i]
		}
	}
	return nil
}

// Floor is the least that a target of the deployment may be bounded to. Instances of real-time variants never go to none by
// scaling, as nothing could tell when to bring them back: such an endpoint sleeps by its tag instead. Those of asynchronous ones
// may, as there is a queue that tells.
func (d *Deployment) Floor(dimension Dimension) int {
	if dimension == DesiredProvisionedConcurrency || d.Async != nil {
		return 0
	}
	return 1
}

// ScalableTarget is what may be scaled and within which bounds.
type ScalableTarget struct {
	Of        VariantName `json:"of"`
	Dimension Dimension   `json:"dimension"`
	Origin
	Min        int               `json:"min"`
	Max        int               `json:"max"`
	Suspended  Suspended         `json:"suspended"`
	Policies   []ScalingPolicy   `json:"policies,omitempty"`
	Actions    []ScheduledAction `json:"actions,omitempty"`
	Activities []ScalingActivity `json:"activities,omitempty"` // the newest first
	LastOut    ScalingStep       `json:"lastOut,omitzero"`
	LastIn     ScalingStep       `json:"lastIn,omitzero"`
}

// Suspended is what the owner wants not to happen for a while.
type Suspended struct {
	In        bool `json:"in"`        // scaling in by policies
	Out       bool `json:"out"`       // scaling out by policies
	Scheduled bool `json:"scheduled"` // scheduled actions
}

// ScalingPolicy is a policy as stored.
type ScalingPolicy struct {
	Spec    applicationautoscaling.PutScalingPolicyRequest `json:"spec"`
	ARN     ARN                                            `json:"arn"`
	Created time.Time                                      `json:"created"`
	Changed time.Time                                      `json:"changed"`
	Alarms  []string                                       `json:"alarms,omitempty"` // of target tracking: the high one, and the low one
}

// ScheduledAction changes a target's bounds at a time.
type ScheduledAction struct {
	Spec    applicationautoscaling.PutScheduledActionRequest `json:"spec"`
	ARN     ARN                                              `json:"arn"`
	Created time.Time                                        `json:"created"`
	// Done is up to when all its times are dealt with: written in the transaction that carries it out, so it happens once.
	Done time.Time `json:"done"`
}

// ScalingStep is a change of capacity.
type ScalingStep struct {
	At   time.Time `json:"at"`
	From int       `json:"from"`
	To   int       `json:"to"`
}

// ScalingActivity is one thing that was done to a target.
type ScalingActivity struct {
	Number      int       `json:"number"` // from 1, over the target's life
	ID          string    `json:"id"`
	Description string    `json:"description"`
	Cause       string    `json:"cause"`
	Details     string    `json:"details,omitempty"`
	Began       time.Time `json:"began"`
	Ended       time.Time `json:"ended,omitzero"`
	Status      string    `json:"status"` // AWS's ScalingActivityStatusCode
	Message     string    `json:"message,omitempty"`
	From        int       `json:"from,omitempty"` // capacity; both are 0 when it was not about that
	To          int       `json:"to,omitempty"`
}

// Note adds an activity to a target's past, which is bounded, and gives it its number and the id that follows from that.
func (t *ScalableTarget) Note(a ScalingActivity) {
	a.Number = 1
	if len(t.Activities) > 0 {
		a.Number = t.Activities[0].Number + 1
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", t.ARN, a.Number))
	a.ID = fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	t.Activities = append([]ScalingActivity{a}, t.Activities[:min(len(t.Activities), keptActivities-1)]...)
}

// Underway is the activity that is not over, if there is one.
func (t *ScalableTarget) Underway() *ScalingActivity {
	for i := range t.Activities {
		if t.Activities[i].Ended.IsZero() {
			return &t.Activities[i]
		}
	}
	return nil
}

// Policy finds a policy by its name.
func (t *ScalableTarget) Policy(name string) *ScalingPolicy {
	for i := range t.Policies {
		if *t.Policies[i].Spec.PolicyName == name {
			return &t.Policies[i]
		}
	}
	return nil
}

// Action finds a scheduled action by its name.
func (t *ScalableTarget) Action(name string) *ScheduledAction {
	for i := range t.Actions {
		if *t.Actions[i].Spec.ScheduledActionName == name {
			return &t.Actions[i]
		}
	}
	return nil
}

// ReadScalableTarget decodes a record of KindScalableTarget.
func ReadScalableTarget(r Record) (*ScalableTarget, error) {
	t := new(ScalableTarget)
	if err := json.Unmarshal(r.Doc, t); err != nil {
		return nil, Errorf(Internal, r.Name, "scalable target record: %w", err)
	}
	return t, nil
}

// Record lays the target over the record it was read from (a zero one for a new target), ready to be committed at now.
func (t *ScalableTarget) Record(was Record, now time.Time) (Record, error) {
	doc, err := json.Marshal(t)
	if err != nil {
		return was, Errorf(Internal, string(t.ARN), "scalable target record: %w", err)
	}
	was.Kind, was.Name, was.Doc = KindScalableTarget, TargetName(t.Of, t.Dimension), doc
	was.Created, was.Modified = t.Created, now
	return was, nil
}
