package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// describedByEach is how many different jobs each client describes; those of all are spread evenly over what there is.
const describedByEach = 64

// needles is how many jobs have the rare name that a list looks for.
const needles = 25

// figures are what was measured of one server.
type figures struct {
	create, describe rig.Work
	lists            []listFigures
	processor        map[string]time.Duration // of the server, a call, in each phase
}

type listFigures struct {
	what string
	work rig.Work
}

func (f *figures) jobs() int { return len(f.create.Took) }

func (f *figures) summary() map[string]any {
	s := map[string]any{
		"jobs": f.jobs(), "create_per_second": f.create.Rate(), "create": f.create.Took.Summary(),
		"describe_per_second": f.describe.Rate(), "describe": f.describe.Took.Summary(), "server_processor_a_call": f.processor,
	}
	for _, l := range f.lists {
		s["list "+l.what] = l.work.Took.Summary()
	}
	return s
}

// phases are the same for Stint and for its peer.
type phases struct {
	options
	caller  *rig.Caller
	site    platform.Site
	pid     int
	within  time.Duration // that creating may take
	figures figures
}

// name is that of a job; every so many is a needle.
func (p *phases) name(number int) string {
	if number%(p.options.jobs/needles+1) == 0 {
		return fmt.Sprintf("needle-%06d", number)
	}
	return fmt.Sprintf("straw-%06d", number)
}

// metered notes what processor time the server used for a piece of work.
func (p *phases) metered(what string, do func() (rig.Work, error)) (rig.Work, error) {
	before, err := rig.CPU(p.pid)
	if err != nil {
		return rig.Work{}, err
	}
	w, err := do()
	if err != nil {
		return w, fmt.Errorf("%s: %w", what, err)
	}
	after, err := rig.CPU(p.pid)
	if p.figures.processor == nil {
		p.figures.processor = map[string]time.Duration{}
	}
	p.figures.processor[what] = (after - before) / time.Duration(len(w.Took))
	return w, err
}

func (p *phases) create(ctx context.Context) (err error) {
	progress := rig.NewProgress("CreateTrainingJob: %d jobs by %d clients, %v at most", p.options.jobs, p.clients, p.within)
	p.figures.create, err = p.metered("create", func() (rig.Work, error) {
		return rig.Clients(ctx, p.clients, p.options.jobs, p.within, func(_, number int) error {
			call, err := p.caller.Sign("CreateTrainingJob", rig.ShellJob(p.site, p.name(number), "true"))
			if err != nil {
				return err
			}
			progress.At(number, p.options.jobs)
			return p.caller.Send(call, nil)
		})
	})
	return err
}

// sign makes the requests of describe, and sees that each is answered with the right job.
func (p *phases) sign(ctx context.Context) ([]*rig.Call, error) {
	calls := make([]*rig.Call, p.clients*describedByEach)
	for i := range calls {
		name := p.name(i * p.figures.jobs() / len(calls))
		call, err := p.caller.Sign("DescribeTrainingJob", &sagemaker.DescribeTrainingJobRequest{TrainingJobName: &name})
		if err != nil {
			return nil, err
		}
		calls[i] = call
		var out sagemaker.DescribeTrainingJobResponse
		if err := p.caller.Send(call, &out); err != nil {
			return nil, err
		}
		if *out.TrainingJobName != name {
			return nil, fmt.Errorf("asked for %s and got %s", name, *out.TrainingJobName)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return calls, nil
}

func (p *phases) describe(ctx context.Context) error {
	rig.NewProgress("DescribeTrainingJob: %v by %d clients", p.each, p.clients)
	calls, err := p.sign(ctx)
	if err != nil {
		return err
	}
	p.figures.describe, err = p.metered("describe", func() (rig.Work, error) {
		return rig.Clients(ctx, p.clients, math.MaxInt, p.each, func(client, number int) error {
			return p.caller.Send(calls[client*describedByEach+number%describedByEach], nil)
		})
	})
	return err
}

func (p *phases) list(ctx context.Context) error {
	for _, l := range []struct {
		what, name string
		status     sagemaker.TrainingJobStatus
		want       int
	}{
		{"matching few", "needle", sagemaker.TrainingJobStatusInProgress, p.needlesMade()},
		{"matching none by name", "absent", sagemaker.TrainingJobStatusInProgress, 0},
		{"matching none by status", "needle", sagemaker.TrainingJobStatusCompleted, 0},
	} {
		rig.NewProgress("ListTrainingJobs %s: %v by one client", l.what, p.each)
		work, err := p.metered("list "+l.what, func() (rig.Work, error) {
			return rig.Clients(ctx, 1, math.MaxInt, p.each, func(int, int) error {
				in := &sagemaker.ListTrainingJobsRequest{NameContains: &l.name, StatusEquals: &l.status, MaxResults: new(int32(100))}
				call, err := p.caller.Sign("ListTrainingJobs", in)
				if err != nil {
					return err
				}
				var out sagemaker.ListTrainingJobsResponse
				err = p.caller.Send(call, &out)
				if got := len(out.TrainingJobSummaries); err == nil && got != l.want && p.exact() {
					err = fmt.Errorf("%d jobs instead of %d", got, l.want)
				}
				return err
			})
		})
		if err != nil {
			return err
		}
		p.figures.lists = append(p.figures.lists, listFigures{l.what, work})
	}
	return nil
}

// exact says whether the server's jobs have the states that the lists expect; moto's jobs advance by being looked at.
func (p *phases) exact() bool { return p.within == time.Hour }

func (p *phases) needlesMade() int {
	return (p.figures.jobs() + p.options.jobs/needles) / (p.options.jobs/needles + 1)
}
