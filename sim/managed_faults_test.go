package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/platform"
)

// storm is a world of jobs of every kind under a market that does as it likes, and what must hold in it at any time.
type storm struct {
	*Training
	market *Market
	chance Chance
	names  []string
	kept   map[string]time.Duration // the most that was ever kept of each job
}

// newStorm makes jobs on demand and managed spot jobs, with and without fallback and checkpoints, some of which obey no notice.
func newStorm(t *testing.T, chance Chance, policy string, jobs int) *storm {
	t.Helper()
	plans := map[string]Plan{}
	s := &storm{market: NewMarket(platform.Offer{Available: true, Rate: cheap}), chance: chance, kept: map[string]time.Duration{}}
	s.Training = NewTraining(Config{
		Machine: machine, Plan: func(job string) Plan { return plans[job] }, Market: s.market, Notice: platform.Seconds(10 + chance(50)), StartUp: 20,
		Policy: policy,
	})
	for i := range jobs {
		name := fmt.Sprint("job-", i)
		s.names = append(s.names, name)
		train := time.Duration(1+chance(600)) * time.Second
		plans[name] = Plan{
			Download: time.Duration(chance(20)) * time.Second, Train: train, Upload: time.Duration(chance(10)) * time.Second,
			Checkpoint: time.Duration(chance(3)*20) * time.Second, Fails: chance(8) == 0, Deaf: chance(5) == 0,
		}
		wish := Wish{
			Name: name, Retries: int32(chance(3)), MaxRun: platform.Seconds(train/time.Second) + platform.Seconds(chance(300)) + 1,
			Need: platform.Capacity{MilliCPU: int64(1+chance(5)) * 1000, MemoryBytes: int64(1+chance(16)) << 30},
		}
		if chance(4) > 0 {
			wish.MaxWait = wish.MaxRun + platform.Seconds(chance(4000))
			wish.Fallback = chance(2) == 0
		}
		create(t, s.Training, wish)
		s.Clock.Advance(time.Duration(chance(1000)) * time.Millisecond)
	}
	return s
}

// disturb breaks something, perhaps.
func (s *storm) disturb(t *testing.T) {
	t.Helper()
	switch s.chance(10) {
	case 0, 1:
		s.market.Withdraw()
	case 2, 3:
		s.market.Restore()
	case 4:
		s.market.Set(platform.Offer{Available: s.chance(3) > 0, Rate: platform.HourlyRate{Nanos: platform.Nanos(20_000_000 * (1 + s.chance(6))), Currency: "USD"}})
	default:
		disturb(t.Context(), t, s.Training, s.names, s.chance)
	}
}

// step lets time pass and holds the world against what must be so.
func (s *storm) step(ctx context.Context, t *testing.T, d time.Duration) {
	t.Helper()
	s.Step(ctx, d)
	free, jobs := machine, map[string]*platform.TrainingJob{}
	for _, name := range s.names {
		job := look(t, s.Training, name)
		st := &job.Status
		kept := st.Kept()
		if open := st.Open(); open != nil {
			kept += open.Kept()
			free = free.Minus(open.Capacity)
		}
		if kept < s.kept[name] {
			t.Errorf("%s kept %v of its work, now %v", name, s.kept[name], kept)
		}
		s.kept[name], jobs[name] = kept, job
	}
	if free.MilliCPU < 0 || free.MemoryBytes < 0 {
		t.Fatalf("open attempts leave %v", free)
	}
	s.checkAgents(t, jobs, d)
}

// checkAgents sees that no two agents do the work of one job, and that even without a server none works much longer than its
// job may: it learned its bound before it fetched its inputs.
func (s *storm) checkAgents(t *testing.T, jobs map[string]*platform.TrainingJob, step time.Duration) {
	t.Helper()
	busy := map[string]bool{}
	for _, a := range s.Agents {
		if a.Dead || a.stage != working {
			continue
		}
		name := a.spec.Owner.Name
		if busy[name] {
			t.Errorf("several agents do the work of %s", name)
		}
		busy[name] = true
		if at := jobs[name].Expires(); !at.IsZero() && s.Clock.Now().Sub(at) > a.plan.Download+2*step+longestStep {
			t.Errorf("%s works at %v, its time was over at %v", name, s.Clock.Now(), at)
		}
	}
}

const longestStep = 20 * time.Second

// Whatever the market does and whatever is killed, whenever: no managed spot job is lost or run twice, its bill is its history
// to the second at every price, nothing that was kept is lost, and its time is kept.
func TestSpotFaultsLoseNothingAndDoubleNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(64) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			policy := "uniform-progress"
			if seed%8 == 0 {
				policy = spot.Default // a tenth of a second a job, whenever a server starts
			}
			s := newStorm(t, rand.New(rand.NewPCG(seed, 11)).IntN, policy, 6)
			raging := true
			s.Store.Fault = func() (bool, bool) { return raging && s.chance(10) == 0, s.chance(2) == 0 }
			s.StartFault = func() error {
				if !raging || s.chance(10) != 0 {
					return nil
				}
				return platform.Errorf([]platform.ErrorKind{platform.Unavailable, platform.Internal}[s.chance(2)], "", "cannot fork")
			}
			for range 150 {
				s.disturb(t)
				s.step(t.Context(), t, time.Duration(s.chance(int(longestStep))))
			}
			raging = false
			s.calm(t)
			for _, name := range s.names {
				checkJob(t, s.Training, name)
				if job := look(t, s.Training, name); job.IsSpot() {
					checkSpotJob(t, s.Training, job)
				}
			}
			if agents := s.Machine.Started(); len(agents) != 0 {
				t.Errorf("%d agents were never removed", len(agents))
			}
		})
	}
}

// calm lets everything come to its end, once nothing breaks any more.
func (s *storm) calm(t *testing.T) {
	t.Helper()
	if !s.ServerUp {
		s.Restart()
	}
	s.market.Restore()
	for range 1500 {
		if allEnded(t, s.Training, s.names) {
			break
		}
		s.step(t.Context(), t, 5*time.Second)
	}
	s.Step(t.Context(), time.Second)
}

// checkSpotJob holds an ended job against what a managed spot job may come to.
func checkSpotJob(t *testing.T, w *Training, job *platform.TrainingJob) {
	t.Helper()
	st, name := &job.Status, *job.Spec.TrainingJobName
	blameless := !w.config.Plan(name).Fails && !strings.Contains(st.FailureReason, "times in a row before")
	if st.State == platform.JobFailed && blameless {
		t.Errorf("%s failed: %s", name, st.FailureReason)
	}
	if st.Phase == platform.JobMaxWait && (!st.WaitedOut || !strings.Contains(phases(job), "Stopping")) {
		t.Errorf("%s: %s", name, phases(job))
	}
	var last time.Time
	for _, a := range st.Attempts {
		if !st.Fallback && a.Purchase != platform.Spot {
			t.Errorf("%s attempt %d was bought %s", name, a.Number, a.Purchase)
		}
		if !a.Launched.After(last) {
			t.Errorf("%s attempt %d was launched at %v, the one before at %v", name, a.Number, a.Launched, last)
		}
		last = a.Launched
	}
}

// With room for all, a job that may fall back to on-demand capacity holds every deadline that can be held, whatever the
// market does: as long as the server is there, which is asked often enough. The market comes and goes, or it is there until
// it hurts most: when the time has just become short in which all that is not kept can be done again.
func TestADeadlineThatCanBeHeldIsHeld(t *testing.T) {
	t.Parallel()
	for seed := range uint64(48) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			holdADeadline(t, rand.New(rand.NewPCG(seed, 13)).IntN, seed%3 > 0)
		})
	}
}

func holdADeadline(t *testing.T, chance Chance, malice bool) {
	plan := Plan{
		Download: time.Duration(chance(20)) * time.Second, Train: time.Duration(60+chance(600)) * time.Second, Upload: 5 * time.Second,
		Checkpoint: time.Duration(chance(3)*30) * time.Second, Deaf: chance(4) == 0,
	}
	if malice {
		plan.Checkpoint, plan.Deaf = 0, chance(2) == 0
	}
	m := NewMarket(platform.Offer{Available: malice || chance(2) == 0, Rate: cheap})
	w := NewTraining(Config{Plan: always(plan), Market: m, Notice: 30, StartUp: 30})
	run := platform.Seconds(plan.Train/time.Second) + 1
	// Time for a start on demand, with the notice that it may have to wait for, and for the upload is the least that can be held.
	deadline := w.Clock.Now().Add(run.Duration() + time.Duration(110+chance(1200))*time.Second)
	create(t, w, Wish{Name: "a", MaxRun: run, MaxWait: 3 * 86400, Fallback: true, Deadline: deadline})
	seldom, edge := 30+chance(300), time.Duration(chance(240))*time.Second
	for !ended(look(t, w, "a")) && w.Clock.Now().Before(deadline.Add(time.Hour)) {
		spare := deadline.Sub(w.Clock.Now()) - run.Duration()
		switch n := chance(2 * seldom); {
		case malice && spare < edge, !malice && n < 5:
			m.Withdraw()
		case !malice && n < 10:
			m.Restore()
		}
		pass(t, w, time.Duration(1+chance(4))*time.Second)
	}
	job := look(t, w, "a")
	if st := &job.Status; st.State != platform.JobCompleted || st.Ended.After(deadline) {
		t.Errorf("%s at %v, %v after the deadline: %s", st.State, st.Ended, st.Ended.Sub(deadline), phases(job))
	}
	checkJob(t, w, "a")
}
