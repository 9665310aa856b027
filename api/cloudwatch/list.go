package cloudwatch

import (
	"cmp"
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/cloudwatch"
)

const (
	pageOfMetrics  = 500
	recentlyActive = 3 * time.Hour
)

// listMetrics lists series in an order of their own, by the text of their keys; a page's token is its last key. So series
// that come up meanwhile neither repeat nor hide others.
func (s *service) listMetrics(ctx context.Context, call *api.Call, in *model.ListMetricsInput) (*model.ListMetricsOutput, error) {
	if shapes.Value(in.IncludeLinkedAccounts) || in.OwningAccount != nil && *in.OwningAccount != call.Site.Account {
		return nil, platform.Errorf(platform.NotSupported, "", "ListMetrics of linked accounts is not supported by this server")
	}
	last, err := base64.RawURLEncoding.Strict().DecodeString(shapes.Value(in.NextToken))
	if err != nil {
		return nil, refuse(invalidValue, "The value %s for parameter NextToken is invalid.", *in.NextToken)
	}
	found, err := s.search(ctx, in)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b platform.Series) int { return cmp.Compare(keyOf(a), keyOf(b)) })
	out := &model.ListMetricsOutput{Metrics: []model.Metric{}}
	previous := string(last)
	for _, series := range found {
		if keyOf(series) <= previous {
			continue
		}
		if in.RecentlyActive != nil {
			active, err := s.active(ctx, series, call.Now)
			if err != nil {
				return nil, err
			}
			if !active {
				continue
			}
		}
		if len(out.Metrics) == pageOfMetrics {
			out.NextToken = new(base64.RawURLEncoding.EncodeToString([]byte(previous)))
			break
		}
		out.Metrics, previous = append(out.Metrics, show(series)), keyOf(series)
	}
	return out, nil
}

// search finds the series that a request asks for. A filter without a value takes every value.
func (s *service) search(ctx context.Context, in *model.ListMetricsInput) ([]platform.Series, error) {
	wanted := platform.Series{Namespace: shapes.Value(in.Namespace), Name: shapes.Value(in.MetricName), Dimensions: map[string]string{}}
	var named []string
	for _, d := range in.Dimensions {
		if d.Value == nil {
			named = append(named, *d.Name)
			continue
		}
		if other, twice := wanted.Dimensions[*d.Name]; twice && other != *d.Value {
			return nil, nil // no series has both
		}
		wanted.Dimensions[*d.Name] = *d.Value
	}
	found, err := s.metrics.Find(ctx, wanted)
	return slices.DeleteFunc(found, func(f platform.Series) bool {
		return slices.ContainsFunc(named, func(name string) bool { _, there := f.Dimensions[name]; return !there })
	}), err
}

// active reports whether a series has values of the last three hours.
func (s *service) active(ctx context.Context, series platform.Series, now time.Time) (bool, error) {
	from, to := now.Add(-recentlyActive), now.Add(maxAhead)
	found, err := s.metrics.Aggregate(ctx, series, from, to, to.Sub(from))
	return len(found) > 0, err
}

func keyOf(s platform.Series) string {
	parts := []string{s.Namespace, s.Name}
	for _, name := range slices.Sorted(maps.Keys(s.Dimensions)) {
		parts = append(parts, name, s.Dimensions[name])
	}
	return strings.Join(parts, "\x00")
}

func show(s platform.Series) model.Metric {
	m := model.Metric{Namespace: &s.Namespace, MetricName: &s.Name, Dimensions: []model.Dimension{}}
	for name, value := range s.Dimensions {
		m.Dimensions = append(m.Dimensions, model.Dimension{Name: &name, Value: &value})
	}
	slices.SortFunc(m.Dimensions, func(a, b model.Dimension) int { return cmp.Compare(*a.Name, *b.Name) })
	return m
}
