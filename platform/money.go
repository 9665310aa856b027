package platform

import (
	"fmt"
	"math/big"
	"strings"
)

// Nanos is an amount of money in 10⁻⁹ of a currency unit. Sums never round; only display does.
type Nanos int64

// NanosPerUnit is one whole unit of a currency (one dollar).
const NanosPerUnit Nanos = 1_000_000_000

// Currency is an ISO 4217 code, such as USD or CNY.
type Currency string

// Money is an amount in a currency. Amounts of different currencies are never added.
type Money struct {
	Nanos    Nanos    `json:"nanos"`
	Currency Currency `json:"currency"`
}

// HourlyRate is the price of one hour of one thing.
type HourlyRate Money

// ParseNanos reads a decimal such as "0.115" exactly; more than nine decimals are an error, not a rounding.
func ParseNanos(decimal string) (Nanos, error) {
	r, ok := new(big.Rat).SetString(strings.TrimSpace(decimal))
	if !ok {
		return 0, Errorf(Invalid, "", "amount %q is not a decimal number", decimal)
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(NanosPerUnit)))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, Errorf(Invalid, "", "amount %q does not fit nine decimals", decimal)
	}
	return Nanos(r.Num().Int64()), nil
}

// Times multiplies the rate by whole seconds and a count, and rounds half up once, to a nano-unit: the one rounding of a
// ledger line. It panics on overflow (more than nine billion units), which no price times any duration reaches.
func (r HourlyRate) Times(seconds, count int64) Money { return r.times(seconds, count, 3600) }

// TimesMilliseconds is Times for what is paid for by the millisecond.
func (r HourlyRate) TimesMilliseconds(milliseconds int64) Money {
	return r.times(milliseconds, 1, 3_600_000)
}

// times multiplies by so many units of which an hour has perHour.
func (r HourlyRate) times(units, count, perHour int64) Money {
	n := new(big.Int).SetInt64(int64(r.Nanos))
	n.Mul(n, big.NewInt(units)).Mul(n, big.NewInt(count))
	n.Mul(n, big.NewInt(2)).Add(n, big.NewInt(perHour))
	n.Div(n, big.NewInt(2*perHour))
	if !n.IsInt64() {
		panic(fmt.Sprintf("platform: %d nanos/hour × %d × %d overflows", r.Nanos, units, count))
	}
	return Money{Nanos: Nanos(n.Int64()), Currency: r.Currency}
}

// Plus adds two amounts of one currency; a zero Money takes the other's currency.
func (m Money) Plus(o Money) (Money, error) {
	if m == (Money{}) {
		return o, nil
	}
	if o == (Money{}) {
		return m, nil
	}
	if m.Currency != o.Currency {
		return Money{}, Errorf(Invalid, "", "cannot add %s to %s", o.Currency, m.Currency)
	}
	return Money{Nanos: m.Nanos + o.Nanos, Currency: m.Currency}, nil
}

// String shows all nine decimals without trailing zeros, at least two: "0.115 USD", "12.00 USD".
func (m Money) String() string {
	n, sign := m.Nanos, ""
	if n < 0 {
		n, sign = -n, "-"
	}
	frac := strings.TrimRight(fmt.Sprintf("%09d", n%NanosPerUnit), "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return strings.TrimSpace(fmt.Sprintf("%s%d.%s %s", sign, n/NanosPerUnit, frac, m.Currency))
}
