package spot

import (
	"testing"
	"time"
)

// Where spot is always to be had, nothing is won by waiting for it: also a job whose changeover is long beside its work, and
// many ticks long, begins at once.
func TestAJobDoesNotWaitForWhatItCanHaveNow(t *testing.T) {
	t.Parallel()
	for _, job := range []Job{
		{Work: 10 * time.Minute, Deadline: 40 * time.Minute, Changeover: 155 * time.Second, AtRisk: 131 * time.Second},
		{Work: 10 * time.Minute, Deadline: 40 * time.Minute, Changeover: 95 * time.Second, AtRisk: 71 * time.Second},
		{Work: time.Minute, Deadline: 20 * time.Minute, Changeover: 155 * time.Second, AtRisk: 128 * time.Second},
		{Work: time.Hour, Deadline: 2 * time.Hour, Changeover: 3 * time.Minute, AtRisk: 2 * time.Minute},
		{Work: 24 * time.Hour, Deadline: 48 * time.Hour, Changeover: 3 * time.Minute, AtRisk: 2 * time.Minute},
		{Work: 48 * time.Hour, Deadline: 52 * time.Hour, Changeover: time.Hour},
	} {
		job.Tick, job.PriceRatio = max(job.Deadline/400, time.Second), 3.33
		past := &History{}
		past.Observe(time.Unix(1e9, 0), true)
		policy, err := New("stint", job, past)
		if err != nil {
			t.Fatal(err)
		}
		if c := policy.Decide(View{Offered: true}); c != Spot {
			t.Errorf("%v of work before %v: %v", job.Work, job.Deadline, c)
		}
	}
}
