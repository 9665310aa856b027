package price

import "math"

// Span is a range of loads, by the requests of a month, in which one mode is the cheapest of some. It goes on to the next one's
// beginning.
type Span struct {
	From int64
	Mode Mode // empty: none of them takes the load
	Cost Cost // at its beginning
}

// mostRequests is the largest load that is looked at: 380 requests a second.
const mostRequests = 1_000_000_000

// AtRequests is the case with another number of requests a month, which come as the load's do; evenly, when that has none.
func (c Case) AtRequests(monthly float64) Case {
	if now := c.Load.Monthly(); now > 0 {
		c.Load = c.Load.Scaled(monthly / now)
	} else {
		c.Load = Even(monthly)
	}
	return c
}

// Cheapest is the mode of least cost, the first of equals; nil when none takes the load.
func (c Case) Cheapest(modes []Mode) *Cost {
	var best *Cost
	for _, m := range modes {
		cost := c.Of(m)
		if cost.Why == "" && (best == nil || cost.Monthly.Nanos < best.Monthly.Nanos) {
			best = &cost
		}
	}
	return best
}

// Spans finds which of some modes is the cheapest at which loads, from one request a month to a billion. Changes are found to
// the request, between loads that are a step of four to the decade apart; what changes twice within a step is not seen.
func (c Case) Spans(modes []Mode) []Span {
	at := func(requests int64) Span {
		s := Span{From: requests}
		if best := c.AtRequests(float64(requests)).Cheapest(modes); best != nil {
			s.Mode, s.Cost = best.Mode, *best
		}
		return s
	}
	spans := []Span{at(1)}
	low := spans[0]
	for step := 1.0; low.From < mostRequests; step++ {
		high := at(min(mostRequests, int64(math.Round(math.Pow(10, step/4)))))
		for low.Mode != high.Mode {
			// The first load above low of another mode than low's: what lies between may be of a third one.
			first := high
			for below := low.From; first.From-below > 1; {
				middle := at(below + (first.From-below)/2)
				if middle.Mode == low.Mode {
					below = middle.From
				} else {
					first = middle
				}
			}
			spans = append(spans, first)
			low = first
		}
		low = high
	}
	return spans
}

// Utilisation is the part of its time that an instance of as many as answer at once works, at a load.
func (c Case) Utilisation(requests int64) float64 {
	c = c.AtRequests(float64(requests))
	units := c.instances() * c.parallel()
	if units == 0 {
		return 0
	}
	return float64(requests) * c.Latency.Seconds() / (float64(units) * Month.Seconds())
}
