package cloudwatch

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/cloudwatch"
)

const maxDatapoints = 1440

func (s *service) getMetricStatistics(ctx context.Context, _ *api.Call, in *model.GetMetricStatisticsInput) (*model.GetMetricStatisticsOutput, error) {
	if err := checkStatistics(in); err != nil {
		return nil, err
	}
	dimensions, err := dimensionsOf(in.Dimensions, "Dimensions")
	if err != nil {
		return nil, err
	}
	out := &model.GetMetricStatisticsOutput{Label: in.MetricName, Datapoints: []model.Datapoint{}}
	period := int64(*in.Period)
	start, end := rounded(in.StartTime.Time, period), rounded(in.EndTime.Time, period)
	if start >= end { // within one minute
		return out, nil
	}
	if n := (end - start + period - 1) / period; n > maxDatapoints {
		return nil, refuse(invalidCombination, "You have requested up to %s datapoints, which exceeds the limit of %s. You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
			thousands(n), thousands(maxDatapoints))
	}
	series := platform.Series{Namespace: *in.Namespace, Name: *in.MetricName, Dimensions: dimensions}
	found, err := s.metrics.Aggregate(ctx, series, time.Unix(start, 0).UTC(), time.Unix(end, 0).UTC(), time.Duration(period)*time.Second)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		unit := model.StandardUnit(cmp.Or(f.Unit, string(model.StandardUnitNone)))
		if in.Unit == nil || *in.Unit == unit {
			out.Datapoints = append(out.Datapoints, datapoint(f, unit, in.Statistics))
		}
	}
	return out, nil
}

// checkStatistics refuses requests as CloudWatch does.
func checkStatistics(in *model.GetMetricStatisticsInput) error {
	switch {
	case len(in.ExtendedStatistics) > 0:
		return platform.Errorf(platform.NotSupported, *in.MetricName, "GetMetricStatistics with ExtendedStatistics is not supported by this server")
	case len(in.Statistics) == 0:
		return refuse(invalidCombination, "Must specify either Statistics or ExtendedStatistics")
	case *in.Period%60 != 0 && !slices.Contains([]int32{1, 5, 10, 20, 30}, *in.Period):
		return refuse(invalidValue, "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.")
	case !in.StartTime.Before(in.EndTime.Time):
		return refuse(invalidValue, "The parameter StartTime must be less than the parameter EndTime.")
	default:
		return nil
	}
}

// rounded cuts a time down to the whole minute, or to the period when that is shorter, as CloudWatch rounds both ends of a
// range of the last 15 days. It gives seconds since 1970, in which no range that a client can name overflows.
func rounded(t time.Time, period int64) int64 {
	step := min(period, 60)
	seconds := t.Unix()
	return seconds - (seconds%step+step)%step
}

// thousands writes 1440 as 1,440.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

func datapoint(s platform.Statistics, unit model.StandardUnit, wanted []model.Statistic) model.Datapoint {
	d := model.Datapoint{Timestamp: shapes.NewTimestamp(s.Start), Unit: &unit}
	for _, w := range wanted {
		switch w {
		case model.StatisticSampleCount:
			d.SampleCount = &s.Count
		case model.StatisticAverage:
			d.Average = new(s.Sum / s.Count)
		case model.StatisticSum:
			d.Sum = &s.Sum
		case model.StatisticMinimum:
			d.Minimum = &s.Minimum
		case model.StatisticMaximum:
			d.Maximum = &s.Maximum
		}
	}
	return d
}
