package sagemaker

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// The tags by which a managed spot job says what AWS's request has no member for. They are read once, when the job is created.
const (
	deadlineTag = "stint:deadline" // when it should be done: a duration (6h), seconds, both from its creation, or a time (RFC 3339)
	fallbackTag = "stint:fallback" // none, as on AWS and the default: spot alone; on-demand: as much of it as the deadline takes
)

// steers reports whether a tag decides how a job runs.
func steers(tag string) bool { return tag == deadlineTag || tag == fallbackTag }

// settled refuses to change what was read when the job was created: a tag that says one thing while the job does another is a trap.
func settled(tag string) error {
	return invalid("The tag %s is read when a managed spot job is created and cannot be changed afterwards", tag)
}

// maxRuntime is how long the job may run: what it says, else AWS's default.
func maxRuntime(in *sagemaker.CreateTrainingJobRequest) platform.Seconds {
	return (&platform.TrainingJob{Spec: *in}).MaxRuntime()
}

// maxWait is how long the job may wait and run; 0 when it does not say.
func maxWait(in *sagemaker.CreateTrainingJobRequest) platform.Seconds {
	if s := in.StoppingCondition; s != nil {
		return platform.Seconds(shapes.Value(s.MaxWaitTimeInSeconds))
	}
	return 0
}

// checkWait holds the time to wait against the time to run. The words are AWS's; ours are in brackets.
func checkWait(in *sagemaker.CreateTrainingJobRequest) error {
	wait, run := maxWait(in), maxRuntime(in)
	switch {
	case !isTrue(in.EnableManagedSpotTraining):
		if wait > 0 {
			return invalid("Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true")
		}
	case wait == 0:
		return invalid("Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds (%d; MaxWaitTimeInSeconds is not set)", run)
	case wait < run:
		return invalid("Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds (%d; got %d)", run, wait)
	}
	return nil
}

const (
	checkpointRoot    = "/opt/ml"
	checkpointDefault = "/opt/ml/checkpoints"
)

// occupied are the folders below checkpointRoot that the platform or the job's other settings use.
var occupied = []string{"input", "model", "output", "code", "home"}

func checkCheckpoints(in *sagemaker.CreateTrainingJobRequest) error {
	c := in.CheckpointConfig
	if c == nil {
		return nil
	}
	if err := checkLocalPath(shapes.Value(c.LocalPath)); err != nil {
		return err
	}
	return checkPrefix(in, platform.URI(*c.S3Uri))
}

// checkLocalPath keeps checkpoints in a folder of their own: what lies there is shipped, replaced and removed.
func checkLocalPath(local string) error {
	if local == "" {
		return nil
	}
	clean := path.Clean(local)
	if !path.IsAbs(local) || !strings.HasPrefix(clean, checkpointRoot+"/") || strings.ContainsFunc(local, unicode.IsControl) {
		return invalid("Invalid CheckpointConfig.LocalPath %q. It must be a folder below %s, such as %s, which is the default", local, checkpointRoot, checkpointDefault)
	}
	for _, taken := range occupied {
		if within(clean, checkpointRoot+"/"+taken) {
			return invalid("Invalid CheckpointConfig.LocalPath %q. It must not overlap with %s/%s, which has another use; leave LocalPath out for %s",
				local, checkpointRoot, taken, checkpointDefault)
		}
	}
	return nil
}

// checkPrefix keeps the checkpoints apart from the job's inputs and outputs. All that lies under the prefix is given to the
// job as checkpoints and is removed when the job removes it; and what the job writes there must not become its input when it is tried again.
func checkPrefix(in *sagemaker.CreateTrainingJobRequest, prefix platform.URI) error {
	bucket, key, err := prefix.Split()
	if err != nil {
		return invalid("Invalid CheckpointConfig.S3Uri: %s", err.Error())
	}
	key = strings.TrimRight(key, "/")
	if strings.ContainsFunc(key, unicode.IsControl) {
		return invalid("Invalid CheckpointConfig.S3Uri: %q holds a control character", prefix)
	}
	output := platform.URI(*in.OutputDataConfig.S3OutputPath).Join(*in.TrainingJobName, "output")
	if other, at, err := output.Split(); err == nil && other == bucket && (within(key, at) || within(at, key)) {
		return invalid("Invalid CheckpointConfig.S3Uri %s. It must not overlap with %s, where the output of the job goes; name a prefix that holds checkpoints alone", prefix, output)
	}
	for _, ch := range in.InputDataConfig {
		data := *ch.DataSource.S3DataSource
		other, at, err := platform.URI(*data.S3Uri).Split()
		// An input takes every key that begins with its own, be it in the middle of a name.
		if err == nil && other == bucket && (strings.HasPrefix(key+"/", at) || within(at, key)) {
			return invalid("Invalid CheckpointConfig.S3Uri %s. It must not overlap with %s, the input of channel %q; name a prefix that holds checkpoints alone",
				prefix, *data.S3Uri, *ch.ChannelName)
		}
	}
	return nil
}

// within reports whether a slash-separated name is a folder or lies below it. Everything lies below the empty name.
func within(name, folder string) bool {
	return folder == "" || name == folder || strings.HasPrefix(name, strings.TrimRight(folder, "/")+"/")
}

// terms are what the tags of a job say.
type terms struct {
	fallback bool
	deadline time.Time // zero: none but the end of its wait
	warnings []string
}

// readTerms reads the tags that steer a job which is created now.
func readTerms(in *sagemaker.CreateTrainingJobRequest, now time.Time) (t terms, err error) {
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return t, err
	}
	deadline, timed := tags[deadlineTag]
	fallback, told := tags[fallbackTag]
	switch spot := isTrue(in.EnableManagedSpotTraining); {
	case timed && !spot:
		return t, invalid("Invalid tag %s. It is only supported when EnableManagedSpotTraining is set to true", deadlineTag)
	case told && !spot:
		return t, invalid("Invalid tag %s. It is only supported when EnableManagedSpotTraining is set to true", fallbackTag)
	case told && fallback != "none" && fallback != "on-demand":
		return t, invalid("Invalid tag %s=%s. It must be none or on-demand", fallbackTag, fallback)
	case timed && fallback != "on-demand":
		return t, invalid("Invalid tag %s. Spot capacity alone cannot promise a time; it needs the tag %s=on-demand beside it", deadlineTag, fallbackTag)
	}
	t.fallback = fallback == "on-demand"
	if timed {
		err = t.keepDeadline(in, deadline, now)
	}
	return t, err
}

// keepDeadline reads a deadline and holds it against the job's own limits.
func (t *terms) keepDeadline(in *sagemaker.CreateTrainingJobRequest, text string, now time.Time) (err error) {
	if t.deadline, err = readDeadline(text, now); err != nil {
		return err
	}
	left := t.deadline.Sub(now)
	switch wait, run := maxWait(in).Duration(), maxRuntime(in).Duration(); {
	case left <= 0:
		return invalid("Invalid tag %s=%s. It has passed already", deadlineTag, text)
	case left > wait:
		return invalid("Invalid tag %s=%s. It must not be later than MaxWaitTimeInSeconds (%d), when the job is stopped", deadlineTag, text, maxWait(in))
	case left < run:
		t.warnings = append(t.warnings, fmt.Sprintf("the job must be done in %s and may run for %s (MaxRuntimeInSeconds): as it may need all of that it runs on demand from the start; "+
			"a MaxRuntimeInSeconds close to what the work needs leaves room for spot", left.Round(time.Second), run))
	}
	return nil
}

func readDeadline(text string, now time.Time) (time.Time, error) {
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return now.Add(platform.Seconds(seconds).Duration()), nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(d), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UTC(), nil
	}
	return time.Time{}, invalid("Invalid tag %s=%s. It must be a duration such as 6h30m or a number of seconds, both from the creation of the job, or a time such as 2026-01-02T15:04:05Z", deadlineTag, text)
}

// unsavedLimit is how long a spot job without checkpoints may wait on AWS when its algorithm is known to keep none.
const unsavedLimit platform.Seconds = 3600

// unsaved says why a managed spot job should keep checkpoints and keeps none; empty when all is well.
func unsaved(in *sagemaker.CreateTrainingJobRequest) string {
	if !isTrue(in.EnableManagedSpotTraining) || in.CheckpointConfig != nil || maxWait(in) <= unsavedLimit {
		return ""
	}
	return fmt.Sprintf("a managed spot job without CheckpointConfig starts from nothing after each interruption, and with MaxWaitTimeInSeconds of %d (over %d) it may do so for hours; "+
		"give it CheckpointConfig.S3Uri and let its code save to %s and resume from there", maxWait(in), unsavedLimit, checkpointDefault)
}
