package spot

// stint is Stint's own policy.
type stint struct {
	job  Job
	past *History
}

func newStint(job Job, past *History) *stint { return &stint{job: job, past: past} }

// Decide takes the choice that costs least, of those that leave the deadline reachable.
func (p *stint) Decide(v View) Choice {
	choice := uniformProgress{job: p.job}.Decide(v)
	if p.job.safe(v, choice) {
		return choice
	}
	if v.Running == Spot && !p.job.reachable(v) {
		return Spot // too late for another changeover: only staying can still make it
	}
	return OnDemand
}
