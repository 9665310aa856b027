package cloudwatch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/cloudwatch"
)

// What a statistic set becomes has the statistics of what it was made of.
func TestSpreadKeepsTheStatistics(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		original := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 50).Draw(t, "values")
		n, sum, low, high := statisticsOf(original)
		values, err := valuesOf(&model.MetricDatum{StatisticValues: &model.StatisticSet{SampleCount: &n, Sum: &sum, Minimum: &low, Maximum: &high}}, "d", maxStored)
		if err != nil {
			t.Fatal(err)
		}
		n2, sum2, low2, high2 := statisticsOf(values)
		if n2 != n || low2 != low || high2 != high || math.Abs(sum2-sum) > 1e-6*n*max(1, math.Abs(low), math.Abs(high)) {
			t.Fatalf("%v → %v", original, values)
		}
	})
}

func statisticsOf(values []float64) (n, sum, low, high float64) {
	for _, v := range values {
		sum += v
	}
	return float64(len(values)), sum, slices.Min(values), slices.Max(values)
}

// Whatever numbers a client sends, few values come of them, or a refusal.
func FuzzStatisticSet(f *testing.F) {
	f.Add(5.0, 20.0, 1.0, 9.0)
	f.Add(1e300, 1e300, 1.0, 1.0)
	f.Add(math.NaN(), math.Inf(1), -1.0, 0.5)
	f.Fuzz(func(t *testing.T, n, sum, low, high float64) {
		values, err := valuesOf(&model.MetricDatum{StatisticValues: &model.StatisticSet{SampleCount: &n, Sum: &sum, Minimum: &low, Maximum: &high}}, "d", maxStored)
		switch {
		case err != nil && !platform.Is(err, platform.Invalid) && !platform.Is(err, platform.NotSupported):
			t.Error(err)
		case err == nil && (float64(len(values)) != n || slices.ContainsFunc(values, func(v float64) bool { return !(v >= low && v <= high) })):
			t.Errorf("%v %v %v %v → %d values", n, sum, low, high, len(values))
		}
	})
}

type stopped time.Time

func (s stopped) Now() time.Time                                 { return time.Time(s) }
func (s stopped) After(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }

// Pages of a list that grows give each series that was there from the start once.
func TestListMetricsInPages(t *testing.T) {
	t.Parallel()
	clock := stopped(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	s := &service{metrics: memory.New(clock)}
	ctx, call := context.Background(), &api.Call{Site: apitest.Site, Now: clock.Now()}
	put := func(name string) error {
		return s.metrics.PutData(ctx, "", 0, []platform.Datum{{Series: platform.Series{Namespace: "n", Name: name, Dimensions: map[string]string{"A": "1", "B": name}}, At: clock.Now(), Value: 1}})
	}
	var err error
	const there = 2*pageOfMetrics + 7
	for i := range there {
		err = errors.Join(err, put(fmt.Sprintf("m%05d", i)))
	}
	if err != nil {
		t.Fatal(err)
	}
	seen, pages := map[string]int{}, 0
	for in := (&model.ListMetricsInput{RecentlyActive: new(model.RecentlyActivePt3h)}); ; pages++ {
		out, err := s.listMetrics(ctx, call, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Metrics {
			seen[*m.MetricName]++
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
		if err := errors.Join(put(fmt.Sprintf("a%d", pages)), put(fmt.Sprintf("z%d", pages))); err != nil {
			t.Fatal(err)
		}
	}
	if pages != 2 || len(seen) != there+2 {
		t.Errorf("%d series in %d pages", len(seen), pages+1)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s comes %d times", name, n)
		}
	}
}
