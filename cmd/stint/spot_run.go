package main

import (
	"cmp"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// runSpotFlags are those of `stint run` for managed spot training and checkpoints.
type runSpotFlags struct {
	spot       bool
	maxWait    time.Duration
	checkpoint string
	fallback   string
	deadline   string
}

func (f *runSpotFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&f.spot, "spot", false, "managed spot training: cheaper, and may be interrupted and go on later")
	flags.DurationVar(&f.maxWait, "max-wait", 0, "with --spot: longest `TIME` until the end, waiting included (default twice --max-run)")
	flags.StringVar(&f.checkpoint, "checkpoint", "", "`URI` of what the script saves to /opt/ml/checkpoints and finds there again (default with --spot a prefix of the job's own)")
	flags.StringVar(&f.fallback, "fallback", "", "with --spot: `none`, to wait for spot however long, or on-demand, to hold the deadline (default none)")
	flags.StringVar(&f.deadline, "deadline", "", "with --spot: `WHEN` it is to be done: 6h from now, or 2026-05-01T18:00:00Z; means --fallback on-demand (default when it may wait no longer)")
}

// check says what is wrong with the flags, and fills in what follows from them.
func (f *runSpotFlags) check(maxRun time.Duration, maxRunGiven bool) error {
	if f.checkpoint != "" {
		if _, _, err := platform.URI(f.checkpoint).Split(); err != nil {
			return usage("--checkpoint %w", err)
		}
	}
	if !f.spot {
		return f.checkNoSpot()
	}
	if f.fallback != "" && f.fallback != "none" && f.fallback != "on-demand" {
		return usage("--fallback %q is neither none nor on-demand", f.fallback)
	}
	if err := f.checkDeadline(maxRunGiven); err != nil {
		return err
	}
	if f.maxWait == 0 {
		f.maxWait = 2 * maxRun
		if d, err := time.ParseDuration(f.deadline); err == nil {
			f.maxWait = max(f.maxWait, d)
		}
	}
	if f.maxWait < maxRun {
		return usage("--max-wait %s is shorter than --max-run %s; it covers waiting and running", f.maxWait, maxRun)
	}
	return nil
}

// checkNoSpot refuses what only a spot job can have.
func (f *runSpotFlags) checkNoSpot() error {
	for name, given := range map[string]bool{"max-wait": f.maxWait != 0, "fallback": f.fallback != "", "deadline": f.deadline != ""} {
		if given {
			return usage("--%s is for spot jobs; add --spot", name)
		}
	}
	return nil
}

func (f *runSpotFlags) checkDeadline(maxRunGiven bool) error {
	if f.deadline == "" {
		return nil
	}
	d, err := time.ParseDuration(f.deadline)
	_, notATime := time.Parse(time.RFC3339, f.deadline)
	switch {
	case err != nil && notATime != nil:
		return usage("--deadline %q is neither a time from now, such as 6h, nor one such as 2026-05-01T18:00:00Z", f.deadline)
	case err == nil && d <= 0:
		return usage("--deadline %s has passed", f.deadline)
	case f.fallback == "none":
		return usage("--deadline cannot be held by spot alone; leave --fallback none out")
	case !maxRunGiven:
		return usage("--deadline needs --max-run, the most that the script has to compute: what it does not need is time in which spot can be waited for")
	}
	f.fallback = "on-demand"
	return nil
}

// apply puts the wishes into a request.
func (f *runSpotFlags) apply(request *sagemaker.CreateTrainingJobRequest) {
	if f.checkpoint != "" {
		request.CheckpointConfig = &sagemaker.CheckpointConfig{S3Uri: new(strings.TrimRight(f.checkpoint, "/") + "/")}
	}
	if !f.spot {
		return
	}
	request.EnableManagedSpotTraining = new(true)
	request.StoppingCondition.MaxWaitTimeInSeconds = new(int32(f.maxWait / time.Second))
	for _, tag := range [][2]string{{"stint:fallback", f.fallback}, {"stint:deadline", f.deadline}} {
		if tag[1] != "" {
			request.Tags = append(request.Tags, sagemaker.Tag{Key: &tag[0], Value: &tag[1]})
		}
	}
}

// ownCheckpoints gives a spot job that names no place for its checkpoints one of its own: without any an interruption would
// begin the work again.
func ownCheckpoints(request *sagemaker.CreateTrainingJobRequest, job platform.URI) {
	if shapes.Value(request.EnableManagedSpotTraining) && request.CheckpointConfig == nil {
		request.CheckpointConfig = &sagemaker.CheckpointConfig{S3Uri: new(string(job.Join("checkpoints")) + "/")}
	}
}

// purchase is how a run is bought, for people.
func (f *runSpotFlags) purchase() string {
	if !f.spot {
		return ""
	}
	return " spot" + map[string]string{"on-demand": ", on demand if need be"}[cmp.Or(f.fallback, "none")]
}
