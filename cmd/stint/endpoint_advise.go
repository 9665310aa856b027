package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/decide/price"
	"github.com/stint-ml/stint/platform"
)

type adviseFlags struct {
	days            int
	requests        int64
	latency         time.Duration
	memory, payload string
	plot            string
}

func (a *app) endpointAdviseCommand() *cobra.Command {
	var f adviseFlags
	c := &cobra.Command{
		Use:   "advise NAME",
		Short: "Say how an endpoint's traffic is served for the least money",
		Long: `Say what an endpoint's traffic costs in a month as it is served, and what it would cost in each other way: by instances that are
always there, or asleep when nothing is asked, serverless, from a queue, and by batch transform; which is the cheapest, how to get
there, and at which traffic another becomes the cheaper one. It rests on the endpoint's own metrics. What is given by an option
takes the place of what was measured: with --requests-per-month and --latency there need not have been any traffic.`,
		Example: `  stint endpoint advise digits
  stint endpoint advise digits --days 30 --plot digits.svg
  stint endpoint advise digits --requests-per-month 2000000 --latency 50ms --memory 2GB`,
		Args:              oneArgument("the name of an endpoint"),
		ValidArgsFunction: a.completeEndpoints,
	}
	c.RunE = a.calling(func(ctx context.Context, client *client.Client, args []string) error {
		in, err := f.request(args[0], c.Flags().Changed)
		if err != nil {
			return err
		}
		return a.advise(ctx, client, in, f.plot)
	})
	flags := c.Flags()
	flags.IntVar(&f.days, "days", 7, "look at the traffic of so many `DAYS`")
	flags.Int64Var(&f.requests, "requests-per-month", 0, "reckon with so many `REQUESTS` a month (default what was seen)")
	flags.DurationVar(&f.latency, "latency", 0, "`TIME` that the model takes for a request (default what was measured)")
	flags.StringVar(&f.memory, "memory", "", "memory, as a `SIZE`, that the model takes, such as 2GB (default what was measured)")
	flags.StringVar(&f.payload, "payload", "", "`SIZE` of the largest request, such as 5MB (it is not measured)")
	flags.StringVar(&f.plot, "plot", "", "draw cost over traffic into `FILE`, .svg or .png")
	return c
}

// request makes the call of the options that were given.
func (f adviseFlags) request(name string, given func(string) bool) (*stint.GetEndpointAdviceRequest, error) {
	if err := f.check(given("latency")); err != nil {
		return nil, err
	}
	in := &stint.GetEndpointAdviceRequest{EndpointName: &name, Days: new(int32(f.days)), Curve: new(f.plot != "")}
	if given("requests-per-month") {
		in.RequestsPerMonth = &f.requests
	}
	if given("latency") {
		in.LatencyMilliseconds = new(f.latency.Seconds() * 1000)
	}
	if f.memory != "" {
		n, err := size("memory", f.memory)
		if err != nil {
			return nil, err
		}
		in.MemoryInMB = new(int32((n + 1<<20 - 1) >> 20))
	}
	if f.payload != "" {
		n, err := size("payload", f.payload)
		if err != nil {
			return nil, err
		}
		in.PayloadBytes = &n
	}
	return in, nil
}

// check refuses what cannot be reckoned with.
func (f adviseFlags) check(latency bool) error {
	switch format := filepath.Ext(f.plot); {
	case f.plot != "" && format != ".svg" && format != ".png":
		return usage("--plot %s should end in .svg or .png", f.plot)
	case f.days < 1 || f.days > 90:
		return usage("--days %d should be from 1 to 90", f.days)
	case f.requests < 0 || f.requests > 1_000_000_000:
		return usage("--requests-per-month %d should be from 0 to a billion", f.requests)
	case latency && (f.latency <= 0 || f.latency > time.Hour):
		return usage("--latency %v should be above 0 and at most an hour", f.latency)
	}
	return nil
}

// size reads an option that is an amount of data, at most a TiB.
func size(option, text string) (int64, error) {
	n, err := parseBytes(text)
	if err != nil || n <= 0 || n > 1<<40 {
		return 0, usage("--%s %s is no size such as 2GB", option, text)
	}
	return n, nil
}

func (a *app) advise(ctx context.Context, c *client.Client, in *stint.GetEndpointAdviceRequest, plot string) error {
	out, err := c.EndpointAdvice(ctx, in)
	if isNotFound(err) {
		return &reworded{fmt.Sprintf("there is no endpoint %q; see: %s", *in.EndpointName, a.stint("endpoints")), err}
	}
	if err != nil {
		return err
	}
	if plot != "" {
		if err := writePlot(plot, plotAdvice(out)); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(out)
	}
	for i := range out.Variants {
		if i > 0 {
			a.print("")
		}
		a.printAdvice(out, &out.Variants[i])
	}
	if plot != "" {
		a.note("%s", a.onErr.dim("Cost over traffic is drawn in "+plot))
	}
	return nil
}

// modeNames are the modes as people call them.
var modeNames = map[price.Mode]string{
	price.RealTime: "real time", price.Asleep: "real time, asleep when idle", price.Serverless: "serverless",
	price.Provisioned: "serverless, kept ready", price.Async: "asynchronous", price.Batch: "batch transform",
}

func modeName(mode string) string { return cmp.Or(modeNames[price.Mode(mode)], mode) }

func (a *app) printAdvice(out *stint.GetEndpointAdviceResponse, v *stint.VariantAdvice) {
	p := a.onOut
	name := out.EndpointName
	if len(out.Variants) > 1 {
		name += " / " + v.VariantName
	}
	a.print("%s  %s for %s a month", p.bold(name), servedWords(v.Now), pennies(v.Now.Monthly))
	a.print("%s", trafficWords(out, v))
	if v.ConfidenceReason != "" && v.Confidence != "given" {
		a.print("%s", p.yellow("Confidence is "+v.Confidence+": "+v.ConfidenceReason+"."))
	}
	a.print("")
	a.printModes(v)
	a.print("")
	a.printRecommended(v)
	a.printBreakEvens(v)
	a.print("\n%s", p.bold("It rests on this"))
	for _, line := range v.Assumptions {
		a.print("  %s", p.dim(line))
	}
}

// trafficWords says what is reckoned with, and what was seen.
func trafficWords(out *stint.GetEndpointAdviceResponse, v *stint.VariantAdvice) string {
	seen := v.Seen.End.Sub(v.Seen.Start.Time)
	text := fmt.Sprintf("%s requests were seen in %s", grouped(v.Seen.Requests), duration(seen))
	if v.Seen.Requests > 0 {
		text += fmt.Sprintf(", %s each (the slowest %s)", took(v.Seen.LatencyMilliseconds), took(v.Seen.SlowestMilliseconds))
	}
	switch {
	case v.Confidence == "given":
		text = fmt.Sprintf("%s requests a month of %s are reckoned with. %s", grouped(v.Load.RequestsPerMonth), took(v.Load.LatencyMilliseconds), text)
	case v.Seen.Requests > 0:
		text += fmt.Sprintf(": %s a month", grouped(v.Load.RequestsPerMonth))
	}
	if out.Activity.Idle && out.Activity.LastInvocation != nil {
		text += ". The last one was " + age(time.Duration(out.Activity.IdleSeconds)*time.Second) + " ago"
	}
	return text + "."
}

const barColumns = 24

func (a *app) printModes(v *stint.VariantAdvice) {
	most := nanos(v.Now.Monthly)
	for _, m := range v.Modes {
		if m.Monthly != nil {
			most = max(most, nanos(*m.Monthly))
		}
	}
	t := table{head: []string{"", "MODE", ">A MONTH", "", "WHAT IT TAKES"}}
	for _, m := range v.Modes {
		mark, name := " ", modeName(m.Mode)
		if m.Mode == v.Recommended {
			mark, name = a.onOut.green("→"), a.onOut.green(name)
		}
		if m.Monthly == nil {
			t.add(mark, name, a.onOut.dim("no"), "", a.onOut.dim(m.Reason))
			continue
		}
		t.add(mark, name, pennies(*m.Monthly), a.onOut.cyan(costBar(nanos(*m.Monthly), most)), takes(m, v))
	}
	for _, line := range t.lines(a.onOut) {
		a.print("%s", line)
	}
}

// takes says what a mode is made of, and who waits.
func takes(m stint.ModeCost, v *stint.VariantAdvice) string {
	var parts []string
	switch price.Mode(m.Mode) {
	case price.Serverless:
		parts = append(parts, fmt.Sprintf("%d GB, up to %d at a time", m.MemoryInMB>>10, m.Concurrency))
	case price.Provisioned:
		parts = append(parts, fmt.Sprintf("%d GB, %d kept ready", m.MemoryInMB>>10, m.Concurrency))
	case price.RealTime:
		parts = append(parts, fmt.Sprintf("%d × %s", m.Instances, v.Now.InstanceType))
	default:
		parts = append(parts, fmt.Sprintf("%d × %s", m.Instances, v.Now.InstanceType), fmt.Sprintf("%.4g h of it", m.PaidHours))
	}
	switch {
	case m.Mode == string(price.Batch):
		parts = append(parts, "results once a day")
	case m.Mode == string(price.Async):
		parts = append(parts, "results when the queue gets there")
	case m.Waiting >= 0.00005 && m.Starts > 0:
		parts = append(parts, fmt.Sprintf("%s of the requests wait %s for a start", share(m.Waiting), took(v.Load.StartUpSeconds*1000)))
	}
	return strings.Join(parts, ", ")
}

func (a *app) printRecommended(v *stint.VariantAdvice) {
	p := a.onOut
	switch {
	case v.Recommended == "":
		a.print("%s", p.red("Nothing that answers at once takes this traffic."))
	case v.Change && v.Recommended == v.Now.Mode:
		a.print("%s saves %s a month:", p.bold("Less of it"), p.green(pennies(v.Saves)))
	case v.Change:
		a.print("%s instead saves %s a month:", p.bold(firstUpper(modeName(v.Recommended))), p.green(pennies(v.Saves)))
	default:
		a.print("%s", p.green("It is served well as it is."))
	}
	for _, s := range v.Steps {
		a.print("  %s", s)
	}
	if v.IfResultsMayWait == "" {
		return
	}
	for _, m := range v.Modes {
		if m.Mode == v.IfResultsMayWait {
			a.print("\n%s, %s costs %s a month:", p.bold("If results may come later"), modeName(m.Mode), pennies(*m.Monthly))
		}
	}
	for _, s := range v.LaterSteps {
		a.print("  %s", s)
	}
}

func (a *app) printBreakEvens(v *stint.VariantAdvice) {
	if len(v.BreakEvens) == 0 {
		return
	}
	a.print("\n%s", a.onOut.bold("Cheaper than instances that are always there"))
	t := table{head: []string{"MODE", "REQUESTS A MONTH", ">INSTANCES BUSY THEN"}}
	for _, b := range v.BreakEvens {
		switch b.Cheaper {
		case "below":
			t.add(modeName(b.Mode), "below "+grouped(b.RequestsPerMonth), share(b.Utilization))
		case "always":
			t.add(modeName(b.Mode), "any number", "")
		default:
			t.add(modeName(b.Mode), "none", "")
		}
	}
	for _, line := range t.lines(a.onOut) {
		a.print("  %s", line)
	}
}

// servedWords says how a variant is served.
func servedWords(n stint.ServedNow) string {
	switch price.Mode(n.Mode) {
	case price.RealTime:
		return fmt.Sprintf("is served by %d × %s", n.Instances, n.InstanceType)
	case price.Asleep:
		return fmt.Sprintf("is served by %d × %s, asleep when idle,", n.Instances, n.InstanceType)
	case price.Provisioned:
		return fmt.Sprintf("is serverless, %d kept ready,", n.Instances)
	default:
		return "is " + modeName(n.Mode)
	}
}

// costBar is as long as a cost is of the largest one; a little is a little line.
func costBar(part, whole platform.Nanos) string {
	const eighths = " ▏▎▍▌▋▊▉█"
	if whole <= 0 || part <= 0 {
		return ""
	}
	n := max(1, int(math.Round(float64(part)/float64(whole)*barColumns*8)))
	text := strings.Repeat("█", n/8)
	if n%8 > 0 {
		text += string([]rune(eighths)[n%8])
	}
	return text
}

func nanos(a stint.Amount) platform.Nanos {
	m, err := money(a)
	if err != nil {
		return 0
	}
	return m.Nanos
}

// pennies shows an amount to a hundredth; one that is less than that, but something, is said to be.
func pennies(a stint.Amount) string {
	m, err := money(a)
	switch {
	case err != nil:
		return exact(a)
	case m.Nanos > 0 && m.Nanos < platform.NanosPerUnit/100:
		return strings.TrimSpace("under 0.01 " + a.Currency)
	}
	return cents(m)
}

// grouped shows a whole number with commas: 20,987,496.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// took shows milliseconds.
func took(milliseconds float64) string {
	if milliseconds >= 1000 {
		return duration(time.Duration(milliseconds * float64(time.Millisecond)))
	}
	return fmt.Sprintf("%.3g ms", milliseconds)
}

// share shows a part in per cent.
func share(part float64) string { return fmt.Sprintf("%.3g %%", 100*part) }

func firstUpper(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
