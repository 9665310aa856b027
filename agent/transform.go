package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// timeoutVariable is how long the model server lets a handler work, which by default is less than a batch may take.
const timeoutVariable = "SAGEMAKER_MODEL_SERVER_TIMEOUT"

// dataLog is appended to the name of the log's stream for what the platform says of the data, as AWS does.
const dataLog = "data-log"

// readTask reads the assignment of a transform job.
func (a *agent) readTask() error {
	if err := json.Unmarshal(a.job.Spec, &a.task); err != nil {
		return platform.Errorf(platform.Internal, "", "read the transform job: %w", err)
	}
	a.model = a.task.ModelContainers
	a.becomeTransformer(a.model.Container)
	return nil
}

// becomeTransformer lets the rest of the agent see a container of a transform job.
func (a *agent) becomeTransformer(c sagemaker.ContainerDefinition) {
	a.becomeContainer(c)
	a.spec.RoleArn = &a.job.Session.Role
	in := &a.task.Request
	if a.spec.Environment[timeoutVariable] == "" {
		a.spec.Environment[timeoutVariable] = strconv.Itoa(int(invocationTimeout(in) / time.Second))
	}
	for name, value := range in.Environment {
		a.spec.Environment[name] = value
	}
	a.spec.Environment["SAGEMAKER_BATCH"] = "true"
	if in.MaxPayloadInMB != nil {
		a.spec.Environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = strconv.Itoa(int(*in.MaxPayloadInMB))
	}
	if n := shapes.Value(in.MaxConcurrentTransforms); n > 0 {
		a.spec.Environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = strconv.Itoa(int(n))
	}
	if in.BatchStrategy != nil {
		a.spec.Environment["SAGEMAKER_BATCH_STRATEGY"] = strategyWord(*in.BatchStrategy == sagemaker.BatchStrategySingleRecord)
	}
}

// strategyWord is how containers know a batch strategy.
func strategyWord(single bool) string {
	if single {
		return "SINGLE_RECORD"
	}
	return "MULTI_RECORD"
}

// errTransformed ends the container of a job that is done.
var errTransformed = errors.New("all objects are done with")

// transform is the life of a transform job's agent: start the model's containers, send them the objects of the share that are
// not done with, and end them.
func (a *agent) transform(work, life context.Context) platform.Outcome {
	// 1. Bring the model.
	parts, err := a.prepareParts(work)
	if err != nil {
		return a.outcomeOf(life, err)
	}
	// 2. Start its container, or containers, which are met together.
	address, closeFront, err := a.openFront(parts)
	if err != nil {
		return a.outcomeOf(life, err)
	}
	defer closeFront()
	if err := startParts(work, life, parts); err != nil {
		return a.outcomeOf(life, err)
	}
	// 3. Transform, as long as they live.
	transforming, cancel := context.WithCancelCause(work)
	type result struct {
		failed *platform.Outcome
		err    error
	}
	done := make(chan result, 1)
	go func() {
		failed, err := a.transformShare(transforming, parts, address)
		if transforming.Err() == nil { // not because the container has ended, or the job is to
			cancel(errTransformed)
			a.orders.stop()
		}
		done <- result{failed, err}
	}()
	ended, why := watchParts(life, parts)
	cancel(why)
	endLogs(parts)
	r := <-done
	var unready *neverHealthy
	switch {
	case life.Err() != nil:
		return platform.Outcome{}
	case !errors.Is(context.Cause(transforming), errTransformed):
		return ended.judgeContainer(ended.process, why, ended.tail)
	case errors.As(r.err, &unready):
		return unready.judgeContainer(unready.process, errNeverHealthy, unready.tail)
	case r.err != nil:
		return failed(r.err)
	case r.failed != nil:
		return *r.failed
	}
	return platform.Outcome{Kind: platform.Succeeded}
}

// transformShare does the work of the share. failed tells what became of objects that could not be transformed.
func (a *agent) transformShare(ctx context.Context, parts []*part, address string) (failed *platform.Outcome, err error) {
	// 1. Wait until the containers are healthy, and ask what they prefer.
	for _, p := range parts {
		if !p.healthy(ctx, p.address) {
			return nil, &neverHealthy{p}
		}
	}
	a.enter(platform.PhaseTransforming, "")
	plan, err := a.batchPlan(ctx, address)
	if err != nil {
		return nil, err
	}
	a.note("MaxConcurrentTransforms=%d, MaxPayloadInMB=%d, BatchStrategy=%s", plan.Concurrent, plan.Most/mebi, strategyWord(plan.Single))
	// 2. Send it the objects that are not done with, in the order of their keys.
	if a.NewSender == nil {
		return nil, platform.Errorf(platform.Internal, "", "this agent cannot do transform jobs")
	}
	sender := a.NewSender(ctx, plan)
	defer sender.Close()
	book := newBook(a, a.task.Progress)
	err = a.transformObjects(ctx, sender, book)
	// 3. Everything that is done with is written down before the outcome is.
	progress := book.close()
	if err != nil {
		return nil, err
	}
	a.note("%d objects are done with, %d of them failed", progress.Objects, progress.Failed)
	if progress.Failed > 0 {
		return failedObjects(progress), nil
	}
	return nil, nil
}

// failedObjects is the outcome of a share of which some objects could not be transformed.
func failedObjects(p platform.TransformProgress) *platform.Outcome {
	o := &platform.Outcome{Kind: platform.ClientError, Reason: p.Reason}
	for _, kind := range []platform.OutcomeKind{platform.AlgorithmError, platform.InternalError} {
		if len(p.Reason) >= len(kind) && p.Reason[:len(kind)] == string(kind) {
			o.Kind = kind
		}
	}
	if p.Failed > 1 {
		o.Reason = clip(p.Reason, fmt.Sprintf(" (%d of %d objects failed; see the job's data-log)", p.Failed, p.Objects))
	}
	return o
}

// note says something about the data in the log that AWS keeps for that.
func (a *agent) note(format string, args ...any) {
	now := a.Clock.Now()
	event := platform.LogEvent{Timestamp: now, Message: now.UTC().Format("2006-01-02T15:04:05.000") + ":[sagemaker logs]: " + fmt.Sprintf(format, args...)}
	if _, err := a.spool.append(context.Background(), platform.Report{At: now, Stream: dataLog, Logs: []platform.LogEvent{event}}, brief); err != nil {
		a.Log.Error("a line of the data log could not be written down", "error", err)
	}
}
