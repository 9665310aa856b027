package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// deployedVariant is the name of the one variant of an endpoint, as the SageMaker SDK has it.
const deployedVariant = "AllTraffic"

type deployFlags struct {
	script, sourceDir, requirements string
	image, runtime                  string
	instance                        string
	count                           int
	name                            string
	environment                     []string
	noWait                          bool
	serverless                      serverlessFlags
	async                           string // where the answers of an asynchronous endpoint go
}

func (a *app) deployCommand() *cobra.Command {
	var f deployFlags
	c := &cobra.Command{
		Use:   "deploy MODEL",
		Short: "Serve a model: upload it, bring an endpoint up, and say how to ask it",
		Long: `Serve a model without any SDK. MODEL is a model.tar.gz on this machine or in S3, such as a training job leaves.

The script has what SageMaker's inference containers ask for: model_fn(model_dir), and input_fn, predict_fn and output_fn
where the runtime's own do not do. It goes into the archive's code/ folder, with all of --source-dir if that is given; without
a script, the archive brings its own. --runtime exec runs the archive's executable "serve", which answers GET /ping and
POST /invocations on the port of $SAGEMAKER_BIND_TO_PORT.

The model, its configuration and the endpoint have one name. The endpoint costs its instances' price until it is deleted; with
--serverless it costs the milliseconds that it works.`,
		Example: `  stint deploy model.tar.gz --script inference.py --runtime sklearn --name digits
  stint deploy s3://bucket/digits/output/model.tar.gz --script src/inference.py --source-dir src --instance ml.t2.medium
  stint deploy model.tar.gz --script inference.py --serverless 2GB --name digits
  stint invoke digits --data '[[0, 1, 2]]'
  stint endpoint delete digits`,
		Args: oneArgument("a model.tar.gz, here or in S3"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.serverless.check(c.Flags().Changed("instance") || c.Flags().Changed("count")); err != nil {
				return err
			}
			return a.deploy(c.Context(), args[0], f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.script, "script", "", "inference `SCRIPT` that goes into the archive")
	flags.StringVar(&f.sourceDir, "source-dir", "", "`FOLDER` that goes along with the script")
	flags.StringVar(&f.requirements, "requirements", "", "`FILE` of Python packages to install first")
	flags.StringVar(&f.runtime, "runtime", defaultRuntime, "runtime `NAME` to serve in; see: stint runtime list")
	flags.StringVar(&f.image, "image", "", "container image `URI`, instead of a runtime by name")
	flags.StringVar(&f.instance, "instance", "ml.m5.large", "instance `TYPE`")
	flags.IntVar(&f.count, "count", 1, "how many instances")
	f.serverless.define(c)
	flags.StringVar(&f.async, "async", "", "asynchronous: requests wait in a queue, and answers go below this `URI` in S3")
	flags.StringVar(&f.name, "name", "", "`NAME` of the endpoint (default the model's name and the time)")
	flags.StringArrayVar(&f.environment, "env", nil, "environment variable `NAME=VALUE` of the container; repeatable")
	flags.BoolVar(&f.noWait, "no-wait", false, "print the endpoint's name and do not wait until it is in service")
	_ = c.RegisterFlagCompletionFunc("runtime", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { // fails only for a flag that is not there
		return a.completeRuntimes(func(r listedRuntime) bool { return r.Installed })
	})
	return c
}

// deployment is what a command line asks for, checked.
type deployment struct {
	name  string
	local string       // the archive on this machine; empty when it is in S3
	model platform.URI // the archive in S3; once uploaded, where it is served from
	code  *source      // goes into the archive; nil: what it brings is all
	image string
	env   map[string]string
	*deployFlags
}

func (a *app) deploy(ctx context.Context, model string, f deployFlags) error {
	// 1. All that can be wrong with the command line, before anything is done.
	d, err := a.planDeployment(model, f)
	if err != nil {
		return err
	}
	c, blobs, err := a.connectFor(f.instance)
	if err != nil {
		return err
	}
	defer blobs.Close() //nolint:errcheck // closes idle connections only
	ctx, stop := a.interruptible(ctx)
	defer stop()
	// 2. Upload, and ask for the endpoint; nothing is uploaded for a name that is taken. Any other refusal comes where it belongs.
	if _, err := c.DescribeEndpoint(ctx, d.name); err == nil {
		return usage("there is an endpoint %s already; choose another --name, or take that one away first: %s", d.name, a.stint("endpoint delete "+d.name))
	}
	if err := a.bringModel(ctx, c, blobs, d); err != nil {
		a.clearStatus()
		if ctx.Err() != nil {
			a.note("Interrupted; no endpoint was made.")
			return context.Cause(ctx)
		}
		return err
	}
	if err := createEndpoint(ctx, c, d); err != nil {
		return err
	}
	if f.noWait {
		if a.json {
			return a.printJSON(map[string]string{"EndpointName": d.name, "EndpointArn": string(c.EndpointARN(d.name))})
		}
		a.print("%s", d.name)
		a.note("%s", a.onErr.dim("see how it comes up with: "+a.stint("endpoint describe "+d.name)))
		return nil
	}
	// 3. Wait until it answers, and say how.
	return a.awaitEndpoint(ctx, c, d)
}

// planDeployment checks the command line.
func (a *app) planDeployment(model string, f deployFlags) (*deployment, error) {
	d := &deployment{deployFlags: &f}
	if err := d.locate(model); err != nil {
		return nil, err
	}
	var err error
	if d.env, err = pairs("env", f.environment); err != nil {
		return nil, err
	}
	switch {
	case f.script != "":
		src, err := planSource(f.script, f.sourceDir, f.requirements)
		if err != nil {
			return nil, err
		}
		d.code = &src
		d.env["SAGEMAKER_PROGRAM"], d.env["SAGEMAKER_SUBMIT_DIRECTORY"] = src.program, "/opt/ml/model/code"
	case f.sourceDir != "" || f.requirements != "":
		return nil, usage("--source-dir and --requirements go along with a --script; name it")
	}
	if err := checkAsyncPath(f); err != nil {
		return nil, err
	}
	if f.count < 1 {
		return nil, usage("--count %d is too few; an endpoint has an instance at least", f.count)
	}
	stem := strings.TrimSuffix(path.Base(model), ".tar.gz")
	if d.name, err = a.jobName(f.name, stem); err != nil {
		return nil, err
	}
	d.image, err = a.servingImage(f)
	return d, err
}

// servingImage finds the image to serve in.
func (a *app) servingImage(f deployFlags) (string, error) {
	image, line, err := a.chooseImage(runFlags{image: f.image, runtime: f.runtime})
	if err == nil && line != nil && len(line.Serve) == 0 {
		err = usage("the runtime %s does not serve models", line.Name)
	}
	return image, err
}

// locate sees that a model on this machine is there.
func (d *deployment) locate(model string) error {
	if strings.HasPrefix(model, "s3://") {
		d.model = platform.URI(model)
		if _, key, err := d.model.Split(); err != nil || key == "" || strings.HasSuffix(key, "/") {
			return usage("%s does not name an object; a model is one archive, such as s3://bucket/job/output/model.tar.gz", model)
		}
		return nil
	}
	info, err := os.Stat(model)
	switch {
	case err != nil:
		return usage("the model %s does not exist", model)
	case !info.Mode().IsRegular():
		return usage("the model %s is not a file; pack it first: tar czf model.tar.gz -C %s .", model, model)
	}
	d.local = model
	return nil
}

// createEndpoint makes model, configuration and endpoint. What was made before one is refused is taken back.
func createEndpoint(ctx context.Context, c *client.Client, d *deployment) error {
	err := c.CreateModel(ctx, &sagemaker.CreateModelInput{
		ModelName: &d.name, ExecutionRoleArn: new(string(executionRole(c.Site))),
		PrimaryContainer: &sagemaker.ContainerDefinition{Image: &d.image, ModelDataUrl: new(string(d.model)), Environment: d.env},
	})
	if err != nil {
		return err
	}
	variant := sagemaker.ProductionVariant{
		VariantName: new(deployedVariant), ModelName: &d.name, InitialInstanceCount: new(int32(d.count)), //nolint:gosec // the API bounds it
		InstanceType: new(sagemaker.ProductionVariantInstanceType(d.instance)),
	}
	d.serverless.lay(&variant)
	err = c.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &d.name, ProductionVariants: []sagemaker.ProductionVariant{variant}, AsyncInferenceConfig: asyncConfig(d.async),
	})
	if err != nil {
		_ = c.DeleteModel(ctx, d.name) // what refused the configuration is worth telling
		return err
	}
	if err = c.CreateEndpoint(ctx, &sagemaker.CreateEndpointInput{EndpointName: &d.name, EndpointConfigName: &d.name}); err != nil {
		_ = c.DeleteEndpointConfig(ctx, d.name) // likewise
		_ = c.DeleteModel(ctx, d.name)
	}
	return err
}

// awaitEndpoint waits until the endpoint is in service or has failed. Whoever interrupts leaves it to itself.
func (a *app) awaitEndpoint(ctx context.Context, c *client.Client, d *deployment) error {
	began := a.now()
	on := fmt.Sprintf("on %d × %s", d.count, d.instance)
	if d.serverless.megabytes > 0 {
		on = "serverless, with " + d.serverless.memory
	}
	a.note("%s %s  %s", a.onErr.green("✓"), a.onErr.bold(d.name), on)
	still := a.animate(func(frame string) string {
		return fmt.Sprintf("%s %s  %s", a.onErr.cyan(frame), a.onErr.bold("Creating"), clock(a.now().Sub(began)))
	})
	told := false
	e, err := settled(ctx, c, d.name, func(e *sagemaker.DescribeEndpointOutput) {
		if why := roomless(e); why != "" && !told {
			told = true
			a.note("  %s\n  it comes up by itself when there is; what takes room: %s, %s", a.onErr.yellow(why), a.stint("endpoints"), a.stint("jobs --status InProgress"))
		}
	})
	still()
	if ctx.Err() != nil {
		a.note("The endpoint comes up without you. See: %s", a.stint("endpoint describe "+d.name))
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	described, err := describeEndpoint(ctx, c, e)
	if err != nil {
		return err
	}
	if *e.EndpointStatus != sagemaker.EndpointStatusInService {
		a.note("%s %s\n%s", a.onErr.red("✗"), *e.EndpointStatus, indent(shapes.Value(e.FailureReason)))
		a.note("  its log       %s\n  take it away  %s", a.stint("endpoint logs "+d.name), a.stint("endpoint delete "+d.name))
		if a.json {
			if err := a.printJSON(described); err != nil {
				return err
			}
		}
		return &exitError{code: exitFailed}
	}
	a.note("%s %s  %s", a.onErr.green("✓"), "InService", a.onErr.dim("after "+duration(a.now().Sub(began))))
	if a.json {
		return a.printJSON(described)
	}
	a.howToAsk(d.name, described)
	return nil
}

// settled waits until an endpoint is neither coming nor changing, and shows how it stands meanwhile.
func settled(ctx context.Context, c *client.Client, name string, show func(*sagemaker.DescribeEndpointOutput)) (*sagemaker.DescribeEndpointOutput, error) {
	for {
		e, err := c.DescribeEndpoint(ctx, name)
		if err != nil || !moving(*e.EndpointStatus) {
			return e, err
		}
		show(e)
		if err := sleep(ctx, pollEvery); err != nil {
			return nil, err
		}
	}
}

func moving(s sagemaker.EndpointStatus) bool {
	return s == sagemaker.EndpointStatusCreating || s == sagemaker.EndpointStatusUpdating || s == sagemaker.EndpointStatusDeleting
}

// howToAsk says what to do with an endpoint that serves.
func (a *app) howToAsk(name string, e *describedEndpoint) {
	if e.AsyncInferenceConfig != nil {
		a.howToAskLater(name, e)
		return
	}
	rows := [][2]string{
		{"ask", a.stint("invoke " + name + " --data '[[1, 2, 3]]'")},
		{"boto3", fmt.Sprintf(`boto3.client("sagemaker-runtime").invoke_endpoint(EndpointName=%q, ContentType="application/json", Body=b"[[1, 2, 3]]")`, name)},
		{"SDK", fmt.Sprintf(`sagemaker.predictor.Predictor(%q)`, name)},
		{"end", a.stint("endpoint delete " + name)},
	}
	a.printRows(rows, e)
}

// printRows prints what can be done with an endpoint, and what it costs.
func (a *app) printRows(rows [][2]string, e *describedEndpoint) {
	if day := e.aDay(); day != "" {
		rows = append(rows, [2]string{"costs", day + " a day, asked or not"})
	}
	for _, r := range rows {
		a.print("  %s  %s", a.onOut.dim(fmt.Sprintf("%-5s", r[0])), r[1])
	}
}
