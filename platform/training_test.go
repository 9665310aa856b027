package platform

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the drawings in docs/states")

// The drawing in the docs is the table in the code.
func TestTrainingStatesAreDrawn(t *testing.T) {
	t.Parallel()
	drawn(t, "../docs/states/training-job.md", TrainingTransitions,
		"# States of a training job\n\nSecondaryStatus and its legal moves, drawn from `platform.TrainingTransitions` by `go test ./platform -update`.", JobStarting,
		"TrainingJobStatus follows: `Completed`, `Failed`; `Stopped` for Stopped, MaxRuntimeExceeded and MaxWaitTimeExceeded; `Stopping` for\nStopping and the upload after it; else `InProgress`.")
}

// drawn compares a drawing with its table, or draws it anew.
func drawn[S ~string](t *testing.T, path string, table map[S][]S, head string, first S, tail string) {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n```mermaid\nstateDiagram-v2\n    [*] --> %s\n", head, first)
	for _, from := range slices.Sorted(maps.Keys(table)) {
		for _, to := range table[from] {
			fmt.Fprintf(&b, "    %s --> %s\n", from, to)
		}
		if len(table[from]) == 0 {
			fmt.Fprintf(&b, "    %s --> [*]\n", from)
		}
	}
	fmt.Fprintf(&b, "```\n\n%s\n", tail)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil { // documentation
			t.Fatal(err)
		}
	}
	shown, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shown, b.Bytes()) {
		t.Errorf("%s does not show the table; run go test ./platform -update", path)
	}
}

// Any walk along the table gives a history without gaps in which time never runs back, and ends exactly in the final phases.
func TestHistoryHasNoGaps(t *testing.T) {
	t.Parallel()
	all := slices.Sorted(maps.Keys(TrainingTransitions))
	rapid.Check(t, func(t *rapid.T) {
		var st TrainingStatus
		at := time.Unix(1e9, 0).UTC()
		if err := st.Enter(JobStarting, at, ""); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 12).Draw(t, "moves") {
			p := rapid.SampledFrom(all).Draw(t, "to")
			at = at.Add(time.Duration(rapid.IntRange(-60, 600).Draw(t, "seconds")) * time.Second)
			was := st.Phase
			legal := was == p || slices.Contains(TrainingTransitions[was], p)
			if err := st.Enter(p, at, "m"); (err == nil) != legal {
				t.Fatalf("%s → %s: %v", was, p, err)
			}
			if !legal && st.Phase != was {
				t.Fatalf("an illegal move changed %s to %s", was, st.Phase)
			}
		}
		checkHistory(t, &st)
		if st.State.Ended() != (len(TrainingTransitions[st.Phase]) == 0) {
			t.Fatalf("%s is %s", st.Phase, st.State)
		}
	})
}

// checkHistory sees that each phase ends when the next begins, and only an ended job's last one has ended.
func checkHistory(t *rapid.T, st *TrainingStatus) {
	for i, tr := range st.Transitions {
		last := i == len(st.Transitions)-1
		if !last && (!tr.End.Equal(st.Transitions[i+1].Start) || tr.End.Before(tr.Start)) {
			t.Fatalf("gap after %d: %+v", i, st.Transitions)
		}
		if last && tr.End.IsZero() == st.State.Ended() {
			t.Fatalf("end %v in state %s", tr.End, st.State)
		}
	}
}

func TestUploadingAfterAStopIsStillStopping(t *testing.T) {
	t.Parallel()
	var st TrainingStatus
	for _, p := range []JobPhase{JobStarting, JobDownloading, JobTraining, JobPhaseStopping, JobUploading} {
		if err := st.Enter(p, time.Unix(1e9, 0), ""); err != nil {
			t.Fatal(err)
		}
	}
	if st.State != JobStopping {
		t.Errorf("state %s", st.State)
	}
}
