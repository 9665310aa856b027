package telemetrytest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

func series(name string) platform.Series {
	return platform.Series{Namespace: "/aws/sagemaker/TrainingJobs", Name: name, Dimensions: map[string]string{"TrainingJobName": "job", "Host": "algo-1"}}
}

func datum(name string, milli int, value float64) platform.Datum {
	return platform.Datum{Series: series(name), At: at(milli), Value: value, Unit: "None"}
}

func aggregate(t *testing.T, s Telemetry, x platform.Series, start, end int, period time.Duration) (got []string) {
	t.Helper()
	periods, err := s.Aggregate(ctx, x, at(start), at(end), period)
	noError(t, err)
	for _, p := range periods {
		got = append(got, fmt.Sprintf("%d: n=%v sum=%v min=%v max=%v %s", p.Start.Sub(at(0).Truncate(time.Millisecond)).Milliseconds(), p.Count, p.Sum, p.Minimum, p.Maximum, p.Unit))
	}
	return got
}

func testAggregate(t *testing.T, s Telemetry) {
	noError(t, s.PutData(ctx, "p", 1, []platform.Datum{
		datum("loss", 1000, 5), datum("loss", 0, 1), datum("loss", 500, -2), datum("loss", 999, 4), datum("loss", 999, 4),
		datum("loss", 3500, 0.25), datum("other", 0, 100),
	}))
	twin := datum("loss", 0, 1000)
	twin.Dimensions = map[string]string{"Host": "algo-2", "TrainingJobName": "job"}
	part := datum("loss", 0, 2000)
	part.Dimensions = map[string]string{"Host": "algo-1"}
	bare := datum("loss", 0, 3000)
	bare.Dimensions = nil
	noError(t, s.PutData(ctx, "p", 2, []platform.Datum{twin, part, bare}))
	for _, c := range []struct {
		start, end int
		period     time.Duration
		want       []string
	}{
		{0, 4000, time.Second, []string{"0: n=4 sum=7 min=-2 max=4 None", "1000: n=1 sum=5 min=5 max=5 None", "3000: n=1 sum=0.25 min=0.25 max=0.25 None"}},
		{0, 3500, time.Minute, []string{"0: n=5 sum=12 min=-2 max=5 None"}}, // the end is exclusive
		{500, 2000, time.Second, []string{"500: n=4 sum=11 min=-2 max=5 None"}},
		{501, 1001, 250 * time.Millisecond, []string{"751: n=3 sum=13 min=4 max=5 None"}},
		{4000, 9000, time.Second, nil},
		{1000, 1000, time.Second, nil},
	} {
		if got := aggregate(t, s, series("loss"), c.start, c.end, c.period); !slices.Equal(got, c.want) {
			t.Errorf("[%d, %d) by %v: %q, want %q", c.start, c.end, c.period, got, c.want)
		}
	}
	if got := aggregate(t, s, bare.Series, 0, 1, time.Second); !slices.Equal(got, []string{"0: n=1 sum=3000 min=3000 max=3000 None"}) {
		t.Errorf("without dimensions: %q", got)
	}
	if got := aggregate(t, s, platform.Series{Namespace: "none", Name: "loss"}, 0, 9000, time.Second); got != nil {
		t.Errorf("an unknown series has %q", got)
	}
	_, err := s.Aggregate(ctx, series("loss"), at(0), at(1), 0)
	isKind(t, err, platform.Invalid)
}

// Values that come together count as if each had come by itself.
func testAggregateSets(t *testing.T, s Telemetry) {
	set := func(milli int, count, sum, low, high float64) platform.Datum {
		d := datum("loss", milli, sum)
		d.Count, d.Minimum, d.Maximum = count, low, high
		return d
	}
	noError(t, s.PutData(ctx, "", 0, []platform.Datum{set(0, 1000, 2500.5, -3, 40), datum("loss", 10, 7), set(10, 2, 9, 2, 7), set(1000, 1, 5, 5, 5), datum("zero", 0, 0)}))
	want := []string{"0: n=1003 sum=2516.5 min=-3 max=40 None", "1000: n=1 sum=5 min=5 max=5 None"}
	if got := aggregate(t, s, series("loss"), 0, 2000, time.Second); !slices.Equal(got, want) {
		t.Errorf("the series is %q, want %q", got, want)
	}
	for _, bad := range []platform.Datum{set(0, -1, 1, 1, 1), set(0, 2, 3, 2, 1), set(0, 2, 3, math.NaN(), 2), set(0, 2, 3, 1, math.Inf(1)), set(0, math.NaN(), 3, 1, 2)} {
		isKind(t, s.PutData(ctx, "", 0, []platform.Datum{bad}), platform.Invalid)
	}
}

func testMetricsOnce(t *testing.T, s Telemetry) {
	put := func(producer string, seq int64, value float64) {
		t.Helper()
		noError(t, s.PutData(ctx, producer, seq, []platform.Datum{datum("loss", 0, value)}))
	}
	put("p", 2, 1)
	put("p", 2, 10)
	put("p", 1, 100)
	put("q", 1, 1000)
	put("", 1, 10000)
	put("", 1, 10000)
	put("p", 3, 100000)
	if got := aggregate(t, s, series("loss"), 0, 1, time.Second); !slices.Equal(got, []string{"0: n=5 sum=121001 min=1 max=100000 None"}) {
		t.Errorf("the series is %q", got)
	}
}

func testMetricsRefused(t *testing.T, s Telemetry) {
	nameless := datum("", 0, 1)
	for _, bad := range []platform.Datum{datum("loss", 1, math.NaN()), datum("loss", 1, math.Inf(1)), datum("loss", 1, math.Inf(-1)), nameless} {
		isKind(t, s.PutData(ctx, "p", 1, []platform.Datum{datum("loss", 0, 1), bad}), platform.Invalid)
	}
	if got := aggregate(t, s, series("loss"), 0, 10, time.Second); got != nil {
		t.Errorf("a refused batch left %q", got)
	}
	noError(t, s.PutData(ctx, "p", 1, []platform.Datum{datum("loss", 0, math.MaxFloat64)})) // and does not count as delivered
	if got := aggregate(t, s, series("loss"), 0, 10, time.Second); len(got) != 1 {
		t.Errorf("the series is %q", got)
	}
}

func testFind(t *testing.T, s Telemetry) {
	add := func(namespace, name string, dimensions map[string]string) {
		t.Helper()
		noError(t, s.PutData(ctx, "", 0, []platform.Datum{{Series: platform.Series{Namespace: namespace, Name: name, Dimensions: dimensions}, At: at(0), Value: 1}}))
	}
	add("a", "loss", map[string]string{"job": "1", "host": "x"})
	add("a", "loss", map[string]string{"host": "x", "job": "1"}) // the same
	add("a", "loss", map[string]string{"job": "2", "host": "x"})
	add("a", "time", map[string]string{"job": "1"})
	add("b", "loss", nil)
	for _, c := range []struct {
		search platform.Series
		want   []string
	}{
		{platform.Series{}, []string{"a loss map[host:x job:1]", "a loss map[host:x job:2]", "a time map[job:1]", "b loss map[]"}},
		{platform.Series{Namespace: "a"}, []string{"a loss map[host:x job:1]", "a loss map[host:x job:2]", "a time map[job:1]"}},
		{platform.Series{Name: "loss"}, []string{"a loss map[host:x job:1]", "a loss map[host:x job:2]", "b loss map[]"}},
		{platform.Series{Dimensions: map[string]string{"job": "1"}}, []string{"a loss map[host:x job:1]", "a time map[job:1]"}},
		{platform.Series{Namespace: "a", Dimensions: map[string]string{"job": "1", "host": "x"}}, []string{"a loss map[host:x job:1]"}},
		{platform.Series{Dimensions: map[string]string{"host": ""}}, nil},
		{platform.Series{Namespace: "c"}, nil},
	} {
		found, err := s.Find(ctx, c.search)
		noError(t, err)
		var got []string
		for _, x := range found {
			got = append(got, fmt.Sprintf("%s %s %v", x.Namespace, x.Name, x.Dimensions))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v finds %q, want %q", c.search, got, c.want)
		}
	}
}

// testSweepMetrics: values are kept for so long and no longer, however many there are; a series without any is not found.
func testSweepMetrics(t *testing.T, s Telemetry) {
	now := at(0)
	kept := platform.MetricDays * 24 * int(time.Hour/time.Millisecond)
	var old []platform.Datum
	for i := range 2500 {
		old = append(old, datum("both", -kept-1-i, 1), datum("old", -kept-1-i, 1))
	}
	noError(t, s.PutData(ctx, "p", 1, append(old, datum("both", -kept, 2), datum("both", -1, 3))))
	noError(t, s.Sweep(ctx, now))
	noError(t, s.Sweep(ctx, now))
	if got := aggregate(t, s, series("both"), -2*kept, 1, 3*time.Duration(kept)*time.Millisecond); len(got) != 1 || !strings.Contains(got[0], "n=2 sum=5") {
		t.Errorf("kept: %q", got)
	}
	found, err := s.Find(ctx, platform.Series{})
	noError(t, err)
	if len(found) != 1 || found[0].Name != "both" {
		t.Errorf("found: %+v", found)
	}
	noError(t, s.PutData(ctx, "p", 2, []platform.Datum{datum("old", 0, 7)}))
	if got := aggregate(t, s, series("old"), -kept, 1, time.Minute); len(got) != 1 {
		t.Errorf("a series that is back: %q", got)
	}
}
