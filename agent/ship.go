package agent

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stint-ml/stint/platform"
)

const (
	readBytes   = 256 << 10
	batchAge    = 100 * time.Millisecond // how long an event waits for others
	batchBytes  = 512 << 10              // of messages in one report
	batchEvents = 10_000
	tailBytes   = 600             // of the log's end, for the reason of a failure
	lookAround  = time.Second     // how long a read waits at most
	drainTime   = 5 * time.Second // how long output may stay away once all processes are gone
)

// shipper turns the user's output into reports.
type shipper struct {
	agent   *agent
	output  *os.File
	metrics []metric
	split   splitter
	since   time.Time // when the oldest event of the batch was read
	heard   time.Time // when something was read last
	tail    []string  // the last lines
	drain   atomic.Bool
	ended   chan struct{}
}

// ship begins to ship the output of the user's processes.
func (a *agent) ship(life context.Context, p *process) *shipper {
	metrics, warnings := newMetrics(a.spec.AlgorithmSpecification.MetricDefinitions)
	for _, w := range warnings {
		a.warn(w)
	}
	s := &shipper{agent: a, output: p.output, metrics: metrics, ended: make(chan struct{})}
	go s.run(life)
	return s
}

// wait returns the last lines when all of the output has been written down. Something that the agent cannot kill may hold
// the pipe open without writing; it is not waited for.
func (s *shipper) wait() string {
	s.drain.Store(true)
	<-s.ended
	return strings.Join(s.tail, "\n")
}

// run reads until the end of the output. When the spool is full it waits, the pipe fills, and the user's code waits in turn.
func (s *shipper) run(life context.Context) {
	defer close(s.ended)
	defer s.output.Close()
	buffer := make([]byte, readBytes)
	s.heard = s.agent.Clock.Now()
	for ended := false; !ended; {
		ended = s.read(buffer)
		if now := s.agent.Clock.Now(); ended || s.full(now) {
			if err := s.flush(life, now); err != nil {
				return
			}
		}
	}
}

// read takes what the next read gives and reports whether it was the last.
func (s *shipper) read(buffer []byte) (ended bool) {
	_ = s.output.SetReadDeadline(time.Now().Add(s.patience(s.agent.Clock.Now())))
	n, err := s.output.Read(buffer)
	now := s.agent.Clock.Now()
	if n > 0 {
		s.heard = now
	}
	s.split.feed(buffer[:n], now)
	abandoned := s.drain.Load() && now.Sub(s.heard) > drainTime
	if ended = abandoned || err != nil && !errors.Is(err, os.ErrDeadlineExceeded); ended {
		s.split.finish(now)
	} else {
		s.split.show(now)
	}
	if s.since.IsZero() && len(s.split.events) > 0 {
		s.since = now
	}
	return ended
}

// patience is how long a read may wait until there is something else to do.
func (s *shipper) patience(now time.Time) time.Duration {
	longest := lookAround
	if due := s.split.due(now); !due.IsZero() {
		longest = min(longest, due.Sub(now))
	}
	if !s.since.IsZero() {
		longest = min(longest, s.since.Add(batchAge).Sub(now))
	}
	return longest
}

// full reports whether the batch is to be sent.
func (s *shipper) full(now time.Time) bool {
	return len(s.split.events) > 0 &&
		(s.split.bytes >= batchBytes || len(s.split.events) >= batchEvents || now.Sub(s.since) >= batchAge)
}

// flush writes the batch and the metrics found in it down.
func (s *shipper) flush(life context.Context, now time.Time) error {
	events := s.split.take()
	s.since = time.Time{}
	s.remember(events)
	var values []platform.MetricValue
	for start, size, i := 0, 0, 0; i < len(events); i++ {
		values = append(values, find(s.metrics, events[i])...)
		size += len(events[i].Message)
		if i+1 < len(events) && size < batchBytes && i+1-start < batchEvents {
			continue
		}
		if _, err := s.agent.spool.append(life, platform.Report{At: now, Logs: events[start : i+1], Stream: s.agent.name}, bulk); err != nil {
			return err
		}
		start, size = i+1, 0
	}
	if len(values) == 0 {
		return nil
	}
	_, err := s.agent.spool.append(life, platform.Report{At: now, Metrics: values}, bulk)
	return err
}

// remember keeps the last lines.
func (s *shipper) remember(events []platform.LogEvent) {
	size := 0
	for i := len(events) - 1; i >= 0 && size < tailBytes; i-- {
		size += len(events[i].Message) + 1
		if size >= tailBytes || i == 0 {
			for _, e := range events[i:] {
				s.tail = append(s.tail, e.Message)
			}
		}
	}
	size = 0
	for i := len(s.tail) - 1; i >= 0; i-- {
		size += len(s.tail[i]) + 1
		if size >= tailBytes {
			s.tail = append([]string(nil), s.tail[i:]...)
			break
		}
	}
	if len(s.tail) > 0 && len(s.tail[0]) > tailBytes {
		first := s.tail[0]
		s.tail[0] = "…" + strings.ToValidUTF8(first[len(first)-tailBytes:], "")
	}
}
