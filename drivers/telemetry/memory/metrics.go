package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

type point struct {
	milli int64
	platform.Statistics
}

func text(s platform.Series) string {
	return s.Namespace + "\x00" + s.Name + "\x00" + telemetry.DimensionText(s.Dimensions)
}

// PutData is platform.Metrics'.
func (t *Telemetry) PutData(ctx context.Context, producer string, seq int64, data []platform.Datum) error {
	defer t.mu.Unlock()
	if err := cmp.Or(t.lock(ctx), telemetry.CheckData(data)); err != nil {
		return err
	}
	if producer != "" {
		if last, some := t.delivered[producer]; some && seq <= last {
			return nil
		}
		t.delivered[producer] = seq
	}
	for _, d := range data {
		key := text(d.Series)
		if _, known := t.series[key]; !known {
			d.Dimensions = maps.Clone(d.Dimensions)
			t.series[key] = d.Series
		}
		t.points[key] = append(t.points[key], point{d.At.UnixMilli(), d.Statistics()})
	}
	return nil
}

// Aggregate is platform.Metrics'.
func (t *Telemetry) Aggregate(ctx context.Context, s platform.Series, start, end time.Time, period time.Duration) ([]platform.Statistics, error) {
	defer t.mu.Unlock()
	if err := t.lock(ctx); err != nil {
		return nil, err
	}
	width, err := telemetry.CheckPeriod(period)
	if err != nil {
		return nil, err
	}
	from, until := start.UnixMilli(), end.UnixMilli()
	periods := map[int64]*platform.Statistics{}
	for _, p := range t.points[text(s)] {
		if p.milli < from || p.milli >= until {
			continue
		}
		n := (p.milli - from) / width
		a := periods[n]
		if a == nil {
			a = &platform.Statistics{Start: telemetry.Time(from + n*width), Minimum: p.Minimum, Maximum: p.Maximum, Unit: p.Unit}
			periods[n] = a
		}
		a.Count += p.Count
		a.Sum += p.Sum
		a.Minimum, a.Maximum, a.Unit = min(a.Minimum, p.Minimum), max(a.Maximum, p.Maximum), min(a.Unit, p.Unit)
	}
	var found []platform.Statistics
	for _, n := range slices.Sorted(maps.Keys(periods)) {
		found = append(found, *periods[n])
	}
	return found, nil
}

// Find is platform.Metrics'.
func (t *Telemetry) Find(ctx context.Context, search platform.Series) ([]platform.Series, error) {
	defer t.mu.Unlock()
	if err := t.lock(ctx); err != nil {
		return nil, err
	}
	var found []platform.Series
	for _, s := range t.series {
		if telemetry.InSearch(search, s) {
			s.Dimensions = maps.Clone(s.Dimensions)
			found = append(found, s)
		}
	}
	slices.SortFunc(found, telemetry.CompareSeries)
	return found, nil
}

// forget deletes what is older than the cutoff, and the series of which nothing is left; the caller holds the lock.
func (t *Telemetry) forget(cutoff int64) {
	for key, points := range t.points {
		t.points[key] = slices.DeleteFunc(points, func(p point) bool { return p.milli < cutoff })
		if len(t.points[key]) == 0 {
			delete(t.points, key)
			delete(t.series, key)
		}
	}
}
