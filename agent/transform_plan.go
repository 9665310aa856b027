package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/stint-ml/stint/decide/records"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// AWS's defaults and limits.
const (
	mebi               = 1 << 20
	defaultPayload     = 6   // MiB
	maxPayload         = 100 // MiB, also of all payloads under way
	defaultInvocation  = 600 * time.Second
	defaultRetries     = 3
	preferencesTimeout = 10 * time.Second
)

// preferences are what a container answers to GET /execution-parameters. All of it is optional, as is the answer.
type preferences struct {
	MaxConcurrentTransforms int
	BatchStrategy           string
	MaxPayloadInMB          *int
}

// preferred asks the container what it prefers. A container need not know the question.
func (a *agent) preferred(ctx context.Context, address string) (p preferences, err error) {
	ctx, cancel := context.WithTimeout(ctx, preferencesTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/execution-parameters", nil)
	if err != nil {
		return p, platform.Errorf(platform.Internal, "", "%w", err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		a.Log.Info("the container does not answer /execution-parameters", "error", err)
		return p, nil
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return p, nil
	}
	doc, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err == nil {
		err = json.Unmarshal(doc, &p)
	}
	if err != nil {
		return p, clientError("", "the container's answer to GET /execution-parameters cannot be read: %w", err)
	}
	return p, nil
}

// batchPlan lays down how objects are sent: as the request says, else as the container prefers, else as AWS does.
func (a *agent) batchPlan(ctx context.Context, address string) (Batches, error) {
	in := &a.task.Request
	processing, err := records.New(in)
	if err != nil {
		return Batches{}, clientError("", "%w", err)
	}
	prefer, err := a.preferred(ctx, address)
	if err != nil {
		return Batches{}, err
	}
	p := Batches{
		Address: address, Split: cmp.Or(shapes.Value(in.TransformInput.SplitType), sagemaker.SplitTypeNone), Processing: processing,
		Timeout: invocationTimeout(in), Retries: invocationRetries(in), Clock: a.Clock,
		ContentType: shapes.Value(in.TransformInput.ContentType), Accept: shapes.Value(in.TransformOutput.Accept),
		EndLines: shapes.Value(in.TransformOutput.AssembleWith) == sagemaker.AssemblyTypeLine,
	}
	if processing != nil && processing.Asks() && p.Accept == "" {
		p.Accept = p.ContentType // what is joined must be of one format
	}
	p.Concurrent = max(1, int(shapes.Value(in.MaxConcurrentTransforms)))
	if shapes.Value(in.MaxConcurrentTransforms) == 0 && prefer.MaxConcurrentTransforms > 0 {
		p.Concurrent = min(prefer.MaxConcurrentTransforms, maxPayload)
	}
	switch {
	case in.BatchStrategy != nil:
		p.Single = *in.BatchStrategy == sagemaker.BatchStrategySingleRecord
	default:
		p.Single = strings.EqualFold(prefer.BatchStrategy, strategyWord(true))
	}
	return p, sizes(&p, in, prefer)
}

// sizes lays down how large a payload may be, and up to what size one is filled. A size that nobody asked for leaves work for
// all connections: it is filled up to AWS's default only.
func sizes(p *Batches, in *sagemaker.CreateTransformJobRequest, prefer preferences) error {
	asked, payload := in.MaxPayloadInMB != nil, defaultPayload
	switch {
	case asked:
		payload = int(*in.MaxPayloadInMB)
	case prefer.MaxPayloadInMB != nil:
		payload = *prefer.MaxPayloadInMB
	}
	switch {
	case payload < 0:
		return clientError("", "the container's MaxPayloadInMB of %d is no size", payload)
	case payload == 0 && (p.Single || p.Processing != nil): // single records and what is processed are not streamed
		payload = maxPayload / p.Concurrent
	}
	p.Most = max(min(payload, maxPayload/p.Concurrent), min(payload, 1)) * mebi
	if p.Fill = p.Most; !asked {
		p.Fill = min(p.Most, defaultPayload*mebi)
	}
	return nil
}

func invocationTimeout(in *sagemaker.CreateTransformJobRequest) time.Duration {
	if c := in.ModelClientConfig; c != nil && c.InvocationsTimeoutInSeconds != nil {
		return time.Duration(*c.InvocationsTimeoutInSeconds) * time.Second
	}
	return defaultInvocation
}

func invocationRetries(in *sagemaker.CreateTransformJobRequest) int {
	if c := in.ModelClientConfig; c != nil && c.InvocationsMaxRetries != nil {
		return int(*c.InvocationsMaxRetries)
	}
	return defaultRetries
}

// reasonOf words what an object failed at, the kind of error first.
func reasonOf(object platform.URI, err error) string {
	kind := platform.AlgorithmError
	var refused *Refused
	switch {
	case errors.As(err, &refused):
		if refused.Status/100 == 4 {
			kind = platform.ClientError
		}
	case platform.KindOf(err) == platform.Unavailable:
		kind = platform.InternalError
	case platform.KindOf(err) != platform.Internal:
		kind = platform.ClientError
	}
	return clip(fmt.Sprintf("%s: %s: %v", kind, object, err), "")
}
