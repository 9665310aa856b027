package spot

import (
	"testing"
	"time"
)

// benchJob is the headline benchmark's largest: 48 hours of work within 70, asked every ten minutes.
func benchJob() Job {
	return Job{Work: 48 * time.Hour, Deadline: 70 * time.Hour, Changeover: 72 * time.Second, Tick: 10 * time.Minute, PriceRatio: 3.06 / 0.9731}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(Default, benchJob(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecide plays whole runs on spot that goes and comes, so that the mean holds what is solved again now and then.
func BenchmarkDecide(b *testing.B) {
	job := benchJob()
	past := &History{}
	policy, err := New(Default, job, past)
	if err != nil {
		b.Fatal(err)
	}
	at := time.Unix(0, 0)
	var v View
	tick := 0
	for b.Loop() {
		if v.Elapsed >= job.Deadline || job.Work <= v.Done {
			v = View{}
		}
		v.Offered = tick%13 < 6
		if v.Running == Spot && !v.Offered {
			v.Running, v.Overhead = Wait, 0
		}
		past.Observe(at, v.Offered)
		choice := policy.Decide(v)
		v = job.after(v, choice)
		tick++
		at = at.Add(job.Tick)
	}
}
