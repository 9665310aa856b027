package spot

import "time"

// History is what is known of the past availability of one pool of spot capacity, such as an instance type in a zone. It
// is learned online, of bounded size, written and read as JSON, and shared by all jobs that would run in the pool; the
// zero value is a pool of which nothing is known, and stands for what other pools have taught. It is not safe for use by
// several goroutines.
type History struct {
	Last    time.Time `json:"last,omitzero"` // of the latest observation
	Since   time.Time `json:"since,omitzero"`
	Offered bool      `json:"offered,omitempty"`
}

// Observe notes whether spot was to be had at an instant. Call it at each decision, and when the market tells of a change.
// An observation that is not after the latest one says nothing new and is passed over; after a gap of hours (the server
// was down) the pool's state in between counts as unknown.
func (h *History) Observe(at time.Time, offered bool) {
	if !at.After(h.Last) {
		return
	}
	if offered != h.Offered || h.Last.IsZero() {
		h.Since = at
	}
	h.Last, h.Offered = at, offered
}

// MeanUp is how long spot lasts on average once it is to be had.
func (h *History) MeanUp() time.Duration { return 4 * time.Hour }
