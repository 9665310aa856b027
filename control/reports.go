package control

import (
	"sync"

	"github.com/stint-ml/stint/platform"
)

// Deliveries remembers what each agent has delivered, and lets it deliver one thing at a time. The zero value knows of none.
type Deliveries struct {
	mu sync.Mutex
	of map[platform.AgentID]*delivery
}

// delivery is what is remembered of one agent.
type delivery struct {
	mu    sync.Mutex // one at a time
	acked int64
}

// Take gives take those of an agent's reports that are new: above recorded, which the agent's record says, and above what it
// has delivered since. take makes them durable; after an error none of them counts as delivered. acked is up to where all are.
func (d *Deliveries) Take(agent platform.AgentID, recorded int64, reports []platform.Report, take func(fresh []platform.Report) error) (acked int64, err error) {
	known := d.find(agent)
	known.mu.Lock()
	defer known.mu.Unlock()
	known.acked = max(known.acked, recorded)
	fresh, err := unknown(reports, known.acked)
	if err != nil || len(fresh) == 0 {
		return known.acked, err
	}
	if err := take(fresh); err != nil {
		return known.acked, err
	}
	known.acked = fresh[len(fresh)-1].Seq
	return known.acked, nil
}

// Forget drops what is remembered of an agent that will deliver nothing more.
func (d *Deliveries) Forget(agent platform.AgentID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.of, agent)
}

func (d *Deliveries) find(agent platform.AgentID) *delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[platform.AgentID]*delivery{}
	}
	found := d.of[agent]
	if found == nil {
		found = &delivery{}
		d.of[agent] = found
	}
	return found
}

// unknown gives the reports of a delivery above seq. After a restart an agent may go on above what the record says, as logs
// alone do not touch the record; inside one delivery there is never a gap.
func unknown(reports []platform.Report, seq int64) ([]platform.Report, error) {
	for i, r := range reports {
		if i > 0 && r.Seq != reports[i-1].Seq+1 {
			return nil, platform.Errorf(platform.Invalid, "", "report %d follows report %d", r.Seq, reports[i-1].Seq)
		}
	}
	for len(reports) > 0 && reports[0].Seq <= seq {
		reports = reports[1:]
	}
	return reports, nil
}
