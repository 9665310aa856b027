package transform

import (
	"fmt"
	"slices"
	"time"

	"github.com/stint-ml/stint/platform"
)

// An agent that the platform fails is launched anew, more and more slowly, and not for ever: it may be a machine that went,
// and it may be input that ends every agent that reads it. One that finished something was not in vain.
const (
	maxIdle    = 5
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// stopping tells whether the agents of a job are to end.
func stopping(job *platform.TransformJob) bool {
	return job.Status.State == platform.JobStopping || hopeless(&job.Status)
}

// hopeless tells whether a share has failed so that no other needs to go on: not for some of its objects, but as a whole.
func hopeless(st *platform.TransformStatus) bool {
	return slices.ContainsFunc(st.Shares, func(s platform.TransformShare) bool {
		return s.Outcome != nil && s.Outcome.Kind != platform.Succeeded && s.Progress.Failed == 0
	})
}

// judge says what the end of an attempt means for its share.
func (c *Controller) judge(job *platform.TransformJob, a *platform.TransformAttempt) {
	o, share := *a.Outcome, &job.Status.Shares[a.Share]
	if o.Kind == platform.StopObeyed && !stopping(job) {
		o = platform.Outcome{Kind: platform.InternalError, Reason: "the machine told the job's agent to end"}
	}
	if o.Kind != platform.InternalError {
		if o.Kind != platform.StopObeyed {
			share.Outcome = &o
		}
		return
	}
	share.Idle++
	if share.Idle >= maxIdle {
		o.Reason = fmt.Sprintf("%s (%d times in a row)", withKind(o), share.Idle)
		share.Outcome = &o
		return
	}
	c.Log.Warn("an agent has ended", "transform", *job.Spec.TransformJobName, "share", a.Share, "reason", o.Reason)
	share.RetryAt = c.Clock.Now().Add(min(firstRetry<<(share.Idle-1), lastRetry))
}

// conclude ends a job of which nothing is left to do, and one that can never run. A job never ends while an attempt is open.
func (c *Controller) conclude(job *platform.TransformJob) (platform.Tx, bool, error) {
	st, at := &job.Status, c.Clock.Now()
	if n := len(st.Attempts); n > 0 { // what it did ended then, which is what its bill says
		at = st.Changed
	}
	open := false
	for i := range st.Attempts {
		if ended := st.Attempts[i].Ended; ended.After(at) {
			at = ended
		}
	}
	st.Each(func(*platform.TransformAttempt) { open = true })
	if st.State.Ended() || open {
		return platform.Tx{}, false, nil
	}
	over := !slices.ContainsFunc(st.Shares, func(s platform.TransformShare) bool { return s.Outcome == nil })
	switch reason := failure(st); {
	case reason != "" && (over || hopeless(st)):
		st.FailureReason = clip(reason)
		return platform.Tx{}, true, st.Enter(platform.JobFailed, at)
	case over:
		return platform.Tx{}, true, st.Enter(platform.JobCompleted, at)
	case st.State == platform.JobStopping:
		return platform.Tx{}, true, st.Enter(platform.JobStopped, at)
	}
	if _, _, err := st.Resolve(c.Runtimes); err != nil {
		st.FailureReason = clip("ClientError: " + err.Error())
		return platform.Tx{}, true, st.Enter(platform.JobFailed, at)
	}
	return platform.Tx{}, false, nil
}

// failure is why a job has failed, empty if nothing of it has; what failed as a whole says more than single objects.
func failure(st *platform.TransformStatus) (reason string) {
	for i := range st.Shares {
		s := &st.Shares[i]
		switch {
		case s.Outcome == nil || s.Outcome.Kind == platform.Succeeded:
		case s.Progress.Failed == 0:
			return withKind(*s.Outcome)
		case reason == "":
			reason = withKind(*s.Outcome)
		}
	}
	return reason
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
