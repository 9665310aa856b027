package schedule

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

func room(milli, mem int64) platform.Capacity {
	return platform.Capacity{MilliCPU: milli, MemoryBytes: mem}
}

func onDemand(name string, milli, mem int64) Waiting {
	return Waiting{Name: name, Need: room(milli, mem), Purchase: platform.OnDemand}
}

func onSpot(name string, milli, mem int64) Waiting {
	return Waiting{Name: name, Need: room(milli, mem), Purchase: platform.Spot}
}

// runs is spot work of an age.
func runs(name string, milli, mem int64, age time.Duration) Running {
	return Running{Name: name, Capacity: room(milli, mem), Launched: time.Unix(1e9, 0).Add(-age)}
}

func noticed(r Running) Running {
	r.Noticed = true
	return r
}

func TestPlan(t *testing.T) {
	t.Parallel()
	gpu := platform.Capacity{GPUs: 1}
	for _, c := range []struct {
		name           string
		free           platform.Capacity
		queue          []Waiting
		spot           []Running
		start, reclaim []string
	}{
		{name: "nothing waits", free: room(2000, 8)},
		{name: "all fit", free: room(2000, 8), queue: []Waiting{onDemand("a", 1000, 4), onDemand("b", 1000, 4)}, start: []string{"a", "b"}},
		{name: "memory is short", free: room(2000, 8), queue: []Waiting{onDemand("a", 500, 5), onDemand("b", 500, 4)}, start: []string{"a"}},
		{name: "the big one at the head is not passed", free: room(1000, 8), queue: []Waiting{onDemand("big", 2000, 1), onDemand("small", 1, 1)}},
		{name: "a machine that shrank starts nothing", free: room(-1000, 8), queue: []Waiting{onDemand("a", 0, 1), onSpot("b", 0, 1)}},
		{name: "gpus count", free: platform.Capacity{MilliCPU: 9, GPUs: 1}, queue: []Waiting{{"a", gpu, platform.OnDemand}, {"b", gpu, platform.OnDemand}}, start: []string{"a"}},
		{name: "on demand goes before spot that came earlier", free: room(2000, 8), queue: []Waiting{onSpot("s", 1000, 1), onDemand("d", 1000, 1)}, start: []string{"d", "s"}},
		{name: "spot takes what is left over", free: room(2000, 8), queue: []Waiting{onSpot("s", 2000, 1), onDemand("d", 1000, 1)}, start: []string{"d"}},
		{name: "spot keeps its own order", free: room(1000, 8), queue: []Waiting{onSpot("big", 2000, 1), onSpot("small", 1000, 1)}},
		{name: "no spot starts while work on demand waits", free: room(1000, 8), queue: []Waiting{onDemand("d", 2000, 1), onSpot("s", 1000, 1)}},
		{
			name: "the youngest gives its room", free: room(1000, 8), queue: []Waiting{onDemand("d", 2000, 1)},
			spot: []Running{runs("old", 1000, 1, time.Hour), runs("young", 1000, 1, time.Minute)}, reclaim: []string{"young for d"},
		},
		{
			name: "as few as make it fit", free: room(0, 8), queue: []Waiting{onDemand("d", 3000, 1)},
			spot:    []Running{runs("old", 3000, 1, time.Hour), runs("small", 1000, 1, time.Minute), runs("mid", 2000, 1, 2*time.Minute)},
			reclaim: []string{"small for d", "mid for d"},
		},
		{
			name: "who would give room in vain is spared", free: room(0, 8), queue: []Waiting{onDemand("d", 3000, 1)},
			spot: []Running{runs("big", 3000, 1, time.Hour), runs("small", 1000, 1, time.Minute)}, reclaim: []string{"big for d"},
		},
		{
			name: "room that is on its way back counts", free: room(0, 8), queue: []Waiting{onDemand("d", 2000, 1)},
			spot: []Running{noticed(runs("a", 2000, 1, time.Hour)), runs("b", 2000, 1, time.Minute)},
		},
		{
			name: "none is called back when it would not help", free: room(1000, 8), queue: []Waiting{onDemand("d", 4000, 1)},
			spot: []Running{runs("a", 1000, 1, time.Hour), runs("b", 1000, 1, time.Minute)},
		},
		{
			name: "two that wait get room for both", free: room(0, 8), queue: []Waiting{onDemand("d", 1000, 1), onDemand("e", 1000, 1)},
			spot:    []Running{runs("a", 1000, 1, time.Hour), runs("b", 1000, 1, time.Minute), runs("c", 1000, 1, 2*time.Hour)},
			reclaim: []string{"b for d", "a for e"},
		},
		{
			name: "room on its way to the first is not the second's", free: room(0, 8), queue: []Waiting{onDemand("d", 1000, 1), onDemand("e", 1000, 1)},
			spot:    []Running{noticed(runs("a", 1000, 1, time.Hour)), runs("b", 1000, 1, time.Minute)},
			reclaim: []string{"b for e"},
		},
	} {
		got := Plan(c.free, c.queue, c.spot)
		var reclaimed []string
		for _, r := range got.Reclaim {
			reclaimed = append(reclaimed, r.Name+" for "+r.For)
		}
		if !slices.Equal(got.Start, c.start) || !slices.Equal(reclaimed, c.reclaim) {
			t.Errorf("%s: starts %v, wants %v; reclaims %v, wants %v", c.name, got.Start, c.start, reclaimed, c.reclaim)
		}
	}
}

// drawn is a machine with a queue and spot work, whatever they are.
type drawn struct {
	free  platform.Capacity
	queue []Waiting
	spot  []Running
	need  map[string]platform.Capacity
	runs  map[string]Running
}

func draw(t *rapid.T) drawn {
	amount := rapid.Custom(func(t *rapid.T) platform.Capacity {
		return room(rapid.Int64Range(0, 4).Draw(t, "cpu"), rapid.Int64Range(0, 4).Draw(t, "mem"))
	})
	d := drawn{free: amount.Draw(t, "free"), need: map[string]platform.Capacity{}, runs: map[string]Running{}}
	for i, need := range rapid.SliceOfN(amount, 0, 6).Draw(t, "queue") {
		w := Waiting{fmt.Sprint("q", i), need, rapid.SampledFrom([]platform.Purchase{platform.Spot, platform.OnDemand}).Draw(t, "purchase")}
		d.queue, d.need[w.Name] = append(d.queue, w), need
	}
	for i, c := range rapid.SliceOfN(amount, 0, 6).Draw(t, "spot") {
		r := Running{Name: fmt.Sprint("r", i), Capacity: c, Noticed: rapid.Bool().Draw(t, "noticed")}
		r.Launched = time.Unix(rapid.Int64Range(0, 3).Draw(t, "launched"), 0)
		d.spot, d.runs[r.Name] = append(d.spot, r), r
	}
	return d
}

// names are the queue's jobs of one purchase, in order.
func (d drawn) names(p platform.Purchase) (names []string) {
	for _, w := range d.queue {
		if w.Purchase == p {
			names = append(names, w.Name)
		}
	}
	return names
}

// Whatever the queue: what starts is the longest stretch of the on-demand jobs that fits, then of the spot jobs if none of
// the others is left, and together it fits.
func TestPlanKeepsTheOrderAndFits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		left, order := d.free, append(d.names(platform.OnDemand), d.names(platform.Spot)...)
		plan := Plan(d.free, d.queue, d.spot)
		for i, name := range plan.Start {
			if order[i] != name {
				t.Fatalf("%v does not begin %v", plan.Start, order)
			}
			if left = left.Minus(d.need[name]); left.MilliCPU < 0 || left.MemoryBytes < 0 {
				t.Fatalf("%v oversubscribes by %v", plan.Start, left)
			}
		}
		if n := len(plan.Start); n < len(order) && left.Fits(d.need[order[n]]) {
			t.Fatalf("%v stops early: %v left", plan.Start, left)
		}
	})
}

// Whatever runs: work is called back only when jobs on demand wait, once, the jobs it is called back for fit with it in
// their order, and with any one fewer of it they would not.
func TestPlanReclaimsNothingInVain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		plan := Plan(d.free, d.queue, d.spot)
		all := d.names(platform.OnDemand)
		waits := all[min(len(plan.Start), len(all)):]
		room := d.roomAfter(plan)
		back := map[string][]platform.Capacity{}
		seen := map[string]bool{}
		for _, r := range plan.Reclaim {
			if seen[r.Name] || d.runs[r.Name].Noticed || !slices.Contains(waits, r.For) {
				t.Fatalf("%+v: %s is called back twice, or for nobody", plan, r.Name)
			}
			seen[r.Name] = true
			back[r.For] = append(back[r.For], d.runs[r.Name].Capacity)
		}
		for _, w := range waits {
			for _, c := range back[w] {
				room = plus(room, c)
			}
			if len(back[w]) > 0 && !room.Fits(d.need[w]) {
				t.Fatalf("%+v: %s does not fit into %v all the same", plan, w, room)
			}
			for _, c := range back[w] {
				if room.Minus(c).Fits(d.need[w]) {
					t.Fatalf("%+v: %s fits without one of %v", plan, w, back[w])
				}
			}
			room = room.Minus(d.need[w])
		}
	})
}

// roomAfter is all that is or will be free, less what a plan starts now.
func (d drawn) roomAfter(plan Decision) platform.Capacity {
	room := d.free
	for _, name := range plan.Start {
		room = room.Minus(d.need[name])
	}
	for _, r := range d.spot {
		if r.Noticed {
			room = plus(room, r.Capacity)
		}
	}
	return room
}

// The head of the jobs on demand is never left waiting while calling spot work back could make room for it.
func TestPlanMakesRoomWhenItCan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		plan := Plan(d.free, d.queue, d.spot)
		all := d.names(platform.OnDemand)
		if len(plan.Start) >= len(all) {
			return
		}
		room, called := d.free, d.free
		for _, name := range plan.Start {
			room, called = room.Minus(d.need[name]), called.Minus(d.need[name])
		}
		for _, r := range d.spot {
			room = plus(room, r.Capacity)
			if r.Noticed || slices.ContainsFunc(plan.Reclaim, func(x Reclaim) bool { return x.Name == r.Name }) {
				called = plus(called, r.Capacity)
			}
		}
		if head := d.need[all[len(plan.Start)]]; room.Fits(head) && !called.Fits(head) {
			t.Fatalf("%+v leaves the head waiting", plan)
		}
	})
}
