package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/cmd/stint/client"
)

func (a *app) spotCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "spot",
		Short: "Managed spot: what is offered, what a policy would have made of it, and interruptions by hand",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.spotSimCommand(), a.spotOffersCommand(), a.spotInterruptCommand())
	return c
}

func (a *app) spotOffersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "offers [TYPE...]",
		Short: "Show what spot capacity is offered now, and at what price",
		Example: `  stint spot offers
  stint spot offers ml.m5.large ml.p3.2xlarge --json`,
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			answer, err := c.SpotOffers(ctx, args...)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(answer)
			}
			a.printOffers(answer.Offers)
			return nil
		}),
	}
}

func (a *app) printOffers(offers []stint.SpotOffer) {
	p := a.onOut
	if len(offers) == 0 {
		a.print("The market trades in none of the catalogue's instance types.")
		return
	}
	t := table{head: []string{"INSTANCE", ">ON DEMAND", ">SPOT", ">SAVING", "SPOT CAPACITY"}}
	for _, o := range offers {
		capacity := p.green("available")
		if !o.Available {
			capacity = p.yellow("none now")
		}
		t.add(o.InstanceType, exact(o.OnDemandPrice)+"/h", exact(o.SpotPrice)+"/h", saving(o), capacity)
	}
	for _, line := range t.lines(p) {
		a.print("%s", line)
	}
}

// saving is what spot saves, of the list price.
func saving(o stint.SpotOffer) string {
	list, err1 := money(o.OnDemandPrice)
	paid, err2 := money(o.SpotPrice)
	if err1 != nil || err2 != nil || list.Nanos <= 0 || list.Currency != paid.Currency {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100*(1-float64(paid.Nanos)/float64(list.Nanos)))
}

func (a *app) spotInterruptCommand() *cobra.Command {
	var notice time.Duration
	var reason string
	c := &cobra.Command{
		Use:   "interrupt JOB",
		Short: "Take a spot job's capacity away, as a market would",
		Long: `Take a spot job's capacity away, as a market would: the job is told, saves, ends within the notice, and goes on from its
last checkpoint when there is capacity again. A way to see that a script survives it.`,
		Example: `  stint spot interrupt digits-2026-05-01-10-00-00-000
  stint spot interrupt JOB --notice 30s`,
		Args: oneArgument("the name of a job"), ValidArgsFunction: a.completeTrainings,
		RunE: func(command *cobra.Command, args []string) error {
			given := command.Flags().Changed("notice")
			if given && (notice < 0 || notice > 24*time.Hour || notice%time.Second != 0) {
				return usage("--notice %v is not from 0 s to 24 h in whole seconds", notice)
			}
			return a.calling(func(ctx context.Context, c *client.Client, args []string) error {
				in := &stint.InterruptTrainingJobRequest{TrainingJobName: &args[0]}
				if given {
					in.NoticeSeconds = new(int32(notice / time.Second))
				}
				if reason != "" {
					in.Reason = &reason
				}
				answer, err := c.InterruptTrainingJob(ctx, in)
				if err != nil {
					return a.explainMissing(err, "training job", args[0])
				}
				if a.json {
					return a.printJSON(answer)
				}
				a.print("%s  has notice until %s", args[0], moment(answer.InterruptionTime))
				return nil
			})(command, args)
		},
	}
	c.Flags().DurationVar(&notice, "notice", 0, "`TIME` until the capacity goes (default the server's own)")
	c.Flags().StringVar(&reason, "reason", "", "`TEXT` that the job's history shows")
	return c
}
