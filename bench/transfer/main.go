// Command transfer measures how fast a job's input arrives and its model leaves, by the job's own secondary status
// transitions, beside `aws s3 cp` of the same files with the same object store. Downloading ends when the files are in their place for
// the user's code; Uploading begins when that has ended, and holds the packing of model.tar.gz.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// target is the share of the speed of `aws s3 cp` that is enough.
const target = 0.8

type options struct {
	aws    string
	scale  int
	rounds int
}

func main() {
	var o options
	flag.StringVar(&o.aws, "aws", "aws", "the AWS CLI's `PROGRAM`")
	flag.IntVar(&o.scale, "scale", 1, "divide all sizes by this `NUMBER`, to try the benchmark out")
	flag.IntVar(&o.rounds, "rounds", 3, "`ROUNDS`, of which the median counts")
	flag.Parse()
	rig.Measure("transfer", o.run)
}

// bench is a run.
type bench struct {
	options
	work   string
	stint  *rig.Server
	report *rig.Report
}

func (o options) run(ctx context.Context, work string, report *rig.Report) error {
	stint, err := rig.StartServer(ctx, filepath.Join(work, "stint"))
	if err != nil {
		return err
	}
	defer stint.Discard()
	b := &bench{o, work, stint, report}
	for _, bucket := range []string{"bench-input", "bench-output", "bench-peer"} {
		if err := stint.Client.EnsureBucket(ctx, bucket); err != nil {
			return err
		}
	}
	large := int64(2<<30) / int64(o.scale)
	for _, d := range []dataset{
		{"random bytes", 1, large, randomBytes},
		{"float32 weights", 1, large, weights},
		{"random bytes", max(10_000/o.scale, 1), 16 << 10, randomBytes},
	} {
		if err := b.measure(ctx, d); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
	}
	began := time.Now()
	version, err := exec.CommandContext(ctx, o.aws, "--version").Output()
	if err != nil {
		return err
	}
	startup := time.Since(began)
	report.Note("peer: `aws s3 cp` (with --recursive for many files) in its default settings; %s; its time holds the start of the program, %.1f s", strings.TrimSpace(string(version)), startup.Seconds())
	report.Note("the median of %d rounds, Stint and peer in turn, sync(2) before each; the job's upload holds packing and compressing into one model.tar.gz, the peer's sends the files as they are", o.rounds)
	return nil
}

// round is how long each way took once.
type round struct{ jobDown, jobUp, awsDown, awsUp rig.Durations }

// measure moves a dataset there and back, some rounds long.
func (b *bench) measure(ctx context.Context, d dataset) error {
	fmt.Printf("==> %s: making\n", d)
	source, back := filepath.Join(b.work, "source"), filepath.Join(b.work, "back")
	defer os.RemoveAll(source) //nolint:errcheck // the whole folder goes at the end
	if err := d.write(source); err != nil {
		return err
	}
	var r round
	for i := range b.rounds {
		fmt.Printf("==> %s: round %d of %d\n", d, i+1, b.rounds)
		// 1. The peer uploads; what it uploads is the job's input. Each round writes new objects.
		prefix := fmt.Sprintf("s3://bench-input/%d-%d/%d/", d.files, d.bytes, i)
		took, err := b.copy(ctx, d, source, prefix)
		if err != nil {
			return err
		}
		r.awsUp = append(r.awsUp, took)
		// 2. The peer downloads.
		if took, err = b.copy(ctx, d, prefix, back); err != nil {
			return err
		}
		r.awsDown = append(r.awsDown, took)
		if err := os.RemoveAll(back); err != nil {
			return err
		}
		// 3. The job downloads the same and gives it back as its model.
		down, up, err := b.job(ctx, fmt.Sprintf("transfer-%s-%d", b.stintName(d), i), prefix)
		if err != nil {
			return err
		}
		r.jobDown, r.jobUp = append(r.jobDown, down), append(r.jobUp, up)
		// 4. Room for the next round.
		for _, uri := range []string{prefix, "s3://bench-output/"} {
			if err := b.command(ctx, "s3", "rm", "--quiet", "--recursive", uri).Run(); err != nil {
				return fmt.Errorf("aws s3 rm: %w", err)
			}
		}
	}
	b.row("input, "+d.String(), d, r.jobDown, r.awsDown)
	b.row("model, "+d.String(), d, r.jobUp, r.awsUp)
	return nil
}

func (b *bench) stintName(d dataset) string {
	return fmt.Sprintf("%d-%s", d.files, map[string]string{"random bytes": "random", "float32 weights": "weights"}[d.name])
}

func (b *bench) row(what string, d dataset, ours, theirs rig.Durations) {
	mine, peer := ours.Percentile(50), theirs.Percentile(50)
	share := peer.Seconds() / mine.Seconds()
	held := share >= target
	cell := func(took time.Duration) string {
		return fmt.Sprintf("%.2f s, %.0f MiB/s", took.Seconds(), float64(d.total())/(1<<20)/took.Seconds())
	}
	b.report.Row(what, "≥ 80 % of aws s3 cp", fmt.Sprintf("%s: %.0f %%", cell(mine), 100*share), cell(peer), &held)
	b.report.Details[what] = map[string]any{"stint_seconds": seconds(ours), "aws_seconds": seconds(theirs)}
}

func seconds(d rig.Durations) []float64 {
	s := make([]float64, len(d))
	for i := range d {
		s[i] = d[i].Seconds()
	}
	return s
}

func (b *bench) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, b.aws, args...)
	c.Env, c.Stderr = b.stint.Environment(), os.Stderr
	return c
}

// copy is `aws s3 cp`. A single file is copied by its name, as a user would.
func (b *bench) copy(ctx context.Context, d dataset, from, to string) (time.Duration, error) {
	args := []string{"s3", "cp", "--only-show-errors", from, to}
	if d.files == 1 {
		args[3] += "/part-00000"
		if from[:3] == "s3:" {
			args[3] = from + "part-00000"
		}
		args[4] = filepath.Clean(to) + "/"
		if to[:3] == "s3:" {
			args[4] = to
		}
	} else {
		args = append(args, "--recursive")
	}
	unix.Sync()
	began := time.Now()
	if err := b.command(ctx, args...).Run(); err != nil {
		return 0, fmt.Errorf("aws s3 cp %s %s: %w", from, to, err)
	}
	return time.Since(began), nil
}

// job runs a job whose model is its input, and gives how long it took to fetch the one and to give the other.
func (b *bench) job(ctx context.Context, name, input string) (down, up time.Duration, err error) {
	request := rig.ShellJob(b.stint.Site, name, "cp -r /opt/ml/input/data/train/. /opt/ml/model/ && sync")
	request.InputDataConfig = []sagemaker.Channel{{ChannelName: new("train"), DataSource: &sagemaker.DataSource{S3DataSource: &sagemaker.S3DataSource{
		S3DataType: new(sagemaker.S3DataTypeS3Prefix), S3Uri: &input,
	}}}}
	unix.Sync()
	if err := b.stint.Client.CreateTrainingJob(ctx, request); err != nil {
		return 0, 0, err
	}
	job, err := b.stint.AwaitStatus(ctx, name, sagemaker.SecondaryStatusCompleted, 20*time.Minute)
	if err != nil {
		return 0, 0, err
	}
	for _, t := range job.SecondaryStatusTransitions {
		took := time.Duration(0)
		if t.EndTime != nil {
			took = t.EndTime.Sub(t.StartTime.Time)
		}
		switch *t.Status {
		case sagemaker.SecondaryStatusDownloading:
			down += took
		case sagemaker.SecondaryStatusUploading:
			up += took
		}
	}
	return down, up, nil
}
