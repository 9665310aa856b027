package router

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// elastic is a variant of which each container does one invocation at a time, and at most two are under way.
func elastic(targets ...platform.Target) platform.RouteVariant {
	return platform.RouteVariant{Name: "v", Weight: 1, Targets: targets, Elastic: &platform.Elastic{ID: "v@1", PerTarget: 1, Max: 2, MaxBody: 8}}
}

// until waits for a condition that something else brings about.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s never came to be", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// A request at a variant that has no container says so and is answered by the first that comes; what it took is told once.
func TestARequestWaitsForAContainer(t *testing.T) {
	t.Parallel()
	r := open(t, elastic())
	answered := make(chan string)
	go func() {
		_, text := ask(t, r, platform.Invocation{})
		answered <- text
	}()
	if name := <-r.Stirred(); name != "e" {
		t.Errorf("%q is told of", name)
	}
	until(t, "the request", func() bool { return r.Flows("e")["v@1"].Open == 1 })
	r.Set("e", platform.Route{Variants: []platform.RouteVariant{elastic(container(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "awake")
	}))}})
	if text := <-answered; text != "awake" {
		t.Errorf("%q answers", text)
	}
	var told platform.Flow
	var sum int64
	until(t, "the request's end", func() bool {
		told = r.Flows("e")["v@1"]
		sum += told.Worked[platform.OnUse].Invocations
		return told.Open == 0 && sum > 0
	})
	if sum != 1 || len(told.Idle) != 1 || told.Over {
		t.Errorf("%d invocations, and now %+v", sum, told)
	}
	if again := r.Flows("e")["v@1"]; len(again.Worked) != 0 {
		t.Errorf("what was told is told again: %+v", again)
	}
	r.Set("e", platform.Route{})
	if !r.Flows("e")["v@1"].Over || len(r.Flows("e")) != 0 {
		t.Error("the flow of a variant that has left does not end")
	}
}

// One invocation a container, no more than may be at once, and what was worked is counted by the millisecond.
func TestAnElasticVariantIsBounded(t *testing.T) {
	t.Parallel()
	began, release := make(chan struct{}, 2), make(chan struct{})
	slow := container(t, func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-release
		fmt.Fprint(w, "x")
	})
	r := open(t, elastic(slow))
	var callers sync.WaitGroup
	for range 2 {
		callers.Go(func() { ask(t, r, platform.Invocation{}) })
	}
	<-began
	until(t, "both requests", func() bool { return r.Flows("e")["v@1"].Open == 2 })
	if a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e"}); !errors.Is(err, platform.ErrThrottled) {
		t.Errorf("a third one: %v %v", a, err)
	}
	if idle := r.Flows("e")["v@1"].Idle; len(idle) != 0 {
		t.Errorf("the container that works idles: %v", idle)
	}
	select {
	case <-began:
		t.Fatal("the container has two invocations at once")
	case <-time.After(3 * lookAgain): // the second looks again meanwhile, and has to go on waiting
	}
	close(release)
	callers.Wait()
	told := r.Flows("e")["v@1"].Worked[platform.OnUse]
	if told.Invocations != 2 || told.Milliseconds < (3*lookAgain).Milliseconds() || told.Milliseconds > time.Minute.Milliseconds() {
		t.Errorf("%+v", told)
	}
	if a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Body: make([]byte, 9)}); !platform.Is(err, platform.Invalid) {
		t.Errorf("a body above the bound: %v %v", a, err)
	}
}

// Containers come and go for as long as an endpoint lives; what is remembered of them is only what those do that are there.
func TestAContainerThatHasLeftIsForgotten(t *testing.T) {
	t.Parallel()
	r := open(t, elastic())
	for i := range 5 {
		r.Set("e", platform.Route{Variants: []platform.RouteVariant{elastic(container(t, says("x")))}})
		ask(t, r, platform.Invocation{})
		if i%2 == 1 {
			r.Set("e", platform.Route{Variants: []platform.RouteVariant{elastic()}})
		}
	}
	if f := r.flows["e"]["v@1"]; len(f.uses) != 1 {
		t.Errorf("it remembers %d containers, and has one", len(f.uses))
	}
}

// A request that waits at what an update replaces goes to what has come; one at what is deleted is told so.
func TestWhoWaitsFollowsTheRoute(t *testing.T) {
	t.Parallel()
	r := open(t, elastic())
	answered := make(chan string)
	go func() {
		_, text := ask(t, r, platform.Invocation{})
		answered <- text
	}()
	<-r.Stirred()
	r.Set("e", platform.Route{Variants: []platform.RouteVariant{{Name: "v", Weight: 1, Targets: []platform.Target{container(t, says("instance"))}}}})
	if text := <-answered; text != "instance" {
		t.Errorf("%q answers", text)
	}
	until(t, "the old flow's end", func() bool { return len(r.Flows("e")) == 0 })

	r.Set("e", platform.Route{Variants: []platform.RouteVariant{elastic()}})
	failed := make(chan error)
	go func() {
		_, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e"})
		failed <- err
	}()
	<-r.Stirred()
	r.Remove("e")
	if err := <-failed; !platform.Is(err, platform.NotFound) {
		t.Errorf("an endpoint that is gone: %v", err)
	}
}
