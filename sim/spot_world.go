package sim

import (
	"context"
	"time"

	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/drivers/market/trace"
)

// Run plays the job under a policy of decide/spot.
func (j SpotJob) Run(_ context.Context, policy string) (SpotRun, error) {
	if err := j.check(); err != nil {
		return SpotRun{}, err
	}
	rows, err := j.Trace.Rows(j.InstanceType)
	if err != nil {
		return SpotRun{}, err
	}
	tick, _ := j.searchTick(rows)
	average, _ := j.averageRate(rows)
	task := spot.Job{Work: j.Work, Deadline: j.Deadline, Changeover: j.Changeover, Tick: tick, PriceRatio: float64(j.OnDemand.Nanos) / average}
	past := &spot.History{}
	p, err := spot.New(policy, task, past)
	if err != nil {
		return SpotRun{}, err
	}
	played := spot.Replay(task, p, trace.Sample(rows, tick, int(2*j.Deadline/tick)), past, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	run := SpotRun{Policy: policy, Done: played.Done, Finished: played.Ended > 0, Late: played.Late}
	for from := 0; from < len(played.Course); {
		to := from + 1
		for to < len(played.Course) && played.Course[to] == played.Course[from] {
			to++
		}
		run.stretch(time.Duration(from)*tick, time.Duration(to)*tick, played.Course[from], j.Changeover)
		if played.Course[from] == spot.Spot && to < len(played.Course) {
			run.Interruptions++
		}
		from = to
	}
	run.Cost, err = j.price(run.Spans, rows)
	return run, err
}
