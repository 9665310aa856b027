package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	// awayFor is how long a server may be away while a job is followed: long enough for a restart.
	awayFor = 2 * time.Minute
	// costEvery is how often the running cost is asked for.
	costEvery = 2 * time.Second
)

// follower accompanies one job to its end.
type follower struct {
	*app
	client *client.Client
	blobs  platform.Blobs
	name   string
	log    *growingLog
	output string // folder for the model; empty: leave it in the store

	stopping bool
	told     int       // phases told so far
	away     time.Time // since when the server does not answer; zero while it does
	costAt   time.Time // when cost was asked for

	mu   sync.Mutex // guards what the animation shows
	job  *sagemaker.DescribeTrainingJobResponse
	cost string
}

// follow shows log and progress until the job has ended, and then the result. The first interrupt asks the job to stop, the
// second leaves it.
func (f *follower) follow(ctx context.Context) error {
	still := f.animate(f.status)
	err := f.wait(ctx)
	still()
	if err != nil {
		return err
	}
	return f.finish(ctx)
}

func (f *follower) wait(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		over, err := f.look(ctx)
		if over || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.interrupts:
			if f.stopping {
				f.note("The job goes on to its end without you. See: %s", f.stint("describe "+f.name))
				return errInterrupted
			}
			f.stopping = true
			f.note("Asking the job to stop, which may take it two minutes. Press Ctrl-C again to leave it to itself.")
			if err := f.client.StopTrainingJob(ctx, f.name); err != nil && !refused(err) {
				return err
			}
		}
	}
}

// refused: the server said no, as it does when the job has ended by itself.
func refused(err error) bool {
	var api *client.APIError
	return errors.As(err, &api)
}

// look takes one look at job and log, and reports whether the job has ended. A server that is away for a moment is waited for.
func (f *follower) look(ctx context.Context) (over bool, err error) {
	// The status first: what is said before the end is in the log before the status says so.
	job, err := f.client.DescribeTrainingJob(ctx, f.name)
	if err == nil {
		err = f.log.next(ctx, f.showLog)
	}
	var away *client.UnreachableError
	switch {
	case errors.As(err, &away) && f.away.IsZero():
		f.away = f.now()
		f.note("The server does not answer. The job goes on without it; waiting for the server to come back.")
		return false, nil
	case errors.As(err, &away) && f.now().Sub(f.away) < awayFor:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("lost sight of the job %s, which goes on: %w", f.name, err)
	}
	f.away = time.Time{}
	f.show(ctx, job)
	return ended(*job.TrainingJobStatus), nil
}

// show takes a new state for the status line; without one, it says each new phase.
func (f *follower) show(ctx context.Context, job *sagemaker.DescribeTrainingJobResponse) {
	f.mu.Lock()
	f.job = job
	f.mu.Unlock()
	for _, t := range job.SecondaryStatusTransitions[min(f.told, len(job.SecondaryStatusTransitions)):] {
		f.told++
		if !f.live && !final(*t.Status) {
			f.note("  %s", *t.Status)
		}
	}
	if f.live && f.now().Sub(f.costAt) >= costEvery {
		f.costAt = f.now()
		if bill, err := f.client.Cost(ctx, f.name); err == nil && len(bill.Lines) > 0 {
			f.mu.Lock()
			f.cost = rounded(bill.Total)
			f.mu.Unlock()
		}
	}
}

// final reports whether a phase is the end, which the summary tells.
func final(phase sagemaker.SecondaryStatus) bool {
	return len(platform.TrainingTransitions[platform.JobPhase(phase)]) == 0
}

// showLog keeps the log apart from a result for programs.
func (f *follower) showLog(line logLine) error {
	text := strings.TrimRight(shapes.Value(line.Message), "\r\n")
	if f.json {
		f.note("%s", text)
	} else {
		f.print("%s", text)
	}
	return nil
}

// path is how a job goes when nothing comes between.
var usualPath = []sagemaker.SecondaryStatus{
	sagemaker.SecondaryStatusStarting, sagemaker.SecondaryStatusDownloading, sagemaker.SecondaryStatusTraining, sagemaker.SecondaryStatusUploading,
}

// status draws the way of the job with where it is now, how long, and what it has cost so far.
func (f *follower) status(frame string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.onErr
	if f.job == nil {
		return p.cyan(frame)
	}
	phase := shapes.Value(f.job.SecondaryStatus)
	var steps []string
	passed := true
	for _, step := range usualPath {
		switch {
		case step == phase:
			steps, passed = append(steps, p.bold(string(step))), false
		case passed:
			steps = append(steps, p.dim("✓ "+string(step)))
		default:
			steps = append(steps, p.dim(string(step)))
		}
	}
	if passed { // not on the usual way
		steps = []string{p.bold(string(phase))}
	}
	line := p.cyan(frame) + " " + strings.Join(steps, p.dim(" › "))
	if n := len(f.job.SecondaryStatusTransitions); n > 0 {
		line += "  " + clock(f.now().Sub(f.job.SecondaryStatusTransitions[n-1].StartTime.Time))
	}
	if f.cost != "" {
		line += p.dim("  " + f.cost)
	}
	return line
}

// finish tells the result, fetches the model, and gives the error that makes the exit code.
func (f *follower) finish(ctx context.Context) error {
	job, err := describeJob(ctx, f.client, f.name)
	if err != nil {
		return err
	}
	model := ""
	if job.ModelArtifacts != nil {
		model = shapes.Value(job.ModelArtifacts.S3ModelArtifacts)
	}
	if f.output != "" && model != "" {
		if err := f.fetchModel(ctx, platform.URI(model)); err != nil {
			return err
		}
	}
	if f.json {
		err = f.printJSON(job)
	} else {
		f.summarize(job, model)
	}
	if err != nil {
		return err
	}
	status := *job.TrainingJobStatus
	switch {
	case status == sagemaker.TrainingJobStatusCompleted:
		return nil
	case status == sagemaker.TrainingJobStatusStopped && f.stopping:
		return errInterrupted
	default:
		return &exitError{code: exitFailed}
	}
}

func (f *follower) summarize(job *describedJob, model string) {
	p := f.onErr
	status, phase := string(*job.TrainingJobStatus), string(shapes.Value(job.SecondaryStatus))
	mark := map[string]string{"Completed": "✓", "Failed": "✗"}[status]
	if mark == "" {
		mark = "■"
	}
	headline := p.status(status, mark+" "+status)
	if phase != status {
		headline += " " + p.dim(phase)
	}
	if t := job.TrainingTimeInSeconds; t != nil {
		headline += "  " + p.dim(fmt.Sprintf("%s, %s billable", seconds(int64(*t)), seconds(int64(shapes.Value(job.BillableTimeInSeconds)))))
	}
	f.note("%s", headline)
	row := func(name, value string) {
		if value != "" {
			f.note("  %s %s", p.dim(fmt.Sprintf("%-8s", name)), value)
		}
	}
	if job.FailureReason != nil {
		row("reason", strings.ReplaceAll(strings.TrimSpace(*job.FailureReason), "\n", "\n           "))
	}
	for _, m := range job.FinalMetricDataList {
		row(*m.MetricName, fmt.Sprintf("%.6g", shapes.Value(m.Value)))
	}
	row("model", model)
	if model != "" {
		row("fetched", f.output)
	}
	if job.Cost != nil && len(job.Cost.Lines) > 0 {
		rate := ""
		if len(job.Cost.Lines) == 1 {
			l := job.Cost.Lines[0]
			rate = p.dim(fmt.Sprintf("  %d s of %s at %s/h", l.Seconds, l.InstanceType, exact(l.HourlyRate)))
		}
		row("cost", p.bold(exact(job.Cost.Total))+rate)
	}
}

// fetchModel unpacks the model into the output folder. Nothing in the archive can reach out of it.
func (f *follower) fetchModel(ctx context.Context, model platform.URI) error {
	if err := os.MkdirAll(f.output, 0o755); err != nil { //nolint:gosec // as any folder that a user makes
		return err
	}
	folder, err := os.OpenRoot(f.output)
	if err != nil {
		return err
	}
	defer folder.Close()
	in, err := f.blobs.Open(ctx, model, 0, -1)
	if err != nil {
		return err
	}
	defer in.Close()
	unzipped, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("%s is not a model.tar.gz: %w", model, err)
	}
	archive := tar.NewReader(unzipped)
	for {
		member, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = unpackMember(folder, member, archive)
		}
		if err != nil {
			return fmt.Errorf("unpack %s into %s: %w", model, f.output, err)
		}
	}
}

// unpackMember writes one file or folder. Other kinds, which no model needs, are left out.
func unpackMember(folder *os.Root, member *tar.Header, content io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+member.Name), "/")
	switch {
	case name == "":
		return nil
	case member.Typeflag == tar.TypeDir:
		return folder.MkdirAll(name, 0o755)
	case member.Typeflag != tar.TypeReg:
		return nil
	}
	if err := folder.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := folder.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, member.FileInfo().Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		_ = file.Close() // the copy's error says more
		return err
	}
	return file.Close()
}
