package trace

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Options say how a trace is replayed.
type Options struct {
	Clock platform.Clock
	Start time.Time // the moment of the trace's beginning; zero: when it is opened
	Speed float64   // seconds of the trace in a second of the clock; 0: 1
	// Discount is the part of the on-demand price that spot saves where the trace tells no price, from 0 to less than 1.
	Discount float64
	// Repeat begins again at the end; otherwise what the last rows say holds from there on.
	Repeat bool
}

// market implements platform.Market over a trace.
type market struct {
	Options
	trace   *Trace
	changed chan struct{}
	done    chan struct{}
	over    sync.WaitGroup
	close   sync.Once
	told    time.Duration // moment of the last news; of the watch alone
}

// Open reads a trace from a file (Read says how it is named and what it holds) and replays it.
func Open(name string, o Options) (platform.Market, error) {
	t, err := Read(name)
	if err != nil {
		return nil, err
	}
	return Replay(t, o)
}

// Replay makes a market of a trace. Invalid: options that make no sense.
func Replay(t *Trace, o Options) (platform.Market, error) {
	if o.Speed == 0 {
		o.Speed = 1
	}
	if o.Start.IsZero() {
		o.Start = o.Clock.Now()
	}
	switch {
	case !(o.Speed > 0) || math.IsInf(o.Speed, 0):
		return nil, platform.Errorf(platform.Invalid, t.Name, "a trace cannot be replayed at %v times its speed; it must be more than 0", o.Speed)
	case !(o.Discount >= 0 && o.Discount < 1):
		return nil, platform.Errorf(platform.Invalid, t.Name, "a spot discount of %v makes no price; it must be from 0 to less than 1", o.Discount)
	case o.Repeat && t.Length == 0:
		return nil, platform.Errorf(platform.Invalid, t.Name, "%s cannot be repeated: a table of changes ends with its last row, and this one has no other", t.Name)
	}
	m := &market{Options: o, trace: t, changed: make(chan struct{}, 1), done: make(chan struct{})}
	m.told = m.moment()
	m.over.Add(1)
	go m.watch()
	return m, nil
}

// Offer implements platform.Market.
func (m *market) Offer(_ context.Context, t platform.InstanceType, onDemand platform.HourlyRate) (platform.Offer, error) {
	rows, err := m.trace.Rows(t)
	if err != nil {
		return platform.Offer{}, err
	}
	row := At(rows, m.position())
	return platform.Offer{Available: row.Available, Rate: Rate(row, onDemand, m.Discount)}, nil
}

// position is where in the trace the clock stands.
func (m *market) position() time.Duration {
	at := m.Clock.Now().Sub(m.Start)
	passed := time.Duration(math.Min(float64(at)*m.Speed, math.MaxInt64/2))
	if m.Speed == 1 {
		passed = at // to the nanosecond, which a float would round after some months
	}
	if m.Repeat && passed >= m.trace.Length {
		passed %= m.trace.Length
	}
	return max(0, passed)
}

// Changed implements platform.Market.
func (m *market) Changed() <-chan struct{} { return m.changed }

// Close implements platform.Market. It may be called again.
func (m *market) Close() error {
	m.close.Do(func() { close(m.done) })
	m.over.Wait()
	return nil
}

// watchAgain bounds the wait for the next change, so that a wall clock that was set delays the news by no more.
const watchAgain = time.Minute

// watch tells of each change.
func (m *market) watch() {
	defer m.over.Done()
	for {
		due, stop := m.Clock.After(m.untilChange())
		if !m.tell() { // or what changed while the timer was set would be heard of a change late
			select {
			case <-m.done:
				stop()
				return
			case <-due:
			}
		}
		stop()
	}
}

// tell says that the rows which hold are others than those told of last, if so.
func (m *market) tell() bool {
	now := m.moment()
	if now == m.told {
		return false
	}
	m.told = now
	select {
	case m.changed <- struct{}{}:
	default: // one is waiting to be read, and says as much
	}
	return true
}

// moment names the rows that hold now, by when the youngest of them began.
func (m *market) moment() (youngest time.Duration) {
	position := m.position()
	for _, rows := range m.trace.rows {
		youngest = max(youngest, At(rows, position).From)
	}
	return youngest
}

// untilChange is how long it is until another row holds, on the clock, or until it is worth to look again.
func (m *market) untilChange() time.Duration {
	position, next := m.position(), time.Duration(math.MaxInt64)
	for _, rows := range m.trace.rows {
		if i := index(rows, position) + 1; i < len(rows) {
			next = min(next, rows[i].From)
		}
	}
	if m.Repeat {
		next = min(next, m.trace.Length)
	}
	wait := math.Ceil(float64(next-position) / m.Speed)
	// Not less than a millisecond: what changes faster, nobody can follow.
	return time.Duration(math.Max(float64(time.Millisecond), math.Min(wait, float64(watchAgain))))
}

// Rate is what an instance-hour costs on spot while a row holds, of a type whose on-demand price is given: the row's own
// price, or where it tells none the on-demand price less the discount.
func Rate(row Row, onDemand platform.HourlyRate, discount float64) platform.HourlyRate {
	rate := platform.HourlyRate{Nanos: row.Price, Currency: onDemand.Currency}
	if row.Price == 0 {
		rate.Nanos = platform.Nanos(math.Round(float64(onDemand.Nanos) * (1 - discount)))
	}
	return rate
}
