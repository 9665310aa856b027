package cloudwatch_test

import (
	"testing"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/cloudwatch"
	"github.com/stint-ml/stint/api/iam"
	"github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
)

func TestScenarios(t *testing.T) {
	t.Parallel()
	apitest.PlayAll(t, func(t *testing.T, _ string) *apitest.Door { return open(t) })
}

func open(t *testing.T) *apitest.Door {
	t.Helper()
	return apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
		return []*api.Service{cloudwatch.New(telemetry.New(d.Clock), d.Store), iam.New(d.Store, d.Identities, d.Random)}
	})
}
