package platform

import "time"

// Purchase is how capacity was bought.
type Purchase string

// The ways to buy.
const (
	OnDemand Purchase = "on-demand"
	Spot     Purchase = "spot"
	// OnUse is paid for by the milliseconds in which it works. Provisioned is what is kept ready for such work, by its time, and
	// ProvisionedUse the work that it does.
	OnUse          Purchase = "serverless"
	Provisioned    Purchase = "provisioned"
	ProvisionedUse Purchase = "provisioned-use"
)

// LedgerEvent says what an entry does to its line.
type LedgerEvent string

// A line is opened when capacity starts to be used and closed when it is given back.
const (
	LineOpened LedgerEvent = "opened"
	LineClosed LedgerEvent = "closed"
	// LineUsed is a whole line in one entry: what was used until then of something that is paid for by its use.
	LineUsed LedgerEvent = "used"
)

// LedgerEntry is one append-only fact about a ledger line. A line is one attempt of one resource at one price: two entries with the
// same Line, the second carrying what it cost. They are committed in the same Tx as the change of state they belong to, so that
// ledger and history cannot disagree.
type LedgerEntry struct {
	Line         string       `json:"line"` // unique for all time: Attempt.Line
	Event        LedgerEvent  `json:"event"`
	At           time.Time    `json:"at"`
	Resource     ARN          `json:"resource"`
	Attempt      int          `json:"attempt"`
	InstanceType InstanceType `json:"instanceType"`
	Count        int64        `json:"count"`
	Purchase     Purchase     `json:"purchase"`
	Rate         HourlyRate   `json:"rate"`              // the price of one instance-hour as charged
	OnDemandRate HourlyRate   `json:"onDemandRate"`      // the list price, to tell savings
	Seconds      int64        `json:"seconds,omitempty"` // closed lines: wall-clock seconds, rounded up
	Amount       Money        `json:"amount"`            // closed lines: Rate × Seconds × Count, rounded once
	// Used lines: what was used since From, for Rate × Work.Milliseconds, rounded once; Seconds are the started ones of it.
	From time.Time `json:"from,omitzero"`
	Work Work      `json:"work,omitzero"`
}

// ID is the entry's identity: a line is opened once and closed once.
func (e LedgerEntry) ID() string { return e.Line + "/" + string(e.Event) }
