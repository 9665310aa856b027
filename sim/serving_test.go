package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// serving makes a world with one endpoint. Configurations that begin with "bad" never load.
func serving(t *testing.T, instances int) *Serving {
	t.Helper()
	w := NewServing(machine, func(config string) ServingPlan {
		return ServingPlan{Load: 3 * time.Second, Fails: config[:3] == "bad"}
	})
	if err := w.Create(t.Context(), "e", w.Deployment("one", instances)); err != nil {
		t.Fatal(err)
	}
	return w
}

// until steps until the endpoint is in a state and gives it; "" means gone.
func (w *Serving) until(t *testing.T, state platform.EndpointState) *platform.Endpoint {
	t.Helper()
	for range 600 {
		e, err := w.Endpoint(t.Context(), "e")
		if err != nil {
			t.Fatal(err)
		}
		if e == nil && state == "" || e != nil && e.Status.State == state {
			return e
		}
		w.Step(t.Context(), time.Second)
	}
	e, err := w.Endpoint(t.Context(), "e")
	if err != nil || e == nil {
		t.Fatalf("the endpoint never became %q: %v", state, err)
	}
	t.Fatalf("the endpoint never became %q: it is %+v; serving %+v; coming %+v", state, e.Status, e.Status.Serving, e.Status.Coming)
	return nil
}

// answering counts the containers that requests may go to now and that would answer; one that would not is an error.
func (w *Serving) answering(t *testing.T) (n int) {
	t.Helper()
	route := w.Routes["e"]
	for _, v := range slices.Concat(route.Variants, route.Next) {
		for _, target := range v.Targets {
			if !w.Answers(target.Address) {
				t.Errorf("requests go to %s, which does not answer", target.Address)
			}
			n++
		}
	}
	return n
}

func update(w *Serving, config string, instances int) func(*platform.EndpointStatus) error {
	return func(st *platform.EndpointStatus) error {
		st.Coming = w.Deployment(config, instances)
		return st.Enter(platform.EndpointUpdating, w.Clock.Now())
	}
}

func remove(w *Serving) func(*platform.EndpointStatus) error {
	return func(st *platform.EndpointStatus) error { return st.Enter(platform.EndpointDeleting, w.Clock.Now()) }
}

func TestAnEndpointComesUpAndGoes(t *testing.T) {
	t.Parallel()
	w := serving(t, 2)
	e := w.until(t, platform.EndpointInService)
	if n := w.answering(t); n != 2 || e.Status.Config != "one" {
		t.Errorf("%d containers of %q answer", n, e.Status.Config)
	}
	if err := w.Change(t.Context(), "e", remove(w)); err != nil {
		t.Fatal(err)
	}
	w.until(t, "")
	w.Step(t.Context(), time.Second)
	if len(w.Machine.Started()) != 0 || len(w.Routes) != 0 {
		t.Errorf("%d agents and %d routes are left", len(w.Machine.Started()), len(w.Routes))
	}
	checkServingLedger(t, w, e.Status.ARN)
}

func TestAModelThatDoesNotLoadFailsTheEndpointWithItsReason(t *testing.T) {
	t.Parallel()
	w := NewServing(machine, func(string) ServingPlan { return ServingPlan{Load: time.Second, Fails: true} })
	if err := w.Create(t.Context(), "e", w.Deployment("bad", 1)); err != nil {
		t.Fatal(err)
	}
	e := w.until(t, platform.EndpointFailed)
	if e.Status.FailureReason != "the model does not load" || len(w.Agents) != 1 {
		t.Errorf("it failed by %q after %d tries", e.Status.FailureReason, len(w.Agents))
	}
	checkServingLedger(t, w, e.Status.ARN)
}

// While an endpoint is updated there is always a container that answers, whether the update succeeds or not.
func TestAnUpdateLeavesNoGap(t *testing.T) {
	t.Parallel()
	for _, config := range []string{"two", "bad"} {
		w := serving(t, 2)
		w.until(t, platform.EndpointInService)
		if err := w.Change(t.Context(), "e", update(w, config, 1)); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			w.Step(t.Context(), 500*time.Millisecond)
			if w.answering(t) == 0 {
				t.Fatalf("nothing answers while %q comes up", config)
			}
		}
		e := w.until(t, platform.EndpointInService)
		want, instances := config, 1
		if config == "bad" {
			want, instances = "one", 2
		}
		if e.Status.Config != want || w.answering(t) != instances || (e.Status.FailureReason != "") != (config == "bad") {
			t.Errorf("after the update to %q, %d containers of %q answer; reason %q", config, w.answering(t), e.Status.Config, e.Status.FailureReason)
		}
	}
}

func TestAnInstanceThatDiesIsReplaced(t *testing.T) {
	t.Parallel()
	w := serving(t, 1)
	w.until(t, platform.EndpointInService)
	for _, s := range w.Agents {
		s.Kill()
	}
	w.Step(t.Context(), time.Second)
	if w.answering(t) != 0 {
		t.Fatal("a dead container answers")
	}
	for range 10 {
		w.Step(t.Context(), time.Second)
	}
	if w.answering(t) != 1 {
		t.Error("it was not replaced")
	}
}

// Whatever is killed and whenever: what is wanted comes to be, nothing serves that is not wanted, and every second is billed.
func TestServingSurvivesFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			serveThroughFaults(t, rand.New(rand.NewPCG(seed, 3)).IntN)
		})
	}
}

func serveThroughFaults(t *testing.T, chance Chance) {
	w := serving(t, 1+chance(2))
	storm, want := true, "one"
	w.Store.Fault = func() (bool, bool) { return storm && chance(10) == 0, chance(2) == 0 }
	for i := range 120 {
		want = disturbServing(t.Context(), t, w, chance, i, want)
		w.Step(t.Context(), time.Duration(chance(5000))*time.Millisecond)
	}
	// The storm is over: what was wanted last must come to be.
	storm = false
	if !w.ServerUp {
		w.Restart()
	}
	for range 200 {
		w.Step(t.Context(), time.Second)
	}
	if mended(t, w) {
		want = "mended"
	}
	e := w.until(t, platform.EndpointInService)
	w.Step(t.Context(), time.Second)
	if e.Status.Config != want && want != "" {
		t.Errorf("%q serves, %q was wanted", e.Status.Config, want)
	}
	if n := w.answering(t); n != e.Status.Serving.Variants[0].Desired || len(w.Machine.Started()) != n {
		t.Errorf("%d containers answer, %d agents are there, %d are wanted", n, len(w.Machine.Started()), e.Status.Serving.Variants[0].Desired)
	}
	if err := w.Change(t.Context(), "e", remove(w)); err != nil {
		t.Fatal(err)
	}
	w.until(t, "")
	checkServingLedger(t, w, e.Status.ARN)
}

// mended updates an endpoint that has failed, as its instances were killed too often while it came up.
func mended(t *testing.T, w *Serving) bool {
	t.Helper()
	e, err := w.Endpoint(t.Context(), "e")
	if err != nil {
		t.Fatal(err)
	}
	if e.Status.State != platform.EndpointFailed {
		return false
	}
	if e.Status.FailureReason == "" {
		t.Error("it failed without a reason")
	}
	if err := w.Change(t.Context(), "e", update(w, "mended", 1)); err != nil {
		t.Fatal(err)
	}
	return true
}

// disturbServing breaks something or asks for something, perhaps. It gives the configuration that should serve in the end,
// empty when that cannot be told: an update may fail when its instances are killed too often.
func disturbServing(ctx context.Context, t *testing.T, w *Serving, chance Chance, i int, want string) string {
	t.Helper()
	switch chance(10) {
	case 0:
		w.Crash()
	case 1, 2, 3:
		if !w.ServerUp {
			w.Restart()
		}
	case 4:
		if agents := w.Machine.Started(); len(agents) > 0 {
			w.Agents[agents[chance(len(agents))].ID].Kill()
		}
	case 5:
		e, err := w.Endpoint(ctx, "e")
		if err != nil {
			t.Fatal(err)
		}
		if st := e.Status.State; st != platform.EndpointInService && st != platform.EndpointFailed {
			break
		}
		config := fmt.Sprintf("v%d!", i)
		if err := w.Change(ctx, "e", update(w, config, 1+chance(2))); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	return want
}

// checkServingLedger sees that each instance that began has one line, opened and closed once.
func checkServingLedger(t *testing.T, w *Serving, arn platform.ARN) {
	t.Helper()
	entries, err := w.Store.Ledger(t.Context(), platform.LedgerQuery{Resource: arn})
	if err != nil {
		t.Fatal(err)
	}
	s, err := bill.State(entries, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	began := 0
	for _, a := range w.Agents {
		if len(a.Journal) > 0 {
			began++
		}
	}
	if len(s.Lines) != began || s.Open {
		t.Errorf("%d lines (open %t) for %d instances that began", len(s.Lines), s.Open, began)
	}
	for _, l := range s.Lines {
		for id, a := range w.Agents {
			if string(id) == l.Line && l.Seconds < int64(a.Journal[len(a.Journal)-1].At.Sub(a.Journal[0].At)/time.Second) {
				t.Errorf("%s is billed %d s and wrote for %v", id, l.Seconds, a.Journal[len(a.Journal)-1].At.Sub(a.Journal[0].At))
			}
		}
	}
}

// An endpoint that finds no room says so, and what it needs, until there is some.
func TestAnEndpointSaysThatItWaitsForRoom(t *testing.T) {
	t.Parallel()
	w := NewServing(platform.Capacity{MilliCPU: 64_000, MemoryBytes: 3 << 29}, func(string) ServingPlan { return ServingPlan{Load: time.Second} })
	for _, name := range []string{"f", "e"} {
		if err := w.Create(t.Context(), name, w.Deployment("one", 1)); err != nil {
			t.Fatal(err)
		}
		w.Step(t.Context(), 5*time.Second)
	}
	e, err := w.Endpoint(t.Context(), "e")
	if err != nil {
		t.Fatal(err)
	}
	want := "waiting for room: an instance of ml.m5.large needs 1 GiB of memory, and 0.5 of the machine's 1.5 GiB are free"
	if got := e.Status.Coming.Variants[0].Roomless; e.Status.State != platform.EndpointCreating || got != want {
		t.Errorf("the endpoint is %s and says %q", e.Status.State, got)
	}
	if err := w.Change(t.Context(), "f", remove(w)); err != nil {
		t.Fatal(err)
	}
	if e = w.until(t, platform.EndpointInService); e.Status.Serving.Variants[0].Roomless != "" {
		t.Errorf("it has room and says %q", e.Status.Serving.Variants[0].Roomless)
	}
}
