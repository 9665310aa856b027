package spot

import (
	"math"
	"time"
)

const (
	leastBetweenCheckpoints = time.Minute
	mostBetweenCheckpoints  = time.Hour
)

// CheckpointEvery is how long to train between two checkpoints so that the time spent on saving and the work lost with an
// instance are least together, when a checkpoint costs so much and an instance lasts meanUp on average (History.MeanUp).
// It stays between a minute (or ten times the cost, if that is more) and an hour.
//
// Source: Young, "A first order approximation to the optimum checkpoint interval", 1974: √(2·cost·mean time between
// failures).
func CheckpointEvery(cost, meanUp time.Duration) time.Duration {
	best := time.Duration(math.Sqrt(2 * float64(max(cost, 0)) * float64(max(meanUp, 0))))
	return min(max(best, leastBetweenCheckpoints, 10*cost), mostBetweenCheckpoints)
}
