package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/control/endpoint"
	"github.com/stint-ml/stint/control/training"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/logs"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// growingLog reads a log as it grows. A job has a stream for each attempt and host, named {job}/{host}-{time}; an endpoint one
// for each instance, named {variant}/{instance}.
type growingLog struct {
	client    *client.Client
	group     string
	prefix    *string            // of its streams; nil: all of the group
	positions map[string]*string // of each stream: the token to go on with
}

func newJobLog(c *client.Client, job string) *growingLog {
	return &growingLog{client: c, group: training.LogGroup, prefix: new(job + "/"), positions: map[string]*string{}}
}

func newEndpointLog(c *client.Client, name string) *growingLog {
	return &growingLog{client: c, group: endpoint.LogGroup(name), positions: map[string]*string{}}
}

// logLine is one event as `stint logs --json` prints it.
type logLine struct {
	LogStreamName string `json:"logStreamName"`
	logs.OutputLogEvent
}

// streams gives the names of the log's streams, the oldest first. What has written nothing has none.
func (l *growingLog) streams(ctx context.Context) ([]string, error) {
	var found []logs.LogStream
	in := &logs.DescribeLogStreamsRequest{LogGroupName: &l.group, LogStreamNamePrefix: l.prefix}
	for {
		page, err := l.client.DescribeLogStreams(ctx, in)
		if isNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		found = append(found, page.LogStreams...)
		if page.NextToken == nil {
			break
		}
		in.NextToken = page.NextToken
	}
	slices.SortStableFunc(found, func(x, y logs.LogStream) int {
		return cmp.Compare(shapes.Value(x.CreationTime), shapes.Value(y.CreationTime))
	})
	var names []string
	for _, s := range found {
		names = append(names, *s.LogStreamName)
	}
	return names, nil
}

// next hands over what came since the last call, stream by stream.
func (l *growingLog) next(ctx context.Context, each func(logLine) error) error {
	streams, err := l.streams(ctx)
	if err != nil {
		return err
	}
	for _, stream := range streams {
		if err := l.drain(ctx, stream, each); err != nil {
			return err
		}
	}
	return nil
}

// drain reads a stream to its present end, which is where the token comes back unchanged.
func (l *growingLog) drain(ctx context.Context, stream string, each func(logLine) error) error {
	for {
		page, err := l.client.GetLogEvents(ctx, &logs.GetLogEventsRequest{
			LogGroupName: &l.group, LogStreamName: &stream, NextToken: l.positions[stream], StartFromHead: new(true),
		})
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			if err := each(logLine{stream, e}); err != nil {
				return err
			}
		}
		was := l.positions[stream]
		l.positions[stream] = page.NextForwardToken
		if len(page.Events) == 0 || was != nil && *was == *page.NextForwardToken {
			return nil
		}
	}
}

// last hands over the last n lines of the log and goes on from there.
func (l *growingLog) last(ctx context.Context, n int, each func(logLine) error) error {
	streams, err := l.streams(ctx)
	if err != nil {
		return err
	}
	var lines []logLine
	for _, stream := range slices.Backward(streams) {
		earlier, err := l.lastOf(ctx, stream, n-len(lines))
		if err != nil {
			return err
		}
		lines = append(earlier, lines...)
	}
	for _, line := range lines {
		if err := each(line); err != nil {
			return err
		}
	}
	return nil
}

// lastOf reads a stream's last n lines, page by page from its end, and keeps the token to go on after them.
func (l *growingLog) lastOf(ctx context.Context, stream string, n int) ([]logLine, error) {
	const largest = 10_000 // that AWS gives at once
	var lines []logLine
	var token *string
	for {
		page, err := l.client.GetLogEvents(ctx, &logs.GetLogEventsRequest{
			LogGroupName: &l.group, LogStreamName: &stream, NextToken: token,
			StartFromHead: new(false), Limit: new(int32(max(min(n-len(lines), largest), 1))),
		})
		if err != nil {
			return nil, err
		}
		if token == nil {
			l.positions[stream] = page.NextForwardToken
		}
		var earlier []logLine
		for _, e := range page.Events {
			earlier = append(earlier, logLine{stream, e})
		}
		lines = append(earlier, lines...)
		if len(page.Events) == 0 || len(lines) >= n {
			return lines[max(len(lines)-n, 0):], nil
		}
		token = page.NextBackwardToken
	}
}

type logsFlags struct {
	follow bool
	tail   int
}

func (a *app) logsCommand() *cobra.Command {
	var f logsFlags
	c := &cobra.Command{
		Use:   "logs JOB",
		Short: "Print the log of a job",
		Long:  "Print the log of a training or batch transform job: what its code wrote to stdout and stderr, and what the platform had to say in between.",
		Example: `  stint logs JOB -f
  stint logs JOB --tail 100
  stint logs JOB --json | jq -r .message`,
		Args:              oneArgument("the name of a job"),
		ValidArgsFunction: a.completeJobs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			return a.explainMissing(a.logs(ctx, c, args[0], f), "job", args[0])
		}),
	}
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on until the job has ended")
	c.Flags().IntVarP(&f.tail, "tail", "n", -1, "begin with the last so many lines (default all)")
	return c
}

func (a *app) logs(ctx context.Context, c *client.Client, name string, f logsFlags) error {
	if f.tail < -1 {
		return usage("--tail %d is below zero", f.tail)
	}
	status, log, err := jobOf(ctx, c, name)
	if err != nil {
		return err
	}
	now, err := status(ctx)
	if err != nil {
		return err
	}
	if f.tail >= 0 {
		err = log.last(ctx, f.tail, a.printLogLine)
	} else {
		err = log.next(ctx, a.printLogLine)
	}
	for err == nil && f.follow && !ended(sagemaker.TrainingJobStatus(now)) {
		if err = sleep(ctx, pollEvery); err != nil {
			return err
		}
		// The status first: what is said before the end is in the log before the status says so.
		if now, err = status(ctx); err == nil {
			err = log.next(ctx, a.printLogLine)
		}
	}
	return err
}

func (a *app) printLogLine(line logLine) error {
	if !a.json {
		a.print("%s", strings.TrimRight(shapes.Value(line.Message), "\r\n"))
		return nil
	}
	doc, err := json.Marshal(line)
	if err == nil {
		a.print("%s", doc)
	}
	return err
}
