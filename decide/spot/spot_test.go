package spot_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/decide/spot"
)

const tick = 10 * time.Minute

// bits reads availability such as "1101".
func bits(s string) []bool {
	offered := make([]bool, len(s))
	for i := range offered {
		offered[i] = s[i] == '1'
	}
	return offered
}

// letters writes a course such as "sswo": spot, spot, wait, on-demand.
func letters(c spot.Course) string {
	var b strings.Builder
	for _, choice := range c {
		b.WriteByte(choice.String()[0])
	}
	return b.String()
}

func mustNew(t interface{ Fatal(...any) }, name string, job spot.Job, past *spot.History) spot.Policy {
	policy, err := spot.New(name, job, past)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func TestUnknownPolicyAndImpossibleJobsAreRefusedByName(t *testing.T) {
	t.Parallel()
	good := spot.Job{Work: time.Hour, Deadline: 2 * time.Hour, Changeover: time.Minute, Tick: tick, PriceRatio: 3}
	for _, c := range []struct {
		name   string
		break_ func(*spot.Job)
		want   string
	}{
		{"cheapest", func(*spot.Job) {}, `unknown spot policy "cheapest": known are stint, uniform-progress, greedy, spot-only, on-demand`},
		{"stint", func(j *spot.Job) { j.Work = 0 }, "work must be more than 0, not 0s"},
		{"stint", func(j *spot.Job) { j.Deadline = -time.Second }, "deadline must be more than 0 after its beginning, not -1s"},
		{"stint", func(j *spot.Job) { j.Tick = 0 }, "time between two decisions must be more than 0"},
		{"stint", func(j *spot.Job) { j.Changeover = -1 }, "neither can be less than 0"},
		{"stint", func(j *spot.Job) { j.AtRisk = -1 }, "neither can be less than 0"},
		{"stint", func(j *spot.Job) { j.PriceRatio = 0 }, "more than 0 times the spot price, not 0"},
	} {
		job := good
		c.break_(&job)
		if _, err := spot.New(c.name, job, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	for _, name := range spot.Names() {
		if _, err := spot.New(name, good, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplayAccountsTickByTick(t *testing.T) {
	t.Parallel()
	// 30 minutes of work, changeover 4 minutes, deadline 70 minutes = 7 ticks; spot at ticks 0 and 1, none at 2, then again.
	//   tick 0: spot, 4 of 10 minutes lost: 6 done      tick 3: spot anew: 16 + 6 = 22
	//   tick 1: spot: 16                                tick 4: spot: 30, after 8 minutes; the tick is charged whole
	//   tick 2: waits, not charged
	job := spot.Job{Work: 30 * time.Minute, Deadline: 70 * time.Minute, Changeover: 4 * time.Minute, Tick: tick, PriceRatio: 4}
	past := &spot.History{}
	start := time.Date(2022, 10, 1, 0, 0, 0, 0, time.UTC)
	run := spot.Replay(job, mustNew(t, "spot-only", job, past), bits("11011111"), past, start)
	if got := letters(run.Course); got != "sswss" {
		t.Errorf("course %s, want sswss", got)
	}
	if run.Ended != 50*time.Minute || run.Late || run.Done != job.Work {
		t.Errorf("ended %v, late %v, done %v; want 50m, false, 30m", run.Ended, run.Late, run.Done)
	}
	if got, want := run.Course.Hours(job), (10 * time.Minute).Hours(); got != want { // 4 ticks at a quarter
		t.Errorf("%v hours of on-demand charged, want %v", got, want)
	}
	if past.Last != start.Add(40*time.Minute) || past.Since != start.Add(30*time.Minute) || !past.Offered {
		t.Errorf("history heard of %+v", past)
	}
}

func TestReplayChargesAChangeAtTheNewPriceAndKeepsItsRestOverTicks(t *testing.T) {
	t.Parallel()
	// A changeover of 15 minutes takes one and a half ticks: 5 minutes done in the second tick, then 10 a tick.
	job := spot.Job{Work: 25 * time.Minute, Deadline: 40 * time.Minute, Changeover: 15 * time.Minute, Tick: tick, PriceRatio: 2}
	run := spot.Replay(job, mustNew(t, "on-demand", job, nil), nil, nil, time.Time{})
	if got := letters(run.Course); got != "oooo" || run.Ended != 40*time.Minute || run.Late {
		t.Errorf("course %s, ended %v, late %v; want oooo, 40m, false", got, run.Ended, run.Late)
	}
}

func TestReplayOfAMarketThatNeverOffersIsLateAndEnds(t *testing.T) {
	t.Parallel()
	job := spot.Job{Work: time.Hour, Deadline: 2 * time.Hour, Tick: tick, PriceRatio: 3}
	run := spot.Replay(job, mustNew(t, "spot-only", job, nil), bits("000"), nil, time.Time{})
	if !run.Late || run.Ended != 0 || run.Done != 0 || run.Course.Ticks(spot.Wait) != len(run.Course) {
		t.Errorf("got %+v", run)
	}
}

func TestPublishedPoliciesDoAsPublished(t *testing.T) {
	t.Parallel()
	job := spot.Job{Work: 50 * time.Minute, Deadline: 100 * time.Minute, Changeover: 0, Tick: tick, PriceRatio: 3}
	for _, c := range []struct{ policy, offered, want string }{
		{"on-demand", "1111111111", "ooooo"},
		{"spot-only", "0101010101", "wswswswsws"},
		{"greedy", "0000000000", "wwwwwooooo"},       // waits until only on-demand is in time
		{"greedy", "0011000000", "wwsswwwooo"},       // progress gives it time to wait again
		{"uniform-progress", "0000000000", "wooooo"}, // falls behind its line at once, and then stays
	} {
		run := spot.Replay(job, mustNew(t, c.policy, job, nil), bits(c.offered), nil, time.Time{})
		if got := letters(run.Course); got != c.want {
			t.Errorf("%s on %s: %s, want %s", c.policy, c.offered, got, c.want)
		}
	}
}

func TestStintWaitsForSpotWhileThereIsTimeAndTakesOnDemandWhenNot(t *testing.T) {
	t.Parallel()
	job := spot.Job{Work: 4 * time.Hour, Deadline: 8 * time.Hour, Changeover: 2 * time.Minute, Tick: tick, PriceRatio: 3}
	run := spot.Replay(job, mustNew(t, spot.Default, job, nil), nil, nil, time.Time{})
	if run.Late || run.Course[0] != spot.Wait || run.Course.Ticks(spot.OnDemand) != 25 {
		t.Errorf("without any spot: late %v, %s", run.Late, letters(run.Course))
	}
	run = spot.Replay(job, mustNew(t, spot.Default, job, nil), slices.Repeat([]bool{true}, 48), nil, time.Time{})
	if run.Late || run.Course.Ticks(spot.Spot) != 25 || len(run.Course) != 25 {
		t.Errorf("with spot all along: late %v, %s", run.Late, letters(run.Course))
	}
}

func TestStintUsesSpotToTheLastTickThatIsSafe(t *testing.T) {
	t.Parallel()
	// 60 minutes of work within 70, changeover 5: after the start 5 minutes of slack are left, exactly what the next start
	// would take. Whole ticks of spot are granted, so it stays, and loses nothing when spot goes.
	job := spot.Job{Work: 60 * time.Minute, Deadline: 70 * time.Minute, Changeover: 5 * time.Minute, Tick: tick, PriceRatio: 3}
	run := spot.Replay(job, mustNew(t, spot.Default, job, nil), bits("1111000"), nil, time.Time{})
	if got := letters(run.Course); got != "ssssooo" || run.Late {
		t.Errorf("course %s, late %v; want ssssooo in time", got, run.Late)
	}
	job.AtRisk = time.Minute // a loss would cost the deadline
	run = spot.Replay(job, mustNew(t, spot.Default, job, nil), bits("1111000"), nil, time.Time{})
	if got := letters(run.Course); got != "ooooooo" || run.Late {
		t.Errorf("with work at risk: course %s, late %v; want ooooooo in time", got, run.Late)
	}
}

func TestStintBeatsThePublishedPoliciesOnPoolsThatComeAndGo(t *testing.T) {
	t.Parallel()
	// Stretches of a day with gaps of hours and single-tick flickers, as in recorded pools; the figures are bench/spot's.
	pattern := strings.Repeat(strings.Repeat("1", 40)+"0"+strings.Repeat("1", 7)+strings.Repeat("0", 25)+"1"+strings.Repeat("0", 6), 6)
	job := spot.Job{Work: 48 * time.Hour, Deadline: 60 * time.Hour, Changeover: 6 * time.Minute, Tick: tick, PriceRatio: 3.14}
	hours := map[string]float64{}
	for _, name := range spot.Names() {
		past := &spot.History{}
		run := spot.Replay(job, mustNew(t, name, job, past), bits(pattern), past, time.Unix(0, 0))
		if hours[name] = run.Course.Hours(job); run.Late && name != "spot-only" {
			t.Errorf("%s is late", name)
		}
	}
	for _, other := range []string{"uniform-progress", "greedy", "on-demand"} {
		if hours[spot.Default] >= hours[other] {
			t.Errorf("stint costs %.2f h of on-demand, %s %.2f h", hours[spot.Default], other, hours[other])
		}
	}
}

func TestHistorySurvivesARestartAndTheAnswersAreTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		job := drawJob(t)
		past := &spot.History{}
		at := time.Date(2022, 10, 1, 0, 0, 0, 0, time.UTC)
		for range rapid.IntRange(0, 60).Draw(t, "observations") {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "passed")))
			past.Observe(at, rapid.Bool().Draw(t, "offered"))
		}
		text, err := json.Marshal(past)
		if err != nil || len(text) > 1000 {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
		again := &spot.History{}
		if err := json.Unmarshal(text, again); err != nil {
			t.Fatal(err)
		}
		before, after := mustNew(t, spot.Default, job, past), mustNew(t, spot.Default, job, again)
		for range 5 {
			v := drawView(t, job)
			a, b := before.Decide(v), after.Decide(v)
			if a != b || before.Decide(v) != a {
				t.Fatalf("%+v: %v, after the restart %v", v, a, b)
			}
		}
		if past.MeanUp() <= 0 || past.MeanUp() != again.MeanUp() {
			t.Fatalf("mean up %v, after the restart %v", past.MeanUp(), again.MeanUp())
		}
	})
}

func TestHistoryCountsChangesAgainstWhatThePriorExpects(t *testing.T) {
	t.Parallel()
	// Six falls an hour in the first ten minutes of spot, three later; nothing fades noticeably within these minutes.
	prior := &spot.Prior{Fall: spot.Hazards{6, 3, 3, 3, 3}, FallAlike: 4, Rise: spot.Hazards{6, 6, 6, 6, 6}, RiseAlike: 4}
	past := &spot.History{Prior: prior}
	at := time.Date(2022, 10, 1, 0, 0, 0, 0, time.UTC)
	past.Observe(at, false)
	past.Observe(at.Add(time.Second), true)     // spot begins
	past.Observe(at.Add(10*time.Minute), true)  // a fall was to be expected in ten minutes
	past.Observe(at.Add(30*time.Minute), true)  // and another in twenty
	past.Observe(at.Add(40*time.Minute), false) // half of a half: it fell somewhere in these ten
	near := func(got, want float64) bool { return got > want-0.06 && got < want+0.06 }
	if past.Fall.Seen != 1 || !near(past.Fall.Expected, 2.25) || !near(past.Rise.Seen, 1) || !near(past.Rise.Expected, 0) {
		t.Errorf("fall %+v, rise %+v; want 1 of 2.25, 1 of 0", past.Fall, past.Rise)
	}
	// The mean of 6 an hour for ten minutes and of 3 from then on is (1−e⁻¹)/6 + e⁻¹/3 hours.
	low := &spot.History{Prior: &spot.Prior{Fall: prior.Fall, FallAlike: 1e9, Rise: prior.Rise, RiseAlike: 4}}
	if got, want := low.MeanUp().Hours(), 0.63212/6+0.36788/3; !near(got/want, 1) {
		t.Errorf("mean up %v h, want %v h", got, want)
	}
}

func TestHistoryLearnsHowLongSpotLasts(t *testing.T) {
	t.Parallel()
	at := time.Date(2022, 10, 1, 0, 0, 0, 0, time.UTC)
	calm, stormy := &spot.History{}, &spot.History{}
	for i := range 200 {
		at = at.Add(tick)
		calm.Observe(at, true)
		stormy.Observe(at, i%2 == 0)
	}
	stormy.Observe(at.Add(tick), true)
	unknown := (&spot.History{}).MeanUp()
	if calm.MeanUp() < 3*unknown || stormy.MeanUp() > unknown {
		t.Errorf("mean up: calm %v, unknown %v, stormy %v", calm.MeanUp(), unknown, stormy.MeanUp())
	}
	seen := *calm
	calm.Observe(at, false) // not after the latest: nothing new
	if *calm != seen {
		t.Errorf("an old observation changed %+v to %+v", seen, *calm)
	}
	calm.Observe(at.Add(30*time.Hour), true) // the server was down: nothing is learned, but what was known fades
	if calm.Fall.Expected >= seen.Fall.Expected || calm.Since != seen.Since {
		t.Errorf("after a gap %+v, before it %+v", calm, seen)
	}
}

func TestCheckpointEvery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cost, meanUp, want time.Duration }{
		{8 * time.Second, time.Hour, 4 * time.Minute}, // √(2·8·3600) s
		{time.Millisecond, time.Hour, time.Minute},
		{0, 0, time.Minute},
		{time.Minute, 1000 * time.Hour, time.Hour},
		{2 * time.Minute, time.Minute, 20 * time.Minute},
		{20 * time.Minute, time.Hour, time.Hour},
	} {
		if got := spot.CheckpointEvery(c.cost, c.meanUp); got != c.want {
			t.Errorf("cost %v, mean up %v: %v, want %v", c.cost, c.meanUp, got, c.want)
		}
	}
}

func ExampleNew() {
	job := spot.Job{Work: 2 * time.Hour, Deadline: 6 * time.Hour, Changeover: time.Minute, Tick: time.Minute, PriceRatio: 3}
	pool := &spot.History{} // nothing is known of it yet
	policy, err := spot.New(spot.Default, job, pool)
	if err != nil {
		panic(err)
	}
	now := time.Date(2022, 10, 1, 0, 0, 0, 0, time.UTC)
	pool.Observe(now, true)
	fmt.Println(policy.Decide(spot.View{Offered: true}))
	// Output: spot
}
