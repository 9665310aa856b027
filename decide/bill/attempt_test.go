package bill

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

func usdRate(n platform.Nanos) platform.HourlyRate { return platform.HourlyRate(usd(n)) }

// onSpot is a job at 100 an hour with an attempt that started at t0 and costs 30.
func onSpot() (*platform.TrainingJob, *platform.Attempt) {
	job := &platform.TrainingJob{Status: platform.TrainingStatus{ARN: "arn:job", Rate: usdRate(100_000_000_000)}}
	a := &platform.Attempt{
		Number: 1, Agent: "agent", Purchase: platform.Spot, Started: t0, Prices: []platform.Price{{Rate: usdRate(30_000_000_000)}},
	}
	return job, a
}

func TestAPriceChangeIsALineOfItsOwn(t *testing.T) {
	t.Parallel()
	job, a := onSpot()
	entries := Begin(job, a)
	if !Reprice(a, usdRate(40_000_000_000), t0.Add(100*time.Second+1)) {
		t.Fatal("the change is no news")
	}
	if Reprice(a, usdRate(40_000_000_000), t0.Add(200*time.Second)) {
		t.Error("the same price again is news")
	}
	if more := Pass(job, a, t0.Add(101*time.Second)); len(more) != 0 {
		t.Errorf("the agent has not lived past the change, yet %+v", more)
	}
	entries = append(entries, Pass(job, a, t0.Add(150*time.Second))...)
	last, billable := Finish(job, a, t0.Add(360*time.Second+1))
	s := agree(t, append(entries, last...), a, billable)
	var lines []string
	for _, l := range s.Lines {
		lines = append(lines, fmt.Sprintf("%s: %d s at %v for %v", l.Line, l.Seconds, platform.Money(l.Rate), l.Amount))
	}
	want := []string{"agent: 101 s at 30.00 USD for 0.841666667 USD", "agent/2: 260 s at 40.00 USD for 2.888888889 USD"}
	if !slices.Equal(lines, want) || billable != 30+104 {
		t.Errorf("%q, %d s billable", lines, billable)
	}
}

// agree sees that the ledger of an attempt that has ended says what the attempt does.
func agree(t interface{ Fatalf(string, ...any) }, entries []platform.LedgerEntry, a *platform.Attempt, billable platform.Seconds) Statement {
	s, err := State(entries, t0)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if s.Open || s.Seconds != a.Seconds || s.Billable != billable || len(s.Lines) != len(a.Prices) || a.Seconds != Seconds(a.Started, a.Ended) {
		t.Fatalf("%d s and %d billable in the ledger, %d and %d in the history; lines %+v, prices %+v", s.Seconds, s.Billable, a.Seconds, billable, s.Lines, a.Prices)
	}
	seen := map[string]bool{}
	for i, l := range s.Lines {
		if seen[l.Line] {
			t.Fatalf("two lines %s", l.Line)
		}
		seen[l.Line] = true
		if i > 0 && (!l.Start.Equal(s.Lines[i-1].At) || l.Rate == s.Lines[i-1].Rate) {
			t.Fatalf("line %d begins at %v with %v, after one until %v with %v", i, l.Start, l.Rate, s.Lines[i-1].At, s.Lines[i-1].Rate)
		}
	}
	return s
}

func TestAChangeThatTheAttemptDidNotLiveToSeeCostsNothing(t *testing.T) {
	t.Parallel()
	job, a := onSpot()
	entries := Begin(job, a)
	Reprice(a, usdRate(90_000_000_000), t0.Add(time.Hour)) // by the server's clock, before the end is heard of
	last, billable := Finish(job, a, t0.Add(100*time.Second))
	if s, err := State(append(entries, last...), t0); err != nil || len(s.Lines) != 1 || a.Seconds != 100 || billable != 30 || len(a.Prices) != 1 {
		t.Errorf("%+v, %v, %d s, %d billable, prices %v", s, err, a.Seconds, billable, a.Prices)
	}
}

func TestAPriceThatIsCalledOffWithinAMinuteLeavesNoLine(t *testing.T) {
	t.Parallel()
	_, a := onSpot()
	Reprice(a, usdRate(50_000_000_000), t0.Add(10*time.Second))
	if len(a.Prices) != 2 || !a.Prices[1].From.Equal(t0.Add(time.Minute)) {
		t.Fatalf("%+v", a.Prices)
	}
	if !Reprice(a, usdRate(30_000_000_000), t0.Add(20*time.Second)) || len(a.Prices) != 1 {
		t.Errorf("%+v", a.Prices)
	}
}

func TestThePriceAtTheStartCounts(t *testing.T) {
	t.Parallel()
	_, a := onSpot()
	a.Started = time.Time{}
	if !Reprice(a, usdRate(31_000_000_000), t0) || len(a.Prices) != 1 || a.Prices[0].Rate != usdRate(31_000_000_000) {
		t.Errorf("%+v", a.Prices)
	}
}

// Whatever the prices do and whenever the agent is heard of, even by another clock: each line is opened once and closed
// once, no two overlap, and their seconds and what is billable add up to the attempt's.
func TestLinesAddUpToTheAttempt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		job, a := onSpot()
		entries := Begin(job, a)
		server, agent := t0, t0
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			step := time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "step"))
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				server = server.Add(step - time.Duration(rapid.IntRange(0, 9).Draw(t, "back"))*time.Minute) // it may be set back
				Reprice(a, usdRate(platform.Nanos(rapid.Int64Range(0, 4).Draw(t, "price"))*10_000_000_000), server)
			default:
				agent = agent.Add(step)
				entries = append(entries, Pass(job, a, agent)...)
			}
		}
		end := agent.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "end")))
		last, billable := Finish(job, a, end)
		s := agree(t, append(entries, last...), a, billable)
		if !a.Ended.Equal(end) && end.After(s.Lines[len(s.Lines)-1].Start) {
			t.Fatalf("ended %v, not %v", a.Ended, end)
		}
	})
}
