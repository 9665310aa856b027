package cloudwatch_test

import (
	"path/filepath"
	"strings"
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

func open(t *testing.T) *apitest.Door {
	t.Helper()
	return apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
		return []*api.Service{cloudwatch.New(telemetry.New(d.Clock), d.Store), iam.New(d.Store, d.Identities, d.Random)}
	})
}
