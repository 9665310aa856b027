package platform

import (
	"context"
	"time"
)

// Offer is what a Market offers of one instance type at one moment.
type Offer struct {
	Available bool       // spot capacity of this type is to be had; when it ceases to be, what runs on it is called back
	Rate      HourlyRate // of one instance on spot; told also while none is to be had
}

// Market says what spot capacity is offered at what price. It knows nothing of jobs: that work on demand needs the room of
// spot work on the same machines is the schedule's matter. Every method is safe for concurrent use.
type Market interface {
	// Offer tells what is offered now of a type whose on-demand price is given. Invalid: the market does not know the type.
	Offer(ctx context.Context, t InstanceType, onDemand HourlyRate) (Offer, error)
	// Changed delivers a value soon after any offer may have changed; several changes may be told as one. A reader that
	// missed one finds it by asking again.
	Changed() <-chan struct{}
	// Close ends the market's own work.
	Close() error
}

// Interruption is the notice that an attempt's capacity will be taken away.
type Interruption struct {
	At     time.Time `json:"at"`    // when it was given
	Until  time.Time `json:"until"` // when the capacity goes: the agent must have ended by then
	Reason string    `json:"reason"`
}

// Checkpoint is a whole set of checkpoint files that is safe in the object store.
type Checkpoint struct {
	Generation int64     `json:"generation"`
	At         time.Time `json:"at"`      // the moment whose state the set holds: work done before it is kept
	Files      int64     `json:"files"`   // in the set
	Bytes      int64     `json:"bytes"`   // of the set
	Shipped    int64     `json:"shipped"` // bytes that had to be sent for it
}

// CheckpointPlan tells an agent how to keep the job's checkpoints.
type CheckpointPlan struct {
	URI   URI     `json:"uri"`
	Path  string  `json:"path"`         // absolute, as the user's code sees it
	Epoch int64   `json:"epoch"`        // the attempt's order among all that ever used the prefix: a later one wins over an earlier one that still lives
	Every Seconds `json:"everySeconds"` // how often a checkpoint is worth its cost; told to the user's code, which alone can write one
}
