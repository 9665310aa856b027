package sim_test

import (
	"testing"

	"github.com/stint-ml/stint/drivers/market/markettest"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/sim"
)

func TestMarketConformance(t *testing.T) {
	t.Parallel()
	markettest.Run(t, func(*testing.T) markettest.Case {
		offer := platform.Offer{Available: true, Rate: platform.HourlyRate{Nanos: 1, Currency: "USD"}}
		m := sim.NewMarket(offer)
		return markettest.Case{Market: m, Type: "ml.m5.large", Change: func() {
			offer.Rate.Nanos++
			m.Set(offer)
		}}
	})
}
