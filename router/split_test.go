package router

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// sides is a router of an endpoint whose every variant is there twice.
func sides(t *testing.T, share float64, old, next []platform.RouteVariant) *Router {
	t.Helper()
	r := open(t, old...)
	r.Set("e", platform.Route{Variants: old, Next: next, Share: share})
	return r
}

func one(t *testing.T, name, word string, weight float64) platform.RouteVariant {
	t.Helper()
	return platform.RouteVariant{Name: name, Weight: weight, Config: word, Targets: []platform.Target{container(t, says(word))}}
}

// answers asks often and counts who answers.
func answers(t *testing.T, r *Router, variant string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for range 400 {
		_, text := ask(t, r, platform.Invocation{Variant: variant})
		n[text]++
	}
	return n
}

func TestAnUpdateHasItsShareOfTheRequests(t *testing.T) {
	t.Parallel()
	old := []platform.RouteVariant{one(t, "a", "old-a", 3), one(t, "b", "old-b", 1)}
	next := []platform.RouteVariant{one(t, "a", "new-a", 3), one(t, "b", "new-b", 1)}
	n := answers(t, sides(t, 0.25, old, next), "")
	if came := n["new-a"] + n["new-b"]; came < 60 || came > 140 || n["old-a"] < n["old-b"] || n["new-a"] < n["new-b"] {
		t.Errorf("of the requests %v", n)
	}
	if n := answers(t, sides(t, 0.25, old, next), "b"); n["new-b"] < 60 || n["new-b"] > 140 || n["new-b"]+n["old-b"] != 400 {
		t.Errorf("of those for b %v", n)
	}
	if n := answers(t, sides(t, 1, old, next), ""); n["old-a"]+n["old-b"] != 0 {
		t.Errorf("of all %v", n)
	}
}

// What one side cannot answer the other one does: it has no target, or none that can be reached.
func TestEitherSideStandsInForTheOther(t *testing.T) {
	t.Parallel()
	dead := []platform.RouteVariant{{Name: "a", Weight: 1, Targets: []platform.Target{{Agent: "dead", Address: "127.0.0.1:1"}}}}
	none := []platform.RouteVariant{{Name: "a", Weight: 1}}
	alive := []platform.RouteVariant{one(t, "a", "alive", 1)}
	for name, r := range map[string]*Router{
		"the new one is dead":  sides(t, 0.5, alive, dead),
		"the old one is dead":  sides(t, 0.5, dead, alive),
		"the new one is empty": sides(t, 1, alive, none),
		"the old one is empty": sides(t, 0.1, none, alive),
	} {
		if n := answers(t, r, ""); n["alive"] != 400 {
			t.Errorf("where %s: %v", name, n)
		}
	}
}

// An instance whose route went is busy until the last of its requests has been answered to its end, however often the
// route is set meanwhile.
func TestAContainerIsBusyUntilItsLastAnswerEnds(t *testing.T) {
	t.Parallel()
	headed, release := make(chan struct{}), make(chan struct{})
	slow := container(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "begun ")
		w.(http.Flusher).Flush()
		<-release
		fmt.Fprint(w, "ended")
	})
	stays := container(t, says("stays"))
	r := open(t, platform.RouteVariant{Name: "v", Weight: 1, Targets: []platform.Target{slow}})
	var wait sync.WaitGroup
	wait.Go(func() {
		a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e"})
		if err != nil {
			t.Error(err)
			close(headed)
			return
		}
		close(headed)
		defer a.Body.Close()
		body := make([]byte, 100)
		n := 0
		for err == nil {
			var more int
			more, err = a.Body.Read(body[n:])
			n += more
		}
		if string(body[:n]) != "begun ended" {
			t.Errorf("%q: %v", body[:n], err)
		}
	})
	<-headed
	if r.Busy(slow.Agent) {
		t.Error("what is still routed to is said to leave")
	}
	both := platform.Route{Variants: []platform.RouteVariant{{Name: "v", Weight: 1, Targets: []platform.Target{slow, stays}}}}
	left := platform.Route{Variants: []platform.RouteVariant{{Name: "v", Weight: 1, Targets: []platform.Target{stays}}}}
	for _, route := range []platform.Route{both, left, left} {
		r.Set("e", route)
	}
	if !r.Busy(slow.Agent) || r.Busy(stays.Agent) || r.Busy("unknown") {
		t.Error("it is not told who is busy")
	}
	close(release)
	wait.Wait()
	if r.Busy(slow.Agent) || len(r.retired) != 0 {
		t.Errorf("it is busy for good: %d routes are kept", len(r.retired))
	}
	if _, text := ask(t, r, platform.Invocation{}); text != "stays" {
		t.Errorf("%q answers", text)
	}
}

// The figures of either side can be told apart by its configuration, and those of both are one.
func TestTheFiguresOfEitherSideAreToldApart(t *testing.T) {
	t.Parallel()
	r := sides(t, 0.5, []platform.RouteVariant{one(t, "a", "old", 1)}, []platform.RouteVariant{one(t, "a", "new", 1)})
	n := answers(t, r, "")
	r.Stop()
	now := time.Now()
	for config, want := range map[string]int{"": 400, "old": n["old"], "new": n["new"]} {
		dimensions := map[string]string{"EndpointName": "e", "VariantName": "a"}
		if config != "" {
			dimensions["EndpointConfigName"] = config
		}
		series := platform.Series{Namespace: namespace, Name: "Invocations", Dimensions: dimensions}
		got, err := r.meter.Metrics.Aggregate(t.Context(), series, now.Add(-time.Hour).Truncate(time.Hour), now.Add(time.Hour), 24*time.Hour)
		if err != nil || len(got) != 1 || int(got[0].Sum) != want {
			t.Errorf("configuration %q: %+v, want %d: %v", config, got, want, err)
		}
	}
}
