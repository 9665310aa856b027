package schedule

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

func room(milli, mem int64) platform.Capacity {
	return platform.Capacity{MilliCPU: milli, MemoryBytes: mem}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		free  platform.Capacity
		queue []Waiting
		want  []string
	}{
		{"nothing waits", room(2000, 8), nil, nil},
		{"all fit", room(2000, 8), []Waiting{{"a", room(1000, 4)}, {"b", room(1000, 4)}}, []string{"a", "b"}},
		{"memory is short", room(2000, 8), []Waiting{{"a", room(500, 5)}, {"b", room(500, 4)}}, []string{"a"}},
		{"the big one at the head is not passed", room(1000, 8), []Waiting{{"big", room(2000, 1)}, {"small", room(1, 1)}}, nil},
		{"a machine that shrank starts nothing", room(-1000, 8), []Waiting{{"a", room(0, 1)}}, nil},
		{"gpus count", platform.Capacity{MilliCPU: 9, GPUs: 1}, []Waiting{{"a", platform.Capacity{GPUs: 1}}, {"b", platform.Capacity{GPUs: 1}}}, []string{"a"}},
	} {
		if got := Plan(c.free, c.queue); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Whatever the queue, the plan is a prefix of it, fits, and could not take one more.
func TestPlanIsTheLongestPrefixThatFits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Custom(func(t *rapid.T) platform.Capacity {
			return room(rapid.Int64Range(0, 4000).Draw(t, "cpu"), rapid.Int64Range(0, 16).Draw(t, "mem"))
		})
		free := amount.Draw(t, "free")
		var queue []Waiting
		for i, need := range rapid.SliceOf(amount).Draw(t, "queue") {
			queue = append(queue, Waiting{fmt.Sprint(i), need})
		}
		left := free
		plan := Plan(free, queue)
		for i, name := range plan {
			if queue[i].Name != name {
				t.Fatalf("%v is not a prefix of %v", plan, queue)
			}
			left = left.Minus(queue[i].Need)
		}
		if left.MilliCPU < 0 || left.MemoryBytes < 0 {
			t.Fatalf("plan %v oversubscribes by %v", plan, left)
		}
		if len(plan) < len(queue) && left.Fits(queue[len(plan)].Need) {
			t.Fatalf("plan %v stops early: %v left", plan, left)
		}
	})
}
