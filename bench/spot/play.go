package main

import (
	"fmt"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/decide/spot/optimal"
)

// player answers what a run of a job in an environment's window cost, in dollars, and whether it was late.
type player interface {
	play(environment string, window []bool, job spot.Job) (cost float64, late bool, err error)
}

// omniscient plays the exact optimum.
type omniscient struct{}

func (omniscient) play(_ string, window []bool, job spot.Job) (float64, bool, error) {
	course, err := optimal.Solve(job, window)
	return course.Hours(job) * demandPrice, false, err
}

// learned plays a policy. Each run begins with nothing known of its pool but what teaches says: the environments that are
// held out for one under test are the same as its group; with no group nothing is held out (and nothing counts).
type learned struct {
	policy string
	record *record
	group  func(environment string) string

	priors map[string]*spot.Prior
	seats  map[seat]*seated
	timing *timing
}

type seat struct {
	group string
	job   spot.Job
}

// seated is a policy with the history that it reads, which begins anew for each run.
type seated struct {
	policy spot.Policy
	past   *spot.History
}

func newLearned(policy string, r *record, group func(string) string) *learned {
	return &learned{policy: policy, record: r, group: group, priors: map[string]*spot.Prior{}, seats: map[seat]*seated{}, timing: &timing{}}
}

func (l *learned) play(environment string, window []bool, job spot.Job) (float64, bool, error) {
	s, err := l.seat(environment, job)
	if err != nil {
		return 0, false, err
	}
	*s.past = spot.History{Prior: s.past.Prior}
	run := spot.Replay(job, timed{s.policy, l.timing}, window, s.past, time.Unix(0, 0))
	return run.Course.Hours(job) * demandPrice, run.Late, nil
}

func (l *learned) seat(environment string, job spot.Job) (*seated, error) {
	group := ""
	if l.group != nil {
		group = l.group(environment)
	}
	at := seat{group, job}
	if s := l.seats[at]; s != nil {
		return s, nil
	}
	s := &seated{past: &spot.History{Prior: l.prior(group)}}
	var err error
	began := time.Now()
	s.policy, err = spot.New(l.policy, job, s.past)
	l.timing.solves = append(l.timing.solves, time.Since(began))
	l.seats[at] = s
	return s, err
}

// prior is what the environments outside the group teach; the built-in one when nothing is held out.
func (l *learned) prior(group string) *spot.Prior {
	if l.group == nil {
		return nil
	}
	if l.priors[group] == nil {
		var others []string
		for _, e := range l.record.environments {
			if l.group(e) != group {
				others = append(others, e)
			}
		}
		prior := fit(l.record, others)
		l.priors[group] = &prior
	}
	return l.priors[group]
}

// timing is how long plans and decisions took.
type timing struct{ solves, decisions rig.Durations }

type timed struct {
	spot.Policy
	timing *timing
}

func (t timed) Decide(v spot.View) spot.Choice {
	began := time.Now()
	choice := t.Policy.Decide(v)
	t.timing.decisions = append(t.timing.decisions, time.Since(began))
	return choice
}

func mean(all rig.Durations) time.Duration {
	sum := time.Duration(0)
	for _, d := range all {
		sum += d
	}
	return sum / time.Duration(max(len(all), 1))
}

func (t *timing) note() string {
	return fmt.Sprintf("%d plans: p50 %v, max %v; %d decisions: mean %v, p50 %v, p99 %v, max %v", len(t.solves), t.solves.Percentile(50),
		t.solves.Percentile(100), len(t.decisions), mean(t.decisions), t.decisions.Percentile(50), t.decisions.Percentile(99), t.decisions.Percentile(100))
}
