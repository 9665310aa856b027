package e2e

import "testing"

// TestSageMakerSDK2 runs the suite of the SageMaker Python SDK 2.x. Its jobs run beside each other whatever the machine has:
// the suite mostly waits for the SDK.
func TestSageMakerSDK2(t *testing.T) {
	t.Parallel()
	s := start(t, "--cpus", "32", "--memory", "48GiB")
	s.pytest(t, need(t, "STINT_VENV_SDK2"), "sdk2")
}
