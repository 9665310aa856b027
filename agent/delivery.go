package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/stint-ml/stint/platform"
)

const (
	heartbeat     = 2 * time.Second // between deliveries, when there is nothing to say
	firstPause    = 50 * time.Millisecond
	longestPause  = time.Second // between attempts while the control plane is away
	deliveryBytes = 4 << 20     // of reports as JSON in one delivery
	deliveryTime  = 30 * time.Second
)

// post delivers the spool in order, for ever, and passes on what the answers say.
type post struct {
	link  platform.AgentLink
	token string
	spool *spool
	clock platform.Clock
	log   *slog.Logger
	heard func(ack platform.Ack, sent time.Time) // what an answer orders; sent is when the question was
	gone  func()                                 // the agent is not wanted
}

// run ends with ctx, or when the control plane turns the agent away.
func (p *post) run(ctx context.Context) {
	var pending []platform.Report // read from the spool and not yet acknowledged
	pause, away := firstPause, false
	for ctx.Err() == nil {
		if len(pending) == 0 {
			pending = p.read(ctx)
		}
		sent := p.clock.Now()
		ack, err := p.deliver(ctx, pending)
		switch {
		case platform.Is(err, platform.Denied):
			p.log.Warn("the control plane denies this agent", "error", err)
			p.gone()
			return
		case err != nil:
			if !away && ctx.Err() == nil {
				p.log.Warn("the control plane is away", "error", err)
			}
			away = true
			wait(ctx, platform.SystemClock{}, pause)
			pause = min(2*pause, longestPause)
			continue
		case ack.Gone:
			p.gone()
			return
		case away:
			p.log.Info("the control plane is back")
			pause, away = firstPause, false
		}
		p.heard(ack, sent)
		pending = p.settle(ctx, pending, ack)
	}
}

// read waits for news, at most until a heartbeat is due.
func (p *post) read(ctx context.Context) []platform.Report {
	p.spool.await(ctx, p.spool.reader.seq, heartbeat)
	reports, err := p.spool.next(deliveryBytes)
	if err != nil {
		p.log.Error("the spool cannot be read", "error", err)
		wait(ctx, platform.SystemClock{}, longestPause)
	}
	return reports
}

// settle gives what of the pending reports was not taken.
func (p *post) settle(ctx context.Context, pending []platform.Report, ack platform.Ack) []platform.Report {
	p.spool.ack(ack.Seq)
	left := pending
	for len(left) > 0 && left[0].Seq <= ack.Seq {
		left = left[1:]
	}
	if len(left) > 0 && len(left) == len(pending) {
		wait(ctx, platform.SystemClock{}, longestPause) // nothing was taken, and nothing says why
	}
	return left
}

func (p *post) deliver(ctx context.Context, reports []platform.Report) (platform.Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	return p.link.Deliver(ctx, p.token, reports)
}
