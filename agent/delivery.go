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
	log   *slog.Logger
	stop  func() // the job is to stop
	gone  func() // the agent is not wanted
}

// run ends with ctx.
func (p *post) run(ctx context.Context) {
	var pending []platform.Report // read from the spool and not yet acknowledged
	pause, away := firstPause, false
	for ctx.Err() == nil {
		if len(pending) == 0 {
			p.spool.await(ctx, p.spool.reader.seq, heartbeat)
			var err error
			if pending, err = p.spool.next(deliveryBytes); err != nil {
				p.log.Error("the spool cannot be read", "error", err)
				wait(ctx, platform.SystemClock{}, longestPause)
			}
		}
		ack, err := p.deliver(ctx, pending)
		if err != nil {
			if platform.Is(err, platform.Denied) {
				p.log.Warn("the control plane denies this agent", "error", err)
				p.gone()
				return
			}
			if !away && ctx.Err() == nil {
				p.log.Warn("the control plane is away", "error", err)
			}
			away = true
			wait(ctx, platform.SystemClock{}, pause)
			pause = min(2*pause, longestPause)
			continue
		}
		if away {
			p.log.Info("the control plane is back")
		}
		pause, away = firstPause, false
		p.spool.ack(ack.Seq)
		sent := len(pending)
		for len(pending) > 0 && pending[0].Seq <= ack.Seq {
			pending = pending[1:]
		}
		if ack.Gone {
			p.gone()
			return
		}
		if ack.Stop {
			p.stop()
		}
		if sent > 0 && len(pending) == sent {
			wait(ctx, platform.SystemClock{}, longestPause) // nothing was taken, and nothing says why
		}
	}
}

func (p *post) deliver(ctx context.Context, reports []platform.Report) (platform.Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	return p.link.Deliver(ctx, p.token, reports)
}
