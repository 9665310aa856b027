package platform

import (
	"time"

	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Rollout is how far an update of an endpoint has come: which step of its deployment configuration it is at, and since when.
type Rollout struct {
	Stage RolloutStage `json:"stage"`
	Since time.Time    `json:"since"` // of Stage
	Step  int          `json:"step"`  // from 0, of those that the deployment configuration means
	Share float64      `json:"share"` // of the requests, 0 to 1, that go to what comes
	// While instances are replaced in batches: how many the variant of what serves, and of what comes, may have. 0: all that
	// are desired.
	Old int `json:"old,omitempty"`
	New int `json:"new,omitempty"`

	Reason string `json:"reason,omitempty"` // why it goes back
}

// RolloutStage is where an update stands within its step.
type RolloutStage string

// The stages of an update.
const (
	RolloutPreparing RolloutStage = "Preparing" // the instances of the step come up
	RolloutBaking    RolloutStage = "Baking"    // the step has its share of the requests, and alarms are watched
	RolloutLingering RolloutStage = "Lingering" // what comes has all requests; what served stays for a while, to go back to
	RolloutReturning RolloutStage = "Returning" // requests go back to what served
	RolloutStuck     RolloutStage = "Stuck"     // so they should, and what served does not come up again
)

// Serves tells whether an endpoint in this state answers.
func (s EndpointState) Serves() bool {
	switch s {
	case EndpointInService, EndpointUpdating, EndpointRollingBack, EndpointUpdateRollbackFailed:
		return true
	}
	return false
}

// Update makes a deployment the one that is to come, in the way that the policy says; nil is AWS's default. Of an endpoint
// that could neither be updated nor rolled back, the part that has more instances ready serves until then, and the other one
// leaves.
func (s *EndpointStatus) Update(d *Deployment, policy *sagemaker.DeploymentConfig, at time.Time) error {
	if err := s.Enter(EndpointUpdating, at); err != nil {
		return err
	}
	if s.Coming != nil && s.Serving != nil {
		if s.Coming.Ready() > s.Serving.Ready() {
			s.Serving, s.Coming, s.Config = s.Coming, s.Serving, s.Coming.Config
		}
		s.Leave(s.Coming, at)
		s.Serving.Limit(0)
	}
	s.Coming, s.Policy, s.Rollout, s.FailureReason = d, policy, nil, ""
	return nil
}

// Leave takes a deployment's instances out of traffic; it tells whether there was a deployment.
func (s *EndpointStatus) Leave(d *Deployment, at time.Time) bool {
	if d == nil {
		return false
	}
	for v := range d.Variants {
		for _, r := range d.Variants[v].Replicas {
			r.Left = at
			s.Leaving = append(s.Leaving, r)
		}
		d.Variants[v].Replicas = nil
	}
	return true
}

// Limit bounds the instances of each variant for the time of an update; 0 is no bound.
func (d *Deployment) Limit(instances int) {
	for v := range d.Variants {
		d.Variants[v].Limit = instances
	}
}

// Counts are the instances that each variant is to have; none of a deployment that is not there.
func (d *Deployment) Counts() (n []int) {
	if d == nil {
		return nil
	}
	for v := range d.Variants {
		n = append(n, d.Variants[v].Desired)
	}
	return n
}

// Ready counts the instances that answer.
func (d *Deployment) Ready() (n int) {
	for v := range d.Variants {
		n += d.Variants[v].Ready()
	}
	return n
}

// Ready counts the variant's instances that answer.
func (v *Variant) Ready() (n int) {
	for i := range v.Replicas {
		if !v.Replicas[i].Ready.IsZero() {
			n++
		}
	}
	return n
}
