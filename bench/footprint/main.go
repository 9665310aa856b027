// Command footprint measures what a server takes of the machine: memory and processor time when idle, memory for jobs that
// wait, and how fast the log of one job arrives, of which it checks every line. There is no peer; the targets are what a person
// would bear on a laptop.
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

type options struct {
	idle  time.Duration
	jobs  int
	lines int
}

const (
	residentTarget = 120 << 20
	idleTarget     = 0.005 // of one core: less than the clock of /proc shows reliably within a minute
	jobTarget      = 4 << 10
	linesTarget    = 50_000
)

func main() {
	var o options
	flag.DurationVar(&o.idle, "idle", 60*time.Second, "how long to watch the idle server")
	flag.IntVar(&o.jobs, "jobs", 2000, "`JOBS` to queue")
	flag.IntVar(&o.lines, "lines", 3_000_000, "`LINES` that the talkative job prints")
	flag.Parse()
	rig.Measure("footprint", o.run)
}

func (o options) run(ctx context.Context, work string, report *rig.Report) error {
	for i, measure := range []func(context.Context, options, *rig.Server, *rig.Report) error{idle, queue, talk} {
		stint, err := rig.StartServer(ctx, filepath.Join(work, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		err = measure(ctx, o, stint, report)
		stint.Discard()
		if err != nil {
			return err
		}
	}
	return nil
}

// idle watches a server that nobody asks anything.
func idle(ctx context.Context, o options, stint *rig.Server, report *rig.Report) error {
	fmt.Printf("==> idle for %v\n", o.idle)
	if err := rig.Sleep(ctx, 10*time.Second); err != nil { // what starting left to do
		return err
	}
	used, err := rig.CPUDuring(ctx, stint.PID, o.idle)
	if err != nil {
		return err
	}
	memory, err := rig.MemoryOf(stint.PID)
	if err != nil {
		return err
	}
	held := memory.Resident <= residentTarget
	report.Row("idle server, resident", "≤ 120 MB", fmt.Sprintf("%d MiB, of which %d MiB its own", memory.Resident>>20, memory.Anonymous>>20), "", &held)
	held = used.Seconds() <= idleTarget*o.idle.Seconds()
	report.Row(fmt.Sprintf("idle server, processor time in %v", o.idle), "not measurable (≤ 0.5 % of a core)", share(used, o.idle), "", &held)
	report.Details["idle"] = map[string]any{"resident_bytes": memory.Resident, "anonymous_bytes": memory.Anonymous, "processor_seconds": used.Seconds()}
	return nil
}

func share(used, of time.Duration) string {
	return fmt.Sprintf("%.2f s, %.2f %% of a core", used.Seconds(), 100*used.Seconds()/of.Seconds())
}

// queue compares the server before and after many jobs came that cannot start yet. The garbage of answering the calls is not
// part of what a job costs: the same number of calls goes before, and both times the collector has run.
func queue(ctx context.Context, o options, stint *rig.Server, report *rig.Report) error {
	occupant := rig.ShellJob(stint.Site, "occupant", "sleep 86400")
	occupant.ResourceConfig.InstanceType = new(sagemaker.TrainingInstanceTypeMlM524xlarge) // clamped to all that the machine has
	if err := stint.Client.CreateTrainingJob(ctx, occupant); err != nil {
		return err
	}
	if _, err := stint.AwaitStatus(ctx, "occupant", sagemaker.SecondaryStatusTraining, 30*time.Second); err != nil {
		return err
	}
	fresh, err := rig.MemoryOf(stint.PID)
	if err != nil {
		return err
	}
	create := func(prefix string) error {
		_, err := rig.Clients(ctx, 4, o.jobs, time.Hour, func(_, number int) error {
			return stint.Client.CreateTrainingJob(ctx, rig.ShellJob(stint.Site, fmt.Sprintf("%s-%d", prefix, number), "true"))
		})
		return err
	}
	rig.NewProgress("%d jobs and away again, to warm up", o.jobs)
	if err := create("first"); err != nil {
		return err
	}
	if _, err := rig.Clients(ctx, 4, o.jobs, time.Hour, func(_, number int) error { return remove(ctx, stint, fmt.Sprintf("first-%d", number)) }); err != nil {
		return err
	}
	before, err := settled(ctx, stint)
	if err != nil {
		return err
	}
	rig.NewProgress("%d jobs that stay", o.jobs)
	if err := create("second"); err != nil {
		return err
	}
	after, err := settled(ctx, stint)
	if err != nil {
		return err
	}
	each := (after.resident - before.resident) / int64(o.jobs)
	live := (after.live - before.live) / int64(o.jobs)
	held := each <= jobTarget && live <= jobTarget
	report.Row(fmt.Sprintf("%d queued jobs, memory of each", o.jobs), "≤ a few KB", fmt.Sprintf("%d B resident, %d B live", each, live), "", &held)
	report.Row(fmt.Sprintf("server with %d queued jobs, resident", o.jobs), "", fmt.Sprintf("%d MiB; %d MiB before any call", after.resident>>20, fresh.Resident>>20), "", nil)
	used, err := rig.CPUDuring(ctx, stint.PID, o.idle)
	if err != nil {
		return err
	}
	report.Row(fmt.Sprintf("with %d queued jobs, processor time in %v", o.jobs, o.idle), "", share(used, o.idle), "", nil)
	report.Note("resident and live memory once the garbage collector has run %d times after the calls; before, as many jobs came and went", rounds)
	report.Details["queue"] = map[string]any{"fresh_resident_bytes": fresh.Resident, "before": before.details(), "after": after.details()}
	return nil
}

// remove stops a job that waits, and forgets it.
func remove(ctx context.Context, stint *rig.Server, name string) error {
	if err := stint.Client.StopTrainingJob(ctx, name); err != nil {
		return err
	}
	if _, err := stint.AwaitStatus(ctx, name, sagemaker.SecondaryStatusStopped, 30*time.Second); err != nil {
		return err
	}
	return stint.Client.DeleteTrainingJob(ctx, name)
}

// talk has a job print lines as fast as it may, and reads every one of them.
func talk(ctx context.Context, o options, stint *rig.Server, report *rig.Report) error {
	rig.NewProgress("a job that prints %d lines", o.lines)
	const name = "talk"
	// 52 bytes a line. yes | head would be faster still, but has no numbers.
	command := fmt.Sprintf("seq -f 'epoch=1 step=%%09.0f loss=0.123456 accuracy=0.98765' %d", o.lines)
	if err := stint.Client.CreateTrainingJob(ctx, rig.ShellJob(stint.Site, name, command)); err != nil {
		return err
	}
	job, err := stint.AwaitStatus(ctx, name, sagemaker.SecondaryStatusCompleted, 20*time.Minute)
	if err != nil {
		return err
	}
	ended := time.Now() // the server takes an agent's reports in order: whoever sees the end can see every line
	var began time.Time
	for _, t := range job.SecondaryStatusTransitions {
		if *t.Status == sagemaker.SecondaryStatusTraining {
			began = t.StartTime.Time
		}
	}
	took := ended.Sub(began)
	progress := rig.NewProgress("reading every line")
	readBegan, next := time.Now(), 1
	err = stint.LogOf(ctx, name, func(message string, _ time.Time) error {
		want := fmt.Sprintf("epoch=1 step=%09d loss=0.123456 accuracy=0.98765", next)
		if strings.TrimSuffix(message, "\n") != want {
			return fmt.Errorf("line %d is %q", next, message)
		}
		progress.At(next, o.lines)
		next++
		return nil
	})
	lost := err != nil || next-1 != o.lines
	rate := float64(o.lines) / took.Seconds()
	held := rate >= linesTarget && !lost
	whole := "all there, in order"
	if lost {
		whole = fmt.Sprintf("only %d there in order (%v)", next-1, err)
	}
	report.Row(fmt.Sprintf("log of one job, %d lines of 52 bytes", o.lines), "≥ 50,000 lines/s, none lost or reordered", fmt.Sprintf("%.0f lines/s; %s", rate, whole), "", &held)
	report.Note("lines/s from the start of the user's process until the job was seen to have ended, which is after its last line was stored; GetLogEvents then read them at %.0f lines/s", float64(next-1)/time.Since(readBegan).Seconds())
	report.Details["log"] = map[string]any{"seconds": took.Seconds(), "read_seconds": time.Since(readBegan).Seconds()}
	return nil
}
