package telemetry

import (
	"cmp"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
)

// CheckData refuses what CloudWatch refuses: a datum without a name, and values that are not finite numbers.
func CheckData(data []platform.Datum) error {
	for _, d := range data {
		if d.Namespace == "" || d.Name == "" {
			return platform.Errorf(platform.Invalid, d.Name, "a metric needs a namespace and a name")
		}
		s := d.Statistics()
		for _, v := range []float64{s.Sum, s.Count, s.Minimum, s.Maximum} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return platform.Errorf(platform.Invalid, d.Name, "the value %v of metric %s is not a finite number", v, d.Name)
			}
		}
		if s.Count < 0 || s.Minimum > s.Maximum {
			return platform.Errorf(platform.Invalid, d.Name, "%v values between %v and %v of metric %s cannot be", s.Count, s.Minimum, s.Maximum, d.Name)
		}
	}
	return nil
}

// CheckPeriod gives a period in milliseconds.
func CheckPeriod(period time.Duration) (milli int64, err error) {
	if period < time.Millisecond {
		return 0, platform.Errorf(platform.Invalid, "", "a period of %v is shorter than a millisecond", period)
	}
	return period.Milliseconds(), nil
}

// DimensionText is the same for the same set of dimensions.
func DimensionText(dimensions map[string]string) string {
	if len(dimensions) == 0 {
		return "{}"
	}
	text, _ := json.Marshal(dimensions) // keys come sorted, and strings cannot fail
	return string(text)
}

// InSearch reports whether a series is one that Find is to give.
func InSearch(search, s platform.Series) bool {
	if search.Namespace != "" && search.Namespace != s.Namespace || search.Name != "" && search.Name != s.Name {
		return false
	}
	for k, v := range search.Dimensions {
		if have, ok := s.Dimensions[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// CompareSeries is the order in which Find gives series.
func CompareSeries(a, b platform.Series) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name),
		strings.Compare(DimensionText(a.Dimensions), DimensionText(b.Dimensions)))
}
