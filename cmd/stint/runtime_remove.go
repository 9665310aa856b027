package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/drivers/runtimes"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

func (a *app) runtimeRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME...",
		Aliases: []string{"rm"},
		Short:   "Remove runtimes: your own from the table, built-in ones from the disk",
		Long: `Remove runtimes. One of your own leaves the table; its Python stays where it is. A built-in one leaves the disk and can be
installed again. One that a job in progress uses is kept; while there are jobs on this machine, the server must be up to tell.`,
		Example: "  stint runtime remove xgboost mine",
		Args:    someArguments("the names of runtimes"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return a.completeRuntimes(func(r listedRuntime) bool { return r.removable })
		},
		RunE: func(c *cobra.Command, args []string) error {
			return a.eachRuntime(c.Context(), args, "Removed", a.removeRuntime)
		},
	}
}

func (a *app) removeRuntime(ctx context.Context, t *runtimes.Table, name string) error {
	job, err := a.jobUsing(ctx, t, name)
	if err != nil {
		return err
	}
	if job != "" {
		return platform.Errorf(platform.InUse, name, "the runtime %s is used by the job %s; wait for its end, or stop it with: %s", name, job, a.stint("stop "+job))
	}
	done, err := t.Remove(name)
	if err != nil {
		return err
	}
	if done {
		a.note("%s %s  removed", a.onErr.green("✓"), name)
	} else {
		a.note("%s %s  is not installed", a.onErr.green("✓"), name)
	}
	return nil
}

// jobUsing finds a job in progress whose image means the runtime, "" for none. Jobs go on without the server, and what they
// run in only the server knows.
func (a *app) jobUsing(ctx context.Context, t *runtimes.Table, name string) (string, error) {
	home, err := a.home()
	if err != nil {
		return "", err
	}
	agents, err := os.ReadDir(home.Agents())
	if len(agents) == 0 {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return "", err
	}
	c, err := a.connect()
	if err != nil {
		return "", err
	}
	for _, status := range []sagemaker.TrainingJobStatus{sagemaker.TrainingJobStatusInProgress, sagemaker.TrainingJobStatusStopping} {
		if job, err := jobRunningIn(ctx, c, t, name, status); err != nil || job != "" {
			return job, err
		}
	}
	return "", nil
}

// jobRunningIn looks through the jobs of one status, the oldest first: they are the likeliest to run.
func jobRunningIn(ctx context.Context, c *client.Client, t *runtimes.Table, name string, status sagemaker.TrainingJobStatus) (string, error) {
	in := &sagemaker.ListTrainingJobsRequest{
		StatusEquals: &status, SortBy: new(sagemaker.SortByCreationTime), SortOrder: new(sagemaker.SortOrderAscending), MaxResults: new(int32(pageOfJobs)),
	}
	for {
		page, err := c.ListTrainingJobs(ctx, in)
		if err != nil {
			return "", err
		}
		for _, s := range page.TrainingJobSummaries {
			job, err := c.DescribeTrainingJob(ctx, *s.TrainingJobName)
			if isNotFound(err) {
				continue // it was deleted meanwhile
			}
			if err != nil {
				return "", err
			}
			if r, err := t.Resolve(shapes.Value(job.AlgorithmSpecification.TrainingImage)); err == nil && r.Name == name {
				return *s.TrainingJobName, nil
			}
		}
		if in.NextToken = page.NextToken; in.NextToken == nil {
			return "", nil
		}
	}
}
