package logs_test

import (
	"path/filepath"
	"strings"
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
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			d := open(t)
			apitest.Play(t, d, file)
			if log := d.Log.String(); log != "" {
				t.Errorf("something was logged: %s", log)
			}
		})
	}
}

// now brings a door's clock to the time at which real clients sign.
func now(d *apitest.Door) time.Time {
	d.Clock.Advance(time.Since(d.Clock.Now()))
	return d.Clock.Now()
}
