package cron

import (
	"testing"
	"time"
	_ "time/tzdata" // as the binary has them

	"pgregory.net/rapid"
)

// noon is a Sunday's.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestExpressionsComeWhenTheUserGuideSays(t *testing.T) {
	t.Parallel()
	berlin := time.FixedZone("like Berlin", 3600)
	for _, c := range []struct {
		text string
		in   *time.Location
		want string // "never", or the time in UTC
	}{
		{"at(2026-03-01T12:00:01)", time.UTC, "2026-03-01T12:00:01"},
		{"at(2026-03-01T12:00:00)", time.UTC, "never"},
		{"at(2026-03-01T13:30:00)", berlin, "2026-03-01T12:30:00"},
		{"rate(1 minute)", time.UTC, "2026-03-01T12:00:20"}, // counted from 40 s before noon
		{"rate(2 hours)", time.UTC, "2026-03-01T13:59:20"},
		{"rate(3 days)", time.UTC, "2026-03-04T11:59:20"},
		{"cron(0 10 * * ? *)", time.UTC, "2026-03-02T10:00:00"},
		{"cron(15 12 * * ? *)", time.UTC, "2026-03-01T12:15:00"},
		{"cron(0 12 * * ? *)", time.UTC, "2026-03-02T12:00:00"},
		{"cron(0 18 ? * MON-FRI *)", time.UTC, "2026-03-02T18:00:00"},
		{"cron(0 8 1 * ? *)", time.UTC, "2026-04-01T08:00:00"},
		{"cron(0/10 * ? * MON-FRI *)", time.UTC, "2026-03-02T00:00:00"},
		{"cron(*/15 * * * ? *)", time.UTC, "2026-03-01T12:15:00"},
		{"cron(0/5 8-17 ? * MON-FRI *)", time.UTC, "2026-03-02T08:00:00"},
		{"cron(0 9 ? * 2#1 *)", time.UTC, "2026-03-02T09:00:00"},
		{"cron(0 9 ? * fri#5 *)", time.UTC, "2026-05-29T09:00:00"},
		{"cron(0 9 ? * 6L *)", time.UTC, "2026-03-27T09:00:00"},
		{"cron(0 9 ? * L *)", time.UTC, "2026-03-07T09:00:00"},
		{"cron(0 9 L * ? *)", time.UTC, "2026-03-31T09:00:00"},
		{"cron(0 9 LW 5 ? *)", time.UTC, "2026-05-29T09:00:00"},  // the 31st is a Sunday
		{"cron(0 9 1W 8 ? *)", time.UTC, "2026-08-03T09:00:00"},  // the 1st is a Saturday
		{"cron(0 9 15W 3 ? *)", time.UTC, "2026-03-16T09:00:00"}, // a Sunday
		{"cron(0 9 31W 4 ? *)", time.UTC, "never"},
		{"cron(0 9 ? * FRI-MON *)", time.UTC, "2026-03-02T09:00:00"},
		{"cron(0 0 29 2 ? *)", time.UTC, "2028-02-29T00:00:00"},
		{"cron(0 9 * JAN,MAR ? 2027-2028)", time.UTC, "2027-01-01T09:00:00"},
		{"cron(0 9 * * ? 2025)", time.UTC, "never"},
		{"cron(10 8 ? * MON-FRI)", time.UTC, "2026-03-02T08:10:00"}, // the year may be left out
		{"cron(30 13 * * ? *)", berlin, "2026-03-01T12:30:00"},
	} {
		s, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		next, got := s.Next(noon, noon.Add(-40*time.Second), c.in), "never"
		if !next.IsZero() {
			got = next.Format("2006-01-02T15:04:05")
		}
		if got != c.want {
			t.Errorf("%s comes at %s, want %s", c.text, got, c.want)
		}
	}
}

func TestWhatIsNoScheduleIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "noon", "at()", "at(2026-03-01)", "at(2026-03-01T12:00:00", "rate(0 minutes)", "rate(1 minutes)", "rate(5 minute)", "rate(5 seconds)", "rate(-1 hours)",
		"cron(0 10 * * *)", "cron(0 10 * * * *)", "cron(0 10 ? * ? *)", "cron(60 10 * * ? *)", "cron(0 24 * * ? *)", "cron(0 0 32 * ? *)", "cron(0 0 ? * 8 *)",
		"cron(0 0 * 13 ? *)", "cron(a 0 * * ? *)", "cron(0/0 0 * * ? *)", "cron(0 0 ? * 2#6 *)", "cron(0 0 ? * XL *)", "cron(0 0 0W * ? *)", "every(day)",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// On the last Sunday of March the clocks skip from 2 to 3, on that of October they show the hour from 2 to 3 twice.
func TestAnHourThatIsSkippedDoesNotComeAndOneThatIsTwiceComesOnce(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("cron(30 2 * * ? *)")
	if err != nil {
		t.Fatal(err)
	}
	at := s.Next(time.Date(2026, 3, 28, 12, 0, 0, 0, zone), noon, zone)
	if want := time.Date(2026, 3, 30, 2, 30, 0, 0, zone); !at.Equal(want) {
		t.Errorf("in spring it comes at %v, want %v", at.In(zone), want)
	}
	at = s.Next(time.Date(2026, 10, 24, 12, 0, 0, 0, zone), noon, zone)
	if next := s.Next(at, noon, zone); next.Sub(at) < 24*time.Hour {
		t.Errorf("in autumn it comes at %v and again at %v", at.In(zone), next.In(zone))
	}
}

// Whatever the schedule, each time is later than the one before, and none is passed over.
func TestTimesComeInOrderAndNoneIsPassedOver(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"rate(7 minutes)", "cron(*/7 3-5 * * ? *)", "cron(0 0 ? * 2#1 *)", "cron(5 4 L * ? *)"}).Draw(t, "text")
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		after := noon.Add(time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "after")))
		next := s.Next(after, noon, time.UTC)
		if !next.After(after) {
			t.Fatalf("after %v comes %v", after, next)
		}
		between := after.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(after))-1).Draw(t, "between")))
		if again := s.Next(between, noon, time.UTC); !again.Equal(next) {
			t.Fatalf("after %v comes %v, after %v %v", after, next, between, again)
		}
	})
}
