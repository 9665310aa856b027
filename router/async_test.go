package router

import (
	"strings"
	"testing"

	"github.com/stint-ml/stint/platform"
)

func TestAnEndpointTakesOneKindOfInvocation(t *testing.T) {
	t.Parallel()
	for _, async := range []bool{false, true} {
		r, _, _ := metered(t)
		r.Set("e", platform.Route{Async: async, Variants: []platform.RouteVariant{{Name: "v", Weight: 1, Targets: []platform.Target{container(t, says("yes"))}}}})
		for _, asked := range []bool{false, true} {
			a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Async: asked})
			if asked == async {
				if err != nil {
					t.Fatal(err)
				}
				a.Body.Close()
				continue
			}
			if words := map[bool]string{true: "Use InvokeEndpoint to", false: "Use InvokeEndpointAsync to"}[asked]; !platform.Is(err, platform.Invalid) || !strings.Contains(err.Error(), words) {
				t.Errorf("asynchronous %v, asked so %v: %v", async, asked, err)
			}
		}
	}
}
