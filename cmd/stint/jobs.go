package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// statuses are the words of --status.
var statuses = []string{"InProgress", "Completed", "Failed", "Stopping", "Stopped"}

const (
	watchEvery = 2 * time.Second
	// pageOfJobs is the most that one call lists.
	pageOfJobs = 100
	// parallelCalls bounds how many jobs are looked at at a time.
	parallelCalls = 8
)

type jobsFlags struct {
	status, name string
	limit        int
	watch        bool
}

// listedJob is a line of `stint jobs`: AWS's summary, and what it takes two more calls to know.
type listedJob struct {
	sagemaker.TrainingJobSummary
	TrainingStartTime     *shapes.Timestamp         `json:"TrainingStartTime,omitzero"`
	TrainingTimeInSeconds *int32                    `json:"TrainingTimeInSeconds,omitzero"`
	BillableTimeInSeconds *int32                    `json:"BillableTimeInSeconds,omitzero"`
	ResourceConfig        *sagemaker.ResourceConfig `json:"ResourceConfig,omitzero"`
	Cost                  *stint.GetCostResponse    `json:"Cost,omitzero"`
}

func (a *app) jobsCommand() *cobra.Command {
	var f jobsFlags
	c := &cobra.Command{
		Use:     "jobs",
		Aliases: []string{"ls"},
		Short:   "List training jobs, the newest first",
		Example: `  stint jobs
  stint jobs --status InProgress --watch
  stint jobs --name digits --limit 100 --json`,
		Args: noArguments,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error { return a.jobs(ctx, c, f) }),
	}
	c.Flags().StringVar(&f.status, "status", "", "only jobs in this status: "+strings.Join(statuses, ", "))
	c.Flags().StringVar(&f.name, "name", "", "only jobs whose name contains this")
	c.Flags().IntVar(&f.limit, "limit", 20, "how many at most; 0 is all")
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "list again and again until Ctrl-C")
	_ = c.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	return c
}

func (a *app) jobs(ctx context.Context, c *client.Client, f jobsFlags) error {
	in, err := f.request()
	if err != nil {
		return err
	}
	if f.watch && a.json {
		return usage("--watch is for people and --json for programs; choose one")
	}
	for {
		found, more, err := listJobs(ctx, c, *in, f.limit)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(map[string]any{"TrainingJobSummaries": found})
		}
		if f.watch && a.screen {
			a.print("\x1b[H\x1b[2J%s", a.onOut.dim("every 2 s, Ctrl-C ends"))
		}
		a.printJobs(found, more)
		if !f.watch {
			return nil
		}
		if err := sleep(ctx, watchEvery); err != nil {
			return nil // Ctrl-C is how watching ends
		}
	}
}

// request checks the flags and puts them into AWS's words.
func (f jobsFlags) request() (*sagemaker.ListTrainingJobsRequest, error) {
	in := &sagemaker.ListTrainingJobsRequest{SortBy: new(sagemaker.SortByCreationTime), SortOrder: new(sagemaker.SortOrderDescending)}
	if f.status != "" {
		at := slices.IndexFunc(statuses, func(s string) bool { return strings.EqualFold(s, f.status) })
		if at < 0 {
			return nil, usage("--status %q is none of %s", f.status, strings.Join(statuses, ", "))
		}
		in.StatusEquals = new(sagemaker.TrainingJobStatus(statuses[at]))
	}
	if f.name != "" {
		in.NameContains = &f.name
	}
	if f.limit < 0 {
		return nil, usage("--limit %d is below zero", f.limit)
	}
	return in, nil
}

// listJobs gives up to limit jobs with their details, and whether there are more.
func listJobs(ctx context.Context, c *client.Client, in sagemaker.ListTrainingJobsRequest, limit int) (found []listedJob, more bool, err error) {
	found = []listedJob{}
	for {
		size := pageOfJobs
		if limit > 0 {
			size = min(size, limit-len(found))
		}
		in.MaxResults = new(int32(size))
		page, err := c.ListTrainingJobs(ctx, &in)
		if err != nil {
			return nil, false, err
		}
		for _, s := range page.TrainingJobSummaries {
			found = append(found, listedJob{TrainingJobSummary: s})
		}
		in.NextToken = page.NextToken
		if more = page.NextToken != nil; !more || limit > 0 && len(found) >= limit {
			break
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelCalls)
	for i := range found {
		group.Go(func() error { return found[i].lookUp(ctx, c) })
	}
	return found, more, group.Wait()
}

// lookUp fills in what the summary does not have. A job that was deleted meanwhile keeps its gaps.
func (l *listedJob) lookUp(ctx context.Context, c *client.Client) error {
	job, err := c.DescribeTrainingJob(ctx, *l.TrainingJobName)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	l.ResourceConfig, l.TrainingStartTime = job.ResourceConfig, job.TrainingStartTime
	l.TrainingTimeInSeconds, l.BillableTimeInSeconds = job.TrainingTimeInSeconds, job.BillableTimeInSeconds
	l.Cost, err = c.Cost(ctx, *l.TrainingJobName)
	if isNotFound(err) {
		return nil
	}
	return err
}

func isNotFound(err error) bool {
	var refused *client.APIError
	return errors.As(err, &refused) && strings.HasPrefix(refused.Code, "ResourceNotFound") // logs says …Exception
}

func (a *app) printJobs(found []listedJob, more bool) {
	if len(found) == 0 {
		a.print("No training jobs. Start one with: %s", a.stint("run SCRIPT"))
		return
	}
	t := table{head: []string{"NAME", "STATUS", "PHASE", "INSTANCE", ">AGE", ">DURATION", ">COST"}}
	for i := range found {
		l := &found[i]
		status, phase := string(shapes.Value(l.TrainingJobStatus)), string(shapes.Value(l.SecondaryStatus))
		if phase == status {
			phase = ""
		}
		instance, amount := "", ""
		if l.ResourceConfig != nil {
			instance = string(shapes.Value(l.ResourceConfig.InstanceType))
		}
		if l.Cost != nil && l.Cost.Total.Currency != "" {
			amount = rounded(l.Cost.Total)
		}
		t.add(*l.TrainingJobName, a.onOut.status(status, status), phase, instance, age(a.now().Sub(l.CreationTime.Time)), a.ran(l), amount)
	}
	for _, line := range t.lines(a.onOut) {
		a.print("%s", line)
	}
	if more {
		a.print("%s", a.onOut.dim("There are more; see --limit."))
	}
}

// ran is how long a job has worked, so far or in all.
func (a *app) ran(l *listedJob) string {
	switch {
	case l.TrainingStartTime == nil:
		return ""
	case l.TrainingTimeInSeconds != nil:
		return seconds(int64(*l.TrainingTimeInSeconds))
	default:
		return seconds(int64(a.now().Sub(l.TrainingStartTime.Time).Seconds()))
	}
}

// sleep waits, unless the context ends first; then it gives the cause.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// completeJobs offers the names of jobs to the shell. Whatever goes wrong, it offers nothing: a shell is no place for errors.
func (a *app) completeJobs(command *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmp.Or(command.Context(), context.Background()), time.Second)
	defer cancel()
	in := &sagemaker.ListTrainingJobsRequest{
		MaxResults: new(int32(pageOfJobs)), SortBy: new(sagemaker.SortByCreationTime), SortOrder: new(sagemaker.SortOrderDescending),
	}
	if typed != "" {
		in.NameContains = &typed
	}
	page, err := c.ListTrainingJobs(ctx, in)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range page.TrainingJobSummaries {
		if strings.HasPrefix(*s.TrainingJobName, typed) {
			names = append(names, *s.TrainingJobName+"\t"+string(shapes.Value(s.TrainingJobStatus)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
