package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stint-ml/stint/decide/spot"
	"github.com/stint-ml/stint/decide/spot/optimal"
	"github.com/stint-ml/stint/drivers/market/trace"
	"github.com/stint-ml/stint/platform"
)

// SpotJob is a managed spot job that has a world to itself, in which a recorded market is replayed.
type SpotJob struct {
	Trace        *trace.Trace
	InstanceType platform.InstanceType
	OnDemand     platform.HourlyRate
	Discount     float64 // of spot against on-demand where the trace tells no price
	Work         time.Duration
	Deadline     time.Duration // since the job's creation, which is the trace's beginning
	Changeover   time.Duration // from each launch until the user's code makes progress
}

// Stay is what becomes of a job's time.
type Stay int

// The stays. A changeover is paid for and makes no progress.
const (
	Waiting Stay = iota
	ChangingOver
	OnSpot
	OnDemand
)

// String is the stay as a person reads it.
func (s Stay) String() string { return [...]string{"waiting", "changeover", "spot", "on-demand"}[s] }

// Span is a stretch of time of one stay, since the job's creation.
type Span struct {
	From, To time.Duration
	Stay     Stay
}

// SpotRun is what became of a SpotJob under a policy.
type SpotRun struct {
	Policy        string
	Spans         []Span // without a gap from the creation to the end
	Cost          platform.Money
	Interruptions int           // of attempts, by the market or to move
	Done          time.Duration // work that was kept, Work if it finished
	Finished      bool
	Late          bool // it did not finish, or after the deadline
}

// Ended is when the job ended.
func (r SpotRun) Ended() time.Duration {
	if len(r.Spans) == 0 {
		return 0
	}
	return r.Spans[len(r.Spans)-1].To
}

// Time is how long the job stayed so.
func (r SpotRun) Time(s Stay) (sum time.Duration) {
	for _, span := range r.Spans {
		if span.Stay == s {
			sum += span.To - span.From
		}
	}
	return sum
}

// Lost is the work that had to be done again.
func (r SpotRun) Lost() time.Duration { return r.Time(OnSpot) + r.Time(OnDemand) - r.Done }

// add appends a span to a run; one that takes no time or goes on as before leaves no mark of its own.
func (r *SpotRun) add(from, to time.Duration, s Stay) {
	n := len(r.Spans)
	switch {
	case to <= from:
	case n > 0 && r.Spans[n-1].Stay == s && r.Spans[n-1].To == from:
		r.Spans[n-1].To = to
	default:
		r.Spans = append(r.Spans, Span{from, to, s})
	}
}

// check refuses a job that no world can hold.
func (j SpotJob) check() error {
	switch {
	case j.Work <= 0:
		return platform.Errorf(platform.Invalid, "", "a job's work must be more than 0, not %v", j.Work)
	case j.Changeover < 0:
		return platform.Errorf(platform.Invalid, "", "a changeover cannot take %v", j.Changeover)
	case j.Deadline < j.Work:
		return platform.Errorf(platform.Invalid, "", "a deadline of %v leaves no time for %v of work", j.Deadline, j.Work)
	case j.Deadline > longestJob:
		return platform.Errorf(platform.Invalid, "", "a deadline of %v is more than the %v that a job may wait and run", j.Deadline, longestJob)
	case j.OnDemand.Nanos <= 0:
		return platform.Errorf(platform.Invalid, "", "an on-demand price of %s makes no sense", platform.Money(j.OnDemand))
	}
	_, err := j.Trace.Rows(j.InstanceType)
	return err
}

// longestJob is what AWS allows MaxWaitTimeInSeconds to be, a month.
const longestJob = 30 * 24 * time.Hour

// AllOnDemand is what the job costs when it runs on demand from the beginning to the end.
func (j SpotJob) AllOnDemand() platform.Money {
	return j.OnDemand.Times(wholeSeconds(j.Work+j.Changeover), 1)
}

func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// rate is the price of an instance-hour on spot at a moment.
func (j SpotJob) rate(row trace.Row) platform.HourlyRate {
	return trace.Rate(row, j.OnDemand, j.Discount)
}

// Optimum is the cheapest course that holds the deadline for whoever knows the whole trace beforehand: no policy can cost
// less. exact is false when the search had to be made coarser than the trace, or its prices change, which the search does
// not know; then the course is a good one, yet a better one may exist.
func (j SpotJob) Optimum() (run SpotRun, exact bool, err error) {
	if err := j.check(); err != nil {
		return SpotRun{}, false, err
	}
	rows, err := j.Trace.Rows(j.InstanceType)
	if err != nil {
		return SpotRun{}, false, err
	}
	tick, exact := j.searchTick(rows)
	average, same := j.averageRate(rows)
	task := spot.Job{
		Work: j.Work, Deadline: j.Deadline, Changeover: j.Changeover, Tick: tick, PriceRatio: float64(j.OnDemand.Nanos) / average,
	}
	course, err := optimal.Solve(task, trace.Sample(rows, tick, int(j.Deadline/tick)))
	if err != nil {
		if errors.Is(err, optimal.ErrUnreachable) {
			err = platform.Errorf(platform.Invalid, "", "a deadline of %v cannot be held: %v of work and one changeover of %v do not fit", j.Deadline, j.Work, j.Changeover)
		}
		return SpotRun{}, false, err
	}
	run = j.follow(course, tick)
	run.Policy, run.Done, run.Finished = "optimum", j.Work, true
	run.Cost, err = j.price(run.Spans, rows)
	return run, exact && same, err
}

// searchTick is the longest tick on whose bounds the trace changes and the deadline lies, unless the search would become too
// large: then it is as short as can be.
func (j SpotJob) searchTick(rows []trace.Row) (tick time.Duration, exact bool) {
	const positions = 60_000_000 // of the search, a byte each
	tick = j.Deadline
	changes := 1
	for _, row := range rows {
		if row.From < j.Deadline {
			tick = divisor(tick, row.From)
			changes++
		}
	}
	size := func(tick time.Duration) float64 {
		entries := float64(changes) + 1
		if j.Changeover > 0 {
			entries = min(entries, float64((j.Deadline-j.Work)/j.Changeover))
		}
		return float64(j.Deadline/tick) * 3 * (float64((j.Deadline-j.Work)/tick) + 1) * (entries + 1)
	}
	// A long tick wastes of each changeover and of the end what is left of it.
	for tick > time.Minute && tick%2 == 0 && size(tick/2) < positions/4 {
		tick /= 2
	}
	exact = true
	for size(tick) > positions {
		tick, exact = tick*2, false
	}
	return tick, exact
}

// divisor is the greatest common one.
func divisor(a, b time.Duration) time.Duration {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// averageRate is the spot price over the hours before the deadline in which there is capacity, in nano-units, and whether it
// is the same in all of them.
func (j SpotJob) averageRate(rows []trace.Row) (average float64, same bool) {
	var paid, hours float64
	same = true
	var first platform.Nanos
	for i, row := range rows {
		to := j.Deadline
		if i+1 < len(rows) {
			to = min(to, rows[i+1].From)
		}
		if !row.Available || to <= row.From {
			continue
		}
		rate := j.rate(row).Nanos
		if first == 0 {
			first = rate
		}
		same = same && rate == first
		paid, hours = paid+float64(rate)*(to-row.From).Hours(), hours+(to-row.From).Hours()
	}
	if hours == 0 || paid == 0 {
		return float64(j.OnDemand.Nanos), same // nobody will ever pay it
	}
	return paid / hours, same
}

// piece is a stretch of a course in one place.
type piece struct {
	from, to time.Duration
	where    spot.Choice
}

// pieces cuts a course where it moves.
func pieces(course spot.Course, tick time.Duration) (all []piece) {
	for from := 0; from < len(course); {
		to := from + 1
		for to < len(course) && course[to] == course[from] {
			to++
		}
		all = append(all, piece{time.Duration(from) * tick, time.Duration(to) * tick, course[from]})
		from = to
	}
	return all
}

// follow lays a course over the time. What its whole ticks do beyond the work is cut off where it is dearest: from the end of
// the last stretch on demand, if there is one, else from the very end.
func (j SpotJob) follow(course spot.Course, tick time.Duration) SpotRun {
	all := pieces(course, tick)
	surplus, cut := -j.Work, -1
	for i, p := range all {
		if p.where == spot.Wait {
			continue
		}
		surplus += p.to - p.from - j.Changeover
		if cut < 0 || p.where == spot.OnDemand || all[cut].where == spot.Spot {
			cut = i
		}
	}
	var run SpotRun
	for i, p := range all {
		end := p.to
		if i == cut {
			end -= min(surplus, p.to-p.from)
		}
		run.stretch(p.from, end, p.where, j.Changeover)
		run.add(end, p.to, Waiting)
	}
	if n := len(run.Spans); n > 0 && run.Spans[n-1].Stay == Waiting {
		run.Spans = run.Spans[:n-1]
	}
	return run
}

// stretch adds a stretch in one place, with its changeover.
func (r *SpotRun) stretch(from, to time.Duration, where spot.Choice, changeover time.Duration) {
	if where == spot.Wait {
		r.add(from, to, Waiting)
		return
	}
	begun := min(from+changeover, to)
	r.add(from, begun, ChangingOver)
	r.add(begun, to, stayOf(where))
}

func stayOf(where spot.Choice) Stay {
	switch where {
	case spot.Spot:
		return OnSpot
	case spot.OnDemand:
		return OnDemand
	}
	return Waiting
}

// price is what spans cost: a changeover is charged at the price of what follows it.
func (j SpotJob) price(spans []Span, rows []trace.Row) (sum platform.Money, err error) {
	sum.Currency = j.OnDemand.Currency
	for i, span := range spans {
		stay := span.Stay
		if stay == ChangingOver && i+1 < len(spans) {
			stay = spans[i+1].Stay
		}
		var paid platform.Money
		switch stay {
		case OnDemand:
			paid = j.OnDemand.Times(wholeSeconds(span.To-span.From), 1)
		case OnSpot:
			paid, err = j.onSpot(span, rows)
		}
		if err == nil && paid.Nanos != 0 {
			sum, err = sum.Plus(paid)
		}
		if err != nil {
			return sum, fmt.Errorf("price the optimum: %w", err)
		}
	}
	return sum, nil
}

// onSpot is what a span costs whose price may change on the way.
func (j SpotJob) onSpot(span Span, rows []trace.Row) (sum platform.Money, err error) {
	for i := max(0, slices.IndexFunc(rows, func(r trace.Row) bool { return r.From > span.From })-1); i < len(rows); i++ {
		from, to := max(span.From, rows[i].From), span.To
		if i+1 < len(rows) {
			to = min(to, rows[i+1].From)
		}
		if to <= from {
			continue
		}
		if sum, err = sum.Plus(j.rate(rows[i]).Times(wholeSeconds(to-from), 1)); err != nil {
			return sum, err
		}
	}
	return sum, nil
}
