package shapes_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stint-ml/stint/shapes"
	"pgregory.net/rapid"
)

func TestTimestampJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, out, iso string }{
		{"0", "0", "1970-01-01T00:00:00Z"},
		{"1700000000", "1700000000", "2023-11-14T22:13:20Z"},
		{"1700000000.123", "1700000000.123", "2023-11-14T22:13:20.123Z"},
		{"1700000000.1", "1700000000.1", "2023-11-14T22:13:20.100Z"},
		{"1700000000.0209999", "1700000000.02", "2023-11-14T22:13:20.020Z"},
		{"1700000000.123456789123", "1700000000.123", "2023-11-14T22:13:20.123Z"},
		{"1.700000000123E9", "1700000000.123", "2023-11-14T22:13:20.123Z"},
		{"1.7e9", "1700000000", "2023-11-14T22:13:20Z"},
		{"-0.5", "-0.5", "1969-12-31T23:59:59.500Z"},
		{"-1.25", "-1.25", "1969-12-31T23:59:58.750Z"},
		{"253402300799", "253402300799", "9999-12-31T23:59:59Z"},
		{"-62135596800", "-62135596800", "0001-01-01T00:00:00Z"},
	} {
		var moment shapes.Timestamp
		if err := json.Unmarshal([]byte(c.in), &moment); err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		out, err := json.Marshal(moment)
		if err != nil || string(out) != c.out {
			t.Errorf("%s is written as %s (%v), want %s", c.in, out, err, c.out)
		}
		if moment.ISO8601() != c.iso {
			t.Errorf("%s is %s, want %s", c.in, moment.ISO8601(), c.iso)
		}
	}
	for _, bad := range []string{`"2024-01-31"`, "true", "{}", "253402300800", "1e300", "-1e300", "1700000000123", "1e400"} {
		var moment shapes.Timestamp
		if err := json.Unmarshal([]byte(bad), &moment); err == nil {
			t.Errorf("%s is read as %s", bad, moment)
		}
	}
}

func TestTimestampNullIsAbsent(t *testing.T) {
	t.Parallel()
	var holder struct{ At *shapes.Timestamp }
	if err := json.Unmarshal([]byte(`{"At":null}`), &holder); err != nil || holder.At != nil {
		t.Errorf("null is read as %v, %v", holder.At, err)
	}
}

func TestTimestampText(t *testing.T) {
	t.Parallel()
	want := time.Date(2011, 7, 11, 19, 55, 29, 611e6, time.UTC)
	for _, text := range []string{"2011-07-11T19:55:29.611Z", "2011-07-11T21:55:29.611+02:00", "2011-07-11T19:55:29.611"} {
		var moment shapes.Timestamp
		if err := moment.UnmarshalText([]byte(text)); err != nil || !moment.Equal(want) {
			t.Errorf("%s is read as %s, %v", text, moment, err)
		}
	}
	var moment shapes.Timestamp
	if err := moment.UnmarshalText([]byte("yesterday")); err == nil {
		t.Error("yesterday is a timestamp")
	}
}

// TestTimestampRoundTrip: what is written is read back, to the millisecond.
func TestTimestampRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		milliseconds := rapid.Int64Range(-62135596800_000, 253402300799_999).Draw(t, "milliseconds")
		moment := shapes.NewTimestamp(time.UnixMilli(milliseconds))
		for _, codec := range []struct {
			write func() ([]byte, error)
			read  func(*shapes.Timestamp, []byte) error
		}{
			{moment.MarshalJSON, (*shapes.Timestamp).UnmarshalJSON},
			{moment.MarshalText, (*shapes.Timestamp).UnmarshalText},
		} {
			text, err := codec.write()
			if err != nil {
				t.Fatal(err)
			}
			var again shapes.Timestamp
			if err := codec.read(&again, text); err != nil || !again.Equal(moment.Time) {
				t.Fatalf("%s is written as %s and read as %s, %v", moment, text, again, err)
			}
		}
	})
}

func TestTimestampCBOR(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0":              "c1fb0000000000000000",
		"1700000000.123": "c1fb41d954fc4007df3b",
		"-1.25":          "c1fbbff4000000000000",
	} {
		var moment shapes.Timestamp
		if err := json.Unmarshal([]byte(text), &moment); err != nil {
			t.Fatal(err)
		}
		if got, err := moment.MarshalCBOR(); err != nil || fmt.Sprintf("%x", got) != want {
			t.Errorf("%s is written as %x (%v), want %s", text, got, err, want)
		}
	}
}
