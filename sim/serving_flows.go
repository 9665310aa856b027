package sim

import (
	"time"

	"github.com/stint-ml/stint/platform"
)

// flow is what goes to an elastic variant of the world's data plane: as many invocations at once as the world is told to ask,
// each of which lasts for as long as it is asked. It dies with the server.
type flow struct {
	last   time.Time
	idle   map[platform.AgentID]time.Time
	worked map[platform.Purchase]platform.Work
	gone   bool
}

// ask lets the invocations that the world is told to ask be worked on for a time by the containers that are there.
func (w *Serving) ask(d time.Duration) {
	for name, route := range w.Routes {
		routed := map[string]bool{}
		for _, v := range route.Variants {
			if v.Elastic == nil {
				continue
			}
			routed[v.Elastic.ID] = true
			f := w.flows[name][v.Elastic.ID]
			if f == nil {
				f = &flow{last: w.Clock.Now(), idle: map[platform.AgentID]time.Time{}, worked: map[platform.Purchase]platform.Work{}}
				if w.flows[name] == nil {
					w.flows[name] = map[string]*flow{}
				}
				w.flows[name][v.Elastic.ID] = f
			}
			f.ask(v, min(w.Asked, v.Elastic.Max), w.Clock.Now(), d)
		}
		for id, f := range w.flows[name] {
			f.gone = !routed[id]
		}
	}
}

func (f *flow) ask(v platform.RouteVariant, open int, now time.Time, d time.Duration) {
	if open > 0 {
		f.last = now
	}
	idle := map[platform.AgentID]time.Time{}
	for i, target := range v.Targets {
		if i >= open {
			since, was := f.idle[target.Agent]
			if !was {
				since = now
			}
			idle[target.Agent] = since
			continue
		}
		of := platform.OnUse
		for _, p := range v.Elastic.Provisioned {
			if p == target.Agent {
				of = platform.ProvisionedUse
			}
		}
		f.worked[of] = f.worked[of].Plus(platform.Work{Milliseconds: d.Milliseconds(), Invocations: 1})
	}
	f.idle = idle
}

// Flows implements platform.Routes.
func (w *Serving) Flows(name string) map[string]platform.Flow {
	told := map[string]platform.Flow{}
	for id, f := range w.flows[name] {
		flow := platform.Flow{Last: f.last, Idle: f.idle, Worked: f.worked, Over: f.gone}
		if !f.gone {
			flow.Open = w.Asked
		}
		for _, work := range f.worked {
			w.Told = w.Told.Plus(work)
		}
		f.worked = map[platform.Purchase]platform.Work{}
		told[id] = flow
		if f.gone {
			delete(w.flows[name], id)
		}
	}
	return told
}

// Stirred implements platform.Routes.
func (w *Serving) Stirred() <-chan string { return nil }
