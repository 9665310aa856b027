package training

import (
	"fmt"
	"slices"
	"time"

	"github.com/stint-ml/stint/platform"
)

// What an attempt of a spot job that never came to run the user's code means: it may be a machine that went, and it may be
// one on which nothing can ever run. Such attempts are made more and more slowly, and not for ever.
const (
	maxFruitless   = 5
	firstFruitless = time.Second
	lastFruitless  = time.Minute
)

// conclude says what the outcome of the attempt that has just ended means for the job.
func conclude(job *platform.TrainingJob, o platform.Outcome) error {
	st := &job.Status
	a := &st.Attempts[len(st.Attempts)-1]
	at := a.Ended
	st.Model, st.Output = o.Model, o.Output
	if o.Kind == platform.StopObeyed && !st.Ending() {
		o = platform.Outcome{Kind: platform.InternalError, Reason: "the machine told the job's agent to end", Model: o.Model, Output: o.Output}
	}
	switch o.Kind {
	case platform.Succeeded:
		return enterBy(st, platform.JobUploading, platform.JobPhaseCompleted, at, "Training job completed")
	case platform.StopObeyed:
		return concludeStop(st, at, "")
	case platform.MaxRuntimeExceeded:
		return concludeMaxRun(job, at)
	case platform.AlgorithmError, platform.ClientError:
		return fail(st, at, withKind(o))
	}
	switch {
	case st.Ending():
		return concludeStop(st, at, "; "+o.Reason)
	case o.Kept != "": // a result that lies on the machine must not be made again over it
		return fail(st, at, withKind(o))
	case job.IsSpot():
		return concludeInterruption(st, o, at)
	case len(st.Attempts) <= job.Retries():
		return st.Enter(platform.JobRestarting, at, "Restarting: "+o.Reason)
	default:
		return fail(st, at, withKind(o))
	}
}

// concludeMaxRun ends a job whose code ran as long as its attempt might: the last of a spot job only as long as the job may wait.
func concludeMaxRun(job *platform.TrainingJob, at time.Time) error {
	st := &job.Status
	if expires := job.Expires(); st.WaitedOut || !expires.IsZero() && !at.Before(expires) {
		st.WaitedOut = true
		return concludeStop(st, at, "")
	}
	return enterBy(st, platform.JobPhaseStopping, platform.JobMaxRuntime, at, "Training job runtime exceeded MaxRuntimeInSeconds provided")
}

// concludeStop ends a job that was to stop, by request or because its time was over.
func concludeStop(st *platform.TrainingStatus, at time.Time, detail string) error {
	if st.WaitedOut {
		if st.State != platform.JobStopping { // the agent ended by itself, while the server was away
			if err := st.Enter(platform.JobPhaseStopping, at, maxWaitMessage); err != nil {
				return err
			}
		}
		return enterBy(st, platform.JobPhaseStopping, platform.JobMaxWait, at, maxWaitMessage+detail)
	}
	return enterBy(st, platform.JobPhaseStopping, platform.JobPhaseStopped, at, "Training job stopped"+detail)
}

const maxWaitMessage = "Training job wait time exceeded MaxWaitTimeInSeconds provided"

// concludeInterruption lets a managed spot job wait for capacity again. Whatever takes an attempt away, a notice or the end of
// its machine, is an interruption and no failure: RetryStrategy is not used up, and MaxWaitTimeInSeconds is the bound.
func concludeInterruption(st *platform.TrainingStatus, o platform.Outcome, at time.Time) error {
	if n := fruitless(st); n >= maxFruitless {
		return fail(st, at, fmt.Sprintf("%s (%d times in a row before the user's code could be started)", withKind(o), n))
	}
	kept := "nothing was kept by checkpoints"
	if d := st.Kept(); d > 0 {
		kept = fmt.Sprintf("%v of training are kept by checkpoints", d.Round(time.Second))
	}
	return st.Enter(platform.JobInterrupted, at, fmt.Sprintf("Managed spot training interrupted: %s; %s", o.Reason, kept))
}

// fruitless counts the last attempts in a row that ended by themselves before the user's code ran.
func fruitless(st *platform.TrainingStatus) (n int) {
	for _, a := range slices.Backward(st.Attempts) {
		if a.Outcome == nil || !a.Running.IsZero() || a.Notice != nil || a.Outcome.Kind == platform.Interrupted {
			break
		}
		n++
	}
	return n
}

// restFruitless is how long a job waits before its next attempt, after so many fruitless ones.
func restFruitless(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return min(firstFruitless<<(n-1), lastFruitless)
}

// fail ends the job for a reason that its user is shown.
func fail(st *platform.TrainingStatus, at time.Time, reason string) error {
	st.FailureReason = clip(reason)
	return st.Enter(platform.JobPhaseFailed, at, "Training job failed")
}

// enterBy goes to a final phase, through the one that comes before it when there is no straight way: an agent need not have
// reported every phase it went through.
func enterBy(st *platform.TrainingStatus, before, last platform.JobPhase, at time.Time, message string) error {
	if !slices.Contains(platform.TrainingTransitions[st.Phase], last) {
		if err := st.Enter(before, at, ""); err != nil {
			return err
		}
	}
	return st.Enter(last, at, message)
}

// withKind puts the kind before the reason, as AWS does, unless the agent has.
func withKind(o platform.Outcome) string {
	kind := string(o.Kind)
	if len(o.Reason) >= len(kind) && o.Reason[:len(kind)] == kind {
		return o.Reason
	}
	return kind + ": " + o.Reason
}

// clip cuts a failure reason to the 1,024 characters that AWS keeps.
func clip(reason string) string {
	if r := []rune(reason); len(r) > 1024 {
		return string(r[:1024])
	}
	return reason
}
