package e2e

import "testing"

// TestBoto3 runs the boto3 suite. Its jobs are shell commands that hardly work, so they may all run at once.
func TestBoto3(t *testing.T) {
	t.Parallel()
	start(t, "--cpus", "64", "--memory", "512GiB").pytest(t, need(t, "STINT_VENV_SDK2"), "boto3")
}
