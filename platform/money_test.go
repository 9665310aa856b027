package platform

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseNanos(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Nanos{"0.115": 115_000_000, "3": 3_000_000_000, " 0.000000001 ": 1, "-2.5": -2_500_000_000} {
		if got, err := ParseNanos(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "x", "0.0000000001", "99999999999999999999"} {
		if got, err := ParseNanos(in); !Is(err, Invalid) {
			t.Errorf("%q was read as %d, %v", in, got, err)
		}
	}
}

func TestMoneyIsShownExactly(t *testing.T) {
	t.Parallel()
	for n, want := range map[Nanos]string{0: "0.00 USD", 115_000_000: "0.115 USD", 12_000_000_000: "12.00 USD", -1: "-0.000000001 USD"} {
		if got := (Money{n, "USD"}).String(); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// What is shown reads back as the same amount.
func TestShownMoneyReadsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := Nanos(rapid.Int64Range(-1<<62, 1<<62).Draw(t, "nanos"))
		if got, err := ParseNanos(Money{Nanos: n}.String()); err != nil || got != n {
			t.Fatalf("%d became %d, %v", n, got, err)
		}
	})
}

func TestHalfANanoRoundsUpOnce(t *testing.T) {
	t.Parallel()
	r := HourlyRate{Nanos: 1800, Currency: "USD"}
	if got := r.Times(1, 1).Nanos; got != 1 { // 0.5
		t.Errorf("%d", got)
	}
	if got := r.Times(1, 3).Nanos; got != 2 { // 1.5, not 3 × 1
		t.Errorf("%d", got)
	}
}

func TestCurrenciesDoNotMix(t *testing.T) {
	t.Parallel()
	if _, err := (Money{1, "USD"}).Plus(Money{1, "CNY"}); !Is(err, Invalid) {
		t.Errorf("%v", err)
	}
	if got, err := (Money{}).Plus(Money{1, "CNY"}); err != nil || got != (Money{1, "CNY"}) {
		t.Errorf("%v, %v", got, err)
	}
}
