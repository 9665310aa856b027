package sim

import (
	"context"
	"time"

	"github.com/stint-ml/stint/drivers/runner/fake"
	"github.com/stint-ml/stint/platform"
)

// place is what the worlds of all kinds of work have in common: a clock, a machine, and a server that may be away.
type place struct {
	Clock    *Clock
	Machine  *fake.Runner
	ServerUp bool
	link     platform.AgentLink // the server's side of agents
}

// Crash ends the server process where it stands. Agents go on.
func (p *place) Crash() { p.ServerUp = false }

// courier is what the simulated agents of all kinds have in common: a process on the machine, with a journal of what it has to
// report.
type courier struct {
	Began   time.Time
	Dead    bool              // its process has ended
	Journal []platform.Report // all it ever wrote down

	at    *place
	spec  platform.AgentSpec
	acked int64
	over  bool // it has nothing more to do than to deliver
	stops bool // it has been asked to end

	interrupt *platform.Interruption // its capacity is being taken away
}

// write puts a report into the journal.
func (c *courier) write(r platform.Report) {
	r.Seq, r.At = int64(len(c.Journal))+1, c.at.Clock.Now()
	c.Journal = append(c.Journal, r)
}

// fetch asks what is to be done; nil when that is not to be known now. An agent that nobody wants any more ends.
func (c *courier) fetch(ctx context.Context) *platform.Assignment {
	if !c.at.ServerUp {
		return nil
	}
	task, err := c.at.link.Assignment(ctx, c.spec.Token)
	if platform.Is(err, platform.Denied) {
		c.end("exit code 0")
	}
	if err != nil {
		return nil
	}
	return &task
}

// deliver sends what is not acknowledged, and ends the process when nothing is left to do.
func (c *courier) deliver(ctx context.Context) {
	if !c.at.ServerUp || c.Dead {
		return
	}
	ack, err := c.at.link.Deliver(ctx, c.spec.Token, c.Journal[c.acked:])
	if platform.Is(err, platform.Denied) {
		c.end("exit code 0")
	}
	if err != nil {
		return
	}
	c.acked = max(c.acked, ack.Seq)
	c.stops = c.stops || ack.Stop
	if ack.Interrupt != nil {
		c.interrupt = ack.Interrupt
	}
	if ack.Gone || c.over && c.acked == int64(len(c.Journal)) {
		c.end("exit code 0")
	}
}

// Kill ends the process at once; what it wrote down stays on its machine.
func (c *courier) Kill() { c.end("killed by signal 9") }

func (c *courier) end(how string) {
	if c.Dead {
		return
	}
	c.Dead = true
	c.at.Machine.Undelivered(c.spec.ID, c.Journal...)
	c.at.Machine.End(c.spec.ID, how)
}
