package async

import (
	"context"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

const (
	namespace = "AWS/SageMaker"
	// publishEvery is how often figures are published; also what a kill may cost of those of the invocations.
	publishEvery = 10 * time.Second
	// quietly is how often the figures of a queue are published that is and was empty: so often that every minute has some, since
	// scaling in waits for them.
	quietly = 50 * time.Second
)

// The figures of invocations, as "Alarms and logs for tracking metrics from asynchronous endpoints" of the developer guide has them.
const (
	downloadFailures = iota
	downloadLatency
	uploadFailures
	uploadLatency
	expiries
	failures
	processed
	timeInBacklog
	totalTime
	figures
)

var words = [figures]struct{ name, unit string }{
	{"RequestDownloadFailures", "Count"}, {"RequestDownloadLatency", "Microseconds"}, {"ResponseUploadFailures", "Count"},
	{"ResponseUploadLatency", "Microseconds"}, {"ExpiredRequests", "Count"}, {"InvocationFailures", "Count"},
	{"InvocationsProcessed", "Count"}, {"TimeInBacklog", "Milliseconds"}, {"TotalProcessingTime", "Milliseconds"},
}

// meter adds figures up between publications.
type meter struct {
	Config
	mu      sync.Mutex
	counted map[place]*platform.Datum
	told    map[string]told // of queues
}

// place is what a figure is of: the figures of a minute carry its beginning as their time.
type place struct {
	endpoint, variant string
	figure            int
	minute            int64 // since 1970
}

// told is what was published last of a queue.
type told struct {
	at      time.Time
	backlog int
}

func newMeter(c Config) *meter {
	return &meter{Config: c, counted: map[place]*platform.Datum{}, told: map[string]told{}}
}

// count adds a value to a figure.
func (m *meter) count(endpoint, variant string, figure int, v float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.merge(place{endpoint, variant, figure, m.Clock.Now().Unix() / 60}, platform.Datum{Value: v, Count: 1, Minimum: v, Maximum: v})
}

// merge adds values to a figure; the caller holds the lock.
func (m *meter) merge(p place, d platform.Datum) {
	known := m.counted[p]
	if known == nil {
		m.counted[p] = &d
		return
	}
	known.Value, known.Count = known.Value+d.Value, known.Count+d.Count
	known.Minimum, known.Maximum = min(known.Minimum, d.Minimum), max(known.Maximum, d.Maximum)
}

// flush writes down what was counted, and more; what cannot be written of the former is kept for the next time.
func (m *meter) flush(ctx context.Context, more ...platform.Datum) {
	m.mu.Lock()
	counted := m.counted
	m.counted = map[place]*platform.Datum{}
	m.mu.Unlock()
	data := more
	for p, d := range counted {
		d.Series = platform.Series{Namespace: namespace, Name: words[p.figure].name, Dimensions: map[string]string{"EndpointName": p.endpoint, "VariantName": p.variant}}
		d.At, d.Unit = time.Unix(p.minute*60, 0).UTC(), words[p.figure].unit
		data = append(data, *d)
	}
	if len(data) == 0 {
		return
	}
	err := m.Metrics.PutData(ctx, "", 0, data)
	if err == nil {
		return
	}
	m.Log.Warn("metrics of asynchronous endpoints could not be written; will try again", "error", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, d := range counted {
		m.merge(p, *d)
	}
}

// backlog is how a queue stands.
type backlog struct {
	endpoint  string
	size      int // waiting and under way
	instances int
	oldest    time.Duration // age
	starved   bool
}

// publish writes down how all queues stand, and what was counted.
func (c *Controller) publish(ctx context.Context) {
	now := c.Clock.Now()
	var all []backlog
	c.mu.Lock()
	for _, l := range c.lines {
		if l.view.async {
			all = append(all, l.backlog(now))
		}
	}
	c.mu.Unlock()
	var data []platform.Datum
	c.meter.mu.Lock()
	for _, b := range all {
		was := c.meter.told[b.endpoint]
		if b.size == 0 && was.backlog == 0 && now.Sub(was.at) < quietly {
			continue
		}
		c.meter.told[b.endpoint] = told{now, b.size}
		data = append(data, b.data(now)...)
	}
	for endpoint, was := range c.meter.told {
		if now.Sub(was.at) > 2*quietly { // it is gone
			delete(c.meter.told, endpoint)
		}
	}
	c.meter.mu.Unlock()
	c.meter.flush(ctx, data...)
}

// backlog tells how the queue stands; the caller holds the controller's lock.
func (l *line) backlog(now time.Time) backlog {
	b := backlog{endpoint: l.name, size: l.waiting.len() + l.working, instances: l.view.ready}
	if e := l.waiting.first(); e != nil {
		b.oldest = max(0, now.Sub(e.arrived))
	}
	b.starved = b.size > 0 && l.view.ready == 0
	return b
}

// data are the figures of a queue. Without instances there is no size for each of them, as at AWS.
func (b backlog) data(now time.Time) []platform.Datum {
	datum := func(name, unit string, v float64) platform.Datum {
		return platform.Datum{Series: platform.Series{Namespace: namespace, Name: name, Dimensions: map[string]string{"EndpointName": b.endpoint}}, At: now, Value: v, Unit: unit}
	}
	starved := 0.0
	if b.starved {
		starved = 1
	}
	out := []platform.Datum{
		datum("ApproximateBacklogSize", "Count", float64(b.size)), datum("HasBacklogWithoutCapacity", "Count", starved),
		datum("ApproximateAgeOfOldestRequest", "Seconds", b.oldest.Seconds()),
	}
	if b.instances > 0 {
		out = append(out, datum("ApproximateBacklogSizePerInstance", "Count", float64(b.size)/float64(b.instances)))
	}
	return out
}
