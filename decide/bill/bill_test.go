package bill

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func usd(n platform.Nanos) platform.Money { return platform.Money{Nanos: n, Currency: "USD"} }

func opened(line string, rate, onDemand platform.Nanos, at time.Time) platform.LedgerEntry {
	return platform.LedgerEntry{
		Line: line, Event: platform.LineOpened, At: at, Count: 1,
		Rate: platform.HourlyRate(usd(rate)), OnDemandRate: platform.HourlyRate(usd(onDemand)),
	}
}

func TestSecondsCountEveryStartedOne(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]platform.Seconds{
		-time.Hour: 0, 0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, 90 * time.Minute: 5400,
	} {
		if got := Seconds(t0, t0.Add(d)); got != want {
			t.Errorf("%v: %d s, want %d", d, got, want)
		}
	}
}

func TestStatement(t *testing.T) {
	t.Parallel()
	// 100 s of a p3.2xlarge on-demand ($3.825/h), an open spot line of 400 s at a third of it.
	first := opened("a", 3_825_000_000, 3_825_000_000, t0)
	second := opened("b", 1_275_000_000, 3_825_000_000, t0.Add(time.Hour))
	s, err := State([]platform.LedgerEntry{first, Close(first, t0.Add(100*time.Second)), second}, t0.Add(time.Hour+400*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if s.Total != usd(106_250_000+141_666_667) || s.OnDemand != usd(106_250_000+425_000_000) {
		t.Errorf("total %v, on-demand %v", s.Total, s.OnDemand)
	}
	if s.Seconds != 500 || s.Billable != 100+133 || !s.Open || !s.Lines[1].Open || s.Lines[0].Open {
		t.Errorf("%+v", s)
	}
}

func TestStatementRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	o := opened("a", 1, 1, t0)
	if _, err := State([]platform.LedgerEntry{Close(o, t0)}, t0); err == nil {
		t.Error("a line closed without being opened was accepted")
	}
	yuan := opened("b", 1, 1, t0)
	yuan.Rate.Currency, yuan.OnDemandRate.Currency = "CNY", "CNY"
	if _, err := State([]platform.LedgerEntry{o, yuan}, t0.Add(time.Hour)); err == nil {
		t.Error("dollars and yuan were added")
	}
}

func TestAClockThatWentBackCostsNothing(t *testing.T) {
	t.Parallel()
	c := Close(opened("a", 1_000_000_000, 1_000_000_000, t0), t0.Add(-time.Hour))
	if c.Seconds != 0 || c.Amount != usd(0) || !c.At.Equal(t0) {
		t.Errorf("%+v", c)
	}
}

// The amount of a closed line is within half a nano-unit of the exact product, for any rate and duration.
func TestAmountIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := platform.Nanos(rapid.Int64Range(0, 1000_000_000_000).Draw(t, "rate"))
		ms := rapid.Int64Range(0, 400*24*3600*1000).Draw(t, "ms")
		count := rapid.Int64Range(1, 100).Draw(t, "count")
		o := opened("a", rate, rate, t0)
		o.Count = count
		c := Close(o, t0.Add(time.Duration(ms)*time.Millisecond))
		if c.Seconds*1000 < ms || c.Seconds*1000-ms >= 1000 {
			t.Fatalf("%d ms billed as %d s", ms, c.Seconds)
		}
		exact := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(int64(rate)), big.NewInt(c.Seconds*count)), big.NewInt(3600))
		off := new(big.Rat).Sub(exact, new(big.Rat).SetInt64(int64(c.Amount.Nanos)))
		if off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
			t.Fatalf("%d nanos/h × %d s × %d = %v, exactly %v", rate, c.Seconds, count, c.Amount, exact)
		}
	})
}
