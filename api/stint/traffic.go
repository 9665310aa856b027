package stint

import (
	"context"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/price"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

const (
	endpointMetrics = "AWS/SageMaker"
	fine, coarse    = time.Minute, 5 * time.Minute // intervals in which requests are counted; the metrics have minutes
	fineUpTo        = 7 * 24 * time.Hour
	idleAfter       = 5 * time.Minute // without a request: less is a pause
)

// GetEndpointActivityRequest names an endpoint.
type GetEndpointActivityRequest struct {
	EndpointName *string `json:"EndpointName,omitzero"`
}

// GetEndpointActivityResponse tells when an endpoint was asked last. Times are to the minute, as metrics are.
type GetEndpointActivityResponse struct {
	EndpointArn    string            `json:"EndpointArn"`
	LastInvocation *shapes.Timestamp `json:"LastInvocationTime,omitzero"` // none: it has never been asked
	Idle           bool              `json:"Idle"`                        // it has not been asked for five minutes
	IdleSeconds    int64             `json:"IdleSeconds"`                 // since the last invocation, else since it was made
}

func (s *service) activity(ctx context.Context, call *api.Call, in *GetEndpointActivityRequest) (*GetEndpointActivityResponse, error) {
	e, err := s.endpoint(ctx, *in.EndpointName)
	if err != nil {
		return nil, err
	}
	return s.activityOf(ctx, e, call.Now)
}

func (s *service) activityOf(ctx context.Context, e *platform.Endpoint, now time.Time) (*GetEndpointActivityResponse, error) {
	out := &GetEndpointActivityResponse{EndpointArn: string(e.Status.ARN)}
	since := e.Status.Created
	series, err := s.Metrics.Find(ctx, platform.Series{
		Namespace: endpointMetrics, Name: "Invocations", Dimensions: map[string]string{"EndpointName": *e.Spec.EndpointName},
	})
	if err != nil {
		return nil, err
	}
	for _, one := range series {
		last, err := s.lastOf(ctx, one, e.Status.Created, now)
		if err != nil {
			return nil, err
		}
		if !last.IsZero() && (out.LastInvocation == nil || last.After(out.LastInvocation.Time)) {
			out.LastInvocation = shapes.NewTimestamp(last)
			since = last
		}
	}
	quiet := max(0, now.Sub(since))
	out.Idle, out.IdleSeconds = quiet >= idleAfter, int64(quiet/time.Second)
	return out, nil
}

// lastOf is the last minute in which a series has a value since a time, zero when there is none. It looks back further and
// further: most endpoints were asked a moment ago, and those that were not have few values.
func (s *service) lastOf(ctx context.Context, one platform.Series, since, now time.Time) (time.Time, error) {
	since, end := since.Truncate(fine), now.Truncate(fine).Add(fine)
	for back := time.Hour; ; back *= 24 {
		start := end.Add(-back)
		if start.Before(since) {
			start = since
		}
		found, err := s.Metrics.Aggregate(ctx, one, start, end, fine)
		if err != nil || len(found) > 0 {
			return lastStart(found), err
		}
		if !start.After(since) {
			return time.Time{}, nil
		}
	}
}

func lastStart(found []platform.Statistics) time.Time {
	if len(found) == 0 {
		return time.Time{}
	}
	return found[len(found)-1].Start
}

// traffic is what has come to a variant.
type traffic struct {
	start, end       time.Time
	every            time.Duration
	load             price.Load
	requests         float64
	latency, slowest time.Duration // of the model; 0 without requests
}

// seen reads a variant's traffic between two times from its metrics.
func (s *service) seen(ctx context.Context, endpoint, variant string, start, now time.Time) (traffic, error) {
	t := traffic{start: start, end: now, every: fine}
	if now.Sub(start) > fineUpTo {
		t.every = coarse
	}
	from := start.Truncate(fine)
	n := int((now.Sub(from) + t.every - 1) / t.every)
	counts := make([]float64, max(n, 1))
	end := from.Add(time.Duration(len(counts)) * t.every)
	of := func(name string) platform.Series {
		return platform.Series{Namespace: endpointMetrics, Name: name, Dimensions: map[string]string{"EndpointName": endpoint, "VariantName": variant}}
	}
	found, err := s.Metrics.Aggregate(ctx, of("Invocations"), from, end, t.every)
	if err != nil {
		return t, err
	}
	for _, p := range found {
		counts[int(p.Start.Sub(from)/t.every)] += p.Sum
		t.requests += p.Sum
	}
	t.load = price.Seen(t.every, counts)
	took, err := s.Metrics.Aggregate(ctx, of("ModelLatency"), from, end, end.Sub(from))
	if err == nil && len(took) > 0 && took[0].Count > 0 {
		t.latency = time.Duration(took[0].Sum / took[0].Count * float64(time.Microsecond))
		t.slowest = time.Duration(took[0].Maximum * float64(time.Microsecond))
	}
	return t, err
}

// endpoint reads an endpoint.
func (s *service) endpoint(ctx context.Context, name string) (*platform.Endpoint, error) {
	rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: name})
	if platform.Is(err, platform.NotFound) {
		return nil, platform.Errorf(platform.NotFound, name, "Could not find endpoint %q.", name)
	}
	if err != nil {
		return nil, err
	}
	return platform.ReadEndpoint(rec)
}
