// Package cloudwatch serves the metrics of Amazon CloudWatch, which signs as "monitoring": putting values, listing series
// and the statistics of one series; and alarms on them, as wishes in the store.
//
// Here AWS's calls, words and limits become calls of platform.Metrics and records of alarms, whose states are kept elsewhere.
// Values stay as they were put, so that a short period can be asked for at any age; AWS keeps one-minute values for 15 days.
package cloudwatch

import (
	"maps"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/cloudwatch"
)

type service struct {
	metrics platform.Metrics
	store   platform.Store
}

// New makes the service. Alarms are in the store.
func New(metrics platform.Metrics, store platform.Store) *api.Service {
	s := &service{metrics, store}
	made := &api.Service{
		Model: &model.Service,
		Words: api.IAMWords, // of all that grew up with the Query protocol
		// CloudWatch's permissions are never on one metric.
		Operations: map[string]api.Operation{
			"GetMetricStatistics": {Action: "cloudwatch:GetMetricStatistics", Handle: api.Handle(s.getMetricStatistics)},
			"ListMetrics":         {Action: "cloudwatch:ListMetrics", Handle: api.Handle(s.listMetrics)},
			"PutMetricData":       {Handle: api.HandleVoid(s.putMetricData)}, // asks for its permission itself
		},
	}
	maps.Copy(made.Operations, s.alarms())
	return made
}

// The codes of CloudWatch's errors.
const (
	invalidValue       = "InvalidParameterValue"
	invalidCombination = "InvalidParameterCombination"
	missingParameter   = "MissingParameter"
)

func refuse(code, format string, args ...any) error {
	return api.WithCode(code, platform.Errorf(platform.Invalid, "", format, args...))
}

// dimensionsOf makes a set of dimensions; where names them for an error.
func dimensionsOf(dimensions []model.Dimension, where string) (map[string]string, error) {
	set := make(map[string]string, len(dimensions))
	for _, d := range dimensions {
		if _, twice := set[*d.Name]; twice {
			return nil, refuse(invalidValue, "The collection %s must not contain the dimension %s more than once.", where, *d.Name)
		}
		set[*d.Name] = *d.Value
	}
	return set, nil
}
