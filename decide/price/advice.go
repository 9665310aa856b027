package price

import (
	"fmt"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Advice is what to do about an endpoint.
type Advice struct {
	Costs  []Cost // of Modes
	Best   *Cost  // the cheapest that answers at once; nil when none takes the load
	Later  *Cost  // cheaper still, if results may come later; nil when there is none
	Change bool   // Best saves enough against what is paid now
	Saves  platform.Money
}

// A change is worth its trouble when it saves a twentieth, and a unit of the currency a month.
const (
	worthPart = 20
	worthWhat = platform.NanosPerUnit
)

// Advise weighs the modes against what is paid now, in its mode. Nobody is advised to a mode that answers later whose
// endpoint answers at once, and to none that costs the same as what there is.
func (c Case) Advise(mode Mode, now platform.Money) Advice {
	a := Advice{}
	online := []Mode{mode}
	for _, m := range Modes {
		a.Costs = append(a.Costs, c.Of(m))
		if m.AtOnce() {
			online = append(online, m)
		}
	}
	a.Best, a.Later = c.Cheapest(online), c.Cheapest(Modes)
	if a.Best == nil {
		return a
	}
	if a.Later != nil && !worth(a.Best.Monthly, a.Later.Monthly) {
		a.Later = nil
	}
	if a.Change = worth(now, a.Best.Monthly); a.Change {
		a.Saves = platform.Money{Nanos: now.Nanos - a.Best.Monthly.Nanos, Currency: now.Currency}
	}
	return a
}

// worth tells whether to pay less is worth a change; across currencies nothing is.
func worth(now, then platform.Money) bool {
	saves := now.Nanos - then.Nanos
	return now.Currency == then.Currency && saves >= worthWhat && saves >= now.Nanos/worthPart
}

// Confidence is how much is known of a load.
type Confidence string

// The confidences.
const (
	NoTraffic Confidence = "none"
	Low       Confidence = "low"
	Fair      Confidence = "fair"
	Good      Confidence = "good"
)

// How much has to be seen for which confidence.
const (
	leastRequests = 100
	leastTime     = time.Hour
	aDay, aWeek   = 24 * time.Hour, 7 * 24 * time.Hour
)

// Sure says how sure advice may be that rests on so many requests in such a time, and why no more.
func Sure(requests float64, watched time.Duration) (Confidence, string) {
	switch {
	case requests == 0:
		return NoTraffic, "no request has been seen"
	case requests < leastRequests && watched < leastTime:
		return Low, fmt.Sprintf("only %.0f requests were seen, in less than an hour", requests)
	case watched < leastTime:
		return Low, "less than an hour was seen"
	case requests < leastRequests:
		return Low, fmt.Sprintf("only %.0f requests were seen", requests)
	case watched < aDay:
		return Fair, "less than a day was seen: what other hours bring is not known"
	case watched < aWeek:
		return Fair, "less than a week was seen: what other days bring is not known"
	}
	return Good, ""
}
