package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/stint-ml/stint/drivers/market/trace"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/sim"
)

// printSimulated shows the figures as a table and the courses as lanes.
func (a *app) printSimulated(s simulated) {
	p := a.onOut
	a.print("%s of work before a deadline of %s, %s from each launch to progress, on %s", p.bold(inHours(s.Work)), p.bold(inHours(s.Deadline)),
		inHours(s.Changeover), s.InstanceType)
	a.print("%s", p.dim(fmt.Sprintf("trace %s; an hour costs %s on demand, %s", s.Trace.Name, platform.Money(s.OnDemand), s.spotPrices())))
	if end := s.Trace.Length; end > 0 && end < s.Deadline {
		a.print("%s", p.yellow(fmt.Sprintf("The trace ends after %s; what held then is taken to go on.", inHours(end))))
	}
	a.print("")
	t := table{head: []string{"POLICY", ">SPOT", ">ON DEMAND", ">WAITING", ">CHANGEOVER", ">INTERRUPTED", ">COST", ">OF ON DEMAND", ">OVER OPTIMUM", ">ENDED", ""}}
	for _, r := range s.runs {
		over, how := "", p.green(fate(r))
		if percent, known := s.over(r); known {
			over = fmt.Sprintf("%+.1f %%", percent)
		}
		if r.Late {
			how = p.red(fate(r))
		}
		t.add(r.Policy, hours(r.Time(sim.OnSpot)), hours(r.Time(sim.OnDemand)), hours(r.Time(sim.Waiting)), hours(r.Time(sim.ChangingOver)), fmt.Sprint(r.Interruptions),
			cents(r.Cost), fmt.Sprintf("%.1f %%", s.ofOnDemand(r)), over, hours(r.Ended()), how)
	}
	o := s.optimum
	t.add(p.dim(s.optimumName()), hours(o.Time(sim.OnSpot)), hours(o.Time(sim.OnDemand)), hours(o.Time(sim.Waiting)), hours(o.Time(sim.ChangingOver)), "",
		cents(o.Cost), fmt.Sprintf("%.1f %%", s.ofOnDemand(o)), "", hours(o.Ended()), p.dim("knowing the future"))
	for _, line := range t.lines(p) {
		a.print("%s", line)
	}
	a.print("")
	for _, line := range a.lanes(s) {
		a.print("%s", line)
	}
	for _, r := range s.runs {
		if lost := r.Lost(); lost >= time.Second {
			a.print("%s", p.dim(fmt.Sprintf("%s did %s of its work again.", r.Policy, duration(lost))))
		}
	}
}

// spotPrices tells the price on spot, or the least and the most.
func (s simulated) spotPrices() string {
	rows, err := s.Trace.Rows(s.InstanceType)
	if err != nil {
		return ""
	}
	least, most := platform.HourlyRate{}, platform.HourlyRate{}
	for _, r := range rows {
		rate := trace.Rate(r, s.OnDemand, s.Discount)
		if least.Nanos == 0 || rate.Nanos < least.Nanos {
			least = rate
		}
		if rate.Nanos > most.Nanos {
			most = rate
		}
	}
	if least == most {
		return fmt.Sprintf("%s on spot", platform.Money(least))
	}
	return fmt.Sprintf("%s to %s on spot", platform.Money{Nanos: least.Nanos}, platform.Money(most))
}

// inHours shows a length of time in hours from an hour on: 48 h, 1.5 h, 2 min.
func inHours(d time.Duration) string {
	if d > 0 && d < time.Hour {
		return duration(d)
	}
	return strconv.FormatFloat(math.Round(100*d.Hours())/100, 'f', -1, 64) + " h"
}

// hours shows a time in hours, as spot jobs are long and are compared.
func hours(d time.Duration) string { return fmt.Sprintf("%.1f h", d.Hours()) }

// cents shows an amount to a hundredth, for a comparison.
func cents(m platform.Money) string {
	hundredths := (m.Nanos + 5_000_000) / 10_000_000
	return strings.TrimSpace(fmt.Sprintf("%d.%02d %s", hundredths/100, hundredths%100, m.Currency))
}

// mark is how a stay looks in a lane: a letter where there are no colours, and for whoever sees none.
type mark struct{ plain, block, code string }

// The colours are told apart by people who see red and green alike; blocks differ without any colour too.
var marks = map[sim.Stay]mark{
	sim.Waiting:      {".", "·", "38;5;244"},
	sim.ChangingOver: {"x", "▌", "38;5;231"},
	sim.OnSpot:       {"S", "█", "38;5;32"},
	sim.OnDemand:     {"D", "▓", "38;5;214"},
}

// offeredMark is how capacity on offer looks; a space is none.
var offeredMark = mark{"=", "▄", "38;5;37"}

func (m mark) draw(p paint, n int) string {
	if p {
		return p.with(m.code, strings.Repeat(m.block, n))
	}
	return strings.Repeat(m.plain, n)
}

// lanes draws the market, the optimum and each run along the time.
func (a *app) lanes(s simulated) []string {
	p := a.onOut
	label := len(s.optimumName())
	for _, r := range s.runs {
		label = max(label, len(r.Policy))
	}
	width := max(a.outWidth()-label-2, 20)
	end := s.end()
	title := func(name string) string { return name + strings.Repeat(" ", label-len(name)) + "  " }
	out := []string{title("market") + s.marketLane(p, width, end), p.dim(title(s.optimumName())) + lane(p, s.optimum.Spans, width, end)}
	for _, r := range s.runs {
		out = append(out, title(r.Policy)+lane(p, r.Spans, width, end))
	}
	out = append(out, title("")+p.dim(scale(width, end, s.Deadline)))
	legend := fmt.Sprintf("%s spot  %s on demand  %s waiting  %s changeover  %s offered", marks[sim.OnSpot].draw(p, 1), marks[sim.OnDemand].draw(p, 1),
		marks[sim.Waiting].draw(p, 1), marks[sim.ChangingOver].draw(p, 1), offeredMark.draw(p, 1))
	return append(out, title("")+legend)
}

// end is where the lanes end: at the deadline, or with the last run.
func (s simulated) end() time.Duration {
	end := s.Deadline
	for _, r := range s.runs {
		end = max(end, r.Ended())
	}
	return end
}

// lane draws spans: a column looks as most of its time was spent.
func lane(p paint, spans []sim.Span, width int, end time.Duration) string {
	columns := make([]mark, width)
	for i := range columns {
		from, to := end*time.Duration(i)/time.Duration(width), end*time.Duration(i+1)/time.Duration(width)
		var share [sim.OnDemand + 1]time.Duration
		most, filled := sim.Stay(0), time.Duration(0)
		for _, span := range spans {
			if in := min(to, span.To) - max(from, span.From); in > 0 {
				share[span.Stay] += in
				filled += in
				if share[span.Stay] > share[most] {
					most = span.Stay
				}
			}
		}
		columns[i] = marks[most]
		if 2*filled < to-from { // it has ended
			columns[i] = mark{" ", " ", ""}
		}
	}
	return drawRuns(p, columns)
}

// marketLane draws when there was capacity for most of a column's time.
func (s simulated) marketLane(p paint, width int, end time.Duration) string {
	spans := s.offered(end)
	columns := make([]mark, width)
	for i := range columns {
		from, to := end*time.Duration(i)/time.Duration(width), end*time.Duration(i+1)/time.Duration(width)
		var offered time.Duration
		for _, span := range spans {
			offered += max(0, min(to, span.To)-max(from, span.From))
		}
		columns[i] = mark{" ", " ", ""}
		if 2*offered >= to-from {
			columns[i] = offeredMark
		}
	}
	return drawRuns(p, columns)
}

// offered are the stretches with capacity until an end.
func (s simulated) offered(end time.Duration) []sim.Span {
	rows, err := s.Trace.Rows(s.InstanceType)
	if err != nil {
		return nil
	}
	var spans []sim.Span
	for i, r := range rows {
		to := end
		if i+1 < len(rows) {
			to = min(end, rows[i+1].From)
		}
		if r.Available && to > r.From {
			spans = append(spans, sim.Span{From: r.From, To: to})
		}
	}
	return spans
}

// drawRuns draws columns, equal ones together.
func drawRuns(p paint, columns []mark) string {
	var b strings.Builder
	for from := 0; from < len(columns); {
		to := from + 1
		for to < len(columns) && columns[to] == columns[from] {
			to++
		}
		b.WriteString(columns[from].draw(p, to-from))
		from = to
	}
	return strings.TrimRight(b.String(), " ")
}

// scale is the line below the lanes: the hours, and | at the deadline.
func scale(width int, end, deadline time.Duration) string {
	line := []byte(strings.Repeat(" ", width+12))
	column := func(at time.Duration) int { return min(int(int64(at)*int64(width)/int64(end)), width-1) }
	step := roundHours(end, width/10)
	for at := time.Duration(0); at <= end; at += step {
		copy(line[column(at):], fmt.Sprintf("%gh", at.Hours()))
	}
	copy(line[column(deadline):], "|deadline ")
	return strings.TrimRight(string(line), " ")
}

// roundHours is a step between marks of a scale that gives at most so many, in hours that people count by.
func roundHours(end time.Duration, most int) time.Duration {
	steps := []time.Duration{
		time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
		24 * time.Hour, 48 * time.Hour, 96 * time.Hour,
	}
	for _, step := range steps {
		if int(end/step) <= max(most, 1) {
			return step
		}
	}
	return 7 * 24 * time.Hour
}

// outWidth is how many columns results may take.
func (a *app) outWidth() int {
	if f, ok := a.out.(*os.File); ok {
		if w := terminalWidth(f); w > 40 {
			return w - 1
		}
	}
	return 100
}
