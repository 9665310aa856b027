package cloudwatch

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/cloudwatch"
)

// Limits of PutMetricData, from its page in the API reference.
const (
	maxData   = 1000
	maxValues = 150
	maxAge    = 14 * 24 * time.Hour
	maxAhead  = 2 * time.Hour
)

// maxStored bounds the values that one request becomes: each is stored by itself, while Counts can say a billion.
const maxStored = 10_000

// maxMagnitude is the largest value that CloudWatch takes.
var maxMagnitude = math.Ldexp(1, 360)

func (s *service) putMetricData(ctx context.Context, call *api.Call, in *model.PutMetricDataInput) error {
	namespace := *in.Namespace
	if err := call.Authorize(ctx, "cloudwatch:PutMetricData", "*", map[string][]string{"cloudwatch:namespace": {namespace}}); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(namespace, "AWS/"):
		return refuse(invalidValue, "The value AWS/ for parameter Namespace is invalid.")
	case len(in.EntityMetricData) > 0:
		return platform.Errorf(platform.NotSupported, namespace, "PutMetricData with EntityMetricData is not supported by this server")
	case len(in.MetricData) == 0:
		return refuse(missingParameter, "The parameter MetricData is required.")
	case len(in.MetricData) > maxData:
		return refuse(invalidValue, "The collection MetricData must not have a size greater than %d.", maxData)
	}
	var data []platform.Datum
	for i := range in.MetricData {
		datum, where := &in.MetricData[i], fmt.Sprintf("MetricData.member.%d", i+1)
		template, err := templateOf(namespace, datum, where, call.Now)
		if err != nil {
			return err
		}
		values, err := valuesOf(datum, where, maxStored-len(data))
		if err != nil {
			return err
		}
		for _, v := range values {
			template.Value = v
			data = append(data, template)
		}
	}
	return s.metrics.PutData(ctx, "", 0, data)
}

// templateOf makes all of a datum but its value.
func templateOf(namespace string, d *model.MetricDatum, where string, now time.Time) (platform.Datum, error) {
	dimensions, err := dimensionsOf(d.Dimensions, where+".Dimensions")
	if err != nil {
		return platform.Datum{}, err
	}
	at := now
	if d.Timestamp != nil {
		at = d.Timestamp.Time
	}
	switch {
	case at.Before(now.Add(-maxAge)):
		return platform.Datum{}, refuse(invalidValue, "The parameter %s.Timestamp must specify a time no more than two weeks in the past.", where)
	case at.After(now.Add(maxAhead)):
		return platform.Datum{}, refuse(invalidValue, "The parameter %s.Timestamp must specify a time no more than two hours in the future.", where)
	case d.StorageResolution != nil && *d.StorageResolution != 1 && *d.StorageResolution != 60:
		return platform.Datum{}, refuse(invalidValue, "The parameter %s.StorageResolution must be a value in the set [ 1, 60 ].", where)
	}
	return platform.Datum{
		Series: platform.Series{Namespace: namespace, Name: *d.MetricName, Dimensions: dimensions},
		At:     at, Unit: string(cmp.Or(shapes.Value(d.Unit), model.StandardUnitNone)),
	}, nil
}

// valuesOf gives the values of a datum, at most room, in any of the three ways to say them.
func valuesOf(d *model.MetricDatum, where string, room int) ([]float64, error) {
	if err := checkForm(d, where); err != nil {
		return nil, err
	}
	var values, counts []float64
	var err error
	switch {
	case d.Value != nil:
		values = []float64{*d.Value}
	case d.StatisticValues != nil:
		values, counts, err = spread(d.StatisticValues, where+".StatisticValues")
	default:
		values, counts = d.Values, d.Counts
	}
	if err != nil {
		return nil, err
	}
	return repeated(values, counts, where, room)
}

// repeated gives each value as often as its count says, or once without counts.
func repeated(values, counts []float64, where string, room int) ([]float64, error) {
	var all []float64
	for i, v := range values {
		if math.IsNaN(v) || math.Abs(v) > maxMagnitude {
			return nil, refuse(invalidValue, "The value %v for parameter %s.Value is invalid.", v, where)
		}
		count := 1.0
		if counts != nil {
			count = counts[i]
		}
		switch {
		case math.IsNaN(count) || count < 0:
			return nil, refuse(invalidValue, "The value %v for parameter %s.Counts.member.%d is invalid.", count, where, i+1)
		case count != math.Trunc(count):
			return nil, platform.Errorf(platform.NotSupported, where, "PutMetricData with counts that are not whole numbers is not supported by this server")
		case count > float64(room-len(all)):
			return nil, platform.Errorf(platform.NotSupported, where, "PutMetricData of more than %d values in one request is not supported by this server", maxStored)
		}
		all = append(all, slices.Repeat([]float64{v}, int(count))...)
	}
	return all, nil
}

// checkForm wants exactly one of Value, StatisticValues and Values.
func checkForm(d *model.MetricDatum, where string) error {
	var given []string
	for _, form := range []struct {
		name  string
		given bool
	}{{"Value", d.Value != nil}, {"StatisticValues", d.StatisticValues != nil}, {"Values", len(d.Values) > 0}} {
		if form.given {
			given = append(given, where+"."+form.name)
		}
	}
	switch {
	case len(given) > 1:
		return refuse(invalidCombination, "The parameters %s and %s are mutually exclusive and you have specified both.", given[0], given[1])
	case len(given) == 0:
		return refuse(missingParameter, "At least one of the parameters %[1]s.Value, %[1]s.Values and %[1]s.StatisticValues must be specified.", where)
	case len(d.Values) > maxValues:
		return refuse(invalidValue, "The collection %s.Values must not have a size greater than %d.", where, maxValues)
	case d.Counts != nil && len(d.Counts) != len(d.Values):
		return refuse(invalidValue, "The parameters %[1]s.Values and %[1]s.Counts must be of the same size.", where)
	default:
		return nil
	}
}

// spread gives values that have the statistics of a set: its minimum, its maximum, and between them the mean of the rest.
// They carry one timestamp and so stay together in every period.
func spread(s *model.StatisticSet, where string) (values, counts []float64, err error) {
	n, sum, low, high := *s.SampleCount, *s.Sum, *s.Minimum, *s.Maximum
	slack := 1e-9 * n * max(math.Abs(low), math.Abs(high)) // for the rounding of whoever added up
	// One value is the minimum, one the maximum, and the others lie between; the form of the condition refuses NaN as well.
	if !(n >= 1 && low <= high && sum >= (n-1)*low+high-slack && sum <= low+(n-1)*high+slack) {
		return nil, nil, refuse(invalidCombination, "The parameters %s do not belong together: SampleCount %v, Sum %v, Minimum %v, Maximum %v.", where, n, sum, low, high)
	}
	switch {
	case low == high || n < 2:
		return []float64{low}, []float64{n}, nil
	case n == 2:
		return []float64{low, high}, []float64{1, 1}, nil
	}
	middle := min(max((sum-low-high)/(n-2), low), high)
	return []float64{low, middle, high}, []float64{1, n - 2, 1}, nil
}
