package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// describedEndpoint is what `stint endpoint describe --json` prints: AWS's answer with the configuration and the bill beside it.
type describedEndpoint struct {
	*sagemaker.DescribeEndpointOutput
	Config *sagemaker.DescribeEndpointConfigOutput `json:"EndpointConfig,omitzero"` // unless it was deleted
	Cost   *stint.GetCostResponse                  `json:"Cost,omitzero"`
	// Activity tells when it was asked last.
	Activity *stint.GetEndpointActivityResponse `json:"Activity,omitzero"`
	// Scaling is only of one endpoint that is looked at, when something scales it.
	Scaling []scaledVariant `json:"Scaling,omitzero"`
}

func (a *app) endpointsCommand() *cobra.Command {
	name := ""
	c := &cobra.Command{
		Use:   "endpoints",
		Short: "List endpoints, what each costs a day, and which idle",
		Example: `  stint endpoints
  stint endpoints --name digits --json`,
		Args: noArguments,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			found, err := listEndpoints(ctx, c, name)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"Endpoints": found})
			}
			a.printEndpoints(found)
			return nil
		}),
	}
	c.Flags().StringVar(&name, "name", "", "only endpoints whose name contains this")
	return c
}

func (a *app) endpointCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "endpoint",
		Short: "Look at an endpoint, get advice on its cost, read its log, delete it",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.endpointDescribeCommand(), a.endpointAdviseCommand(), a.endpointLogsCommand(), a.endpointDeleteCommand())
	return c
}

// listEndpoints gives all endpoints, the newest first, with their details.
func listEndpoints(ctx context.Context, c *client.Client, name string) ([]*describedEndpoint, error) {
	found := []*describedEndpoint{}
	in := &sagemaker.ListEndpointsInput{MaxResults: new(int32(pageOfJobs))}
	if name != "" {
		in.NameContains = &name
	}
	for {
		page, err := c.ListEndpoints(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, s := range page.Endpoints {
			found = append(found, &describedEndpoint{DescribeEndpointOutput: &sagemaker.DescribeEndpointOutput{
				EndpointName: s.EndpointName, EndpointArn: s.EndpointArn, EndpointStatus: s.EndpointStatus,
				CreationTime: s.CreationTime, LastModifiedTime: s.LastModifiedTime,
			}})
		}
		if in.NextToken = page.NextToken; in.NextToken == nil {
			break
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelCalls)
	for _, e := range found {
		group.Go(func() error {
			full, err := lookUpEndpoint(ctx, c, *e.EndpointName)
			if isGone(err) { // deleted meanwhile: it keeps its gaps
				return nil
			}
			if err == nil {
				*e = *full
			}
			return err
		})
	}
	return found, group.Wait()
}

// isGone: AWS answers for resources of inference, batch transform jobs too, that are not there with a validation error.
func isGone(err error) bool {
	var refused *client.APIError
	return errors.As(err, &refused) && refused.Code == "ValidationException" && strings.HasPrefix(refused.Message, "Could not find")
}

func lookUpEndpoint(ctx context.Context, c *client.Client, name string) (*describedEndpoint, error) {
	e, err := c.DescribeEndpoint(ctx, name)
	if err != nil {
		return nil, err
	}
	return describeEndpoint(ctx, c, e)
}

// describeEndpoint adds what takes more calls to know.
func describeEndpoint(ctx context.Context, c *client.Client, e *sagemaker.DescribeEndpointOutput) (*describedEndpoint, error) {
	config, err := c.DescribeEndpointConfig(ctx, *e.EndpointConfigName)
	if isGone(err) {
		config, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	bill, err := c.CostOf(ctx, platform.ARN(*e.EndpointArn))
	if isNotFound(err) {
		bill, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	activity, err := c.EndpointActivity(ctx, *e.EndpointName)
	if isNotFound(err) {
		activity, err = nil, nil
	}
	return &describedEndpoint{DescribeEndpointOutput: e, Config: config, Cost: bill, Activity: activity}, err
}

// aDay is what the instances that are up now cost in a day, whether they are asked or not; empty when there are none.
func (e *describedEndpoint) aDay() string { return aDay(e.Cost) }

func aDay(bill *stint.GetCostResponse) string {
	sum := paidADay(bill)
	if sum.Currency == "" {
		return ""
	}
	return cents(sum)
}

// paidADay is what the lines of a bill that are open add to it in a day; zero when there are none.
func paidADay(bill *stint.GetCostResponse) (sum platform.Money) {
	if bill == nil {
		return sum
	}
	for _, l := range bill.Lines {
		rate, err := money(l.HourlyRate)
		if l.End != nil || err != nil {
			continue
		}
		sum.Nanos, sum.Currency = sum.Nanos+rate.Nanos*platform.Nanos(24*l.Count), rate.Currency
	}
	return sum
}

// instances is what an endpoint runs on, empty when its configuration is gone.
func (e *describedEndpoint) instances() string {
	if e.Config == nil {
		return ""
	}
	var out []string
	for _, v := range e.Config.ProductionVariants {
		if v.ServerlessConfig != nil {
			out = append(out, serverlessText(v.ServerlessConfig))
			continue
		}
		count := shapes.Value(v.InitialInstanceCount)
		for _, s := range e.ProductionVariants {
			if shapes.Value(s.VariantName) == shapes.Value(v.VariantName) {
				count = shapes.Value(s.DesiredInstanceCount)
			}
		}
		out = append(out, fmt.Sprintf("%d × %s", count, shapes.Value(v.InstanceType)))
	}
	return strings.Join(out, ", ")
}

func (a *app) printEndpoints(found []*describedEndpoint) {
	if len(found) == 0 {
		a.print("No endpoints. Bring one up with: %s", a.stint("deploy MODEL"))
		return
	}
	t := table{head: []string{"NAME", "STATUS", "INSTANCES", ">AGE", ">IDLE", ">COST", ">A DAY"}}
	for _, e := range found {
		status, amount := string(*e.EndpointStatus), ""
		if e.Cost != nil && e.Cost.Total.Currency != "" {
			amount = rounded(e.Cost.Total)
		}
		t.add(*e.EndpointName, a.onOut.endpointStatus(status), e.instances(), age(a.now().Sub(e.CreationTime.Time)), e.idle(), amount, e.aDay())
	}
	for _, line := range t.lines(a.onOut) {
		a.print("%s", line)
	}
	for _, e := range found {
		if why := roomless(e.DescribeEndpointOutput); why != "" {
			a.print("\n%s", a.onOut.yellow(*e.EndpointName+" is "+why))
		}
	}
	if line := a.wasted(found); line != "" {
		a.print("\n%s", a.onOut.yellow(line))
	}
}

// roomless says what room an endpoint waits for, empty when it waits for none.
func roomless(e *sagemaker.DescribeEndpointOutput) string {
	for _, v := range e.ProductionVariants {
		if len(v.VariantStatus) > 0 { // the server gives it for this alone; the stage of an update is with what is pending
			return shapes.Value(v.VariantStatus[0].StatusMessage)
		}
	}
	if d := e.PendingDeploymentSummary; d != nil {
		for _, v := range d.ProductionVariants {
			for _, s := range v.VariantStatus {
				if at := strings.Index(shapes.Value(s.StatusMessage), platform.WaitingForRoom); at >= 0 {
					return (*s.StatusMessage)[at:]
				}
			}
		}
	}
	return ""
}

// endpointStatus colours an endpoint's status by what it means.
func (p paint) endpointStatus(status string) string {
	switch sagemaker.EndpointStatus(status) {
	case sagemaker.EndpointStatusInService:
		return p.green(status)
	case sagemaker.EndpointStatusFailed:
		return p.red(status)
	default:
		return p.yellow(status)
	}
}

func (a *app) endpointDescribeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show an endpoint: its status, what serves in it, and its cost",
		Example: `  stint endpoint describe digits
  stint endpoint describe digits --json | jq -r .EndpointStatus`,
		Args:              oneArgument("the name of an endpoint"),
		ValidArgsFunction: a.completeEndpoints,
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			e, err := lookUpEndpoint(ctx, c, args[0])
			if err != nil {
				return a.explainGone(err, args[0])
			}
			if err := e.addScaling(ctx, c); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(e)
			}
			a.printEndpoint(e)
			return nil
		}),
	}
}

// explainGone says which endpoint is not there, and what to do.
func (a *app) explainGone(err error, name string) error {
	if isGone(err) {
		return &reworded{fmt.Sprintf("there is no endpoint %q; see: %s", name, a.stint("endpoints")), err}
	}
	return err
}

func (a *app) printEndpoint(e *describedEndpoint) {
	p := a.onOut
	a.print("%s  %s", p.bold(*e.EndpointName), p.endpointStatus(string(*e.EndpointStatus)))
	a.print("%s", p.dim(*e.EndpointArn))
	if e.FailureReason != nil {
		title := "Why it failed"
		if *e.EndpointStatus != sagemaker.EndpointStatusFailed {
			title = "Why the last update was given up"
		}
		a.print("\n%s\n%s", p.red(title), indent(*e.FailureReason))
	}
	a.printVariants(e)
	if why := roomless(e.DescribeEndpointOutput); why != "" {
		a.print("\n%s", p.yellow(why))
	}
	a.printUpdate(e)
	a.printScaling(e)
	a.section("Configuration", [][2]string{
		{"name", *e.EndpointConfigName}, {"created", moment(e.CreationTime)}, {"changed", moment(e.LastModifiedTime)},
	})
	if c := e.Cost; c != nil && len(c.Lines) > 0 {
		rows := [][2]string{{"so far", exact(c.Total)}}
		if day := e.aDay(); day != "" {
			rows = append(rows, [2]string{"a day", day + p.dim("  asked or not")})
		}
		if asked := e.asked(); asked != "" {
			rows = append(rows, [2]string{"asked", asked})
		}
		a.section("Cost", rows)
	}
}

// printVariants shows what serves, or is to.
func (a *app) printVariants(e *describedEndpoint) {
	if len(e.ProductionVariants) == 0 {
		return
	}
	wanted := map[string]sagemaker.ProductionVariant{}
	if e.Config != nil {
		for _, v := range e.Config.ProductionVariants {
			wanted[*v.VariantName] = v
		}
	}
	t := table{head: []string{"VARIANT", "IMAGE", "MODEL", "INSTANCE", ">READY", ">WEIGHT"}}
	for _, v := range e.ProductionVariants {
		config, image := wanted[*v.VariantName], ""
		if len(v.DeployedImages) > 0 {
			image = shapes.Value(v.DeployedImages[0].SpecifiedImage)
		}
		instance, ready := string(shapes.Value(config.InstanceType)), fmt.Sprintf("%d of %d", shapes.Value(v.CurrentInstanceCount), shapes.Value(v.DesiredInstanceCount))
		switch c := v.CurrentServerlessConfig; {
		case c != nil:
			instance, ready = serverlessText(c), "as asked"
		case *e.EndpointStatus == sagemaker.EndpointStatusInService && shapes.Value(v.CurrentInstanceCount) == 0:
			ready = "asleep"
		}
		t.add(*v.VariantName, image, shapes.Value(config.ModelName), instance, ready, fmt.Sprintf("%g", shapes.Value(v.CurrentWeight)))
	}
	a.print("")
	for _, line := range t.lines(a.onOut) {
		a.print("%s", line)
	}
}

func (a *app) endpointLogsCommand() *cobra.Command {
	var f logsFlags
	c := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print the log of an endpoint",
		Long: `Print the log of an endpoint: what its containers wrote to stdout and stderr, instance by instance, the oldest first. Logs stay
when their endpoint is deleted.`,
		Example: `  stint endpoint logs digits -f
  stint endpoint logs digits --tail 100`,
		Args:              oneArgument("the name of an endpoint"),
		ValidArgsFunction: a.completeEndpoints,
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			return a.endpointLogs(ctx, c, args[0], f)
		}),
	}
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on until the endpoint has failed or is gone")
	c.Flags().IntVarP(&f.tail, "tail", "n", -1, "begin with the last so many lines (default all)")
	return c
}

func (a *app) endpointLogs(ctx context.Context, c *client.Client, name string, f logsFlags) error {
	if f.tail < -1 {
		return usage("--tail %d is below zero", f.tail)
	}
	said := false
	each := func(line logLine) error {
		said = true
		return a.printLogLine(line)
	}
	log := newEndpointLog(c, name)
	read := log.next
	if f.tail >= 0 {
		read = func(ctx context.Context, each func(logLine) error) error { return log.last(ctx, f.tail, each) }
	}
	for ; ; read = log.next {
		// The status first: what is said before the end is in the log before the status says so.
		over, gone, err := endpointOver(ctx, c, name)
		if err == nil {
			err = read(ctx, each)
		}
		switch {
		case err != nil:
			return err
		case gone != nil && !said: // a deleted endpoint's log stays
			return a.explainGone(gone, name)
		case over || !f.follow:
			return nil
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// endpointOver reports whether an endpoint will say nothing more, and the refusal when that is because it is gone.
func endpointOver(ctx context.Context, c *client.Client, name string) (over bool, gone, err error) {
	e, err := c.DescribeEndpoint(ctx, name)
	switch {
	case isGone(err):
		return true, err, nil
	case err != nil:
		return false, nil, err
	}
	return *e.EndpointStatus == sagemaker.EndpointStatusFailed, nil, nil
}

func (a *app) endpointDeleteCommand() *cobra.Command {
	noWait := false
	c := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete endpoints, with what `stint deploy` made for them",
		Long: `Delete endpoints. What an endpoint has been asked is answered first. A configuration and a model of the endpoint's own name,
as "stint deploy" makes them, go with it; others stay, and so do bills, logs and the model's archive.`,
		Example:           "  stint endpoint delete digits",
		Args:              someArguments("the names of endpoints"),
		ValidArgsFunction: a.completeEndpoints,
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			for _, name := range args {
				if err := a.deleteEndpoint(ctx, c, name, !noWait); err != nil {
					return a.explainGone(err, name)
				}
				switch {
				case a.json:
				case noWait:
					a.print("%s  deleting", name)
				default:
					a.print("%s  deleted", name)
				}
			}
			if a.json {
				return a.printJSON(map[string][]string{"Deleted": args})
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until nothing of them is left")
	return c
}

func (a *app) deleteEndpoint(ctx context.Context, c *client.Client, name string, wait bool) error {
	if err := c.DeleteEndpoint(ctx, name); err != nil {
		return err
	}
	for _, also := range []func(context.Context, string) error{c.DeleteEndpointConfig, c.DeleteModel} {
		if err := also(ctx, name); err != nil && !isGone(err) {
			return err
		}
	}
	if !wait {
		return nil
	}
	a.setStatus(a.onErr.dim("Deleting " + name + " …"))
	defer a.clearStatus()
	_, err := settled(ctx, c, name, func(*sagemaker.DescribeEndpointOutput) {})
	if isGone(err) {
		return nil
	}
	return err
}

// completeEndpoints offers the names of endpoints to the shell, and nothing when anything goes wrong.
func (a *app) completeEndpoints(command *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmp.Or(command.Context(), context.Background()), time.Second)
	defer cancel()
	in := &sagemaker.ListEndpointsInput{MaxResults: new(int32(pageOfJobs))}
	if typed != "" {
		in.NameContains = &typed
	}
	page, err := c.ListEndpoints(ctx, in)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range page.Endpoints {
		if strings.HasPrefix(*s.EndpointName, typed) {
			names = append(names, *s.EndpointName+"\t"+string(shapes.Value(s.EndpointStatus)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
