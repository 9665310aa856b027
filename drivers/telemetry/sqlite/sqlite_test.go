package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stint-ml/stint/drivers/telemetry/sqlite"
	"github.com/stint-ml/stint/drivers/telemetry/telemetrytest"
	"github.com/stint-ml/stint/platform"
)

func open(tb testing.TB, dir string) *sqlite.Telemetry {
	tb.Helper()
	s, err := sqlite.Open(tb.Context(), filepath.Join(dir, "telemetry.db"), platform.SystemClock{})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestTelemetry(t *testing.T) {
	t.Parallel()
	telemetrytest.RunDurable(t, func(t *testing.T, dir string) telemetrytest.Telemetry { return open(t, dir) })
}
