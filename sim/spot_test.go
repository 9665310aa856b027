package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/drivers/market/trace"
	"github.com/stint-ml/stint/platform"
)

// recorded reads a trace from its text.
func recorded(t *testing.T, text string) *trace.Trace {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	read, err := trace.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// anHour makes a short job in the market of a text: half an hour of work within an hour, a minute for each changeover.
func anHour(t *testing.T, text string) SpotJob {
	t.Helper()
	return SpotJob{
		Trace: recorded(t, text), InstanceType: "ml.p3.2xlarge", OnDemand: platform.HourlyRate{Nanos: 3_600_000_000, Currency: "USD"},
		Discount: 0.75, Work: 30 * time.Minute, Deadline: time.Hour, Changeover: time.Minute,
	}
}

// course is a run's spans as text, in minutes.
func course(r SpotRun) string {
	var parts []string
	for _, s := range r.Spans {
		parts = append(parts, fmt.Sprintf("%v %g-%g", s.Stay, s.From.Minutes(), s.To.Minutes()))
	}
	return strings.Join(parts, ", ")
}

// In minutes, with on-demand at 0.06 a minute and spot at 0.015.
func TestTheOptimumOfSmallMarkets(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want, cost string }{
		"always":                        {"a 0 600 111111\n", "changeover 0-1, spot 1-31", "0.465 USD"},
		"never":                         {"a 0 600 000000\n", "changeover 0-1, on-demand 1-31", "1.86 USD"},
		"late and enough":               {"a 0 600 001111\n", "waiting 0-20, changeover 20-21, spot 21-51", "0.465 USD"},
		"two halves":                    {"a 0 600 110110\n", "changeover 0-1, spot 1-20, waiting 20-30, changeover 30-31, spot 31-42", "0.48 USD"},
		"not enough, in several ways":   {"a 0 600 010010\n", "", "1.08 USD"},
		"a price that rises on the way": {"seconds,available,price\n0,1,0.6\n600,1,1.2\n", "changeover 0-1, spot 1-31", "0.52 USD"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run, exact, err := anHour(t, tt.text).Optimum()
			if err != nil {
				t.Fatal(err)
			}
			if run.Cost.String() != tt.cost || tt.want != "" && course(run) != tt.want {
				t.Errorf("%s: %s\nwant %s: %s", run.Cost, course(run), tt.cost, tt.want)
			}
			if exact == strings.Contains(tt.text, "price") {
				t.Errorf("exact: %v", exact)
			}
		})
	}
}

// The real controller, in a market that a person can follow.
func TestPoliciesInASmallMarket(t *testing.T) {
	t.Parallel()
	job := anHour(t, "seconds,available,price\n0,0,0.9\n600,1,0.9\n1200,0,0.9\n2400,1,0.9\n2700,1,1.8\n")
	for policy, want := range map[string]struct {
		cost                string
		late                bool
		interruptions, spot int
	}{
		"on-demand": {"1.86", false, 0, 0},
		"spot-only": {"0.73", true, 1, 30}, // 610 s and 300 s at 0.9, 1010 s at 1.8
	} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			run, err := job.Run(t.Context(), policy)
			if err != nil {
				t.Fatal(err)
			}
			spot := int(run.Time(OnSpot).Round(time.Minute).Minutes())
			if !run.Finished || run.Late != want.late || run.Interruptions != want.interruptions || spot != want.spot || !strings.HasPrefix(run.Cost.String(), want.cost) {
				t.Errorf("%s %+v: %s", run.Cost, run, course(run))
			}
		})
	}
}

func TestAJobThatMissesItsDeadlineGoesOn(t *testing.T) {
	t.Parallel()
	job := anHour(t, "a 0 600 000000001111111\n")
	run, err := job.Run(t.Context(), "spot-only")
	if err != nil || !run.Finished || !run.Late || run.Ended().Round(time.Minute) != 111*time.Minute {
		t.Errorf("%+v, %v", run, err)
	}
	job = anHour(t, "a 0 600 1000000000000000\n")
	run, err = job.Run(t.Context(), "spot-only")
	if err != nil || run.Finished || !run.Late || run.Ended().Round(time.Minute) != 120*time.Minute || run.Done.Round(time.Minute) != 9*time.Minute {
		t.Errorf("%+v, %v", run, err)
	}
}

func TestJobsThatNoWorldCanHold(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*SpotJob){
		"a job's work must be more than 0, not 0s":                                      func(j *SpotJob) { j.Work = 0 },
		"a changeover cannot take -1s":                                                  func(j *SpotJob) { j.Changeover = -time.Second },
		"a deadline of 1h0m0s leaves no time for 2h0m0s of work":                        func(j *SpotJob) { j.Work = 2 * time.Hour },
		"a deadline of 1000h0m0s is more than the 720h0m0s that a job may wait and run": func(j *SpotJob) { j.Deadline = 1000 * time.Hour },
		"an on-demand price of 0.00 makes no sense":                                     func(j *SpotJob) { j.OnDemand = platform.HourlyRate{} },
	} {
		job := anHour(t, "a 0 600 1\n")
		change(&job)
		for _, play := range []func() error{
			func() error { _, _, err := job.Optimum(); return err },
			func() error { _, err := job.Run(t.Context(), spot.Default); return err },
		} {
			if err := play(); !platform.Is(err, platform.Invalid) || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
	}
	job := anHour(t, "a 0 600 1\n")
	if _, err := job.Run(t.Context(), "clairvoyant"); !platform.Is(err, platform.Invalid) {
		t.Errorf("an unknown policy: %v", err)
	}
	job.Work = job.Deadline
	if _, _, err := job.Optimum(); !platform.Is(err, platform.Invalid) || !strings.Contains(err.Error(), "one changeover of 1m0s do not fit") {
		t.Errorf("no time for a changeover: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := anHour(t, "a 0 600 1\n").Run(ctx, spot.Default); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

// checkRun holds what is true of every run.
func checkRun(t *testing.T, j SpotJob, r SpotRun) {
	t.Helper()
	at := time.Duration(0)
	for i, s := range r.Spans {
		if s.From != at || s.To <= s.From {
			t.Fatalf("%s: span %d of %s does not follow", r.Policy, i, course(r))
		}
		at = s.To
	}
	productive := r.Time(OnSpot) + r.Time(OnDemand)
	if r.Finished != (r.Done == j.Work) || r.Done > productive || r.Policy == "spot-only" && r.Time(OnDemand) > 0 {
		t.Fatalf("%s: %v done of %v in %v: %s", r.Policy, r.Done, j.Work, productive, course(r))
	}
	rows, err := j.Trace.Rows(j.InstanceType)
	if err != nil {
		t.Fatal(err)
	}
	price, err := j.price(r.Spans, rows)
	if err != nil {
		t.Fatal(err)
	}
	// Each attempt and each price is charged to the next whole second, and a price is noticed within the time of a message.
	slack := float64(j.OnDemand.Nanos) * 3 / 3600 * float64(len(r.Spans)+len(rows))
	if d := float64(r.Cost.Nanos - price.Nanos); d > slack || d < -slack {
		t.Fatalf("%s: the ledger says %s, the course %s: %s", r.Policy, r.Cost, price, course(r))
	}
}

// anyJob is some job in some market.
func anyJob(t *testing.T, chance Chance) SpotJob {
	t.Helper()
	bits := make([]byte, 1+chance(40))
	for i := range bits {
		bits[i] = '0' + byte(chance(2))
	}
	j := anHour(t, fmt.Sprintf("z 0 300 %s\n", bits))
	j.Changeover = time.Duration(chance(9)) * 30 * time.Second
	j.Work = time.Duration(1+chance(90)) * time.Minute
	// Room for two changeovers with their notices, without which not even on-demand capacity can be promised in time.
	j.Deadline = j.Work + 2*j.Changeover + time.Duration(8+chance(80))*time.Minute
	return j
}

// In any market: the ledger charges what the timeline shows, the optimum keeps to its own rules and is never beaten, and the
// policies that promise to hold a deadline hold it.
func TestNoPolicyBeatsTheOptimum(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			j := anyJob(t, rand.New(rand.NewPCG(seed, 3)).IntN)
			best, exact, err := j.Optimum()
			if err != nil {
				t.Fatal(err)
			}
			checkRun(t, j, best)
			if !exact || best.Ended() > j.Deadline || best.Time(OnSpot)+best.Time(OnDemand) != j.Work {
				t.Errorf("the optimum, exact %v, of %v by %v: %s", exact, j.Work, j.Deadline, course(best))
			}
			policy := spot.Names()[seed%uint64(len(spot.Names()))]
			run, err := j.Run(t.Context(), policy)
			if err != nil {
				t.Fatal(err)
			}
			checkRun(t, j, run)
			if promises := policy == spot.Default || policy == "on-demand"; promises && run.Late {
				t.Errorf("%s ended at %v, after %v: %s", policy, run.Ended(), j.Deadline, course(run))
			}
			// An agent with notice works on for finalSync on capacity that the optimum has not.
			free := platform.Nanos(float64(j.OnDemand.Nanos) * finalSync.Hours() * float64(run.Interruptions+1))
			if !run.Late && run.Cost.Nanos+free < best.Cost.Nanos {
				t.Errorf("%s costs %s, the optimum %s:\n%s\n%s", policy, run.Cost, best.Cost, course(run), course(best))
			}
		})
	}
}

func TestARunCanBeRunAgain(t *testing.T) {
	t.Parallel()
	example, err := trace.Example()
	if err != nil {
		t.Fatal(err)
	}
	j := anHour(t, "a 0 600 1\n")
	j.Trace, j.Work, j.Deadline = example, 6*time.Hour, 9*time.Hour
	first, err := j.Run(t.Context(), spot.Default)
	if err != nil {
		t.Fatal(err)
	}
	again, err := j.Run(t.Context(), spot.Default)
	if err != nil || !reflect.DeepEqual(first, again) {
		t.Errorf("%v\n%s %s\n%s %s", err, first.Cost, course(first), again.Cost, course(again))
	}
}
