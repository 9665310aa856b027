package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	pingTime    = 2 * time.Second // AWS's, for one answer to /ping
	firstPing   = 10 * time.Millisecond
	longestPing = 500 * time.Millisecond
	healthTime  = 4 * 60 // AWS's seconds for a container to become healthy

	guardEvery = 5 * time.Second // between pings of a container that is in service
	// tolerance is how long such a container may answer pings with anything but 200, or refuse connections. One that took longer
	// to become healthy may take twice that: its server may have restarted what it started then.
	tolerance = 30 * time.Second
	// silence is how long it may answer no ping at all beyond the longest that an invocation may take: until then it may be busy
	// with one, and answer pings in its turn.
	silence         = 30 * time.Second
	longestOfAWS    = 60 * time.Second
	longestPingTime = 32 * time.Second
)

// The reasons for which a container is ended that is not healthy.
var (
	errNeverHealthy = errors.New("did not pass the ping health check")
	errUnhealthy    = errors.New("stopped passing the ping health check")
)

// health is the care for one container.
type health struct {
	cancel  context.CancelFunc
	done    chan struct{}
	verdict error // once done: why it had to end; nil: it did not have to
}

// nurse asks a container until it is healthy, says so, and goes on asking. One that is never healthy is asked to end, with all
// that is with it; one that was and is not any more is ended at once: its callers need another.
func (a *agent) nurse(work context.Context, container string, p *process, ready func()) *health {
	ctx, cancel := context.WithCancel(work)
	h := &health{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		began := a.Clock.Now()
		if !a.healthy(ctx, container) {
			if ctx.Err() == nil {
				h.verdict = errNeverHealthy
				a.orders.stop()
			}
			return
		}
		ready()
		ask := func(limit time.Duration) (int, error) { return ping(ctx, container, limit) }
		if h.verdict = a.guard(ctx, ask, max(tolerance, 2*a.Clock.Now().Sub(began))); h.verdict != nil {
			a.Log.Warn("ending the container", "why", h.verdict)
			a.kill(p)
		}
	}()
	return h
}

// wait ends the care and gives its verdict.
func (h *health) wait() error {
	h.cancel()
	<-h.done
	return h.verdict
}

// healthy asks the container until it is healthy, and reports whether it was in time.
func (a *agent) healthy(ctx context.Context, address string) bool {
	limit := a.job.Health
	if limit == 0 {
		limit = healthTime
	}
	late, stop := a.Clock.After(limit.Duration())
	defer stop()
	began := a.Clock.Now()
	for {
		if status, _ := ping(ctx, address, pingTime); status == http.StatusOK {
			return true
		}
		// What starts soon is seen soon, and what takes long is not asked often: at most a sixty-fourth of its time passes unseen.
		pause := a.Clock.Now().Sub(began) / 64
		again, stop := a.Clock.After(min(max(pause, firstPing), longestPing))
		select {
		case <-ctx.Done():
			stop()
			return false
		case <-late:
			stop()
			return false
		case <-again:
		}
	}
}

// guard goes on asking until the container is not healthy any more, and says why; nil when ctx has ended before. Each ping that
// gets no answer is followed by one that waits longer: a container that does one thing after the other comes to it.
func (a *agent) guard(ctx context.Context, ask func(limit time.Duration) (status int, err error), patience time.Duration) error {
	longest := max(longestOfAWS, a.job.Longest.Duration()) + silence
	good := a.Clock.Now()
	heard, limit := good, pingTime
	for {
		wait(ctx, a.Clock, guardEvery)
		status, err := ask(limit)
		if ctx.Err() != nil {
			return nil
		}
		now := a.Clock.Now()
		var late net.Error
		switch {
		case status == http.StatusOK:
			good, heard, limit = now, now, pingTime
		case errors.As(err, &late) && late.Timeout():
			limit = min(2*limit, longestPingTime)
			if now.Sub(heard) >= longest {
				return fmt.Errorf("%w: it has not answered /ping for %d seconds", errUnhealthy, int(longest.Seconds()))
			}
		default:
			heard, limit = now, pingTime
			if now.Sub(good) < patience {
				continue
			}
			how := fmt.Sprintf("with status %d", status)
			if err != nil {
				how = "with a broken connection"
			}
			return fmt.Errorf("%w: for %d seconds it has answered /ping %s", errUnhealthy, int(patience.Seconds()), how)
		}
	}
}

// ping asks a container how it is.
func ping(ctx context.Context, address string, limit time.Duration) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/ping", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // or the connection could not be used again
	response.Body.Close()
	return response.StatusCode, nil
}
