package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/drivers/runtimes"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// defaultRuntime runs a script that says nothing of what it needs.
const defaultRuntime = "python"

type runFlags struct {
	data            []string
	instance        string
	hyperparameters []string
	image, runtime  string
	sourceDir       string
	requirements    string
	name            string
	maxRun          time.Duration
	environment     []string
	output          string
	noWait          bool
	maxRunGiven     bool
	runSpotFlags
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run SCRIPT",
		Short: "Train: upload a script and its data, run it as a job, follow it",
		Long: `Train without any SDK: upload a script and its data, run it as a training job, follow its log, and say where the model is and
what it cost.

The script finds what it would find on SageMaker: its data in $SM_CHANNEL_TRAIN (/opt/ml/input/data/train), hyperparameters
as --name value arguments, and it leaves its model in $SM_MODEL_DIR (/opt/ml/model). With --source-dir the whole folder goes
along, and SCRIPT is a path in it; a requirements.txt there, or the one of --requirements, is installed first.

Ctrl-C asks the job to stop; a second Ctrl-C leaves it alone and ends only this command. The exit code is 0 when the job
completed, 1 when it failed or was stopped, 2 for a wrong command line, 3 when no server answers, 130 after Ctrl-C.`,
		Example: `  stint run train.py --data data/
  stint run train.py --data data/ --instance ml.m5.large --hp epochs=10 --hp learning-rate=0.001 --output model/
  stint run train.py --source-dir src/ --data train=s3://bucket/train/ --data test=test/ --runtime sklearn
  stint run train.py --data data/ --spot --max-run 2h --deadline 6h
  stint run prepare.sh --runtime exec --no-wait`,
		Args: oneArgument("a script"),
		RunE: func(c *cobra.Command, args []string) error {
			f.maxRunGiven = c.Flags().Changed("max-run")
			return a.run(c.Context(), args[0], f)
		},
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.data, "data", nil, "input channel from `[NAME=]SOURCE`: a folder, a file or s3://bucket/prefix, NAME being train unless given; repeatable")
	flags.StringVar(&f.instance, "instance", "ml.m5.large", "instance `TYPE`")
	flags.StringArrayVar(&f.hyperparameters, "hp", nil, "hyperparameter `NAME=VALUE`; repeatable")
	flags.StringVar(&f.runtime, "runtime", defaultRuntime, "runtime `NAME` to run in; see: stint runtime list")
	flags.StringVar(&f.image, "image", "", "container image `URI`, instead of a runtime by name")
	flags.StringVar(&f.sourceDir, "source-dir", "", "`FOLDER` that goes along with the script")
	flags.StringVar(&f.requirements, "requirements", "", "`FILE` of Python packages to install first")
	flags.StringVar(&f.name, "name", "", "`NAME` of the job (default the script's name and the time)")
	flags.DurationVar(&f.maxRun, "max-run", 24*time.Hour, "longest `TIME` that the script may run")
	flags.StringArrayVar(&f.environment, "env", nil, "environment variable `NAME=VALUE` of the script; repeatable")
	flags.StringVar(&f.output, "output", "", "new `FOLDER` to put the model into at the end")
	flags.BoolVar(&f.noWait, "no-wait", false, "print the job's name and do not follow it")
	f.register(flags)
	_ = c.RegisterFlagCompletionFunc("runtime", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { // fails only for a flag that is not there
		return a.completeRuntimes(func(r listedRuntime) bool { return r.Installed })
	})
	return c
}

// training is what a command line asks for, checked.
type trainingRun struct {
	name     string
	source   source
	channels []channel
	request  *sagemaker.CreateTrainingJobRequest // all but what is uploaded
	output   string
	purchase string // for people
}

// channel is one input: local files to upload, or what is in S3 already.
type channel struct {
	name  string
	local string // file or folder; empty when uri is given
	uri   platform.URI
}

func (a *app) run(ctx context.Context, script string, f runFlags) error {
	// 1. All that can be wrong with the command line, before anything is done.
	t, err := a.planRun(script, f)
	if err != nil {
		return err
	}
	c, blobs, err := a.connectFor(f.instance)
	if err != nil {
		return err
	}
	defer blobs.Close() //nolint:errcheck // closes idle connections only
	// 2. Upload and create; until then Ctrl-C gives up.
	err = a.submit(ctx, c, blobs, t)
	if err != nil {
		return err
	}
	if f.noWait {
		if a.json {
			return a.printJSON(map[string]string{"TrainingJobName": t.name, "TrainingJobArn": string(c.Site.ARN("sagemaker", "training-job/"+t.name))})
		}
		a.print("%s", t.name)
		a.note("%s", a.onErr.dim("follow it with: "+a.stint("logs -f "+t.name)))
		return nil
	}
	// 3. Follow to the end.
	follower := &follower{app: a, client: c, blobs: blobs, name: t.name, log: newJobLog(c, t.name), output: t.output}
	return follower.follow(ctx)
}

func (a *app) submit(ctx context.Context, c *client.Client, blobs *s3.Blobs, t *trainingRun) error {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	if err := c.Healthy(ctx); err != nil {
		return err
	}
	bucket := defaultBucket(c.Site)
	if err := c.EnsureBucket(ctx, bucket); err != nil {
		return err
	}
	root := platform.URI("s3://" + bucket)
	if err := a.upload(ctx, blobs, root.Join(t.name), t); err != nil {
		a.clearStatus()
		if ctx.Err() != nil {
			a.note("Interrupted; no job was started.")
			return context.Cause(ctx)
		}
		return err
	}
	t.request.RoleArn = new(string(executionRole(c.Site)))
	t.request.OutputDataConfig = &sagemaker.OutputDataConfig{S3OutputPath: new(string(root) + "/")}
	ownCheckpoints(t.request, root.Join(t.name))
	if err := c.CreateTrainingJob(ctx, t.request); err != nil {
		return err
	}
	a.note("%s %s  on %s%s", a.onErr.green("✓"), a.onErr.bold(t.name), *t.request.ResourceConfig.InstanceType, t.purchase)
	return nil
}

// planRun checks the command line and lays out the request.
func (a *app) planRun(script string, f runFlags) (*trainingRun, error) {
	src, err := planSource(script, f.sourceDir, f.requirements)
	if err != nil {
		return nil, err
	}
	channels, err := planChannels(f.data)
	if err != nil {
		return nil, err
	}
	hyperparameters, err := pairs("hp", f.hyperparameters)
	if err != nil {
		return nil, err
	}
	environment, err := pairs("env", f.environment)
	if err != nil {
		return nil, err
	}
	name, err := a.jobName(f.name, script)
	if err != nil {
		return nil, err
	}
	if err := checkEnd(f); err != nil {
		return nil, err
	}
	if err := f.check(f.maxRun, f.maxRunGiven); err != nil {
		return nil, err
	}
	image, line, err := a.chooseImage(f)
	if err != nil {
		return nil, err
	}
	hyperparameters["sagemaker_program"] = src.program
	request := &sagemaker.CreateTrainingJobRequest{
		TrainingJobName: &name,
		HyperParameters: hyperparameters,
		AlgorithmSpecification: &sagemaker.AlgorithmSpecification{
			TrainingImage: &image, TrainingInputMode: new(sagemaker.TrainingInputModeFile),
		},
		ResourceConfig: &sagemaker.ResourceConfig{
			InstanceType: new(sagemaker.TrainingInstanceType(f.instance)), InstanceCount: new(int32(1)), VolumeSizeInGB: new(int32(30)),
		},
		StoppingCondition: &sagemaker.StoppingCondition{MaxRuntimeInSeconds: new(int32(f.maxRun / time.Second))},
		Environment:       environment,
	}
	if line != nil && len(line.Entry) == 0 { // nothing runs the script but itself
		request.AlgorithmSpecification.ContainerEntrypoint = []string{"./" + src.program}
	}
	f.apply(request)
	return &trainingRun{name: name, source: src, channels: channels, request: request, output: f.output, purchase: f.purchase()}, nil
}

// checkInstance looks an instance type up where the server does, since AWS's own refusal lists all that there are.
func (a *app) checkInstance(name string, site platform.Site) error {
	home, err := a.home()
	if err != nil {
		return err
	}
	catalog, err := home.Catalog(site.Partition)
	if err != nil {
		return err
	}
	if _, err := catalog.Lookup(platform.InstanceType(name)); err != nil {
		if _, known := catalog[platform.InstanceType("ml."+name)]; known {
			return usage("--instance %s: did you mean ml.%s?", name, name)
		}
		return usage("--instance: %w", err)
	}
	return nil
}

// chooseImage gives the image of a run and, when the table of runtimes is on this machine, its line.
func (a *app) chooseImage(f runFlags) (string, *runtimes.Line, error) {
	t, err := a.runtimeTable()
	if err != nil {
		return "", nil, err
	}
	if f.image != "" && f.runtime != defaultRuntime {
		return "", nil, usage("--image and --runtime both say what to run in; choose one")
	}
	if f.image != "" {
		_, err := t.Resolve(f.image)
		return f.image, nil, err
	}
	lines, err := t.List()
	if err != nil {
		return "", nil, err
	}
	var names []string
	for i, l := range lines {
		names = append(names, l.Name)
		if l.Name != f.runtime {
			continue
		}
		if !t.Installed(l) {
			return "", nil, fmt.Errorf("the runtime %s is not installed; install it with: %s", l.Name, a.stint("runtime install "+l.Name))
		}
		return strings.ReplaceAll(l.Images[0], "*", "latest"), &lines[i], nil
	}
	return "", nil, usage("--runtime %q is not known; there are %s", f.runtime, strings.Join(names, ", "))
}

// pairs reads NAME=VALUE flags.
func pairs(flag string, given []string) (map[string]string, error) {
	out := map[string]string{}
	for _, g := range given {
		name, value, found := strings.Cut(g, "=")
		if !found || name == "" {
			return nil, usage("--%s %q should look like NAME=VALUE", flag, g)
		}
		if _, twice := out[name]; twice {
			return nil, usage("--%s %s is given twice", flag, name)
		}
		out[name] = value
	}
	return out, nil
}

var (
	jobNameForm     = regexp.MustCompile(`^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$`)
	channelNameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	notInJobNames   = regexp.MustCompile(`[^a-zA-Z0-9]+`)
)

// jobName checks the name that was given, or makes one as the SDK does: what, and when to the millisecond.
func (a *app) jobName(given, script string) (string, error) {
	if given != "" {
		if !jobNameForm.MatchString(given) {
			return "", usage("--name %q is not a job name; it may have letters, digits and hyphens, 63 at most, and no hyphen at its ends", given)
		}
		return given, nil
	}
	now := a.now().UTC()
	what := strings.Trim(notInJobNames.ReplaceAllString(strings.TrimSuffix(path.Base(script), path.Ext(script)), "-"), "-")
	if what == "" {
		what = "run"
	}
	return fmt.Sprintf("%s-%s-%03d", what[:min(len(what), 39)], now.Format("2006-01-02-15-04-05"), now.Nanosecond()/int(time.Millisecond)), nil
}

// planChannels reads the --data flags and sees that what they name is there.
func planChannels(given []string) ([]channel, error) {
	var channels []channel
	names := map[string]bool{}
	for _, g := range given {
		c := channel{name: "train", local: g}
		if name, rest, found := strings.Cut(g, "="); found && channelNameForm.MatchString(name) && rest != "" {
			c.name, c.local = name, rest
		}
		if names[c.name] {
			return nil, usage("--data has two sources for the channel %q; name them as in --data train=DIR --data test=DIR", c.name)
		}
		names[c.name] = true
		if strings.HasPrefix(c.local, "s3://") {
			c.uri, c.local = platform.URI(c.local), ""
			if _, _, err := c.uri.Split(); err != nil {
				return nil, usage("--data %w", err)
			}
		} else if _, err := os.Stat(c.local); err != nil {
			return nil, usage("--data %s: there is no such file or folder", c.local)
		}
		channels = append(channels, c)
	}
	return channels, nil
}

// checkEnd checks what the flags say of the job's end.
func checkEnd(f runFlags) error {
	switch {
	case f.maxRun < time.Second:
		return usage("--max-run %s is too short; a job needs a second at least", f.maxRun)
	case f.output != "" && f.noWait:
		return usage("--output needs the job's end, which --no-wait does not wait for; choose one")
	case f.output != "":
		return emptyFolder(f.output)
	}
	return nil
}

// emptyFolder refuses a place for the model where something could be overwritten.
func emptyFolder(name string) error {
	entries, err := os.ReadDir(name)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return usage("--output %s is not a folder that can be used: %v", name, err)
	case len(entries) > 0:
		return usage("--output %s is not empty; name a new folder for the model", name)
	}
	return nil
}

// planSource sees that the script is there.
func planSource(script, dir, requirements string) (source, error) {
	s := source{dir: dir, requirements: requirements, script: script, program: filepath.Base(script)}
	if dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return s, usage("--source-dir %s is not a folder", dir)
		}
		rel, err := inFolder(dir, script)
		if err != nil {
			return s, err
		}
		s.program, s.script = filepath.ToSlash(rel), filepath.Join(dir, rel)
	}
	info, err := os.Stat(s.script)
	switch {
	case err != nil && dir != "":
		return s, usage("the script %s is not in the source folder %s", script, dir)
	case err != nil:
		return s, usage("the script %s does not exist", script)
	case !info.Mode().IsRegular():
		return s, usage("the script %s is not a file; for a whole folder name its script, and the folder with --source-dir", script)
	}
	if requirements != "" {
		if info, err := os.Stat(requirements); err != nil || !info.Mode().IsRegular() {
			return s, usage("--requirements %s is not a file", requirements)
		}
	}
	return s, nil
}

// inFolder gives the script's path in the source folder, whether it was named from there or from here.
func inFolder(dir, script string) (string, error) {
	if filepath.IsLocal(script) {
		if _, err := os.Stat(filepath.Join(dir, script)); err == nil {
			return filepath.Clean(script), nil
		}
	}
	base, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	full, err := filepath.Abs(script)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(base, full)
	if err != nil || !filepath.IsLocal(rel) {
		return "", usage("the script %s is not in the source folder %s", script, dir)
	}
	return rel, nil
}

// sourceURI and inputURI are where things go under the job's prefix, as the SDK puts them.
func sourceURI(job platform.URI) platform.URI { return job.Join("source", "sourcedir.tar.gz") }
func inputURI(job platform.URI, channel string) platform.URI {
	return job.Join("input", channel)
}
