package platform

import (
	"errors"
	"time"
)

// Elastic says that a variant has as many instances as its requests ask for, down to none: its requests wait for an instance.
type Elastic struct {
	ID        string // of the variant in its deployment; what flows is counted by it
	PerTarget int    // invocations at one container at once; 0 is as for any other
	Max       int    // invocations at once, those that wait among them; 0 is without a bound of its own
	MaxBody   int    // bytes of an invocation; 0 is without a bound of its own
	// Provisioned are the containers whose work has the price of ProvisionedUse; that of all others has the one of OnUse.
	Provisioned []AgentID
}

// Flow is what has gone to an elastic variant.
type Flow struct {
	Open int       // invocations under way, those that wait for an instance among them
	Last time.Time // when the last one ended, or else since when the variant is routed to
	// Idle tells of each container that has nothing to do since when it has not.
	Idle map[AgentID]time.Time
	// Worked is what containers have worked since this was asked last, by its price.
	Worked map[Purchase]Work
	Over   bool // the variant is not routed to any more and nothing is under way; it is not told of again
}

// Work is a number of invocations, and the sum of the started milliseconds of each.
type Work struct {
	Milliseconds int64 `json:"milliseconds"`
	Invocations  int64 `json:"invocations"`
}

// Plus gives both together.
func (w Work) Plus(o Work) Work {
	return Work{w.Milliseconds + o.Milliseconds, w.Invocations + o.Invocations}
}

// Minus gives what is left without o.
func (w Work) Minus(o Work) Work {
	return Work{w.Milliseconds - o.Milliseconds, w.Invocations - o.Invocations}
}

// ErrThrottled refuses an invocation above Elastic.Max.
var ErrThrottled = errors.New("the variant serves as many invocations at once as it may")

// KindUsage records hold what a serverless variant has used that the ledger does not tell yet. They are named by the
// endpoint, the variant's Elastic.ID and the purchase, with slashes between.
const KindUsage Kind = "usage"

// Usage is what was used of something that is paid for by its use.
type Usage struct {
	Line LedgerEntry `json:"line"` // what its entry will be, but for its end
	Work
}
