package main

import (
	"math"
	"time"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/sim"
)

// simDocument is what `stint spot sim --json` prints.
type simDocument struct {
	Trace             string
	InstanceType      string
	WorkSeconds       float64
	DeadlineSeconds   float64
	ChangeoverSeconds float64
	OnDemandPrice     stint.Amount
	AllOnDemandCost   stint.Amount
	Optimum           simRunDocument
	OptimumIsExact    bool
	Policies          []simRunDocument
}

type simRunDocument struct {
	Policy             string
	SpotSeconds        float64
	OnDemandSeconds    float64
	WaitingSeconds     float64
	ChangeoverSeconds  float64
	LostSeconds        float64
	Interruptions      int
	Cost               stint.Amount
	PercentOfOnDemand  float64
	PercentOverOptimum *float64 `json:",omitempty"`
	EndedAfterSeconds  float64
	Finished           bool
	Late               bool
	Timeline           []simSpanDocument
}

type simSpanDocument struct {
	FromSeconds float64
	ToSeconds   float64
	State       string
}

func (s simulated) document() simDocument {
	d := simDocument{
		Trace: s.Trace.Name, InstanceType: string(s.InstanceType), WorkSeconds: s.Work.Seconds(), DeadlineSeconds: s.Deadline.Seconds(),
		ChangeoverSeconds: s.Changeover.Seconds(), OnDemandPrice: wireAmount(platform.Money(s.OnDemand)), AllOnDemandCost: wireAmount(s.AllOnDemand()),
		Optimum: s.runDocument(s.optimum), OptimumIsExact: s.exact, Policies: []simRunDocument{},
	}
	d.Optimum.PercentOverOptimum = nil
	for _, r := range s.runs {
		d.Policies = append(d.Policies, s.runDocument(r))
	}
	return d
}

func (s simulated) runDocument(r sim.SpotRun) simRunDocument {
	d := simRunDocument{
		Policy: r.Policy, SpotSeconds: r.Time(sim.OnSpot).Seconds(), OnDemandSeconds: r.Time(sim.OnDemand).Seconds(), WaitingSeconds: r.Time(sim.Waiting).Seconds(),
		ChangeoverSeconds: r.Time(sim.ChangingOver).Seconds(), LostSeconds: max(0, r.Lost()).Round(time.Millisecond).Seconds(), Interruptions: r.Interruptions, Cost: wireAmount(r.Cost),
		PercentOfOnDemand: hundredths(s.ofOnDemand(r)), EndedAfterSeconds: r.Ended().Seconds(), Finished: r.Finished, Late: r.Late, Timeline: []simSpanDocument{},
	}
	if percent, known := s.over(r); known {
		d.PercentOverOptimum = new(hundredths(percent))
	}
	for _, span := range r.Spans {
		d.Timeline = append(d.Timeline, simSpanDocument{span.From.Seconds(), span.To.Seconds(), span.Stay.String()})
	}
	return d
}

func wireAmount(m platform.Money) stint.Amount {
	return stint.Amount{Amount: platform.Money{Nanos: m.Nanos}.String(), Currency: string(m.Currency)}
}

func hundredths(v float64) float64 { return math.Round(100*v) / 100 }
