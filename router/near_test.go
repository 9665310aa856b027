package router

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stint-ml/stint/platform"
)

// manyOf makes a variant of many models with instances that do not exist.
func manyOf(agents ...string) *variant {
	v := &variant{ofMany: true}
	for _, name := range agents {
		v.targets = append(v.targets, &target{Target: platform.Target{Agent: platform.AgentID(name)}, seed: hash(name)})
	}
	return v
}

func TestEachModelHasAnInstanceOfItsOwnWhichFewChangesMove(t *testing.T) {
	t.Parallel()
	names := []string{"e-0123456789-1", "e-0123456789-2", "e-0123456789-3", "e-0123456789-4"}
	four, three := manyOf(names...), manyOf(names[:3]...)
	counts, moved := map[platform.AgentID]int{}, 0
	const models = 4000
	for i := range models {
		name := fmt.Sprintf("customer-%d.tar.gz", i)
		first := four.order(name)[0].Agent
		for range 3 {
			if again := four.order(name)[0].Agent; again != first {
				t.Fatalf("%s is at %s and at %s", name, first, again)
			}
		}
		counts[first]++
		if now := three.order(name)[0].Agent; now != first {
			moved++
			if first != platform.AgentID(names[3]) {
				t.Fatalf("%s has moved from %s, which is still there, to %s", name, first, now)
			}
		}
	}
	for name, n := range counts {
		if n < models/4*85/100 || n > models/4*115/100 {
			t.Errorf("%s has %d of %d models", name, n, models)
		}
	}
	if moved != counts[platform.AgentID(names[3])] {
		t.Errorf("%d models have moved, %d had to", moved, counts[platform.AgentID(names[3])])
	}
}

func TestAModelSpillsToItsNextInstanceWhenItsOwnIsBusy(t *testing.T) {
	t.Parallel()
	v := manyOf("a", "b", "c")
	order := v.order("m")
	own, next, last := order[0], order[1], order[2]
	own.busy.Store(slackLeast - 1)
	if got := v.order("m")[0]; got != own {
		t.Errorf("with a few under way %s is asked", got.Agent)
	}
	own.busy.Store(slackLeast)
	if got := v.order("m"); got[0] != next || got[1] != last || got[2] != own {
		t.Errorf("with enough under way %s is asked", got[0].Agent)
	}
	for _, o := range order {
		o.busy.Store(100)
	}
	own.busy.Store(110)
	if got := v.order("m")[0]; got != own {
		t.Errorf("when all are about as busy %s is asked", got.Agent)
	}
	for i, o := range order {
		o.busy.Store(int64(1000 * (3 - i)))
	}
	if got := v.order("m"); got[0] != next && got[0] != last {
		t.Errorf("with far more to do than the others, %s is asked", got[0].Agent)
	}
}

func TestATargetModelHasToBeNamedJustWhereThereAreMany(t *testing.T) {
	t.Parallel()
	one := container(t, says("one"))
	r := open(t, platform.RouteVariant{Name: "single", Weight: 1, Targets: []platform.Target{one}})
	_, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Model: "m.tar.gz"})
	if !platform.Is(err, platform.Invalid) || err.Error() != "Endpoint e is not a multi-model endpoint and does not support target model header." {
		t.Errorf("%v", err)
	}
	r.Set("e", platform.Route{Variants: []platform.RouteVariant{{Name: "many", Weight: 1, OfMany: true, Targets: []platform.Target{one}}}})
	if _, err = r.Invoke(t.Context(), platform.Invocation{Endpoint: "e"}); !errors.Is(err, platform.ErrNoTargetModel) {
		t.Errorf("%v", err)
	}
	if _, text := ask(t, r, platform.Invocation{Model: "m.tar.gz"}); text != "one" {
		t.Errorf("%q answers", text)
	}
}

func TestEachModelIsLoadedOnOneOfManyInstances(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	loaded := map[string]map[int]bool{}
	var targets []platform.Target
	for i := range 3 {
		targets = append(targets, container(t, func(_ http.ResponseWriter, q *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			name := q.Header.Get(platform.TargetModelHeader)
			if loaded[name] == nil {
				loaded[name] = map[int]bool{}
			}
			loaded[name][i] = true
		}))
	}
	r := open(t, platform.RouteVariant{Name: "v", Weight: 1, OfMany: true, Targets: targets})
	used := map[int]bool{}
	for i := range 120 {
		name := fmt.Sprint("model-", i%12)
		ask(t, r, platform.Invocation{Model: name, Header: http.Header{platform.TargetModelHeader: {name}}})
	}
	for name, at := range loaded {
		if len(at) != 1 || !strings.HasPrefix(name, "model-") {
			t.Errorf("%s was asked for at %v", name, at)
		}
		for i := range at {
			used[i] = true
		}
	}
	if len(loaded) != 12 || len(used) < 2 {
		t.Errorf("%d models at the instances %v", len(loaded), used)
	}
}

func BenchmarkNear(b *testing.B) {
	v := manyOf("e-0123456789-1", "e-0123456789-2", "e-0123456789-3", "e-0123456789-4")
	b.ReportAllocs()
	for b.Loop() {
		v.order("customers/42/model.tar.gz")
	}
}
