package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/drivers/market/static"
	"github.com/stint-ml/stint/drivers/market/trace"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/sim"
)

type spotSimFlags struct {
	trace, policies            string
	work, deadline, changeover time.Duration
	instance                   string
	onDemandPrice, spotPrice   string
	plot                       string
}

func (a *app) spotSimCommand() *cobra.Command {
	var f spotSimFlags
	c := &cobra.Command{
		Use:   "sim",
		Short: "Play a job against a recorded spot market: what each policy costs, and when it ends",
		Long: `Play a managed spot job against a recorded market, on a virtual clock, with the very control loops and policies that the
server has, and see for each policy where the job ran, what it cost, when it ended, and how far that is from the cheapest
course that anyone could have found who knew the whole trace beforehand.

A trace is a table with the head seconds,available[,price][,instance_type], where a row holds until the next; or windows,
a line each, of the form: environment window gap_seconds bits. FILE#environment/window picks one; files may be gzipped.
Without --trace a made-up one of three days is played.`,
		Example: `  stint spot sim
  stint spot sim --trace market.csv --policy stint,greedy --work 20h --deadline 30h
  stint spot sim --trace windows.txt.gz#us-west-2a_v100_1/7 --on-demand-price 3.06 --spot-price 0.9731 --plot lanes.svg`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			f.policies = strings.ToLower(f.policies)
			return a.spotSim(c.Context(), f, c.Flags().Changed("instance"))
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.trace, "trace", "", "recorded market: `FILE[#environment/window]`")
	flags.StringVar(&f.policies, "policy", "all", "`NAME[,NAME…]` of "+strings.Join(spot.Names(), ", ")+", or all")
	flags.DurationVar(&f.work, "work", 48*time.Hour, "`TIME` that the job needs to compute")
	flags.DurationVar(&f.deadline, "deadline", 60*time.Hour, "`TIME` from its creation by which it must have ended")
	flags.DurationVar(&f.changeover, "changeover", 2*time.Minute, "`TIME` from each launch until it makes progress")
	flags.StringVar(&f.instance, "instance", "ml.p3.2xlarge", "instance `TYPE`, for its price and of a trace that has several")
	flags.StringVar(&f.onDemandPrice, "on-demand-price", "", "`PRICE` of an hour on demand (default the catalogue's)")
	flags.StringVar(&f.spotPrice, "spot-price", "", "`PRICE` of an hour on spot (default the trace's, else the catalogue's, else 70 % off)")
	flags.StringVar(&f.plot, "plot", "", "draw the lanes into `FILE`, .svg or .png")
	_ = c.RegisterFlagCompletionFunc("policy", cobra.FixedCompletions(append(spot.Names(), "all"), cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	_ = c.RegisterFlagCompletionFunc("trace", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	})
	return c
}

// simulated is what all policies made of a job, for whoever shows it.
type simulated struct {
	sim.SpotJob
	optimum sim.SpotRun
	exact   bool // the optimum is
	runs    []sim.SpotRun
}

func (a *app) spotSim(ctx context.Context, f spotSimFlags, instanceGiven bool) error {
	// 1. All that can be wrong with the command line, before anything is played.
	if format := filepath.Ext(f.plot); f.plot != "" && format != ".svg" && format != ".png" {
		return usage("--plot %s should end in .svg or .png", f.plot)
	}
	policies, err := choosePolicies(f.policies)
	if err != nil {
		return err
	}
	job, err := a.spotJob(f, instanceGiven)
	if err != nil {
		return err
	}
	// 2. Play.
	ctx, stop := a.interruptible(ctx)
	defer stop()
	s, err := a.simulate(ctx, job, policies)
	if err != nil {
		return err
	}
	// 3. Show.
	if f.plot != "" {
		if err := writePlot(f.plot, plot(s)); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(s.document())
	}
	a.printSimulated(s)
	if f.plot != "" {
		a.note("%s", a.onErr.dim("The lanes are drawn in "+f.plot))
	}
	return nil
}

// choosePolicies reads --policy.
func choosePolicies(given string) ([]string, error) {
	if given == "all" {
		return spot.Names(), nil
	}
	var chosen []string
	for name := range strings.SplitSeq(given, ",") {
		name = strings.TrimSpace(name)
		switch {
		case !slices.Contains(spot.Names(), name):
			return nil, usage("--policy %q is not known; there are %s, and all", name, strings.Join(spot.Names(), ", "))
		case slices.Contains(chosen, name):
			return nil, usage("--policy names %s twice", name)
		}
		chosen = append(chosen, name)
	}
	return chosen, nil
}

// spotJob reads the trace and finds the prices.
func (a *app) spotJob(f spotSimFlags, instanceGiven bool) (sim.SpotJob, error) {
	job := sim.SpotJob{InstanceType: platform.InstanceType(f.instance), Work: f.work, Deadline: f.deadline, Changeover: f.changeover}
	var err error
	if f.trace == "" {
		job.Trace, err = trace.Example()
	} else {
		job.Trace, err = trace.Read(f.trace)
	}
	if err != nil {
		return job, usage("--trace: %w", err)
	}
	if types := job.Trace.Types(); len(types) == 1 && !instanceGiven {
		job.InstanceType = platform.InstanceType(types[0])
	}
	known, err := a.priced(job.InstanceType, f.onDemandPrice)
	if err != nil {
		return job, err
	}
	job.OnDemand = known.OnDemand
	job.Discount = static.DefaultDiscount
	if known.Spot.Nanos > 0 {
		job.Discount = 1 - float64(known.Spot.Nanos)/float64(job.OnDemand.Nanos)
	}
	if f.spotPrice != "" {
		job.Discount, err = discountTo(f.spotPrice, job)
	}
	return job, err
}

// discountTo is the discount that makes a spot price.
func discountTo(price string, job sim.SpotJob) (float64, error) {
	paid, err := platform.ParseNanos(price)
	if err != nil || paid <= 0 || paid > job.OnDemand.Nanos {
		return 0, usage("--spot-price %s is no price above 0 and at most the one on demand, %s", price, platform.Money(job.OnDemand))
	}
	rows, err := job.Trace.Rows(job.InstanceType)
	if err != nil {
		return 0, usage("%w", err)
	}
	if slices.ContainsFunc(rows, func(r trace.Row) bool { return r.Price != 0 }) {
		return 0, usage("--spot-price %s: %s has prices of its own", price, job.Trace.Name)
	}
	return 1 - float64(paid)/float64(job.OnDemand.Nanos), nil
}

// priced is the catalogue's line of an instance type; with a price of its own a type need not be in the catalogue.
func (a *app) priced(t platform.InstanceType, onDemand string) (platform.Instance, error) {
	home, err := a.home()
	if err != nil {
		return platform.Instance{}, err
	}
	partition := "aws"
	if connection, _, err := home.Connect(); err == nil {
		partition = connection.Site.Partition
	}
	catalog, err := home.Catalog(partition)
	if err != nil {
		return platform.Instance{}, err
	}
	instance, err := catalog.Lookup(t)
	if onDemand == "" {
		if err != nil {
			return instance, usage("--instance: %w; or give its price with --on-demand-price", err)
		}
		return instance, nil
	}
	nanos, err := platform.ParseNanos(onDemand)
	if err != nil || nanos <= 0 {
		return instance, usage("--on-demand-price %s is no price above 0", onDemand)
	}
	return platform.Instance{OnDemand: platform.HourlyRate{Nanos: nanos, Currency: cmp.Or(instance.OnDemand.Currency, "USD")}}, nil
}

// simulate finds the optimum and plays each policy.
func (a *app) simulate(ctx context.Context, job sim.SpotJob, policies []string) (simulated, error) {
	s := simulated{SpotJob: job}
	defer a.clearStatus()
	var err error
	a.setStatus("searching the optimum")
	if s.optimum, s.exact, err = job.Optimum(); err != nil {
		return s, usage("%w", err)
	}
	s.runs = make([]sim.SpotRun, len(policies))
	var done atomic.Int64
	progress := func() {
		a.setStatus(fmt.Sprintf("%s  %d of %d policies played", bar(done.Load(), int64(len(policies)), 20), done.Load(), len(policies)))
	}
	progress()
	group, playing := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, name := range policies {
		group.Go(func() (err error) {
			if s.runs[i], err = job.Run(playing, name); err != nil {
				return fmt.Errorf("play %s: %w", name, err)
			}
			done.Add(1)
			progress()
			return nil
		})
	}
	err = group.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return s, err
}

// over is how much more than the optimum a run cost, of the optimum; known only of a run that held the deadline.
func (s simulated) over(r sim.SpotRun) (percent float64, known bool) {
	if r.Late || s.optimum.Cost.Nanos == 0 {
		return 0, false
	}
	return 100 * (float64(r.Cost.Nanos)/float64(s.optimum.Cost.Nanos) - 1), true
}

// ofOnDemand is what a run cost, of the cost on demand.
func (s simulated) ofOnDemand(r sim.SpotRun) float64 {
	return 100 * float64(r.Cost.Nanos) / float64(s.AllOnDemand().Nanos)
}

// optimumName says how good the optimum is.
func (s simulated) optimumName() string {
	if s.exact {
		return "optimum"
	}
	return "near optimum"
}

// fate says in a word or two how a run ended.
func fate(r sim.SpotRun) string {
	switch {
	case !r.Finished:
		return "not finished"
	case r.Late:
		return "late"
	}
	return "in time"
}
