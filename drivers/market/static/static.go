// Package static is the spot market of one's own machines: capacity is always on offer, at a price that does not change, and
// spot work gives its room back when work on demand needs it, which is the schedule's matter and not the market's.
//
// Prices that move and capacity that comes and goes must not live here.
package static

import (
	"context"
	"math"

	"github.com/stint-ml/stint/platform"
)

// DefaultDiscount is the part of the on-demand price that spot saves where the catalogue tells no spot price.
const DefaultDiscount = 0.70

// Market implements platform.Market.
type Market struct {
	catalog  platform.Catalog
	discount float64
	changed  chan struct{}
}

// New makes a market with the catalogue's spot prices and a discount, from 0 to less than 1, for the types that have none.
func New(catalog platform.Catalog, discount float64) (*Market, error) {
	if !(discount >= 0 && discount < 1) { // not a number, too
		return nil, platform.Errorf(platform.Invalid, "", "a spot discount of %v makes no price; it must be from 0 to less than 1", discount)
	}
	return &Market{catalog: catalog, discount: discount, changed: make(chan struct{})}, nil
}

// Offer implements platform.Market. A type that has left the catalogue keeps its discount.
func (m *Market) Offer(_ context.Context, t platform.InstanceType, onDemand platform.HourlyRate) (platform.Offer, error) {
	rate := m.catalog[t].Spot
	if rate.Nanos == 0 || rate.Currency != onDemand.Currency { // the catalogue is not the one of the job's creation
		rate = platform.HourlyRate{Nanos: platform.Nanos(math.Round(float64(onDemand.Nanos) * (1 - m.discount))), Currency: onDemand.Currency}
	}
	return platform.Offer{Available: true, Rate: rate}, nil
}

// Changed implements platform.Market: nothing ever does.
func (m *Market) Changed() <-chan struct{} { return m.changed }

// Close implements platform.Market.
func (m *Market) Close() error { return nil }
