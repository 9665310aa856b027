// Command api measures the calls that a control plane is asked most: CreateTrainingJob, DescribeTrainingJob and a filtered
// ListTrainingJobs, beside moto's server mode, which answers the same calls of the same client.
//
// Every call is signed. Creates and lists are signed one by one, within what is measured; describes are signed beforehand and
// sent again while their signatures are fresh, as the client shares the machine with the server and signing costs as much
// as verifying. Stint verifies every signature and syncs every job to disk before it answers; moto does neither.
package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// options are what a run measures.
type options struct {
	moto                   string
	jobs, clients          int
	each, peerFor          time.Duration
	createRate, describeHz float64
}

const listTarget = 20 * time.Millisecond

func main() {
	o := options{createRate: 1000, describeHz: 10000}
	flag.StringVar(&o.moto, "moto", "", "Python environment with moto")
	flag.IntVar(&o.jobs, "jobs", 100_000, "`JOBS` to create")
	flag.IntVar(&o.clients, "clients", 16, "`CLIENTS` at once")
	flag.DurationVar(&o.each, "each", 35*time.Second, "how long to describe, and to ask for each list; what a server does now and then should fall into it")
	flag.DurationVar(&o.peerFor, "peer-for", 60*time.Second, "how long the peer may take to create as many jobs as it can")
	flag.Parse()
	rig.Measure("api", o.run)
}

func (o options) run(ctx context.Context, work string, report *rig.Report) error {
	ours, err := measureStint(ctx, o, filepath.Join(work, "stint"), report)
	if err != nil {
		return err
	}
	theirs, err := measureMoto(ctx, o, work, report)
	if err != nil {
		return err
	}
	tell(report, o, ours, theirs)
	return nil
}

// measureStint fills the machine with one job, so that all others stay queued.
func measureStint(ctx context.Context, o options, home string, report *rig.Report) (*figures, error) {
	fmt.Println("==> starting Stint")
	stint, err := rig.StartServer(ctx, home)
	if err != nil {
		return nil, err
	}
	defer stint.Discard()
	const occupant = "occupant"
	request := rig.ShellJob(stint.Site, occupant, "sleep 86400")
	request.ResourceConfig.InstanceType = new(sagemaker.TrainingInstanceTypeMlM524xlarge) // clamped to all that the machine has
	if err := stint.Client.CreateTrainingJob(ctx, request); err != nil {
		return nil, err
	}
	if _, err := stint.AwaitStatus(ctx, occupant, sagemaker.SecondaryStatusTraining, 30*time.Second); err != nil {
		return nil, err
	}
	caller, err := rig.NewCaller(stint.Endpoint, stint.Site, stint.Keys)
	if err != nil {
		return nil, err
	}
	p := &phases{options: o, caller: caller, site: stint.Site, pid: stint.PID, within: time.Hour}
	if err := p.create(ctx); err != nil {
		return nil, err
	}
	if err := p.describe(ctx); err != nil {
		return nil, err
	}
	if err := p.list(ctx); err != nil {
		return nil, err
	}
	fmt.Printf("==> idle for %v, with all jobs queued\n", p.each)
	used, err := rig.CPUDuring(ctx, stint.PID, p.each)
	if err != nil {
		return nil, err
	}
	report.Row(fmt.Sprintf("idle server with %d queued jobs, processor time", p.figures.jobs()), "", fmt.Sprintf("%.1f %% of a core", 100*used.Seconds()/p.each.Seconds()), "", nil)
	memory, err := rig.MemoryOf(stint.PID)
	if err != nil {
		return nil, err
	}
	report.Details["resident_bytes_with_all_jobs"] = memory.Resident
	report.Details["stint"] = p.figures.summary()
	return &p.figures, crash(ctx, stint, p, report)
}

// crash kills the server and starts it again: whatever was acknowledged is there.
func crash(ctx context.Context, stint *rig.Server, p *phases, report *rig.Report) error {
	fmt.Println("==> kill -9 and start again")
	stint.Kill()
	began := time.Now()
	if err := stint.Restart(ctx); err != nil {
		return err
	}
	report.Details["restart_with_all_jobs_ms"] = rig.Milliseconds(time.Since(began))
	caller, err := rig.NewCaller(stint.Endpoint, stint.Site, stint.Keys)
	if err != nil {
		return err
	}
	p.caller = caller
	_, err = p.sign(ctx)
	return err
}

// tell writes the rows.
func tell(report *rig.Report, o options, ours, theirs *figures) {
	rate := func(w rig.Work) string {
		return fmt.Sprintf("%.0f/s (%s)", w.Rate(), w.Took.Percentiles50And99())
	}
	held := ours.create.Rate() >= o.createRate
	report.Row(fmt.Sprintf("CreateTrainingJob, %d clients", o.clients), "≥ 1,000/s durable", rate(ours.create), rate(theirs.create), &held)
	held = ours.describe.Rate() >= o.describeHz
	report.Row(fmt.Sprintf("DescribeTrainingJob, %d clients", o.clients), "≥ 10,000/s", rate(ours.describe), rate(theirs.describe), &held)
	for i, l := range ours.lists {
		held := l.work.Took.Percentile(99) <= listTarget
		peer := theirs.lists[i]
		report.Row(fmt.Sprintf("ListTrainingJobs %s", l.what), "p99 ≤ 20 ms over 100,000 jobs",
			fmt.Sprintf("%s over %d jobs", l.work.Took.Percentiles50And99(), ours.jobs()),
			fmt.Sprintf("%s over %d jobs", peer.work.Took.Percentiles50And99(), theirs.jobs()), &held)
	}
	report.Note("creates and lists are signed one by one within the measurement; each describe is one of %d requests signed beforehand and sent again within 5 minutes", o.clients*describedByEach)
	report.Note("lists by one client; the client runs on the same cores; every connection is kept alive unless the server closes it, as moto's does")
	report.Note("Stint: signature verified, policy evaluated and job synced to disk before the answer; killed with kill -9 after the creates, and the %d jobs described afterwards, spread over all, were there", o.clients*describedByEach)
	report.Note("moto: in memory, no signatures; it had %d jobs, what it took in %v", theirs.jobs(), o.peerFor)
}
