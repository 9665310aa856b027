package shapes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Timestamp is a moment on the wire. In JSON it is a number of seconds since
// 1970 with up to three decimals, and in CBOR the same with a tag; in Query and
// XML it is ISO 8601 text, which is what MarshalText and UnmarshalText speak. All
// writers truncate to the millisecond, as AWS does.
type Timestamp struct{ time.Time }

// NewTimestamp wraps t, in UTC.
func NewTimestamp(t time.Time) *Timestamp { return &Timestamp{t.UTC()} }

// Moments outside the years 1 to 9999 have no ISO 8601 text that clients read.
const (
	minEpochSeconds = -62135596800
	maxEpochSeconds = 253402300799
)

// MarshalJSON writes epoch seconds: 1700000000, 1700000000.5, 1700000000.123.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	milliseconds := t.UnixMilli()
	sign := ""
	if milliseconds < 0 {
		sign, milliseconds = "-", -milliseconds
	}
	text := sign + strconv.FormatInt(milliseconds/1000, 10)
	if fraction := milliseconds % 1000; fraction != 0 {
		text += "." + strings.TrimRight(fmt.Sprintf("%03d", fraction), "0")
	}
	return []byte(text), nil
}

// MarshalCBOR writes epoch seconds as a double with tag 1, the only form that
// Smithy's RPC v2 CBOR protocol has for a moment.
func (t Timestamp) MarshalCBOR() ([]byte, error) {
	const tag1, double = 0xc1, 0xfb
	return binary.BigEndian.AppendUint64([]byte{tag1, double}, math.Float64bits(float64(t.UnixMilli())/1000)), nil
}

// UnmarshalJSON reads epoch seconds in any form of JSON number, 1.7e9 included
// (Java clients write that).
func (t *Timestamp) UnmarshalJSON(data []byte) error {
	text := string(data)
	if text == "null" {
		return nil
	}
	parsed, err := parseEpoch(text)
	if err != nil {
		return err
	}
	t.Time = parsed
	return nil
}

var errTimestamp = errors.New("timestamp must be a number of seconds since 1970, of the years 1 to 9999")

// parseEpoch keeps nanoseconds where they are written out; the exponent form
// goes through a float64, which is exact to the microsecond, and is rounded there.
func parseEpoch(text string) (time.Time, error) {
	if strings.ContainsAny(text, "eE") {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || seconds < minEpochSeconds || seconds > maxEpochSeconds {
			return time.Time{}, errTimestamp
		}
		return time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC(), nil
	}
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds < minEpochSeconds || seconds > maxEpochSeconds {
		return time.Time{}, errTimestamp
	}
	var nanoseconds int64
	if fraction != "" {
		nine := (fraction + "000000000")[:9]
		if nanoseconds, err = strconv.ParseInt(nine, 10, 64); err != nil || nanoseconds < 0 {
			return time.Time{}, errTimestamp
		}
		if strings.HasPrefix(whole, "-") {
			nanoseconds = -nanoseconds
		}
	}
	return time.Unix(seconds, nanoseconds).UTC(), nil
}

// ISO8601 is the text of Query and XML answers: 2011-07-11T19:55:29Z, with
// milliseconds where there are any.
func (t Timestamp) ISO8601() string {
	utc := t.UTC()
	if utc.Nanosecond() < int(time.Millisecond) {
		return utc.Format("2006-01-02T15:04:05Z")
	}
	return utc.Format("2006-01-02T15:04:05.000Z")
}

// MarshalText writes ISO8601, for codecs that know no AWS types.
func (t Timestamp) MarshalText() ([]byte, error) { return []byte(t.ISO8601()), nil }

// UnmarshalText reads ISO 8601, as Query clients send it.
func (t *Timestamp) UnmarshalText(data []byte) error {
	text := string(data)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02"} {
		if parsed, err := time.Parse(layout, text); err == nil {
			t.Time = parsed.UTC()
			return nil
		}
	}
	return fmt.Errorf("timestamp %.40q must follow ISO8601", text)
}
