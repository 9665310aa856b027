package logs_test

import (
	"testing"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/iam"
	"github.com/stint-ml/stint/api/logs"
	"github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
)

// open opens a door to logs that are kept in memory.
func open(t *testing.T) *apitest.Door {
	t.Helper()
	return apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
		return []*api.Service{logs.New(telemetry.New(d.Clock)), iam.New(d.Store, d.Identities, d.Random)}
	})
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	apitest.PlayAll(t, func(t *testing.T, _ string) *apitest.Door { return open(t) })
}

// now brings a door's clock to the time at which real clients sign.
func now(d *apitest.Door) time.Time {
	d.Clock.Advance(time.Since(d.Clock.Now()))
	return d.Clock.Now()
}
