package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

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
installed again. One that a job in progress or an endpoint uses is kept; while there is work on this machine, the server must be
up to tell.`,
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
	by, err := a.userOf(ctx, t, name)
	if err != nil {
		return err
	}
	if by != nil {
		return platform.Errorf(platform.InUse, name, "the runtime %s is used by the %s; wait for its end, or end it with: %s", name, by.what, by.end)
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

// user is what keeps a runtime: a job or an endpoint, and the command that ends it.
type user struct{ what, end string }

// userOf finds a job in progress or an endpoint whose image means the runtime, nil for none. Work goes on without the server, and
// what it runs in only the server knows.
func (a *app) userOf(ctx context.Context, t *runtimes.Table, name string) (*user, error) {
	home, err := a.home()
	if err != nil {
		return nil, err
	}
	agents, err := os.ReadDir(home.Agents())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	c, err := a.connect()
	if len(agents) == 0 && (err != nil || c.Healthy(ctx) != nil) {
		return nil, nil //nolint:nilnil,nilerr // nothing is at work; what a server that is not up would begin, it says when it does
	}
	if err != nil {
		return nil, err
	}
	uses := func(image *string) bool {
		r, err := t.Resolve(shapes.Value(image))
		return err == nil && r.Name == name
	}
	return a.firstUser(ctx, c, uses)
}

func (a *app) firstUser(ctx context.Context, c *client.Client, uses func(image *string) bool) (found *user, err error) {
	for _, find := range []func(context.Context, *client.Client, func(image *string) bool) (*user, error){a.trainingIn, a.transformIn, a.endpointIn} {
		if found, err = find(ctx, c, uses); err != nil || found != nil {
			break
		}
	}
	return found, err
}

// inProgress gives the names of all jobs of a kind that have not ended.
func inProgress(
	ctx context.Context, c *client.Client,
	page func(context.Context, *client.Client, jobsFlags, int32, *string) ([]listedJob, *string, error),
) (names []string, err error) {
	for _, status := range []string{string(sagemaker.TrainingJobStatusInProgress), string(sagemaker.TrainingJobStatusStopping)} {
		jobs, _, err := paged(0, func(size int32, token *string) ([]listedJob, *string, error) {
			return page(ctx, c, jobsFlags{status: status}, size, token)
		})
		if err != nil {
			return nil, err
		}
		for _, j := range jobs {
			names = append(names, j.cells().name)
		}
	}
	return names, nil
}

func (a *app) job(name string) *user { return &user{"job " + name, a.stint("stop " + name)} }

func (a *app) trainingIn(ctx context.Context, c *client.Client, uses func(*string) bool) (*user, error) {
	names, err := inProgress(ctx, c, trainingsPage)
	for _, name := range names {
		job, err := c.DescribeTrainingJob(ctx, name)
		switch {
		case isNotFound(err): // it was deleted meanwhile
		case err != nil:
			return nil, err
		case uses(job.AlgorithmSpecification.TrainingImage):
			return a.job(name), nil
		}
	}
	return nil, err
}

func (a *app) transformIn(ctx context.Context, c *client.Client, uses func(*string) bool) (*user, error) {
	names, err := inProgress(ctx, c, transformsPage)
	for _, name := range names {
		job, err := c.DescribeTransformJob(ctx, name)
		if err != nil {
			return nil, err
		}
		model, err := c.DescribeModel(ctx, *job.ModelName)
		if isGone(err) {
			return a.job(name), nil // its images are not told any more: rather keep a runtime too many
		}
		if err != nil {
			return nil, err
		}
		images := model.Containers
		if model.PrimaryContainer != nil {
			images = append(images, *model.PrimaryContainer)
		}
		if slices.ContainsFunc(images, func(d sagemaker.ContainerDefinition) bool { return uses(d.Image) }) {
			return a.job(name), nil
		}
	}
	return nil, err
}

// endpointIn finds one that sleeps, too: it must be able to wake.
func (a *app) endpointIn(ctx context.Context, c *client.Client, uses func(*string) bool) (*user, error) {
	found, err := listEndpoints(ctx, c, "")
	for _, e := range found {
		var images []sagemaker.DeployedImage
		for _, v := range e.ProductionVariants {
			images = append(images, v.DeployedImages...)
		}
		if e.PendingDeploymentSummary != nil {
			for _, v := range e.PendingDeploymentSummary.ProductionVariants {
				images = append(images, v.DeployedImages...)
			}
		}
		if slices.ContainsFunc(images, func(d sagemaker.DeployedImage) bool { return uses(d.SpecifiedImage) }) {
			return &user{"endpoint " + *e.EndpointName, a.stint("endpoint delete " + *e.EndpointName)}, nil
		}
	}
	return nil, err
}
