package optimal_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/decide/spot/optimal"
)

const tick = 10 * time.Minute

func bits(s string) []bool {
	offered := make([]bool, len(s))
	for i := range offered {
		offered[i] = s[i] == '1'
	}
	return offered
}

func TestOptimumOfSmallCasesByHand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		offered          string
		work, deadline   int // minutes
		changeover       int
		ratio            float64
		onSpot, onDemand int // ticks
	}{
		{"spot all along", "11111111", 40, 80, 5, 3, 5, 0},
		{"no spot: on-demand, one changeover", "00000000", 40, 80, 5, 3, 0, 5},
		{"waits for the long stretch: the short one is not worth a changeover", "10011111", 40, 80, 10, 3, 5, 0},
		{"must bridge: two changeovers of half a tick make one more tick", "1110001110", 65, 100, 5, 3, 6, 2},
		{"without slack on-demand from the first tick on", "0011111", 65, 70, 5, 3, 0, 7},
		{"no changeover: every offered tick, the rest on demand", "0101010101", 80, 100, 0, 3, 5, 3},
		{"a tick of cheaper spot is not worth two changeovers", "0000100000", 90, 100, 10, 1.5, 0, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			job := spot.Job{
				Work: time.Duration(c.work) * time.Minute, Deadline: time.Duration(c.deadline) * time.Minute,
				Changeover: time.Duration(c.changeover) * time.Minute, Tick: tick, PriceRatio: c.ratio,
			}
			course, err := optimal.Solve(job, bits(c.offered))
			if err != nil {
				t.Fatal(err)
			}
			if course.Ticks(spot.Spot) != c.onSpot || course.Ticks(spot.OnDemand) != c.onDemand {
				t.Errorf("%v: want %d ticks on spot, %d on demand", course, c.onSpot, c.onDemand)
			}
		})
	}
}

func TestWhatCannotBeDoneIsSaid(t *testing.T) {
	t.Parallel()
	job := spot.Job{Work: time.Hour, Deadline: time.Hour, Changeover: time.Minute, Tick: tick, PriceRatio: 3}
	if _, err := optimal.Solve(job, bits("111111")); !errors.Is(err, optimal.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func drawCase(t *rapid.T, mostTicks int) (spot.Job, []bool) {
	ticks := rapid.IntRange(2, mostTicks).Draw(t, "ticks")
	job := spot.Job{
		Deadline: time.Duration(ticks) * tick, Tick: tick, PriceRatio: rapid.Float64Range(1, 8).Draw(t, "ratio"),
		Changeover: time.Duration(rapid.IntRange(0, 10).Draw(t, "changeover")) * time.Minute,
	}
	most := job.Deadline - job.Changeover
	job.Work = time.Duration(rapid.Int64Range(1, int64(most/time.Minute)).Draw(t, "work")) * time.Minute
	offered := rapid.SliceOfN(rapid.Bool(), ticks, ticks).Draw(t, "offered")
	return job, offered
}

// hours of a course, or infinite when it breaks a rule; by the definition, not by the solver's way.
func hours(job spot.Job, offered []bool, course spot.Course) float64 {
	last, worked := spot.Wait, time.Duration(0)
	for i, c := range course {
		if c == spot.Spot && !offered[i] {
			return math.Inf(1)
		}
		if c != spot.Wait {
			worked += job.Tick
			if c != last {
				worked -= job.Changeover
			}
		}
		last = c
	}
	if worked < job.Work {
		return math.Inf(1)
	}
	return course.Hours(job)
}

func TestOptimumIsTheLeastOfAllCourses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		job, offered := drawCase(t, 7)
		course, err := optimal.Solve(job, offered)
		got := math.Inf(1)
		if err == nil {
			got = hours(job, offered, course)
		}
		least := math.Inf(1)
		all := make(spot.Course, len(offered))
		for n := range int(math.Pow(3, float64(len(offered)))) {
			for i := range all {
				all[i] = spot.Choice(n % 3)
				n /= 3
			}
			least = min(least, hours(job, offered, all))
		}
		if math.Abs(got-least) > 1e-9 && got != least {
			t.Fatalf("%v costs %v, the least of all courses %v", course, got, least)
		}
	})
}

func TestNoPolicyIsCheaperThanTheOptimum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		job, offered := drawCase(t, 60)
		course, err := optimal.Solve(job, offered)
		if err != nil {
			return // it cannot be done in whole ticks
		}
		least := course.Hours(job)
		for _, name := range spot.Names() {
			past := &spot.History{}
			policy, err := spot.New(name, job, past)
			if err != nil {
				t.Fatal(err)
			}
			run := spot.Replay(job, policy, offered, past, time.Unix(0, 0))
			if !run.Late && run.Course.Hours(job) < least-1e-9 {
				t.Fatalf("%s costs %v h, the optimum %v h\n%v\n%v", name, run.Course.Hours(job), least, run.Course, course)
			}
		}
	})
}

func BenchmarkSolve(b *testing.B) {
	job := spot.Job{Work: 48 * time.Hour, Deadline: 70 * time.Hour, Changeover: 6 * time.Minute, Tick: tick, PriceRatio: 3.14}
	offered := bits(strings.Repeat("1110000011111111111101000000", 16))
	for b.Loop() {
		if _, err := optimal.Solve(job, offered); err != nil {
			b.Fatal(err)
		}
	}
}
