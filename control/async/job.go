package async

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/stint-ml/stint/platform"
)

const (
	// tries is how many containers may have an invocation without answering it: what ends three of them would end the next.
	tries = 3
	// maxOutput bounds an answer as inputs are bounded.
	maxOutput = platform.MaxAsyncInput
)

// job is an invocation under way.
type job struct {
	*Controller
	line  *line
	entry *entry
	view  view
	in    *platform.AsyncInvocation
	rec   platform.Record
	blobs platform.Blobs
	taken time.Time
}

// outcome is how an invocation ended.
type outcome struct {
	reason string // of a failure; empty: it succeeded
	answer *spool // what a container said; nil: none said anything
	stored bool   // the object is where it belongs
	// expired says that the invocation failed because it was in the queue for too long, asked that a container has had it.
	expired, asked bool
}

// work brings one invocation forward as far as it goes now.
func (c *Controller) work(ctx context.Context, l *line, e *entry, v view) {
	err := c.carry(ctx, l, e, v)
	if err != nil && ctx.Err() == nil {
		c.Log.Warn("an asynchronous invocation has to wait", "endpoint", l.name, "invocation", e.id, "error", err)
	}
	c.done(l, e, err == nil)
}

// carry brings an invocation to its end. An error means that it is still owed.
func (c *Controller) carry(ctx context.Context, l *line, e *entry, v view) error {
	rec, err := c.Store.Get(ctx, platform.Key{Kind: platform.KindAsyncInvocation, Name: e.id})
	if platform.Is(err, platform.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	in, err := platform.ReadAsyncInvocation(rec)
	if err != nil {
		return err
	}
	blobs, err := c.Blobs(v.role)
	if err != nil {
		return err
	}
	j := &job{Controller: c, line: l, entry: e, view: v, in: in, rec: rec, blobs: blobs, taken: c.Clock.Now()}
	out, err := j.outcome(ctx)
	defer func() { out.answer.close() }()
	if err != nil {
		return err
	}
	if err := j.put(ctx, &out); err != nil {
		return err
	}
	return j.conclude(ctx, &out)
}

// outcome finds out how the invocation ends.
func (j *job) outcome(ctx context.Context) (outcome, error) {
	// 1. It may have been answered by a process, or in a try, that did not come to write that down.
	if j.entry.begun {
		if out, err := j.found(ctx); err != nil || out.stored {
			return out, err
		}
	}
	// 2. Its time may be over.
	wait := j.entry.expires.Sub(j.taken)
	if wait <= 0 {
		return j.expired(), nil
	}
	// 3. Fetch what is asked.
	input, refused, err := j.fetch(ctx)
	if err != nil || refused != "" {
		return outcome{reason: refused}, err
	}
	defer input.close()
	// 4. Ask a container, when it is this one's turn.
	late, stop := j.Clock.After(wait)
	err = j.line.gate.enter(ctx, late)
	stop()
	if errors.Is(err, errLate) {
		return j.expired(), nil
	}
	if err != nil {
		return outcome{}, err
	}
	defer j.line.gate.leave()
	return j.ask(ctx, input)
}

func (j *job) expired() outcome {
	return outcome{expired: true, reason: fmt.Sprintf("ClientError: The request has expired: it was in the queue for longer than %d seconds (RequestTTLSeconds).", j.in.TTL)}
}

// found looks for what an earlier try has put away. Who may not look has to be asked again, and so has an invocation whose caller
// named its answer: an object of that name may be the answer to another one.
func (j *job) found(ctx context.Context) (outcome, error) {
	for _, at := range []struct {
		uri    platform.URI
		reason string
	}{{j.in.Output, ""}, {j.in.Failure, fmt.Sprintf("ClientError: The invocation failed. See %s for more information.", j.in.Failure)}} {
		if at.uri == "" || at.uri == j.in.Output && j.in.Named {
			continue
		}
		_, err := j.blobs.Stat(ctx, at.uri)
		switch {
		case err == nil:
			out := outcome{reason: at.reason, stored: true, asked: true}
			out.answer, err = j.recall(ctx, at.uri)
			return out, err
		case platform.Is(err, platform.Unavailable) || ctx.Err() != nil:
			return outcome{}, err
		}
	}
	return outcome{}, nil
}

// recall reads as much of an answer as a notification may have of it.
func (j *job) recall(ctx context.Context, u platform.URI) (*spool, error) {
	body, err := j.blobs.Open(ctx, u, 0, maxIncluded+1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	said, err := fill(j.Dir, body, maxIncluded)
	if err == nil {
		said.contentType = mediaType(body)
	}
	return said, err
}

// mediaType is an object's type, empty when whoever stored it said none, which S3 calls by its own name.
func mediaType(object io.Reader) string {
	if t, ok := object.(platform.Typed); ok && t.ContentType() != "binary/octet-stream" {
		return t.ContentType()
	}
	return ""
}

// fetch reads what is asked. refused says why it can never be read.
func (j *job) fetch(ctx context.Context) (input *spool, refused string, err error) {
	if j.in.Input == "" {
		return &spool{head: j.in.Body, size: int64(len(j.in.Body))}, "", nil
	}
	body, err := j.blobs.Open(ctx, j.in.Input, 0, -1)
	if err == nil {
		defer body.Close()
		input, err = fill(j.Dir, body, platform.MaxAsyncInput)
	}
	if err == nil {
		input.contentType = mediaType(body)
	}
	switch {
	case err == nil && input.Size() > platform.MaxAsyncInput:
		input.close()
		refused = fmt.Sprintf("ClientError: The input %s is larger than the %d bytes that an asynchronous invocation may have.", j.in.Input, platform.MaxAsyncInput)
	case err == nil:
		j.meter.count(j.line.name, j.view.variant, downloadLatency, float64(j.Clock.Now().Sub(j.taken).Microseconds()))
		return input, "", nil
	case ctx.Err() == nil && (platform.Is(err, platform.NotFound) || platform.Is(err, platform.Denied) || platform.Is(err, platform.Invalid)):
		refused = fmt.Sprintf("ClientError: The input %s could not be downloaded: %s", j.in.Input, err)
	default:
		return nil, "", err
	}
	j.meter.count(j.line.name, j.view.variant, downloadFailures, 1)
	return nil, refused, nil
}

// ask lets a container answer.
func (j *job) ask(ctx context.Context, input *spool) (outcome, error) {
	in := platform.Invocation{
		Endpoint: j.in.Endpoint, Header: j.in.Header, Body: input.head, Arrived: j.Clock.Now(), Async: true, Limit: j.in.Timeout.Duration(),
	}
	if input.file != nil {
		in.Spool = input
	}
	if len(in.Header["Content-Type"]) == 0 && input.contentType != "" { // an object says itself of what type it is
		in.Header = maps.Clone(in.Header)
		if in.Header == nil {
			in.Header = map[string][]string{}
		}
		in.Header["Content-Type"] = []string{input.contentType}
	}
	answer, err := j.Invoker.Invoke(ctx, in)
	if err != nil {
		return j.unanswered(ctx, err)
	}
	defer answer.Body.Close()
	if err := silence(answer); err != nil {
		return j.unanswered(ctx, err)
	}
	said, err := fill(j.Dir, answer.Body, maxOutput)
	if err != nil {
		return j.unanswered(ctx, err)
	}
	said.contentType = http.Header(answer.Header).Get("Content-Type")
	out := outcome{answer: said, asked: true}
	switch {
	case answer.Status < 200 || answer.Status > 299:
		out.reason = modelError(answer.Status)
	case said.Size() > maxOutput:
		said.close()
		out.answer, out.reason = nil, fmt.Sprintf("ClientError: The answer of the model is larger than %d bytes.", maxOutput)
	}
	return out, nil
}

// silence is why an instance of several containers answers in the place of one of them: that one did not. It ends an invocation
// as a single one's silence does. Nil: a container has answered.
func silence(answer *platform.Answer) error {
	h := http.Header(answer.Header)
	switch h.Get(platform.RefusedHeader) {
	case platform.RefusedBroken:
		return fmt.Errorf("container %s has ended the connection", h.Get(platform.ContainerHeader))
	case platform.RefusedLate:
		return platform.ErrTooLate
	}
	return nil
}

// modelError is the reason of a failure when a container has answered with an error.
func modelError(status int) string {
	side := "server"
	if status >= 400 && status < 500 {
		side = "client"
	}
	return fmt.Sprintf("ClientError: Received %s error (%d) from model. See the SageMaker Endpoint logs in your account for more information.", side, status)
}

// unanswered judges that there is no answer: it may come yet, or never.
func (j *job) unanswered(ctx context.Context, err error) (outcome, error) {
	switch kind := platform.KindOf(err); {
	case ctx.Err() != nil:
		return outcome{}, err
	case errors.Is(err, platform.ErrTooLate):
		return outcome{asked: true, reason: "ClientError: Your invocation timed out while waiting for a response from container primary. " +
			"Review the latency metrics for each container, resolve the issue, and try again."}, nil
	case kind == platform.Unavailable || kind == platform.NotFound || kind == platform.Invalid: // there is no way to a container now
		return outcome{}, err
	}
	j.entry.tries++
	if j.entry.tries < tries {
		return outcome{}, err
	}
	return outcome{asked: true, reason: fmt.Sprintf("ClientError: The container ended the connection before it had answered, %d times: %s", tries, err)}, nil
}

// put puts the answer where it belongs. An answer that may not be put there makes the invocation a failure; of one that has no place
// for failures, the log and a notification are all that tell.
func (j *job) put(ctx context.Context, out *outcome) error {
	if out.stored {
		return nil
	}
	j.entry.begun = true
	if out.reason == "" {
		began := j.Clock.Now()
		err := j.upload(ctx, j.in.Output, out.answer)
		if err == nil {
			j.meter.count(j.line.name, j.view.variant, uploadLatency, float64(j.Clock.Now().Sub(began).Microseconds()))
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		j.meter.count(j.line.name, j.view.variant, uploadFailures, 1)
		out.reason = fmt.Sprintf("ClientError: The answer could not be uploaded to %s: %s", j.in.Output, err)
		out.answer.close()
		out.answer = nil
	}
	if j.in.Failure == "" {
		j.Log.Warn("an asynchronous invocation failed, and its endpoint has no S3FailurePath", "endpoint", j.line.name, "inference", j.in.InferenceID, "reason", out.reason)
		return nil
	}
	said := out.answer
	if said == nil {
		said = &spool{head: failureText(out.reason), contentType: "application/json"}
		said.size = int64(len(said.head))
	}
	err := j.upload(ctx, j.in.Failure, said)
	if err != nil && ctx.Err() == nil {
		j.meter.count(j.line.name, j.view.variant, uploadFailures, 1)
		j.Log.Warn("an asynchronous invocation failed, which could not be written down", "endpoint", j.line.name, "inference", j.in.InferenceID, "reason", out.reason, "error", err)
		return nil
	}
	return err
}

// upload stores an object, however long the store is away.
func (j *job) upload(ctx context.Context, u platform.URI, what *spool) error {
	return j.insist(ctx, func() error { return j.blobs.Upload(ctx, u, what.reader()) })
}

// insist does what must be done until it is, or cannot be, or ctx ends. What was answered is not asked again because a store is away.
func (j *job) insist(ctx context.Context, do func() error) error {
	for n := 0; ; n++ {
		err := do()
		if ctx.Err() != nil || !platform.Is(err, platform.Unavailable) {
			return err
		}
		j.Log.Warn("the result of an asynchronous invocation cannot be put away; will try again", "endpoint", j.line.name, "invocation", j.entry.id, "error", err)
		again, stop := j.Clock.After(min(firstRetry<<min(n, 16), lastRetry))
		select {
		case <-again:
		case <-ctx.Done():
			stop()
			return err
		}
	}
}

// conclude forgets the invocation, and writes down whom to tell of it.
func (j *job) conclude(ctx context.Context, out *outcome) error {
	tx := platform.Tx{Deletes: []platform.Delete{{Key: j.rec.Key, Revision: j.rec.Revision}}}
	if n := j.notification(out); n != nil {
		rec, err := n.Record()
		if err != nil {
			return err
		}
		tx.Puts = []platform.Put{{Record: rec}}
	}
	err := j.insist(ctx, func() error { return j.Store.Commit(ctx, tx) })
	if platform.Is(err, platform.Conflict) || platform.Is(err, platform.NotFound) {
		return nil // its endpoint is gone
	}
	if err != nil {
		return err
	}
	j.tally(out)
	return nil
}

// tally counts an invocation that is over.
func (j *job) tally(out *outcome) {
	now := j.Clock.Now()
	count := func(what int, v float64) { j.meter.count(j.line.name, j.view.variant, what, v) }
	flag := map[bool]float64{true: 1}
	count(failures, flag[out.reason != ""])
	count(expiries, flag[out.expired])
	if out.asked {
		count(processed, 1)
		count(timeInBacklog, float64(j.taken.Sub(j.in.Arrived).Milliseconds()))
		count(totalTime, float64(now.Sub(j.in.Arrived).Milliseconds()))
	}
}

// failureText is the object of a failure of which no container has said anything.
func failureText(reason string) []byte {
	text, _ := json.Marshal(map[string]string{"failureReason": reason}) // strings cannot fail
	return text
}
