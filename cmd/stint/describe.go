package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// describedJob is what `stint describe --json` prints: AWS's answer with the bill and the attempts beside it.
type describedJob struct {
	*sagemaker.DescribeTrainingJobResponse
	Cost     *stint.GetCostResponse                `json:"Cost,omitzero"`
	Attempts *stint.GetTrainingJobAttemptsResponse `json:"Attempts,omitzero"`

	offer *stint.SpotOffer // now, of what it waits for
}

func (a *app) describeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe JOB",
		Short: "Show a job: its status and history, inputs, outputs, metrics and cost",
		Example: `  stint describe digits-2026-05-01-10-00-00-000
  stint describe JOB --json | jq -r .ModelArtifacts.S3ModelArtifacts`,
		Args:              oneArgument("the name of a job"),
		ValidArgsFunction: a.completeJobs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			job, err := describeJob(ctx, c, args[0])
			if isNotFound(err) {
				if transform, none := describeTransform(ctx, c, args[0]); none == nil {
					if a.json {
						return a.printJSON(transform)
					}
					a.printTransform(transform)
					return nil
				}
			}
			if err != nil {
				return a.explainMissing(err, "job", args[0])
			}
			if a.json {
				return a.printJSON(job)
			}
			a.printJob(job)
			return nil
		}),
	}
}

func describeJob(ctx context.Context, c *client.Client, name string) (*describedJob, error) {
	job, err := c.DescribeTrainingJob(ctx, name)
	if err != nil {
		return nil, err
	}
	bill, err := c.Cost(ctx, name)
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	if err != nil {
		bill = nil
	}
	attempts, err := c.Attempts(ctx, name)
	if err != nil {
		return nil, err
	}
	return &describedJob{job, bill, attempts, spotOffer(ctx, c, job, attempts.Attempts)}, nil
}

// explainMissing says which job, or training job, is not there, as AWS does not, and what to do.
func (a *app) explainMissing(err error, kind, name string) error {
	if isNotFound(err) || isGone(err) {
		return &reworded{fmt.Sprintf("there is no %s %q; see: %s", kind, name, a.stint("jobs")), err}
	}
	return err
}

func (a *app) printJob(job *describedJob) {
	p := a.onOut
	status := string(*job.TrainingJobStatus)
	phase := string(shapes.Value(job.SecondaryStatus))
	headline := p.bold(*job.TrainingJobName) + "  " + p.status(status, status)
	if phase != status && phase != "" {
		headline += p.dim(" · " + phase)
	}
	a.print("%s", headline)
	a.print("%s", p.dim(*job.TrainingJobArn))
	if job.FailureReason != nil {
		a.print("\n%s\n%s", p.red("Why it failed"), indent(*job.FailureReason))
	}
	a.printHistory(job.SecondaryStatusTransitions)
	a.printAttempts(job)
	a.section("Managed spot", a.managedSpot(job))
	a.section("What ran", a.whatRan(job.DescribeTrainingJobResponse))
	a.section("Hyperparameters", sorted(job.HyperParameters))
	a.section("Environment", sorted(job.Environment))
	a.section("Inputs", inputs(job.DescribeTrainingJobResponse))
	a.section("Outputs", outputs(job.DescribeTrainingJobResponse))
	var metrics [][2]string
	for _, m := range job.FinalMetricDataList {
		metrics = append(metrics, [2]string{*m.MetricName, strconv.FormatFloat(shapes.Value(m.Value), 'g', 6, 64) + p.dim("  at "+moment(m.Timestamp))})
	}
	a.section("Metrics", metrics)
	a.section("Cost", a.bill(job))
}

// printHistory shows each phase with how long it took.
func (a *app) printHistory(transitions []sagemaker.SecondaryStatusTransition) {
	p := a.onOut
	t := table{head: []string{"PHASE", "SINCE", ">TOOK", "MESSAGE"}}
	for _, tr := range transitions {
		end, took := a.now(), ""
		if tr.EndTime != nil {
			end = tr.EndTime.Time
		}
		if d := end.Sub(tr.StartTime.Time); d > 0 {
			took = duration(d)
		}
		phase := string(*tr.Status)
		t.add(p.status(phase, phase), moment(tr.StartTime), took, oneLine(shapes.Value(tr.StatusMessage)))
	}
	if len(t.rows) == 0 {
		return
	}
	a.print("")
	for _, line := range t.lines(p) {
		a.print("%s", line)
	}
}

// section prints named values under a title; none, no title.
func (a *app) section(title string, rows [][2]string) {
	widest, any := 0, false
	for _, r := range rows {
		if r[1] != "" {
			widest, any = max(widest, visible(r[0])), true
		}
	}
	if !any {
		return
	}
	a.print("\n%s", a.onOut.bold(title))
	for _, r := range rows {
		if r[1] != "" {
			a.print("  %s%s  %s", a.onOut.dim(r[0]), strings.Repeat(" ", widest-visible(r[0])), r[1])
		}
	}
}

func (a *app) whatRan(job *sagemaker.DescribeTrainingJobResponse) [][2]string {
	rows := [][2]string{}
	if s := job.AlgorithmSpecification; s != nil {
		rows = append(rows, [2]string{"image", shapes.Value(s.TrainingImage)},
			[2]string{"command", strings.Join(slices.Concat(s.ContainerEntrypoint, s.ContainerArguments), " ")})
	}
	if r := job.ResourceConfig; r != nil {
		rows = append(rows, [2]string{"instance", fmt.Sprintf("%d × %s", shapes.Value(r.InstanceCount), shapes.Value(r.InstanceType))})
	}
	if s := job.StoppingCondition; s != nil && s.MaxRuntimeInSeconds != nil {
		rows = append(rows, [2]string{"at most", seconds(int64(*s.MaxRuntimeInSeconds))})
	}
	rows = append(rows, [2]string{"role", shapes.Value(job.RoleArn)}, [2]string{"created", moment(job.CreationTime)},
		[2]string{"started", moment(job.TrainingStartTime)}, [2]string{"ended", moment(job.TrainingEndTime)})
	if job.TrainingTimeInSeconds != nil {
		rows = append(rows, [2]string{"trained", seconds(int64(*job.TrainingTimeInSeconds))})
	}
	return rows
}

func inputs(job *sagemaker.DescribeTrainingJobResponse) [][2]string {
	var rows [][2]string
	for _, ch := range job.InputDataConfig {
		if ch.DataSource != nil && ch.DataSource.S3DataSource != nil {
			rows = append(rows, [2]string{*ch.ChannelName, shapes.Value(ch.DataSource.S3DataSource.S3Uri)})
		}
	}
	return rows
}

func outputs(job *sagemaker.DescribeTrainingJobResponse) [][2]string {
	if m := job.ModelArtifacts; m != nil && shapes.Value(m.S3ModelArtifacts) != "" {
		return [][2]string{{"model", *m.S3ModelArtifacts}}
	}
	return nil
}

// bill is the short form; `stint cost` has the lines.
func (a *app) bill(job *describedJob) [][2]string {
	c := job.Cost
	if c == nil || len(c.Lines) == 0 {
		return nil
	}
	total := exact(c.Total)
	if c.Running {
		total += a.onOut.dim("  and counting")
	}
	return [][2]string{{"billable", seconds(c.BillableSeconds)}, {"total", total}}
}

func sorted(m map[string]string) [][2]string {
	var rows [][2]string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		rows = append(rows, [2]string{k, oneLine(m[k])})
	}
	return rows
}

// oneLine folds what would break a table.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

// ended reports whether a status is final.
func ended(status sagemaker.TrainingJobStatus) bool {
	switch status {
	case sagemaker.TrainingJobStatusCompleted, sagemaker.TrainingJobStatusFailed, sagemaker.TrainingJobStatusStopped:
		return true
	}
	return false
}

func (a *app) stopCommand() *cobra.Command {
	wait := false
	c := &cobra.Command{
		Use:   "stop JOB",
		Short: "Ask a job to stop",
		Long: `Ask a job to stop. Its code gets SIGTERM and two minutes to save what it has; then what is in /opt/ml/model is uploaded and
the job ends as Stopped.`,
		Example:           "  stint stop digits-2026-05-01-10-00-00-000 --wait",
		Args:              oneArgument("the name of a job"),
		ValidArgsFunction: a.completeJobs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			err := c.StopTrainingJob(ctx, args[0])
			if isNotFound(err) {
				return a.explainMissing(a.stopTransform(ctx, c, args[0], wait), "job", args[0])
			}
			if err != nil {
				return err
			}
			job, err := describeJob(ctx, c, args[0])
			for err == nil && wait && !ended(*job.TrainingJobStatus) {
				a.setStatus(a.onErr.dim("Stopping " + args[0] + " …"))
				if err = sleep(ctx, pollEvery); err == nil {
					job, err = describeJob(ctx, c, args[0])
				}
			}
			a.clearStatus()
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(job)
			}
			status := string(*job.TrainingJobStatus)
			a.print("%s  %s", args[0], a.onOut.status(status, status))
			return nil
		}),
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until it has ended")
	return c
}

func (a *app) deleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "delete JOB...",
		Short: "Forget jobs that have ended",
		Long:  "Forget jobs that have ended. Their bills, logs and models stay.",
		Args:  someArguments("the names of jobs"), ValidArgsFunction: a.completeTrainings,
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			for _, name := range args {
				if err := c.DeleteTrainingJob(ctx, name); err != nil {
					return a.explainMissing(err, "training job", name)
				}
				if !a.json {
					a.print("%s  deleted", name)
				}
			}
			if a.json {
				return a.printJSON(map[string][]string{"Deleted": args})
			}
			return nil
		}),
	}
}

// pollEvery is how often a job that is waited for is looked at.
const pollEvery = 500 * time.Millisecond
