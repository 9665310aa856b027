package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/platform"
)

func (a *app) costCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cost NAME...",
		Short: "Show what jobs and endpoints cost, exact to the second",
		Long: `Show what jobs and endpoints cost: a line for each attempt of a job or instance of an endpoint, price × seconds, exact to nine
decimals; an attempt on spot has another line with each change of the price. A serverless endpoint has lines of requests, for the
milliseconds that it worked on them. Seconds count from when an attempt began to work
until it ended; waiting for room costs nothing. Prices are public list prices, or your own in catalog.csv of the data folder,
and on spot the market's. An endpoint's bill outlives it. Where a job and an endpoint share a name, the name means the job, and
an ARN means what it says.`,
		Example: `  stint cost digits-2026-05-01-10-00-00-000
  stint cost arn:aws:sagemaker:us-east-1:000000000000:endpoint/digits
  stint cost JOB --json | jq -r .Costs[0].Total.Amount`,
		Args:              someArguments("the name of a job or an endpoint"),
		ValidArgsFunction: a.completeBilled,
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			var bills []*stint.GetCostResponse
			for _, name := range args {
				b, err := billOf(ctx, c, name)
				if isNotFound(err) {
					err = &reworded{fmt.Sprintf("nothing called %q has a bill; see: %s and %s", name, a.stint("jobs"), a.stint("endpoints")), err}
				}
				if err != nil {
					return err
				}
				bills = append(bills, b)
			}
			if a.json {
				return a.printJSON(map[string]any{"Costs": bills})
			}
			for i, b := range bills {
				if i > 0 {
					a.print("")
				}
				a.printBill(args[i], b)
			}
			return a.printSum(bills)
		}),
	}
}

// billOf gives the bill of what a name or an ARN means: a training job, or else a batch transform job, or else an endpoint.
func billOf(ctx context.Context, c *client.Client, name string) (*stint.GetCostResponse, error) {
	if strings.HasPrefix(name, "arn:") {
		return c.CostOf(ctx, platform.ARN(name))
	}
	b, err := c.Cost(ctx, name)
	if isNotFound(err) {
		b, err = c.CostOf(ctx, c.TransformARN(name))
	}
	if isNotFound(err) {
		return c.CostOf(ctx, c.EndpointARN(name))
	}
	return b, err
}

// completeBilled offers the names of jobs and endpoints.
func (a *app) completeBilled(command *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	jobs, how := a.completeJobs(command, args, typed)
	endpoints, _ := a.completeEndpoints(command, args, typed)
	return append(jobs, endpoints...), how
}

func (a *app) printBill(name string, b *stint.GetCostResponse) {
	p := a.onOut
	a.print("%s", p.bold(name))
	if len(b.Lines) == 0 {
		a.print("  Nothing: billing begins when the work begins.")
		return
	}
	t := table{head: []string{">ATTEMPT", "INSTANCE", "PURCHASE", ">RATE", "STARTED", ">SECONDS", ">COST"}}
	for _, l := range b.Lines {
		attempt, seconds := fmt.Sprint(l.Attempt), fmt.Sprint(l.Seconds)
		if l.Invocations > 0 { // paid for by what it worked
			attempt, seconds = plural(int(l.Invocations), "request"), fmt.Sprintf("%.3f", float64(l.Milliseconds)/1000)
		}
		t.add(attempt, fmt.Sprintf("%d × %s", l.Count, l.InstanceType), l.Purchase, exact(l.HourlyRate)+"/h", moment(l.Start), seconds, exact(l.Cost))
	}
	for _, line := range t.lines(p) {
		a.print("  %s", line)
	}
	total := fmt.Sprintf("  Total  %s", p.bold(exact(b.Total)))
	if b.Running {
		total += p.dim("  and counting")
	}
	a.print("%s", total)
	if day := aDay(b); day != "" && strings.Contains(b.ResourceArn, ":endpoint/") {
		a.print("  Each day it is up  %s, asked or not", day)
	}
	if saved := savings(b); saved != "" {
		a.print("  %s", p.green(saved))
		a.print("  %s", p.dim(managedSavings(b)))
	}
}

// managedSavings says the same in seconds, as AWS and the SageMaker SDK count it.
func managedSavings(b *stint.GetCostResponse) string {
	return fmt.Sprintf("Training seconds %d, billable seconds %d: managed spot training savings %.1f %%", b.Seconds, b.BillableSeconds,
		100*(1-float64(b.BillableSeconds)/float64(b.Seconds)))
}

// savings says what spot capacity saved against the list price.
func savings(b *stint.GetCostResponse) string {
	paid, err1 := money(b.Total)
	list, err2 := money(b.OnDemandTotal)
	if err1 != nil || err2 != nil || list.Nanos <= paid.Nanos || list.Currency != paid.Currency {
		return ""
	}
	saved := platform.Money{Nanos: list.Nanos - paid.Nanos, Currency: list.Currency}
	return fmt.Sprintf("Saved  %s of %s on demand, %.1f %%", saved, exact(b.OnDemandTotal), 100*float64(saved.Nanos)/float64(list.Nanos))
}

// printSum adds several bills, one sum a currency.
func (a *app) printSum(bills []*stint.GetCostResponse) error {
	if len(bills) < 2 {
		return nil
	}
	sums := map[platform.Currency]platform.Money{}
	for _, b := range bills {
		m, err := money(b.Total)
		if err != nil {
			return err
		}
		if sums[m.Currency], err = sums[m.Currency].Plus(m); err != nil {
			return err
		}
	}
	for _, c := range slices.Sorted(maps.Keys(sums)) {
		if c != "" { // of jobs that have cost nothing yet
			a.print("\nAll together  %s", a.onOut.bold(sums[c].String()))
		}
	}
	return nil
}
