// Package memory keeps logs and metrics in memory: platform.Logs and platform.Metrics for tests and simulation.
// Nothing survives.
package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

// Telemetry is a platform.Logs and a platform.Metrics.
type Telemetry struct {
	clock  platform.Clock
	mu     sync.Mutex
	closed bool
	groups map[string]*group

	points    map[string][]point // by series' text
	series    map[string]platform.Series
	delivered map[string]int64 // the last batch of metrics, by producer
}

type group struct {
	info    platform.LogGroup
	streams map[string]*stream
}

type stream struct {
	created   time.Time
	next      int64
	events    []platform.StoredEvent
	delivered map[string]int64 // the last batch, by producer
}

// New makes empty telemetry. The clock tells when things were created and ingested.
func New(clock platform.Clock) *Telemetry {
	return &Telemetry{
		clock: clock, groups: map[string]*group{},
		points: map[string][]point{}, series: map[string]platform.Series{}, delivered: map[string]int64{},
	}
}

// Close makes later calls Unavailable. A second Close does nothing.
func (t *Telemetry) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return nil
}

// lock takes the lock when the call can go on; the caller unlocks in any case.
func (t *Telemetry) lock(ctx context.Context) error {
	t.mu.Lock()
	if t.closed {
		return platform.Errorf(platform.Unavailable, "", "the telemetry is closed")
	}
	if err := ctx.Err(); err != nil {
		return platform.Errorf(platform.Unavailable, "", "given up by the caller: %w", err)
	}
	return nil
}

func (t *Telemetry) now() time.Time { return t.clock.Now().UTC().Truncate(time.Millisecond) }

func (t *Telemetry) group(name string) (*group, error) {
	if g := t.groups[name]; g != nil {
		return g, nil
	}
	return nil, telemetry.NoGroup(name)
}

func (t *Telemetry) stream(groupName, name string) (*stream, error) {
	g, err := t.group(groupName)
	if err != nil {
		return nil, err
	}
	if s := g.streams[name]; s != nil {
		return s, nil
	}
	return nil, telemetry.NoStream(groupName, name)
}

// CreateGroup is platform.Logs'.
func (t *Telemetry) CreateGroup(ctx context.Context, name string) error {
	defer t.mu.Unlock()
	if err := cmp.Or(t.lock(ctx), telemetry.CheckNames(name)); err != nil {
		return err
	}
	if t.groups[name] != nil {
		return telemetry.GroupExists(name)
	}
	t.addGroup(name)
	return nil
}

func (t *Telemetry) addGroup(name string) *group {
	g := &group{info: platform.LogGroup{Name: name, Created: t.now()}, streams: map[string]*stream{}}
	t.groups[name] = g
	return g
}

// DeleteGroup is platform.Logs'.
func (t *Telemetry) DeleteGroup(ctx context.Context, name string) error {
	defer t.mu.Unlock()
	if err := t.lock(ctx); err != nil {
		return err
	}
	_, err := t.group(name)
	delete(t.groups, name)
	return err
}

// Groups is platform.Logs'.
func (t *Telemetry) Groups(ctx context.Context, prefix, after string, limit int) ([]platform.LogGroup, string, error) {
	defer t.mu.Unlock()
	if err := t.lock(ctx); err != nil {
		return nil, "", err
	}
	last, err := telemetry.NameAfter(prefix, after)
	if err != nil {
		return nil, "", err
	}
	var found []platform.LogGroup
	for _, name := range slices.Sorted(maps.Keys(t.groups)) {
		if name <= last || !strings.HasPrefix(name, prefix) {
			continue
		}
		if len(found) == telemetry.Limit(limit, telemetry.PageOfNames) {
			return found, telemetry.NameToken(prefix, found[len(found)-1].Name), nil
		}
		found = append(found, t.groups[name].info)
	}
	return found, "", nil
}

// SetRetention is platform.Logs'.
func (t *Telemetry) SetRetention(ctx context.Context, name string, days int) error {
	defer t.mu.Unlock()
	if err := cmp.Or(t.lock(ctx), telemetry.CheckRetention(days)); err != nil {
		return err
	}
	g, err := t.group(name)
	if err == nil {
		g.info.RetentionDays = days
	}
	return err
}

// CreateStream is platform.Logs'.
func (t *Telemetry) CreateStream(ctx context.Context, groupName, name string) error {
	defer t.mu.Unlock()
	if err := cmp.Or(t.lock(ctx), telemetry.CheckNames(groupName, name)); err != nil {
		return err
	}
	g, err := t.group(groupName)
	if err != nil {
		return err
	}
	if g.streams[name] != nil {
		return telemetry.StreamExists(groupName, name)
	}
	g.streams[name] = &stream{created: t.now(), delivered: map[string]int64{}}
	return nil
}

// DeleteStream is platform.Logs'.
func (t *Telemetry) DeleteStream(ctx context.Context, groupName, name string) error {
	defer t.mu.Unlock()
	if err := t.lock(ctx); err != nil {
		return err
	}
	s, err := t.stream(groupName, name)
	if err != nil {
		return err
	}
	g := t.groups[groupName]
	g.info.StoredBytes -= size(s.events)
	delete(g.streams, name)
	return nil
}

func size(events []platform.StoredEvent) (n int64) {
	for _, e := range events {
		n += int64(len(e.Message)) + telemetry.EventOverhead
	}
	return n
}

// Streams is platform.Logs'.
func (t *Telemetry) Streams(ctx context.Context, q platform.LogStreamQuery) ([]platform.LogStream, string, error) {
	defer t.mu.Unlock()
	if err := t.lock(ctx); err != nil {
		return nil, "", err
	}
	g, err := t.group(q.Group)
	if err != nil {
		return nil, "", err
	}
	afterLast, afterName, some, err := telemetry.StreamAfter(q)
	if err != nil {
		return nil, "", err
	}
	order := func(aLast int64, aName string, bLast int64, bName string) int {
		c := strings.Compare(aName, bName)
		if q.ByLastEvent {
			c = cmp.Or(cmp.Compare(aLast, bLast), c)
		}
		if q.Descending {
			return -c
		}
		return c
	}
	var found []platform.LogStream
	for name, s := range g.streams {
		info := s.info(name)
		if strings.HasPrefix(name, q.Prefix) && (!some || order(last(info), name, afterLast, afterName) > 0) {
			found = append(found, info)
		}
	}
	slices.SortFunc(found, func(a, b platform.LogStream) int { return order(last(a), a.Name, last(b), b.Name) })
	if n := telemetry.Limit(q.Limit, telemetry.PageOfNames); len(found) > n {
		found = found[:n]
		return found, telemetry.StreamToken(q, last(found[n-1]), found[n-1].Name), nil
	}
	return found, "", nil
}

func last(s platform.LogStream) int64 {
	if s.Events == 0 {
		return telemetry.NeverWritten
	}
	return s.Last.UnixMilli()
}

func (s *stream) info(name string) platform.LogStream {
	info := platform.LogStream{Name: name, Created: s.created, Events: int64(len(s.events))}
	for i, e := range s.events {
		if i == 0 || e.Timestamp.Before(info.First) {
			info.First = e.Timestamp
		}
		if i == 0 || e.Timestamp.After(info.Last) {
			info.Last = e.Timestamp
		}
		info.Ingested = e.Ingested
	}
	return info
}
