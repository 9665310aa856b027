package router

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stint-ml/stint/platform"
)

// to is an invocation that names a container.
func to(name string) platform.Invocation {
	return platform.Invocation{Endpoint: "e", Model: name, Header: http.Header{platform.TargetContainerHeader: {name}}}
}

func TestAContainerHasToBeNamedJustWhereTheyAreAskedDirectly(t *testing.T) {
	t.Parallel()
	one := container(t, says("one"))
	for kind, v := range map[string]platform.RouteVariant{"one": {}, "many models": {OfMany: true}} {
		v.Name, v.Weight, v.Targets = "v", 1, []platform.Target{one}
		_, err := open(t, v).Invoke(t.Context(), to("first"))
		if want := "Endpoint e is not configured for direct invocation and does not support target container hostname header."; !platform.Is(err, platform.Invalid) || err.Error() != want {
			t.Errorf("%s: %v", kind, err)
		}
	}
	r := open(t, platform.RouteVariant{Name: "several", Weight: 1, Direct: true, Targets: []platform.Target{one}})
	if _, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e"}); !errors.Is(err, platform.ErrNoTargetContainer) {
		t.Errorf("%v", err)
	}
	if _, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Model: "m.tar.gz"}); !platform.Is(err, platform.Invalid) ||
		err.Error() != "Endpoint e is not a multi-model endpoint and does not support target model header." {
		t.Errorf("%v", err)
	}
	if _, text := ask(t, r, to("first")); text != "one" {
		t.Errorf("%q answers", text)
	}
}

// Each instance has all containers: the one that has the least to do is asked, not one that a name prefers.
func TestRequestsForOneContainerAreSpreadOverTheInstances(t *testing.T) {
	t.Parallel()
	v := manyOf("e-0123456789-1", "e-0123456789-2")
	v.direct = true
	first := map[platform.AgentID]int{}
	for range 10 {
		first[v.order("first")[0].Agent]++
	}
	if first["e-0123456789-1"] != 5 || first["e-0123456789-2"] != 5 {
		t.Errorf("first asked are %v", first)
	}
}
