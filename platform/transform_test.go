package platform

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The drawing in the docs is the table in the code.
func TestTransformStatesAreDrawn(t *testing.T) {
	t.Parallel()
	drawn(t, "../docs/states/transform-job.md", TransformTransitions,
		"# States of a batch transform job\n\nTransformJobStatus and its legal moves, drawn from `platform.TransformTransitions` by `go test ./platform -update`.", JobInProgress,
		"A job that waits for room is `InProgress`. One that is to stop and is done before it heard of that is `Completed`.")
}

// Any walk along the table enters what is legal and refuses, unchanged, what is not; only final states have an end.
func TestTransformJobsMoveByTheTable(t *testing.T) {
	t.Parallel()
	states := []JobState{JobInProgress, JobStopping, JobCompleted, JobFailed, JobStopped}
	rapid.Check(t, func(t *rapid.T) {
		st := TransformStatus{State: JobInProgress}
		for i, to := range rapid.SliceOfN(rapid.SampledFrom(states), 1, 10).Draw(t, "walk") {
			was := st.State
			legal := to == was || slices.Contains(TransformTransitions[was], to)
			if err := st.Enter(to, time.Unix(int64(i+1), 0)); (err == nil) != legal {
				t.Fatalf("%s → %s: %v", was, to, err)
			}
			if legal != (st.State == to) || st.State.Ended() == st.Ended.IsZero() {
				t.Fatalf("%s → %s leaves %s, ended %v", was, to, st.State, st.Ended)
			}
		}
	})
}

func TestProgressKnowsWhatIsDoneWith(t *testing.T) {
	t.Parallel()
	p := TransformProgress{Through: "s3://b/3", Beyond: []URI{"s3://b/5", "s3://b/8"}}
	for n := range 10 {
		want := n <= 3 || n == 5 || n == 8
		if got := p.Done(URI(fmt.Sprintf("s3://b/%d", n))); got != want {
			t.Errorf("%d is done with: %v", n, got)
		}
	}
}
