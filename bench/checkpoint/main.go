// Command checkpoint measures the sync of checkpoints: how fast new files reach the store and come back, beside `aws s3 cp` and
// beside plain transfers by the same driver without any bookkeeping; which share of a folder is shipped when one percent of it
// changed; and how much slower a training gets that is synced.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/drivers/blobs/s3"
)

type options struct {
	aws        string
	gib        float64
	rounds     int
	train      string
	data       string
	steps      int
	checkpoint int64
	only       string
	profile    string
}

func main() {
	var o options
	flag.StringVar(&o.aws, "aws", "aws", "the AWS CLI's `PROGRAM`")
	flag.Float64Var(&o.gib, "gib", 1, "`GIBIBYTES` of each folder")
	flag.IntVar(&o.rounds, "rounds", 3, "`ROUNDS`, of which the median counts")
	flag.IntVar(&o.steps, "steps", 1600, "`STEPS` of the training that is slowed down, or not; it writes four checkpoints")
	flag.StringVar(&o.train, "train", "", "be the training, with its checkpoints in this `FOLDER` (for the benchmark itself)")
	flag.StringVar(&o.data, "data", "", "the training's data `FILE`")
	flag.Int64Var(&o.checkpoint, "checkpoint", 128<<20, "`BYTES` of each of the training's checkpoints")
	flag.StringVar(&o.only, "only", "", "`PARTS` to run: large, many, small and training, with commas between; all when empty")
	flag.StringVar(&o.profile, "profile", "", "write processor profiles of our own syncs and restores into this `FOLDER`")
	flag.Parse()
	if o.train != "" {
		rig.Main("checkpoint", func(context.Context) error { return train(o.train, o.data, o.steps, o.checkpoint) })
		return
	}
	rig.Measure("checkpoint", o.run)
}

func (o options) wants(part string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), part)
}

// bench is a run.
type bench struct {
	options
	work   string
	stint  *rig.Server
	report *rig.Report
	blobs  *s3.Blobs
	sent   atomic.Int64 // bytes to the store by blobs, requests and all
	serial int
}

func (o options) run(ctx context.Context, work string, report *rig.Report) error {
	stint, err := rig.StartServer(ctx, filepath.Join(work, "stint"))
	if err != nil {
		return err
	}
	defer stint.Discard()
	if err := stint.Client.EnsureBucket(ctx, "checkpoints"); err != nil {
		return err
	}
	b := &bench{options: o, work: work, stint: stint, report: report}
	b.blobs, err = s3.New(s3.Config{
		Endpoint: stint.S3, Region: stint.Site.Region, Dial: b.dial,
		Credentials: s3.Fixed(s3.Credentials{AccessKeyID: stint.Keys.AccessKeyID, SecretAccessKey: stint.Keys.SecretAccessKey}),
	})
	if err != nil {
		return err
	}
	total := int64(o.gib * (1 << 30))
	for _, f := range []folder{
		{"large", "few large files", 4, total / 4},
		{"many", "many files", int(max(total>>20, 100)), 1 << 20},
		{"small", "small files", 10_000, 16 << 10},
	} {
		if !o.wants(f.part) {
			continue
		}
		if err := b.measure(ctx, f, f.part != "small"); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if o.wants("training") {
		if err := b.slowdown(ctx); err != nil {
			return err
		}
	}
	version, err := exec.CommandContext(ctx, o.aws, "--version").Output()
	if err != nil {
		return err
	}
	report.Note("peers: `aws s3 cp --recursive` in its default settings, its start included (%s); and uploads and downloads by Stint's own driver, as many at once as the sync has, without hashes and bookkeeping", strings.TrimSpace(string(version)))
	report.Note("the median of %d rounds, all in turn, sync(2) before each; what is restored is compared byte by byte", o.rounds)
	return nil
}

// dial counts what is sent.
func (b *bench) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &countingConn{c, &b.sent}, err
}

type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

func (b *bench) aws3(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, b.aws, append([]string{"s3"}, args...)...)
	c.Env, c.Stderr = b.stint.Environment(), os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("aws s3 %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// row writes a speed beside its peers'.
func (b *bench) row(what string, f folder, ours, driver, aws rig.Durations) {
	mine, plain, peer := ours.Percentile(50), driver.Percentile(50), aws.Percentile(50)
	held := plain.Seconds()/mine.Seconds() >= 0.8 && peer.Seconds()/mine.Seconds() >= 0.8
	speed := func(took time.Duration) string {
		return fmt.Sprintf("%.2f s, %.0f MiB/s", took.Seconds(), float64(f.total())/(1<<20)/took.Seconds())
	}
	b.report.Row(what+", "+f.name+", "+f.String(), "≥ 80 % of plain",
		fmt.Sprintf("%s: %.0f %% of the driver, %.0f %% of aws", speed(mine), 100*plain.Seconds()/mine.Seconds(), 100*peer.Seconds()/mine.Seconds()),
		fmt.Sprintf("driver %s; aws %s", speed(plain), speed(peer)), &held)
	b.report.Details[what+", "+f.name] = map[string]any{"stint_ms": ours.Summary(), "driver_ms": driver.Summary(), "aws_ms": aws.Summary()}
}
