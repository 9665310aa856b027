package e2e

import "testing"

// TestSageMakerSDK3 runs the suite of the SageMaker Python SDK 3.x. Its jobs run beside each other whatever the machine has.
func TestSageMakerSDK3(t *testing.T) {
	t.Parallel()
	s := start(t, "--cpus", "32", "--memory", "256GiB")
	s.pytest(t, need(t, "STINT_VENV_SDK3"), "sdk3")
}
