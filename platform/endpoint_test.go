package platform

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The drawing in the docs is the table in the code.
func TestEndpointStatesAreDrawn(t *testing.T) {
	t.Parallel()
	drawn(t, "../docs/states/endpoint.md", EndpointTransitions,
		"# States of an endpoint\n\nEndpointStatus and its legal moves, drawn from `platform.EndpointTransitions` by `go test ./platform -update`.", EndpointCreating,
		"An endpoint that has been deleted is gone with its record. An update that comes to nothing goes back to `InService`, with the reason in FailureReason;\n"+
			"one of an endpoint that served nothing, to `Failed`. If requests had gone to what came, they go back first (`RollingBack`). Where instances were replaced in\n"+
			"batches and the old ones do not come up again, some of either serve (`UpdateRollbackFailed`), and the endpoint still goes back when it can.")
}

// Any walk along the table enters what is legal and refuses, unchanged, what is not.
func TestEndpointsMoveByTheTable(t *testing.T) {
	t.Parallel()
	states := []EndpointState{EndpointCreating, EndpointInService, EndpointUpdating, EndpointFailed, EndpointDeleting, EndpointRollingBack, EndpointUpdateRollbackFailed}
	rapid.Check(t, func(t *rapid.T) {
		st := EndpointStatus{State: EndpointCreating}
		for i, to := range rapid.SliceOfN(rapid.SampledFrom(states), 1, 20).Draw(t, "walk") {
			was := st
			at := time.Unix(int64(i), 0)
			legal := to == was.State || slices.Contains(EndpointTransitions[was.State], to)
			if err := st.Enter(to, at); (err == nil) != legal {
				t.Fatalf("%s → %s: %v", was.State, to, err)
			}
			if moved := legal && to != was.State; moved && (st.State != to || !st.Changed.Equal(at)) || !moved && (st.State != was.State || st.Changed != was.Changed) {
				t.Fatalf("%s → %s leaves %s since %v", was.State, to, st.State, st.Changed)
			}
		}
	})
}
