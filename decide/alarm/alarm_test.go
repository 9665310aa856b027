package alarm

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/cloudwatch"
)

var noon = time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)

// story makes the statistics of "0 - X - X": the newest last, 0 good, X breaching, - missing; the threshold is 5.
func story(c Condition, text string) (found []platform.Statistics) {
	marks := strings.Fields(text)
	_, end := c.Range(noon)
	for i, mark := range marks {
		at := end.Add(-time.Duration(len(marks)-i) * c.Period)
		switch mark {
		case "X":
			found = append(found, platform.Statistics{Start: at, Count: 2, Sum: 20, Minimum: 8, Maximum: 12, Unit: "None"})
		case "0":
			found = append(found, platform.Statistics{Start: at, Count: 1, Sum: 1, Minimum: 1, Maximum: 1, Unit: "None"})
		}
	}
	return found
}

// of makes an M out of N alarm on the average, over 5.
func of(m, n int, missing string) Condition {
	return Condition{
		Statistic: model.StatisticAverage, Period: 5 * time.Minute, Periods: n, Datapoints: m, Operator: Greater, Threshold: 5, Missing: missing,
	}
}

// The tables of "How alarm state is evaluated when data is missing", and what the text under them says.
func TestMissingDataIsTreatedAsTheTablesOfTheUserGuideSay(t *testing.T) {
	t.Parallel()
	const retain = platform.AlarmState("retained")
	ok, rings, unknown := platform.AlarmOK, platform.AlarmRings, platform.AlarmUnknown
	for _, row := range []struct {
		m    int
		data string
		want [4]platform.AlarmState // missing, ignore, breaching, notBreaching
	}{
		{3, "0 - X - X", [4]platform.AlarmState{ok, ok, ok, ok}},
		{3, "0 - - - -", [4]platform.AlarmState{ok, ok, ok, ok}},
		{3, "- - - - -", [4]platform.AlarmState{unknown, retain, rings, ok}},
		{3, "0 X X - X", [4]platform.AlarmState{rings, rings, rings, rings}},
		{3, "- - X - -", [4]platform.AlarmState{rings, retain, rings, ok}},
		{2, "0 - X - X", [4]platform.AlarmState{rings, rings, rings, rings}},
		{2, "0 0 X 0 X", [4]platform.AlarmState{rings, rings, rings, rings}},
		{2, "0 - X - -", [4]platform.AlarmState{ok, ok, rings, ok}},
		{2, "- - - - 0", [4]platform.AlarmState{ok, ok, rings, ok}},
		{2, "- - - X -", [4]platform.AlarmState{rings, retain, rings, ok}},
		// "Avoiding premature transitions to alarm state".
		{3, "- - - - X", [4]platform.AlarmState{retain, retain, rings, ok}},
		{3, "- - - X -", [4]platform.AlarmState{retain, retain, rings, ok}},
		{3, "- - - X 0", [4]platform.AlarmState{ok, ok, ok, ok}},
		{1, "- - - - X", [4]platform.AlarmState{rings, rings, rings, rings}},
	} {
		for i, missing := range []string{Missing, Ignore, Breaching, NotBreaching} {
			for _, was := range []platform.AlarmState{ok, rings, unknown} {
				c, want := of(row.m, 3, missing), row.want[i]
				if want == retain {
					want = was
				}
				if got := c.Evaluate(story(c, row.data), noon, was); got.State != want {
					t.Errorf("%d of 3, %s, missing data %s, before %s: %s, want %s", row.m, row.data, missing, was, got.State, want)
				}
			}
		}
	}
}

func TestOperatorsAndStatisticsAreCloudWatchs(t *testing.T) {
	t.Parallel()
	s := platform.Statistics{Count: 4, Sum: 20, Minimum: 1, Maximum: 9}
	for statistic, want := range map[model.Statistic]float64{"SampleCount": 4, "Sum": 20, "Minimum": 1, "Maximum": 9, "Average": 5} {
		if got := Value(s, statistic); got != want {
			t.Errorf("%s is %v, want %v", statistic, got, want)
		}
	}
	for operator, want := range map[model.ComparisonOperator][3]bool{ // of 4, 5 and 6
		GreaterOrEqual: {false, true, true}, Greater: {false, false, true}, Less: {true, false, false}, LessOrEqual: {true, true, false},
	} {
		c := Condition{Operator: operator, Threshold: 5}
		if got := [3]bool{c.breached(4), c.breached(5), c.breached(6)}; got != want {
			t.Errorf("%s: %v, want %v", operator, got, want)
		}
	}
}

func TestReasonsAreInCloudWatchsWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m, n          int
		missing, data string
		want          string
	}{
		{1, 1, Missing, "X", "Threshold Crossed: 1 out of the last 1 datapoints [10.0 (01/03/26 11:55:00)] was greater than the threshold (5.0) (minimum 1 datapoint for OK -> ALARM transition)."},
		{2, 3, Missing, "X 0 X", "Threshold Crossed: 2 out of the last 3 datapoints [10.0 (01/03/26 11:55:00), 10.0 (01/03/26 11:45:00)] were greater than the threshold (5.0) (minimum 2 datapoints for OK -> ALARM transition)."},
		{1, 1, Missing, "0", "Threshold Crossed: 1 out of the last 1 datapoints [1.0 (01/03/26 11:55:00)] was not greater than the threshold (5.0) (minimum 1 datapoint for ALARM -> OK transition)."},
		{1, 1, Missing, "-", "Insufficient Data: 1 datapoint was unknown."},
		{2, 2, Breaching, "-", "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as [Breaching]."},
		{1, 1, NotBreaching, "-", "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as [NonBreaching]."},
	} {
		condition := of(c.m, c.n, c.missing)
		got := condition.Evaluate(story(condition, c.data), noon, platform.AlarmUnknown)
		if got.Reason != c.want {
			t.Errorf("%d of %d, %s:\n%s\nwant\n%s", c.m, c.n, c.data, got.Reason, c.want)
		}
	}
}

// Unit filters what counts, and the data for programs is bounded and can be read.
func TestValuesOfAnotherUnitDoNotCount(t *testing.T) {
	t.Parallel()
	c := of(1, 1, NotBreaching)
	c.Unit = "Seconds"
	v := c.Evaluate(story(c, "X"), noon, platform.AlarmUnknown)
	var data struct{ EvaluatedDatapoints []struct{ Value float64 } }
	if err := json.Unmarshal([]byte(v.Data), &data); err != nil || v.State != platform.AlarmOK || len(data.EvaluatedDatapoints) != 0 {
		t.Errorf("%+v: %v", v, err)
	}
}

func TestAPeriodIsJudgedWhenItsFiguresAreWhole(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Date(2026, 3, 1, 12, 0, second, 0, time.UTC) }
	for _, c := range []struct {
		period     time.Duration
		now        time.Time
		last, next time.Time
	}{
		{time.Minute, at(5), at(-60), at(6)},
		{time.Minute, at(6), at(0), at(66)},
		{5 * time.Minute, at(30), at(0), at(66)},
		{10 * time.Second, at(25), at(10), at(26)},
		{30 * time.Second, at(26), at(20), at(36)},
	} {
		if last, next := Last(c.period, c.now), Next(c.period, c.now); !last.Equal(c.last) || !next.Equal(c.next) {
			t.Errorf("%v at %v: last %v, next %v; want %v, %v", c.period, c.now, last, next, c.last, c.next)
		}
	}
}

// Whatever comes: more breaching data never makes a ringing alarm fall silent, and reasons fit CloudWatch's limit.
func TestMoreBreachingDataNeverSilencesAnAlarm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		m := rapid.IntRange(1, n).Draw(t, "m")
		c := of(m, n, rapid.SampledFrom([]string{Missing, Ignore, Breaching, NotBreaching}).Draw(t, "missing"))
		was := rapid.SampledFrom([]platform.AlarmState{platform.AlarmOK, platform.AlarmRings, platform.AlarmUnknown}).Draw(t, "was")
		marks := make([]string, n+extra)
		for i := range marks {
			marks[i] = rapid.SampledFrom([]string{"0", "X", "-"}).Draw(t, "mark")
		}
		before := c.Evaluate(story(c, strings.Join(marks, " ")), noon, was)
		if len(before.Reason) > 1023 {
			t.Fatalf("the reason has %d characters", len(before.Reason))
		}
		i := rapid.IntRange(0, len(marks)-1).Draw(t, "i")
		if marks[i] != "0" {
			return
		}
		marks[i] = "X"
		after := c.Evaluate(story(c, strings.Join(marks, " ")), noon, was)
		if before.State == platform.AlarmRings && after.State != platform.AlarmRings {
			t.Fatalf("%d of %d, %s: %s, then %s", m, n, c.Missing, before.State, after.State)
		}
	})
}
