package router

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

const (
	flushEvery = 5 * time.Second // also what a kill may cost of the figures
	flushLimit = 5 * time.Second // for the last flush
	namespace  = "AWS/SageMaker"
)

// meter counts invocations as "SageMaker AI endpoint invocation metrics" of the developer guide has them, and writes them down
// every few seconds: a request touches only memory. The figures of a minute carry its beginning as their time, which is as
// finely as AWS tells them too.
type meter struct {
	Config
	sample  func() []platform.Datum // what is under way at the moment
	mu      sync.Mutex
	counted map[place]*counts

	starting, stopping sync.Once
	quit, done         chan struct{}
}

// place is what figures are of.
type place struct {
	endpoint, variant string
	config            string // the endpoint configuration, so that what an update brings can be told from what was
	minute            int64  // since 1970
}

// The metrics, in the order of counts. An error's 0 is sent as much as its 1, so that the average is the rate of errors.
const (
	invocations = iota
	perInstance
	clientErrors
	serverErrors
	modelLatency
	overheadLatency
	metrics
)

// words are a metric's name and unit at AWS.
var words = [metrics]struct{ name, unit string }{
	{"Invocations", "None"}, {"InvocationsPerInstance", "None"}, {"Invocation4XXErrors", "None"}, {"Invocation5XXErrors", "None"},
	{"ModelLatency", "Microseconds"}, {"OverheadLatency", "Microseconds"},
}

// counts are the figures of a place.
type counts [metrics]figure

// ended is an invocation that is over.
type ended struct {
	endpoint, variant string
	config            string
	instances         int           // that the variant had
	status            int           // of the container's answer; 0 without one
	failed            bool          // no answer, or half of one, and not because the caller left
	model, overhead   time.Duration // of an answer
}

// figure is the statistics of the values of one metric.
type figure struct{ count, sum, low, high float64 }

func (f *figure) add(v float64) { f.merge(figure{1, v, v, v}) }

func (f *figure) merge(o figure) {
	switch {
	case o.count == 0:
	case f.count == 0:
		*f = o
	default:
		*f = figure{f.count + o.count, f.sum + o.sum, min(f.low, o.low), max(f.high, o.high)}
	}
}

func newMeter(c Config) *meter {
	return &meter{Config: c, sample: func() []platform.Datum { return nil }, counted: map[place]*counts{}, quit: make(chan struct{}), done: make(chan struct{})}
}

// count counts an invocation that is over.
func (m *meter) count(e ended) {
	at := place{e.endpoint, e.variant, e.config, m.Clock.Now().Unix() / 60}
	var client, server float64
	switch {
	case e.failed || e.status >= 500:
		server = 1
	case e.status >= 400:
		client = 1
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.at(at)
	c[invocations].add(1)
	c[perInstance].add(1 / float64(e.instances))
	c[clientErrors].add(client)
	c[serverErrors].add(server)
	if e.status != 0 {
		c[modelLatency].add(float64(e.model.Microseconds()))
		c[overheadLatency].add(float64(e.overhead.Microseconds()))
	}
}

// at gives the figures of a place; the caller holds the lock.
func (m *meter) at(p place) *counts {
	c := m.counted[p]
	if c == nil {
		c = &counts{}
		m.counted[p] = c
	}
	return c
}

func (m *meter) start() {
	m.starting.Do(func() { go m.run() })
}

// stop ends the writing with all that was counted.
func (m *meter) stop() {
	m.starting.Do(func() { close(m.done) }) // was never started
	m.stopping.Do(func() { close(m.quit) })
	<-m.done
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	m.flush(ctx)
}

func (m *meter) run() {
	defer close(m.done)
	for {
		tick, release := m.Clock.After(flushEvery)
		select {
		case <-tick:
			m.flush(context.Background())
		case <-m.quit:
			release()
			return
		}
	}
}

// flush writes down what was counted and what is under way; counts that cannot be written are kept for the next time.
func (m *meter) flush(ctx context.Context) {
	m.mu.Lock()
	counted := m.counted
	m.counted = map[place]*counts{}
	m.mu.Unlock()
	data := m.sample()
	if len(counted) == 0 && len(data) == 0 {
		return
	}
	for p, c := range counted {
		data = c.data(p, data)
	}
	err := m.Metrics.PutData(ctx, "", 0, data)
	if err == nil {
		return
	}
	m.Log.Warn("metrics of endpoints could not be written; will try again", slog.Any("error", err))
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, c := range counted {
		now := m.at(p)
		for i := range c {
			now[i].merge(c[i])
		}
	}
}

// data adds what CloudWatch gets to know.
func (c *counts) data(p place, to []platform.Datum) []platform.Datum {
	of := []map[string]string{{"EndpointName": p.endpoint, "VariantName": p.variant}}
	if p.config != "" {
		of = append(of, map[string]string{"EndpointName": p.endpoint, "VariantName": p.variant, "EndpointConfigName": p.config})
	}
	for i, f := range c {
		if f.count == 0 {
			continue
		}
		for _, dimensions := range of {
			to = append(to, platform.Datum{
				Series: platform.Series{Namespace: namespace, Name: words[i].name, Dimensions: dimensions}, At: time.Unix(p.minute*60, 0).UTC(),
				Unit: words[i].unit, Value: f.sum, Count: f.count, Minimum: f.low, Maximum: f.high,
			})
		}
	}
	return to
}
