// Command latency measures how long a job that needs nothing waits until its user's process runs, beside Slurm's sbatch on the
// same machine in the same run. Jobs go one after the other to an idle machine, Stint and Slurm in turn. What is
// measured must stay the same for both: the same command, and the same clock.
package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// userCommand is the user's process. It says when it began to run.
const userCommand = "date +%s%N"

const (
	medianTarget = 100 * time.Millisecond
	tailTarget   = 300 * time.Millisecond
	pause        = 100 * time.Millisecond // between jobs, for the machine to be idle
)

// timing is the life of one job, on one clock.
type timing struct{ called, answered, started time.Time }

// sample is many of them.
type sample struct{ fromAnswer, fromCall, answer rig.Durations }

func (s *sample) add(t timing) {
	s.fromAnswer = append(s.fromAnswer, t.started.Sub(t.answered))
	s.fromCall = append(s.fromCall, t.started.Sub(t.called))
	s.answer = append(s.answer, t.answered.Sub(t.called))
}

func main() {
	jobs := flag.Int("jobs", 200, "`JOBS` of each")
	untuned := flag.Bool("slurm-defaults", false, "leave Slurm's batch_sched_delay at 3 s instead of 0")
	flag.Parse()
	rig.Measure("latency", func(ctx context.Context, work string, report *rig.Report) error {
		return run(ctx, work, report, *jobs, *untuned)
	})
}

func run(ctx context.Context, work string, report *rig.Report, jobs int, untuned bool) error {
	fmt.Println("==> starting Stint and Slurm")
	stint, err := rig.StartServer(ctx, filepath.Join(work, "stint"))
	if err != nil {
		return err
	}
	defer stint.Discard()
	cluster, err := startSlurm(ctx, filepath.Join(work, "slurm"), untuned)
	if err != nil {
		return err
	}
	defer cluster.stop()
	ours, theirs, err := inTurn(ctx, stint, cluster, jobs)
	if err != nil {
		return err
	}
	held := ours.fromAnswer.Percentile(50) <= medianTarget && ours.fromAnswer.Percentile(99) <= tailTarget
	report.Row("answered → user's process runs", "p50 ≤ 100 ms, p99 ≤ 300 ms", ours.fromAnswer.Percentiles50And99(), theirs.fromAnswer.Percentiles50And99(), &held)
	report.Row("called → user's process runs", "", ours.fromCall.Percentiles50And99(), theirs.fromCall.Percentiles50And99(), nil)
	report.Row("called → answered", "", ours.answer.Percentiles50And99(), theirs.answer.Percentiles50And99(), nil)
	delay := "batch_sched_delay=0"
	if untuned {
		delay = "its default batch_sched_delay of 3 s"
	}
	report.Note("peer: %s, one node on loopback, %s; called → answered holds the start of the sbatch program there, an HTTP call here", cluster.version, delay)
	report.Note("%d jobs each, in turn, on an otherwise idle server; the user's process is `%s` in /bin/sh", jobs, userCommand)
	report.Details["stint"] = map[string]any{"from_answer": ours.fromAnswer.Summary(), "from_call": ours.fromCall.Summary(), "answer": ours.answer.Summary()}
	report.Details["slurm"] = map[string]any{"from_answer": theirs.fromAnswer.Summary(), "from_call": theirs.fromCall.Summary(), "answer": theirs.answer.Summary()}
	return nil
}

// inTurn gives each its jobs, one after the other.
func inTurn(ctx context.Context, stint *rig.Server, cluster *slurm, jobs int) (ours, theirs sample, err error) {
	progress := rig.NewProgress("%d jobs of each, in turn", jobs)
	for i := range jobs + 1 {
		a, err := stintJob(ctx, stint, fmt.Sprintf("latency-%d", i))
		if err != nil {
			return ours, theirs, err
		}
		if err := rig.Sleep(ctx, pause); err != nil {
			return ours, theirs, err
		}
		b, err := cluster.job(ctx, i)
		if err != nil {
			return ours, theirs, err
		}
		if err := rig.Sleep(ctx, pause); err != nil {
			return ours, theirs, err
		}
		if i > 0 { // the first of each only warms up
			ours.add(a)
			theirs.add(b)
		}
		progress.At(i, jobs)
	}
	return ours, theirs, nil
}

// stintJob runs one job and waits until it is over.
func stintJob(ctx context.Context, s *rig.Server, name string) (timing, error) {
	request := rig.ShellJob(s.Site, name, userCommand)
	t := timing{called: time.Now()}
	if err := s.Client.CreateTrainingJob(ctx, request); err != nil {
		return t, err
	}
	t.answered = time.Now()
	// Ask for its state only when it must have started: asking takes processor time too.
	if err := rig.Sleep(ctx, 2*pause); err != nil {
		return t, err
	}
	if _, err := s.AwaitStatus(ctx, name, sagemaker.SecondaryStatusCompleted, 60*time.Second); err != nil {
		return t, err
	}
	err := s.LogOf(ctx, name, func(message string, _ time.Time) (err error) {
		t.started, err = parseNanoseconds(message)
		return err
	})
	return t, err
}

func parseNanoseconds(text string) (time.Time, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("the user's process said %q", text)
	}
	return time.Unix(0, n), nil
}
