package static_test

import (
	"math"
	"testing"

	"github.com/stint-ml/stint/drivers/market/markettest"
	"github.com/stint-ml/stint/drivers/market/static"
	"github.com/stint-ml/stint/platform"
)

func usd(n platform.Nanos) platform.HourlyRate {
	return platform.HourlyRate{Nanos: n, Currency: "USD"}
}

func market(t *testing.T) platform.Market {
	t.Helper()
	m, err := static.New(platform.Catalog{
		"ml.own":   {Type: "ml.own", OnDemand: usd(100), Spot: usd(17)},
		"ml.plain": {Type: "ml.plain", OnDemand: usd(115_000_001)},
	}, 0.7)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConformance(t *testing.T) {
	t.Parallel()
	markettest.Run(t, func(t *testing.T) markettest.Case { return markettest.Case{Market: market(t), Type: "ml.own"} })
}

func TestThePriceIsTheCataloguesOrADiscount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of       platform.InstanceType
		onDemand platform.HourlyRate
		want     platform.HourlyRate
	}{
		{"ml.own", usd(100), usd(17)},
		{"ml.plain", usd(115_000_001), usd(34_500_000)},
		{"ml.gone", usd(1000), usd(300)},
		{"ml.own", platform.HourlyRate{Nanos: 1000, Currency: "CNY"}, platform.HourlyRate{Nanos: 300, Currency: "CNY"}},
	} {
		got, err := market(t).Offer(t.Context(), c.of, c.onDemand)
		if err != nil || !got.Available || got.Rate != c.want {
			t.Errorf("%s at %v: %+v, %v, want %v", c.of, c.onDemand, got, err, c.want)
		}
	}
}

func TestDiscountsThatMakeNoPriceAreRefused(t *testing.T) {
	t.Parallel()
	for _, d := range []float64{-0.1, 1, 70, math.NaN()} {
		if _, err := static.New(nil, d); !platform.Is(err, platform.Invalid) {
			t.Errorf("%v: %v", d, err)
		}
	}
}
