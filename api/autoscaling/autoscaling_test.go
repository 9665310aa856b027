package autoscaling_test

import (
	"testing"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/autoscaling"
	"github.com/stint-ml/stint/api/cloudwatch"
	"github.com/stint-ml/stint/api/iam"
	"github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

func TestScenarios(t *testing.T) {
	t.Parallel()
	apitest.PlayAll(t, func(t *testing.T, _ string) *apitest.Door { return open(t) })
}

// open opens a door to a store with two endpoints: e has variants a and b with instances, s has a serverless one.
func open(t *testing.T) *apitest.Door {
	t.Helper()
	d := apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
		return []*api.Service{autoscaling.New(d.Store, d.Random), cloudwatch.New(telemetry.New(d.Clock), d.Store), iam.New(d.Store, d.Identities, d.Random)}
	})
	for name, variants := range map[string][]platform.Variant{
		"e": {{Name: "a", Desired: 1}, {Name: "b", Desired: 2}},
		"s": {{Name: "a", Serverless: &platform.Serverless{MaxConcurrency: 5, Provisioned: 1}}},
	} {
		e := &platform.Endpoint{Spec: sagemaker.CreateEndpointInput{EndpointName: &name}, Status: platform.EndpointStatus{
			State: platform.EndpointInService, Serving: &platform.Deployment{Variants: variants},
		}}
		rec, err := e.Record(platform.Record{}, d.Clock.Now())
		if err == nil {
			err = d.Store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return d
}
