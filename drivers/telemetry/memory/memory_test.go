package memory_test

import (
	"testing"

	"github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/drivers/telemetry/telemetrytest"
	"github.com/stint-ml/stint/platform"
)

func TestTelemetry(t *testing.T) {
	t.Parallel()
	telemetrytest.Run(t, func(*testing.T) telemetrytest.Telemetry { return memory.New(platform.SystemClock{}) })
}
