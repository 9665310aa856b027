package fake_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stint-ml/stint/drivers/runner/fake"
	"github.com/stint-ml/stint/drivers/runner/runnertest"
	"github.com/stint-ml/stint/platform"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	runnertest.Run(t, func(*testing.T) runnertest.Harness {
		var r *fake.Runner
		cfg := fake.Config{
			Began: func(s platform.AgentSpec) {
				if s.Token == runnertest.AtOnce {
					r.End(s.ID, "exited")
				}
			},
			OnStop: func(s platform.AgentSpec) {
				if s.Token != runnertest.Deaf {
					r.End(s.ID, "exited")
				}
			},
		}
		return runnertest.Harness{Open: func(*testing.T) platform.Runner {
			if r == nil {
				r = fake.New(cfg)
			} else {
				r = r.Reopen()
			}
			return r
		}}
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	refuse := errors.New("no room")
	r := fake.New(fake.Config{OnStart: func(s platform.AgentSpec) error {
		if s.ID == "refused" {
			return refuse
		}
		return nil
	}})
	if err := r.Start(ctx, runnertest.Spec("refused", "")); !errors.Is(err, refuse) {
		t.Errorf("Start gave %v", err)
	}
	for _, id := range []platform.AgentID{"b", "a"} {
		if err := r.Start(ctx, runnertest.Spec(id, "")); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.Started(); len(s) != 2 || s[0].ID != "a" {
		t.Errorf("Started gives %v", s)
	}
	undelivered(t, r)
}

func undelivered(t *testing.T, r *fake.Runner) {
	t.Helper()
	ctx := context.Background()
	r.Undelivered("a", platform.Report{Seq: 1}, platform.Report{Seq: 2})
	r.End("a", "power cut")
	if reports, err := r.Reports(ctx, "a", 1); err != nil || len(reports) != 1 || reports[0].Seq != 2 {
		t.Errorf("Reports gave %v, %v", reports, err)
	}
	r.Lose("b")
	if all, err := r.List(ctx); err != nil || len(all) != 1 || all[0].Detail != "power cut" {
		t.Errorf("List gives %v, %v", all, err)
	}
}
