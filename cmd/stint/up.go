package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/drivers/market/static"
	"github.com/stint-ml/stint/drivers/runtimes"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
	"github.com/stint-ml/stint/wire/sigv4"
)

// stopWithin is how long calls under way may take to end when the server stops.
const stopWithin = 10 * time.Second

type upFlags struct {
	listen, s3Listen string
	region, account  string
	cpus             float64
	memory           string
	stopGrace        time.Duration
	serverlessKeep   time.Duration
	spot             server.Spot
	spotNotice       time.Duration
	logLevel         string
	quiet            bool
}

func (a *app) upCommand() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the server",
		Long: `Start the server and run until Ctrl-C or SIGTERM. Jobs outlive the server: stopping it, or even killing it, harms none,
and when it is back it goes on from where they are.

All it keeps is in the data folder. A folder belongs to one server at a time; for a second server give another folder and
other ports.`,
		Example: `  stint up
  stint up --region eu-west-1 --account 123456789012
  stint up --home /srv/stint --listen 127.0.0.1:9500 --s3-listen 127.0.0.1:9501
  stint up --cpus 8 --memory 32GiB`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.up(c, &f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:9400", "`ADDRESS` of all services; port 0 takes a free one")
	flags.StringVar(&f.s3Listen, "s3-listen", "127.0.0.1:9401", "`ADDRESS` of the object store's own port")
	flags.StringVar(&f.region, "region", "", "AWS `REGION` to be; cn-* is of the partition aws-cn (default what the data folder had last, else us-east-1)")
	flags.StringVar(&f.account, "account", "", "AWS `ACCOUNT` to be (default what the data folder had last, else twelve zeros)")
	flags.Float64Var(&f.cpus, "cpus", 0, "`CPUS` that jobs may use together (default all)")
	flags.StringVar(&f.memory, "memory", "", "memory, as a `SIZE`, that jobs may use together, such as 16GiB (default what the machine has)")
	flags.DurationVar(&f.stopGrace, "stop-grace", 0, "`TIME` that a job may take to end when it is stopped, before it is killed (default 2m, as on AWS)")
	flags.DurationVar(&f.serverlessKeep, "serverless-keep", 0, "`TIME` for which an idle instance of a serverless endpoint is kept, at no cost, to answer at once (default 5m)")
	flags.StringVar(&f.spot.Market, "spot-market", "static", "`MARKET` of spot capacity: static for this machine's own room, or the file of a recorded one, which is replayed")
	flags.Float64Var(&f.spot.Discount, "spot-discount", static.DefaultDiscount, "`PART` of the on-demand price that spot saves where neither the catalogue nor a recording tells its price")
	flags.DurationVar(&f.spotNotice, "spot-notice", 0, "`TIME` between the notice of an interruption and the loss of the capacity (default 2m, as on AWS)")
	flags.BoolVar(&f.spot.RequireCheckpoints, "spot-require-checkpoints", false, "refuse spot jobs that may wait over an hour and keep no checkpoints, instead of a warning")
	flags.StringVar(&f.logLevel, "log-level", "warn", "`LEVEL` of what the server tells on stderr: debug, info, warn or error")
	flags.BoolVar(&f.quiet, "quiet", false, "print nothing but the log")
	return c
}

func (a *app) up(c *cobra.Command, f *upFlags) error {
	options, err := a.upOptions(f)
	if err != nil {
		return err
	}
	server.PaceCollector()
	s, err := server.Start(c.Context(), options)
	if err != nil {
		return explainStart(err, options)
	}
	if !f.quiet {
		if err := a.greet(s); err != nil {
			return err
		}
	}
	select {
	case <-a.interrupts:
	case <-s.Failed():
		err = errors.New("a listener of the server died; the log says why")
	}
	if !f.quiet {
		a.farewell(c.Context(), s)
	}
	ctx, cancel := context.WithTimeout(c.Context(), stopWithin)
	defer cancel()
	go func() {
		<-a.interrupts // the second says: now
		cancel()
	}()
	if stopErr := s.Stop(ctx); stopErr != nil && !errors.Is(stopErr, context.Canceled) && !errors.Is(stopErr, context.DeadlineExceeded) {
		err = errors.Join(err, stopErr)
	}
	return err
}

var (
	regionForm  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	accountForm = regexp.MustCompile(`^\d{12}$`)
)

// upOptions checks the flags.
func (a *app) upOptions(f *upFlags) (server.Options, error) {
	home, err := a.home()
	if err != nil {
		return server.Options{}, err
	}
	o := server.Options{Home: home, Listen: f.listen, S3Listen: f.s3Listen}
	if last, _, err := home.Connect(); err == nil {
		f.region, f.account = cmp.Or(f.region, last.Site.Region), cmp.Or(f.account, last.Site.Account)
	}
	f.region, f.account = cmp.Or(f.region, "us-east-1"), cmp.Or(f.account, "000000000000")
	o.Site = platform.Site{Partition: "aws", Region: f.region, Account: f.account}
	if strings.HasPrefix(f.region, "cn-") {
		o.Site.Partition = "aws-cn"
	}
	if err := f.check(); err != nil {
		return o, err
	}
	o.StopGrace = platform.Seconds(f.stopGrace / time.Second)
	o.ServerlessKeep = platform.Seconds(f.serverlessKeep / time.Second)
	o.Spot = f.spot
	o.Spot.Notice = platform.Seconds(f.spotNotice / time.Second)
	o.Capacity.MilliCPU = int64(f.cpus * 1000)
	if f.memory != "" {
		if o.Capacity.MemoryBytes, err = parseBytes(f.memory); err != nil {
			return o, usage("--memory %w", err)
		}
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return o, usage("--log-level %q is none of debug, info, warn, error", f.logLevel)
	}
	o.Log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
	return o, nil
}

// check finds what no server can be started with.
func (f *upFlags) check() error {
	for flag, address := range map[string]string{"listen": f.listen, "s3-listen": f.s3Listen} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return usage("--%s %q is not an address; it should look like 127.0.0.1:9400", flag, address)
		}
	}
	for flag, d := range map[string]time.Duration{"stop-grace": f.stopGrace, "serverless-keep": f.serverlessKeep, "spot-notice": f.spotNotice} {
		if d < 0 || d%time.Second != 0 {
			return usage("--%s %v should be whole seconds, such as 30s", flag, d)
		}
	}
	switch {
	case !regionForm.MatchString(f.region):
		return usage("--region %q is not a region; it should look like us-east-1", f.region)
	case !accountForm.MatchString(f.account):
		return usage("--account %q is not an account; it should be twelve digits", f.account)
	case f.cpus < 0:
		return usage("--cpus %g is below zero", f.cpus)
	case !(f.spot.Discount >= 0 && f.spot.Discount < 1): // not a number, too
		return usage("--spot-discount %v should be from 0 to less than 1, such as 0.7", f.spot.Discount)
	}
	return nil
}

// parseBytes reads an amount of memory: 16GiB, 16G, 512M. Units are powers of 1,024, as instance types count.
func parseBytes(text string) (int64, error) {
	var value float64
	var unit string
	if _, err := fmt.Sscanf(text, "%f%s", &value, &unit); err != nil || value <= 0 {
		return 0, fmt.Errorf("%q is not an amount of memory; it should look like 16GiB", text)
	}
	unit = strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(unit), "B"), "I")
	shift, known := map[string]int{"K": 10, "M": 20, "G": 30, "T": 40}[unit]
	if !known {
		return 0, fmt.Errorf("%q is not an amount of memory; its unit should be MiB, GiB or TiB", text)
	}
	return int64(value * float64(int64(1)<<shift)), nil
}

// explainStart puts the usual reasons why a server cannot start into words that say what to do.
func explainStart(err error, o server.Options) error {
	var network *net.OpError
	var path *fs.PathError
	var ours *platform.Error
	switch {
	case errors.As(err, &network) && network.Op == "listen":
		remedy := "choose other addresses"
		if errors.Is(err, syscall.EADDRINUSE) {
			remedy = "stop what listens there, or " + remedy
		}
		cause := network.Err
		var system syscall.Errno
		if errors.As(err, &system) {
			cause = system // without the name of the system call
		}
		return fmt.Errorf("cannot listen on %s: %w; %s with --listen and --s3-listen", network.Addr, cause, remedy)
	case platform.Is(err, platform.InUse) && errors.As(err, &ours):
		return fmt.Errorf("%s with --home", ours.Message)
	case errors.As(err, &path):
		return fmt.Errorf("the data folder %s cannot be used: %w; choose one that you may write with --home", o.Home, path)
	}
	return err
}

// greet says where everything is and what to do next.
func (a *app) greet(s *server.Server) error {
	lines, err := runtimes.Open(s.Home.Runtimes()).List()
	if err != nil {
		return err
	}
	table := runtimes.Open(s.Home.Runtimes())
	var installed []string
	for _, l := range lines {
		if table.Installed(l) {
			installed = append(installed, l.Name)
		}
	}
	if a.json {
		return a.printJSON(map[string]any{
			"Endpoint": s.Endpoint(), "S3Endpoint": s.S3Endpoint(), "Region": s.Site.Region, "Account": s.Site.Account, "Partition": s.Site.Partition,
			"AccessKeyId": s.RootKey.ID, "Home": string(s.Home), "Runtimes": installed,
		})
	}
	p := a.onOut
	row := func(name, value string) { a.print("  %s  %s", p.dim(fmt.Sprintf("%-10s", name)), value) }
	a.print("\n  %s  %s\n", p.bold("Stint is up"), p.dim(version().Version))
	row("endpoint", p.cyan(s.Endpoint()))
	row("S3", p.cyan(s.S3Endpoint()))
	row("region", fmt.Sprintf("%s, account %s", s.Site.Region, s.Site.Account))
	row("access key", s.RootKey.ID+p.dim("  its secret: "+a.elsewhere("env", s.Home)))
	row("data", string(s.Home))
	row("runtimes", strings.Join(installed, ", ")+p.dim("  more: "+a.elsewhere("runtime list", s.Home)))
	a.print("\n  Point the SageMaker SDK, boto3 and the AWS CLI here:   %s", p.bold(`eval "$(`+a.elsewhere("env", s.Home)+`)"`))
	a.print("  Ctrl-C stops the server; jobs go on without it.\n")
	return nil
}

// farewell says what goes on.
func (a *app) farewell(ctx context.Context, s *server.Server) {
	a.note("Stopping.")
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c := client.New(client.Config{
		Endpoint: s.Endpoint(), Site: s.Site, Now: a.now,
		Credentials: sigv4.Credentials{AccessKeyID: s.RootKey.ID, SecretAccessKey: s.RootKey.Secret},
	})
	jobs, err := c.ListTrainingJobs(ctx, &sagemaker.ListTrainingJobsRequest{
		StatusEquals: new(sagemaker.TrainingJobStatusInProgress), MaxResults: new(int32(100)),
	})
	if err != nil || len(jobs.TrainingJobSummaries) == 0 {
		return // nothing to tell
	}
	count := plural(len(jobs.TrainingJobSummaries), "job")
	if jobs.NextToken != nil {
		count = "More than 100 jobs"
	}
	a.note("%s in progress: what runs goes on without the server. Start it again with: %s", count, a.stint("up"))
}
