package e2e

import "testing"

// TestSageMakerSDK2 runs the suite of the SageMaker Python SDK 2.x. Its jobs run beside each other whatever the machine has:
// the suite mostly waits for the SDK. The memory holds the largest of them whole beside the one that runs until it is told to stop:
// a job that waits for all of it would never begin.
func TestSageMakerSDK2(t *testing.T) {
	t.Parallel()
	s := start(t, "--cpus", "32", "--memory", "256GiB")
	s.pytest(t, need(t, "STINT_VENV_SDK2"), "sdk2")
}
