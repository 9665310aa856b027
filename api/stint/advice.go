package stint

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/price"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

// GetEndpointAdviceRequest asks what an endpoint's traffic would cost otherwise. All but the name may be left out: what is given
// takes the place of what was measured.
type GetEndpointAdviceRequest struct {
	EndpointName        *string  `json:"EndpointName,omitzero"`
	Days                *int32   `json:"Days,omitzero"` // to look back for; a week unless given
	RequestsPerMonth    *int64   `json:"RequestsPerMonth,omitzero"`
	LatencyMilliseconds *float64 `json:"LatencyMilliseconds,omitzero"` // of the model, for a request
	MemoryInMB          *int32   `json:"MemoryInMB,omitzero"`          // that the model takes
	PayloadBytes        *int64   `json:"PayloadBytes,omitzero"`        // of the largest request
	Curve               *bool    `json:"Curve,omitzero"`               // whether to tell what other loads would cost
}

// GetEndpointAdviceResponse has advice for each variant that serves.
type GetEndpointAdviceResponse struct {
	EndpointName string                       `json:"EndpointName"`
	EndpointArn  string                       `json:"EndpointArn"`
	Activity     *GetEndpointActivityResponse `json:"Activity"`
	Variants     []VariantAdvice              `json:"Variants"`
}

// VariantAdvice is what to do about a variant, and all that it rests on. Costs are a month's, of 730 hours.
type VariantAdvice struct {
	VariantName      string         `json:"VariantName"`
	Now              ServedNow      `json:"Now"`
	Seen             SeenTraffic    `json:"Seen"`
	Load             AssumedLoad    `json:"Load"`
	Confidence       string         `json:"Confidence"` // none, low, fair or good; given when it was not measured
	ConfidenceReason string         `json:"ConfidenceReason,omitzero"`
	Modes            []ModeCost     `json:"Modes"`
	Recommended      string         `json:"Recommended,omitzero"` // the cheapest mode that answers at once
	Change           bool           `json:"Change"`               // it saves enough to be worth it
	Saves            Amount         `json:"Saves"`
	IfResultsMayWait string         `json:"IfResultsMayWait,omitzero"` // a cheaper mode still
	Steps            []string       `json:"Steps"`                     // that lead to what is recommended, or to what is cheaper still
	LaterSteps       []string       `json:"LaterSteps"`
	BreakEvens       []BreakEven    `json:"BreakEvens"`
	CheapestFrom     []CheapestFrom `json:"CheapestFrom"`
	Curve            []CurvePoint   `json:"Curve,omitzero"`
	Assumptions      []string       `json:"Assumptions"`
}

// ServedNow is how a variant is served, and what that costs.
type ServedNow struct {
	Mode         string `json:"Mode"`
	InstanceType string `json:"InstanceType"` // of a serverless variant the one that others are reckoned with
	Instances    int64  `json:"Instances"`    // of a serverless variant those that are provisioned
	Monthly      Amount `json:"Monthly"`
}

// SeenTraffic is what was measured.
type SeenTraffic struct {
	Start               *shapes.Timestamp `json:"Start"`
	End                 *shapes.Timestamp `json:"End"`
	IntervalSeconds     int64             `json:"IntervalSeconds"`
	Requests            int64             `json:"Requests"`
	LatencyMilliseconds float64           `json:"LatencyMilliseconds"`
	SlowestMilliseconds float64           `json:"SlowestMilliseconds"`
}

// AssumedLoad is what is reckoned with.
type AssumedLoad struct {
	RequestsPerMonth    int64   `json:"RequestsPerMonth"`
	LatencyMilliseconds float64 `json:"LatencyMilliseconds"`
	MemoryInMB          int64   `json:"MemoryInMB"`
	MemoryFrom          string  `json:"MemoryFrom"` // given, measured, configured, or the instance's
	StartUpSeconds      float64 `json:"StartUpSeconds"`
	StartUpFrom         string  `json:"StartUpFrom"` // measured or assumed
	Parallel            int     `json:"Parallel"`    // requests that an instance works on at a time
}

// ModeCost is what a mode costs a month, or why it cannot be had.
type ModeCost struct {
	Mode      string  `json:"Mode"`
	Monthly   *Amount `json:"Monthly,omitzero"`
	Reason    string  `json:"Reason,omitzero"`
	Instances int64   `json:"Instances,omitzero"`
	// Of serverless modes: the size of each, and requests at a time.
	MemoryInMB  int64   `json:"MemoryInMB,omitzero"`
	Concurrency int64   `json:"Concurrency,omitzero"`
	PaidHours   float64 `json:"PaidHours"`
	Starts      float64 `json:"Starts"`
	Waiting     float64 `json:"Waiting"` // part of the requests that wait for a start
}

// BreakEven tells up to which load a mode is cheaper than instances that are always there.
type BreakEven struct {
	Mode    string `json:"Mode"`
	Cheaper string `json:"Cheaper"` // below, always or never
	// RequestsPerMonth is the least load at which it is not, and Utilization the part of their time that the instances then work.
	RequestsPerMonth int64   `json:"RequestsPerMonth,omitzero"`
	Utilization      float64 `json:"Utilization,omitzero"`
}

// CheapestFrom tells from which load on a mode is the cheapest that answers at once.
type CheapestFrom struct {
	RequestsPerMonth int64  `json:"RequestsPerMonth"`
	Mode             string `json:"Mode"` // empty: none takes the load
}

// CurvePoint is what the modes cost at a load; those that cannot take it are left out.
type CurvePoint struct {
	RequestsPerMonth int64             `json:"RequestsPerMonth"`
	Monthly          map[string]Amount `json:"Monthly"`
}

// lookBack is how far back traffic is looked at unless it is said.
const lookBack = 7

func (s *service) advice(ctx context.Context, call *api.Call, in *GetEndpointAdviceRequest) (*GetEndpointAdviceResponse, error) {
	e, err := s.endpoint(ctx, *in.EndpointName)
	if err != nil {
		return nil, err
	}
	d := e.Status.Serving
	if d == nil {
		return nil, platform.Errorf(platform.Invalid, *in.EndpointName, "Endpoint %q serves nothing: it is in status %s", *in.EndpointName, e.Status.State)
	}
	out := &GetEndpointAdviceResponse{EndpointName: *in.EndpointName, EndpointArn: string(e.Status.ARN), Variants: []VariantAdvice{}}
	if out.Activity, err = s.activityOf(ctx, e, call.Now); err != nil {
		return nil, err
	}
	days := lookBack
	if in.Days != nil {
		days = int(*in.Days)
	}
	start := call.Now.AddDate(0, 0, -days)
	if start.Before(e.Status.Created) {
		start = e.Status.Created
	}
	for i := range d.Variants {
		v, err := s.adviseVariant(ctx, e, &d.Variants[i], in, start, call.Now)
		if err != nil {
			return nil, err
		}
		out.Variants = append(out.Variants, *v)
	}
	return out, nil
}

// adviseVariant gathers what is known of a variant, and asks the brain.
func (s *service) adviseVariant(ctx context.Context, e *platform.Endpoint, v *platform.Variant, in *GetEndpointAdviceRequest, start, now time.Time) (*VariantAdvice, error) {
	// 1. What came.
	t, err := s.seen(ctx, *e.Spec.EndpointName, v.Name, start, now)
	if err != nil {
		return nil, err
	}
	// 2. What serves it, and what it needs.
	c, err := s.caseOf(e, v)
	if err != nil {
		return nil, err
	}
	c.Load, c.Latency, c.Slowest, c.Shares = t.load, t.latency, t.slowest, len(e.Status.Serving.Variants) > 1
	load := &AssumedLoad{}
	s.needs(&c, v, load)
	if err := suppose(&c, in, load, v.Name); err != nil {
		return nil, err
	}
	mode, units := served(e, v)
	paid, err := s.paidNow(ctx, e, v, c)
	if err != nil {
		return nil, err
	}
	// 3. What to do.
	a := c.Advise(mode, paid)
	out := &VariantAdvice{
		VariantName: v.Name, Load: *load, Modes: []ModeCost{}, Change: a.Change, Saves: amount(a.Saves), Steps: []string{}, LaterSteps: []string{},
		Now: ServedNow{Mode: string(mode), InstanceType: string(c.instance), Instances: units, Monthly: amount(paid)},
		Seen: SeenTraffic{
			Start: shapes.NewTimestamp(t.start), End: shapes.NewTimestamp(t.end), IntervalSeconds: int64(t.every / time.Second),
			Requests: int64(math.Round(t.requests)), LatencyMilliseconds: milliseconds(t.latency), SlowestMilliseconds: milliseconds(t.slowest),
		},
	}
	out.Confidence, out.ConfidenceReason = "given", "it is not what was seen"
	if in.RequestsPerMonth == nil {
		sure, why := price.Sure(t.requests, t.end.Sub(t.start))
		out.Confidence, out.ConfidenceReason = string(sure), why
	}
	for _, cost := range a.Costs {
		out.Modes = append(out.Modes, modeCost(cost))
	}
	change := changes{
		model: s.modelOf(ctx, e, v), endpoint: *e.Spec.EndpointName, arn: e.Status.ARN, variant: v.Name, instance: c.instance, sleep: c.SleepAfter,
		from: mode, have: units,
	}
	if a.Best != nil {
		out.Recommended = string(a.Best.Mode)
		if a.Change {
			out.Steps = change.to(a.Best)
		}
	}
	if a.Later != nil {
		out.IfResultsMayWait, out.LaterSteps = string(a.Later.Mode), change.to(a.Later)
	}
	out.compare(c.Case, in.Curve != nil && *in.Curve)
	out.Assumptions = assumptions(c, load, in)
	return out, nil
}

// paidNow is what the variant costs as it is, whatever the load would need.
func (s *service) paidNow(ctx context.Context, e *platform.Endpoint, v *platform.Variant, c weighed) (platform.Money, error) {
	mode, units := served(e, v)
	if v.Serverless != nil {
		c.Memory = v.Serverless.MemoryMiB << 20
	}
	if mode != price.Async {
		return c.Now(mode, units), nil
	}
	// A queue's instances are there all the time unless they are scaled down to none.
	name := platform.TargetName(platform.VariantName{Endpoint: *e.Spec.EndpointName, Variant: v.Name}, platform.DesiredInstanceCount)
	rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindScalableTarget, Name: name})
	if platform.Is(err, platform.NotFound) {
		return c.Now(price.RealTime, units), nil
	}
	if err != nil {
		return platform.Money{}, err
	}
	target, err := platform.ReadScalableTarget(rec)
	if err == nil && target.Min > 0 {
		return c.Now(price.RealTime, max(units, int64(target.Min))), nil
	}
	return c.Now(price.Async, units), err
}

// served is how a variant is served now, with how many instances.
func served(e *platform.Endpoint, v *platform.Variant) (price.Mode, int64) {
	switch {
	case v.Serverless != nil && v.Serverless.Provisioned > 0:
		return price.Provisioned, int64(v.Serverless.Provisioned)
	case v.Serverless != nil:
		return price.Serverless, 0
	case e.Status.Serving.Async != nil:
		return price.Async, int64(v.Desired)
	case e.SleepAfter() > 0:
		return price.Asleep, int64(v.Desired)
	}
	return price.RealTime, int64(v.Desired)
}

// weighed is a case with the instance type that it is reckoned with.
type weighed struct {
	price.Case
	instance platform.InstanceType
}

// caseOf is what a variant's costs follow from, but for its load.
func (s *service) caseOf(e *platform.Endpoint, v *platform.Variant) (weighed, error) {
	c := weighed{instance: v.Type}
	c.Terms = price.DefaultTerms
	if s.ServerlessKeep > 0 {
		c.ServerlessKeep = s.ServerlessKeep.Duration()
	}
	if d := e.SleepAfter(); d > 0 {
		c.SleepAfter = d
	}
	if sold, err := s.Catalog.Serverless(); err == nil {
		c.Prices.Serverless = &sold
	}
	c.Instance, c.GPU, c.Parallel = v.Rate, v.Need.GPUs > 0, int(v.Need.MilliCPU/1000)
	if c.GPU {
		c.Parallel = v.Need.GPUs
	}
	if v.Serverless != nil {
		like, err := s.likeServerless(v)
		if err != nil {
			return c, err
		}
		c.instance, c.Instance, c.Parallel = like.Type, like.OnDemand, like.VCPU
	}
	if n, err := strconv.Atoi(v.Container.Environment["SAGEMAKER_MODEL_SERVER_WORKERS"]); err == nil && n > 0 {
		c.Parallel = n
	}
	return c, nil
}

// likeServerless is the cheapest instance type that has the memory of a serverless variant.
func (s *service) likeServerless(v *platform.Variant) (platform.Instance, error) {
	var best platform.Instance
	for _, name := range s.Catalog.Types() {
		i, err := s.Catalog.Lookup(platform.InstanceType(name))
		if err != nil {
			return best, err
		}
		fits := i.MemoryGiB*1024 >= float64(v.Serverless.MemoryMiB) && i.Accelerators == 0 && i.OnDemand.Currency == v.Serverless.Use.Currency
		if fits && (best.Type == "" || i.OnDemand.Nanos < best.OnDemand.Nanos) {
			best = i
		}
	}
	if best.Type == "" {
		return best, platform.Errorf(platform.Invalid, v.Name, "the catalogue has no instance type with %d MB of memory that is paid for in %s", v.Serverless.MemoryMiB, v.Serverless.Use.Currency)
	}
	return best, nil
}

// Where nothing was measured.
const assumedStartUp = 30 * time.Second

// headroom is what is to stay free beside the memory that a model takes, in per cent: AWS Compute Optimizer's default.
const headroom = 20

// needs tells a variant's memory and how long its instances take to start.
func (s *service) needs(c *weighed, v *platform.Variant, load *AssumedLoad) {
	c.Memory, load.MemoryFrom = v.Need.MemoryBytes, "the instance's"
	if v.Serverless != nil {
		c.Memory, load.MemoryFrom = v.Serverless.MemoryMiB<<20, "configured"
	}
	c.StartUp, load.StartUpFrom = assumedStartUp, "assumed"
	took, most, n := time.Duration(0), int64(0), 0
	for _, r := range v.Replicas {
		if r.Ready.IsZero() || r.Launched.IsZero() {
			continue
		}
		took, n = took+max(0, r.Ready.Sub(r.Launched)), n+1
		if s.Memory == nil {
			continue
		}
		if used, known := s.Memory.MemoryInUse(r.Agent); known {
			most = max(most, used)
		}
	}
	if n > 0 {
		c.StartUp, load.StartUpFrom = took/time.Duration(n), "measured"
	}
	if most > 0 {
		c.Memory, load.MemoryFrom = most+most*headroom/100, "measured"
	}
}

// suppose lets what is given take the place of what was measured, and tells what is reckoned with.
func suppose(c *weighed, in *GetEndpointAdviceRequest, load *AssumedLoad, variant string) error {
	if in.LatencyMilliseconds != nil {
		c.Latency = time.Duration(*in.LatencyMilliseconds * float64(time.Millisecond))
		c.Slowest = 0
	}
	if in.MemoryInMB != nil {
		c.Memory, load.MemoryFrom = int64(*in.MemoryInMB)<<20, "given"
	}
	if in.PayloadBytes != nil {
		c.Payload = *in.PayloadBytes
	}
	if in.RequestsPerMonth != nil {
		c.Case = c.AtRequests(float64(*in.RequestsPerMonth))
		if c.Latency == 0 && *in.RequestsPerMonth > 0 {
			return platform.Errorf(platform.Invalid, variant, "LatencyMilliseconds must be given too: variant %s has not been asked anything that it could have been measured by", variant)
		}
	}
	load.RequestsPerMonth, load.LatencyMilliseconds = int64(math.Round(c.Load.Monthly())), milliseconds(c.Latency)
	load.MemoryInMB, load.StartUpSeconds, load.Parallel = (c.Memory+1<<20-1)>>20, c.StartUp.Seconds(), c.Parallel
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// to rounds to so many decimals: what follows them is not known.
func to(decimals int, v float64) float64 {
	scale := math.Pow10(decimals)
	return math.Round(v*scale) / scale
}

func modeCost(cost price.Cost) ModeCost {
	m := ModeCost{Mode: string(cost.Mode), Reason: cost.Why, PaidHours: to(3, cost.Hours), Starts: to(1, cost.Starts), Waiting: to(4, cost.Waiting)}
	if cost.Why != "" {
		return m
	}
	paid := amount(cost.Monthly)
	m.Monthly = &paid
	if m.Instances = cost.Units; cost.Memory > 0 {
		m.Instances, m.MemoryInMB, m.Concurrency = 0, cost.Memory<<10, cost.Units
	}
	return m
}

// compare tells how the modes stand to each other at other loads. Without a latency nothing can be told.
func (v *VariantAdvice) compare(c price.Case, curve bool) {
	v.BreakEvens, v.CheapestFrom = []BreakEven{}, []CheapestFrom{}
	if c.Latency == 0 {
		return
	}
	var online []price.Mode
	for _, m := range price.Modes {
		if m.AtOnce() {
			online = append(online, m)
		}
		if m == price.RealTime || c.Of(m).Why != "" {
			continue
		}
		spans := c.Spans([]price.Mode{price.RealTime, m})
		b := BreakEven{Mode: string(m), Cheaper: "never"}
		switch {
		case spans[0].Mode == m && (len(spans) == 1 || spans[1].Mode != price.RealTime):
			b.Cheaper = "always"
		case spans[0].Mode == m:
			b.Cheaper, b.RequestsPerMonth, b.Utilization = "below", spans[1].From, to(4, c.Utilisation(spans[1].From))
		}
		v.BreakEvens = append(v.BreakEvens, b)
	}
	for _, s := range c.Spans(online) {
		v.CheapestFrom = append(v.CheapestFrom, CheapestFrom{s.From, string(s.Mode)})
	}
	if curve {
		v.Curve = curveOf(c)
	}
}

// curveOf is what the modes cost from a hundred requests a month to a billion, at eight loads a decade.
func curveOf(c price.Case) (curve []CurvePoint) {
	const points, decades = 8, 7
	for i := range points*decades + 1 {
		p := CurvePoint{int64(math.Round(100 * math.Pow(10, float64(i)/points))), map[string]Amount{}}
		for _, m := range price.Modes {
			if cost := c.AtRequests(float64(p.RequestsPerMonth)).Of(m); cost.Why == "" {
				p.Monthly[string(m)] = amount(cost.Monthly)
			}
		}
		curve = append(curve, p)
	}
	return curve
}
