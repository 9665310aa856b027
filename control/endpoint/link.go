package endpoint

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/platform"
)

// LogGroup is where the logs of an endpoint's containers go.
func LogGroup(endpoint string) string { return "/aws/sagemaker/Endpoints/" + endpoint }

// workersVariable tells model servers how many workers to have.
const workersVariable = "SAGEMAKER_MODEL_SERVER_WORKERS"

var _ platform.AgentLink = (*Controller)(nil)

// bearer finds the endpoint and the replica that a token proves.
func (c *Controller) bearer(ctx context.Context, token string) (*platform.Endpoint, *platform.Replica, error) {
	denied := platform.Errorf(platform.Denied, "", "this token belongs to no instance of any endpoint")
	claim, err := control.ReadToken(token)
	if err != nil {
		return nil, nil, err
	}
	e, err := c.read(ctx, claim.Owner.Name)
	if platform.Is(err, platform.NotFound) || claim.Owner.Kind != platform.KindEndpoint {
		return nil, nil, denied
	}
	if err != nil {
		return nil, nil, err
	}
	r := e.Status.Replica(claim.Attempt)
	if r == nil || !c.Key.Proves(claim, r.Agent) {
		return nil, nil, denied
	}
	return e, r, nil
}

// Assignment tells an agent what to do.
func (c *Controller) Assignment(ctx context.Context, token string) (platform.Assignment, error) {
	e, r, err := c.bearer(ctx, token)
	if err != nil {
		return platform.Assignment{}, err
	}
	session, err := control.Session(ctx, c.Store, r.SessionID)
	if err != nil {
		return platform.Assignment{}, err
	}
	v := variantOf(e, r.Number)
	if v == nil {
		return platform.Assignment{}, platform.Errorf(platform.Denied, string(e.Status.ARN), "instance %d is not wanted any more", r.Number)
	}
	spec, err := json.Marshal(containersOf(v))
	if err != nil {
		return platform.Assignment{}, platform.Errorf(platform.Internal, string(e.Status.ARN), "encode the containers: %w", err)
	}
	services, s3 := c.Endpoints()
	name := *e.Spec.EndpointName
	return platform.Assignment{
		Agent: r.Agent, Kind: platform.KindEndpoint, Name: name, ARN: e.Status.ARN, Site: c.Site, Host: "algo-1", Hosts: []string{"algo-1"},
		Spec: spec, Runtime: r.Runtime, Further: r.Further, CPUs: int(max(1, r.Capacity.MilliCPU/1000)), Endpoint: services, S3: s3, Session: session,
		LogGroup: LogGroup(name), LogStream: r.LogStream, Health: v.HealthTimeout, Fetch: v.FetchTimeout, Longest: longest(e, v),
		Memory: r.Capacity.MemoryBytes, StopGrace: c.StopGrace,
	}, nil
}

// longest is what an invocation of a variant may take, 0 where it is as usual.
func longest(e *platform.Endpoint, v *platform.Variant) platform.Seconds {
	for _, d := range []*platform.Deployment{e.Status.Serving, e.Status.Coming} {
		if d != nil && d.Async != nil && len(d.Variants) > 0 && v == &d.Variants[0] { // it has one variant
			return platform.MaxInvocationTimeout
		}
	}
	return 0
}

// containersOf are the containers of a variant's instance. One that has an invocation at a time to itself needs one worker only.
func containersOf(v *platform.Variant) *platform.ModelContainers {
	out := v.ModelContainers
	if v.Serverless != nil {
		container := &out.Container
		container.Environment = maps.Clone(container.Environment)
		if container.Environment == nil {
			container.Environment = map[string]string{}
		}
		if container.Environment[workersVariable] == "" {
			container.Environment[workersVariable] = "1"
		}
	}
	return &out
}

// variantOf finds the variant of a replica that has not left.
func variantOf(e *platform.Endpoint, number int) *platform.Variant {
	for _, d := range []*platform.Deployment{e.Status.Serving, e.Status.Coming} {
		if d == nil {
			continue
		}
		for v := range d.Variants {
			if has(&d.Variants[v], number) {
				return &d.Variants[v]
			}
		}
	}
	return nil
}

// Deliver takes an agent's reports.
func (c *Controller) Deliver(ctx context.Context, token string, reports []platform.Report) (platform.Ack, error) {
	e, r, err := c.bearer(ctx, token)
	if err != nil {
		return platform.Ack{}, err
	}
	return c.take(ctx, *e.Spec.EndpointName, r.Number, reports)
}

// take makes the reports of a replica durable: first logs, which know themselves what they have already, then in one
// transaction whatever changes the endpoint. A crash in between makes the agent deliver again, and nothing is doubled.
func (c *Controller) take(ctx context.Context, name string, number int, reports []platform.Report) (platform.Ack, error) {
	e, err := c.read(ctx, name)
	if err != nil {
		return platform.Ack{}, err
	}
	r := e.Status.Replica(number)
	if r == nil {
		return platform.Ack{Gone: true}, nil
	}
	seq, err := c.deliveries.Take(r.Agent, r.ReportSeq, reports, func(fresh []platform.Report) error {
		for _, report := range fresh {
			if err := c.record(ctx, name, r, report); err != nil {
				return err
			}
		}
		if !concerns(fresh) {
			return nil
		}
		_, err := c.change(ctx, name, func(e *platform.Endpoint) (platform.Tx, bool, error) {
			if e.Status.Replica(number) == nil {
				return platform.Tx{}, false, nil
			}
			var tx platform.Tx
			err := c.apply(ctx, e, number, fresh, &tx)
			return tx, true, err
		})
		return err
	})
	return platform.Ack{Seq: seq, Stop: !r.Left.IsZero() && !c.draining(e, r)}, err
}

// record keeps a report's lines of the log and its figures, which have databases of their own.
func (c *Controller) record(ctx context.Context, name string, r *platform.Replica, report platform.Report) error {
	if len(report.Logs) > 0 {
		batch := platform.LogBatch{Group: LogGroup(name), Stream: r.LogStream, Producer: string(r.Agent), Seq: report.Seq, Events: report.Logs}
		if report.Stream != "" {
			batch.Stream += "/" + report.Stream
		}
		if err := c.Logs.Append(ctx, batch); err != nil {
			return err
		}
	}
	if len(report.Figures) == 0 {
		return nil
	}
	data := slices.Clone(report.Figures)
	for i := range data {
		data[i].Dimensions = map[string]string{"EndpointName": name, "VariantName": r.Variant}
	}
	return c.Metrics.PutData(ctx, string(r.Agent), report.Seq, data)
}

// concerns tells whether any report changes the endpoint's record; logs alone do not.
func concerns(reports []platform.Report) bool {
	for _, r := range reports {
		if r.Phase != "" || r.Message != "" || r.Outcome != nil {
			return true
		}
	}
	return false
}

// apply lays reports over a replica.
func (c *Controller) apply(ctx context.Context, e *platform.Endpoint, number int, reports []platform.Report, tx *platform.Tx) error {
	for _, report := range reports {
		r := e.Status.Replica(number)
		if r == nil {
			return nil // reports after the outcome say nothing
		}
		r.ReportSeq = report.Seq
		if report.Phase != "" && r.Started.IsZero() {
			r.Started = report.At
			if r.Started.Before(r.Launched) {
				r.Started = r.Launched
			}
			if r.Purchase != platform.OnUse {
				tx.Ledger = append(tx.Ledger, opening(e, r))
			}
		}
		if report.Phase == platform.PhaseInService && r.Ready.IsZero() {
			c.ready(e, r, report)
		}
		if report.Message != "" {
			r.Message = report.Message
		}
		if report.Outcome != nil {
			if err := c.end(ctx, e, number, *report.Outcome, report.At, tx); err != nil {
				return err
			}
		}
	}
	return nil
}

// ready notes that a replica answers; those of its variant that failed before are forgiven.
func (c *Controller) ready(e *platform.Endpoint, r *platform.Replica, report platform.Report) {
	r.Ready, r.Address = report.At, report.Address
	if v := variantOf(e, r.Number); v != nil {
		v.Failures = 0
	}
}
