package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
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

// listedJob is a line of `stint jobs`: AWS's summary of a job of either kind, and what it takes two more calls to know.
type listedJob interface {
	lookUp(context.Context, *client.Client) error
	created() time.Time
	cells() jobCells
}

// jobCells is what the table shows of a job. A job that is at work has worked since started.
type jobCells struct {
	name, kind, status, phase, instance string
	started                             *shapes.Timestamp
	worked                              *int64
	cost                                *stint.GetCostResponse
}

type listedTraining struct {
	sagemaker.TrainingJobSummary
	TrainingStartTime     *shapes.Timestamp         `json:"TrainingStartTime,omitzero"`
	TrainingTimeInSeconds *int32                    `json:"TrainingTimeInSeconds,omitzero"`
	BillableTimeInSeconds *int32                    `json:"BillableTimeInSeconds,omitzero"`
	ResourceConfig        *sagemaker.ResourceConfig `json:"ResourceConfig,omitzero"`
	Cost                  *stint.GetCostResponse    `json:"Cost,omitzero"`
}

type listedTransform struct {
	sagemaker.TransformJobSummary
	TransformStartTime *shapes.Timestamp             `json:"TransformStartTime,omitzero"`
	TransformResources *sagemaker.TransformResources `json:"TransformResources,omitzero"`
	Cost               *stint.GetCostResponse        `json:"Cost,omitzero"`
}

func (a *app) jobsCommand() *cobra.Command {
	var f jobsFlags
	c := &cobra.Command{
		Use:     "jobs",
		Aliases: []string{"ls"},
		Short:   "List training jobs and batch transform jobs, the newest first",
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
	if err := f.check(); err != nil {
		return err
	}
	if f.watch && a.json {
		return usage("--watch is for people and --json for programs; choose one")
	}
	for {
		found, more, err := listJobs(ctx, c, f)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJobsJSON(found)
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

// check puts the status into AWS's spelling, too.
func (f *jobsFlags) check() error {
	if f.status != "" {
		at := slices.IndexFunc(statuses, func(s string) bool { return strings.EqualFold(s, f.status) })
		if at < 0 {
			return usage("--status %q is none of %s", f.status, strings.Join(statuses, ", "))
		}
		f.status = statuses[at]
	}
	if f.limit < 0 {
		return usage("--limit %d is below zero", f.limit)
	}
	return nil
}

// listJobs gives up to limit jobs of both kinds with their details, and whether there are more.
func listJobs(ctx context.Context, c *client.Client, f jobsFlags) (found []listedJob, more bool, err error) {
	// 1. As many of each kind as may be shown: all of them may be of one.
	trainings, moreTrainings, err := paged(f.limit, func(size int32, token *string) ([]listedJob, *string, error) {
		return trainingsPage(ctx, c, f, size, token)
	})
	if err != nil {
		return nil, false, err
	}
	transforms, moreTransforms, err := paged(f.limit, func(size int32, token *string) ([]listedJob, *string, error) {
		return transformsPage(ctx, c, f, size, token)
	})
	if err != nil {
		return nil, false, err
	}
	// 2. The newest of them.
	found, more = append(trainings, transforms...), moreTrainings || moreTransforms
	slices.SortStableFunc(found, func(a, b listedJob) int { return b.created().Compare(a.created()) })
	if f.limit > 0 && len(found) > f.limit {
		found, more = found[:f.limit], true
	}
	// 3. What the summaries do not say.
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelCalls)
	for _, job := range found {
		group.Go(func() error { return job.lookUp(ctx, c) })
	}
	return found, more, group.Wait()
}

// paged gathers up to limit jobs from the pages of one kind; 0 is all.
func paged(limit int, page func(size int32, token *string) ([]listedJob, *string, error)) (found []listedJob, more bool, err error) {
	var token *string
	for {
		size := pageOfJobs
		if limit > 0 {
			size = min(size, limit-len(found))
		}
		var jobs []listedJob
		if jobs, token, err = page(int32(size), token); err != nil {
			return nil, false, err
		}
		found = append(found, jobs...)
		if more = token != nil; !more || limit > 0 && len(found) >= limit {
			return found, more, nil
		}
	}
}

func trainingsPage(ctx context.Context, c *client.Client, f jobsFlags, size int32, token *string) ([]listedJob, *string, error) {
	in := &sagemaker.ListTrainingJobsRequest{
		MaxResults: &size, NextToken: token, SortBy: new(sagemaker.SortByCreationTime), SortOrder: new(sagemaker.SortOrderDescending),
	}
	if f.status != "" {
		in.StatusEquals = new(sagemaker.TrainingJobStatus(f.status))
	}
	if f.name != "" {
		in.NameContains = &f.name
	}
	page, err := c.ListTrainingJobs(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	var jobs []listedJob
	for _, s := range page.TrainingJobSummaries {
		jobs = append(jobs, &listedTraining{TrainingJobSummary: s})
	}
	return jobs, page.NextToken, nil
}

func transformsPage(ctx context.Context, c *client.Client, f jobsFlags, size int32, token *string) ([]listedJob, *string, error) {
	in := &sagemaker.ListTransformJobsRequest{
		MaxResults: &size, NextToken: token, SortBy: new(sagemaker.SortByCreationTime), SortOrder: new(sagemaker.SortOrderDescending),
	}
	if f.status != "" {
		in.StatusEquals = new(sagemaker.TransformJobStatus(f.status))
	}
	if f.name != "" {
		in.NameContains = &f.name
	}
	page, err := c.ListTransformJobs(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	var jobs []listedJob
	for _, s := range page.TransformJobSummaries {
		jobs = append(jobs, &listedTransform{TransformJobSummary: s})
	}
	return jobs, page.NextToken, nil
}

// lookUp fills in what the summary does not have. A job that was deleted meanwhile keeps its gaps.
func (l *listedTraining) lookUp(ctx context.Context, c *client.Client) error {
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

// lookUp fills in what the summary does not have.
func (l *listedTransform) lookUp(ctx context.Context, c *client.Client) error {
	job, err := describeTransform(ctx, c, *l.TransformJobName)
	if err != nil {
		return err
	}
	l.TransformResources, l.TransformStartTime, l.Cost = job.TransformResources, job.TransformStartTime, job.Cost
	return nil
}

func (l *listedTraining) created() time.Time  { return l.CreationTime.Time }
func (l *listedTransform) created() time.Time { return l.CreationTime.Time }

func (l *listedTraining) cells() jobCells {
	cells := jobCells{
		name: *l.TrainingJobName, kind: "training", status: string(shapes.Value(l.TrainingJobStatus)), phase: string(shapes.Value(l.SecondaryStatus)),
		started: l.TrainingStartTime, cost: l.Cost,
	}
	if l.ResourceConfig != nil {
		cells.instance = string(shapes.Value(l.ResourceConfig.InstanceType))
	}
	if l.TrainingTimeInSeconds != nil {
		cells.worked = new(int64(*l.TrainingTimeInSeconds))
	}
	return cells
}

// cells of a transform have a phase, too, though AWS has no word for one.
func (l *listedTransform) cells() jobCells {
	cells := jobCells{
		name: *l.TransformJobName, kind: "transform", status: string(shapes.Value(l.TransformJobStatus)), started: l.TransformStartTime, cost: l.Cost,
	}
	switch {
	case cells.status != string(sagemaker.TransformJobStatusInProgress):
	case l.TransformStartTime == nil:
		cells.phase = "Starting"
	default:
		cells.phase = "Transforming"
	}
	if r := l.TransformResources; r != nil {
		cells.instance = string(*r.InstanceType)
		if *r.InstanceCount > 1 {
			cells.instance = fmt.Sprintf("%d × %s", *r.InstanceCount, *r.InstanceType)
		}
	}
	if l.TransformStartTime != nil && l.TransformEndTime != nil {
		cells.worked = new(int64(math.Ceil(l.TransformEndTime.Sub(l.TransformStartTime.Time).Seconds()))) // begun seconds count, as in bills
	}
	return cells
}

func isNotFound(err error) bool {
	var refused *client.APIError
	return errors.As(err, &refused) && strings.HasPrefix(refused.Code, "ResourceNotFound") // logs says …Exception
}

// printJobsJSON prints each kind under AWS's name for the list of it.
func (a *app) printJobsJSON(found []listedJob) error {
	trainings, transforms := []listedJob{}, []listedJob{}
	for _, job := range found {
		if _, is := job.(*listedTraining); is {
			trainings = append(trainings, job)
		} else {
			transforms = append(transforms, job)
		}
	}
	return a.printJSON(map[string]any{"TrainingJobSummaries": trainings, "TransformJobSummaries": transforms})
}

func (a *app) printJobs(found []listedJob, more bool) {
	if len(found) == 0 {
		a.print("No jobs. Start one with: %s", a.stint("run SCRIPT"))
		return
	}
	t := table{head: []string{"NAME", "KIND", "STATUS", "PHASE", "INSTANCE", ">AGE", ">DURATION", ">COST"}}
	for _, job := range found {
		l, amount := job.cells(), ""
		if l.phase == l.status {
			l.phase = ""
		}
		if l.cost != nil && l.cost.Total.Currency != "" {
			amount = rounded(l.cost.Total)
		}
		t.add(l.name, l.kind, a.onOut.status(l.status, l.status), l.phase, l.instance, age(a.now().Sub(job.created())), a.ran(l), amount)
	}
	for _, line := range t.lines(a.onOut) {
		a.print("%s", line)
	}
	if more {
		a.print("%s", a.onOut.dim("There are more; see --limit."))
	}
}

// ran is how long a job has worked, so far or in all.
func (a *app) ran(l jobCells) string {
	switch {
	case l.started == nil:
		return ""
	case l.worked != nil:
		return seconds(*l.worked)
	default:
		return seconds(int64(a.now().Sub(l.started.Time).Seconds()))
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

// completeJobs offers the names of jobs of both kinds to the shell.
func (a *app) completeJobs(command *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	names, how := a.completeNames(command, typed, transformsPage)
	trainings, _ := a.completeTrainings(command, args, typed)
	return append(trainings, names...), how
}

// completeTrainings offers the names of training jobs.
func (a *app) completeTrainings(command *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.completeNames(command, typed, trainingsPage)
}

// completeNames offers what a page of jobs has. Whatever goes wrong, it offers nothing: a shell is no place for errors.
func (a *app) completeNames(
	command *cobra.Command, typed string,
	page func(context.Context, *client.Client, jobsFlags, int32, *string) ([]listedJob, *string, error),
) ([]string, cobra.ShellCompDirective) {
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmp.Or(command.Context(), context.Background()), time.Second)
	defer cancel()
	jobs, _, err := page(ctx, c, jobsFlags{name: typed}, pageOfJobs, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, job := range jobs {
		if l := job.cells(); strings.HasPrefix(l.name, typed) {
			names = append(names, l.name+"\t"+l.status)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
