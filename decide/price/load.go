package price

import (
	"math"
	"time"
)

// Load is what comes, interval by interval, and then from the beginning again. Nothing is known of the moments in an interval.
//
// Requests that were seen are taken as they came. A load that is scaled down keeps each of them with the same probability; one
// that is scaled up has all of them, and what is more comes at random (a Poisson process) within the same hours.
type Load struct {
	every  time.Duration
	seen   []float64 // requests that were seen
	random []float64 // beside them, expected and at random
	keep   float64   // the probability that one that was seen comes
}

// Seen is a load as it was measured: requests in each interval, of at least a second, one after the other.
func Seen(every time.Duration, counts []float64) Load {
	return Load{every: every, seen: counts, random: make([]float64, len(counts)), keep: 1}
}

// Even is a load of so many requests a month that come at random, at any time alike.
func Even(monthly float64) Load {
	const minutes = 24 * 60 // nothing that is reckoned looks back for more than a day
	l := Load{every: time.Minute, seen: make([]float64, minutes), random: make([]float64, minutes), keep: 1}
	for i := range l.random {
		l.random[i] = monthly * l.every.Seconds() / Month.Seconds()
	}
	return l
}

// at is how many requests are expected in an interval.
func (l Load) at(i int) float64 { return l.keep*l.seen[i] + l.random[i] }

// span is the time that the intervals take together.
func (l Load) span() time.Duration { return l.every * time.Duration(len(l.seen)) }

// total is what is expected in all intervals.
func (l Load) total() (sum float64) {
	for i := range l.seen {
		sum += l.at(i)
	}
	return sum
}

// Monthly is how many requests come in a month.
func (l Load) Monthly() float64 {
	if len(l.seen) == 0 {
		return 0
	}
	return l.total() * Month.Seconds() / l.span().Seconds()
}

// Scaled is the load with a multiple of its requests.
func (l Load) Scaled(by float64) Load {
	out := Load{every: l.every, seen: l.seen, random: make([]float64, len(l.random)), keep: min(1, l.keep*by)}
	more := l.keep*by - out.keep
	hour := l.intervals(time.Hour)
	for from := 0; from < len(l.seen); from += hour {
		to, sum := min(from+hour, len(l.seen)), 0.0
		for i := from; i < to; i++ {
			sum += l.seen[i]
		}
		for i := from; i < to; i++ {
			out.random[i] = l.random[i]*by + more*sum/float64(to-from)
		}
	}
	return out
}

// intervals is how many there are to a time, at least one and at most all of them.
func (l Load) intervals(d time.Duration) int {
	return max(1, min(int((d+l.every-1)/l.every), len(l.seen)))
}

// peak is the greatest rate a second over any time of at least so long, and of an interval.
func (l Load) peak(over time.Duration) float64 {
	if len(l.seen) == 0 {
		return 0
	}
	n, sum, highest := l.intervals(over), 0.0, 0.0
	for i := range n {
		sum += l.at(i)
	}
	for i := range l.seen {
		highest = max(highest, sum)
		sum += l.at((i+n)%len(l.seen)) - l.at(i)
	}
	return highest / (float64(n) * l.every.Seconds())
}

// quiet is −ln of the probability that nothing comes in a part of an interval.
func (l Load) quiet(i int, part float64) float64 {
	q := l.random[i] * part
	if l.seen[i] > 0 {
		q -= l.seen[i] * math.Log1p(-min(1, l.keep*part)) // +Inf when it is sure to
	}
	return q
}

// awake is the part of the time in which instances are there that are given back when nothing has come for hold, and how often in
// a month they are started because something comes, which takes start.
//
// For requests at random the probability that none has come within the last hold is exp(−∫λ) over that time, whatever λ does;
// for requests that were seen it is 0 or 1. In an interval its middle stands for it, which is exact for a request alone and makes a
// burst up to an interval longer than it is. Each start then lengthens the cycle from one silence to the next, as in the renewal theorem.
func (l Load) awake(hold, start time.Duration) (part, starts float64) {
	n := len(l.seen)
	if n == 0 {
		return 0, 0
	}
	w := l.newWindow(hold)
	silent := 0.0
	for i := range n {
		silent += math.Exp(-(l.quiet(i, 0.5) + w.before(i, 0.5)))
		starts += math.Exp(-w.before(i, 0)) * -math.Expm1(-l.quiet(i, 1))
	}
	longer := 1 + starts*start.Seconds()/l.span().Seconds()
	return 1 - silent/float64(n)/longer, starts / longer * Month.Seconds() / l.span().Seconds()
}

// company is the rate a second at which a request finds that others come.
func (l Load) company() float64 {
	squares := 0.0
	for i := range l.seen {
		squares += l.at(i) * l.at(i)
	}
	if squares == 0 {
		return 0
	}
	return squares / l.total() / l.every.Seconds()
}

// window sums quiet over a stretch that slides over the intervals, which follow each other in a circle.
type window struct {
	load   Load
	length float64   // in intervals
	sums   []float64 // of the finite ones among the first so many
	sure   []int     // how many of them are not finite
}

func (l Load) newWindow(hold time.Duration) window {
	n := len(l.seen)
	length := min(max(hold, l.every, time.Minute).Seconds()/l.every.Seconds(), float64(n))
	w := window{load: l, length: length, sums: make([]float64, n+1), sure: make([]int, n+1)}
	for i := range n {
		q := l.quiet(i, 1)
		w.sums[i+1], w.sure[i+1] = w.sums[i], w.sure[i]
		if math.IsInf(q, 1) {
			w.sure[i+1]++
		} else {
			w.sums[i+1] += q
		}
	}
	return w
}

// before sums over the window but for its last part, which lies in interval i and is not counted, up to the beginning of i.
func (w window) before(i int, last float64) float64 {
	rest := w.length - last
	whole := int(rest)
	q := w.stretch(i-whole, whole)
	if broken := rest - float64(whole); broken > 1e-9 {
		q += w.load.quiet(w.wrap(i-whole-1), broken)
	}
	return q
}

func (w window) wrap(i int) int { n := len(w.load.seen); return (i%n + n) % n }

// stretch sums over intervals from one on, around the circle.
func (w window) stretch(from, count int) float64 {
	n := len(w.load.seen)
	if count <= 0 {
		return 0
	}
	if count >= n {
		return w.span(0, n)
	}
	from = w.wrap(from)
	if from+count <= n {
		return w.span(from, from+count)
	}
	return w.span(from, n) + w.span(0, from+count-n)
}

func (w window) span(from, to int) float64 {
	if w.sure[to] > w.sure[from] {
		return math.Inf(1)
	}
	return max(0, w.sums[to]-w.sums[from])
}

// queued is the load as instances that work it off from a queue see it, each request taking so many seconds of one, and how
// many seconds in a month those beside the first one work.
func (l Load) queued(each float64, instances int64) (busy Load, beside float64) {
	busy = Load{every: l.every, seen: l.seen, random: make([]float64, len(l.random)), keep: l.keep}
	second := l.every.Seconds()
	room := float64(instances) * second // instance-seconds of an interval
	waiting := 0.0
	for round := range 2 { // the first one fills the queue that the beginning finds
		beside = 0
		for i := range l.seen {
			busy.random[i] = l.random[i]
			if each > 0 {
				busy.random[i] += min(waiting, room) / each
			}
			work := waiting + l.at(i)*each
			done := min(work, room)
			waiting = work - done
			beside += max(0, done-second)
		}
		if round == 0 && waiting > float64(instances)*l.span().Seconds() {
			break // it only grows; whoever asks has seen to it that it does not
		}
	}
	if len(l.seen) > 0 {
		beside *= Month.Seconds() / l.span().Seconds()
	}
	return busy, beside
}

// batches is how many periods of a month have something to work off.
func (l Load) batches(every time.Duration) float64 {
	if len(l.seen) == 0 {
		return 0
	}
	n, share, periods := l.intervals(every), 0.0, 0.0
	for from := 0; from < len(l.seen); from += n {
		to, q := min(from+n, len(l.seen)), 0.0
		for i := from; i < to; i++ {
			q += l.quiet(i, 1)
		}
		part := float64(to-from) * l.every.Seconds() / every.Seconds() // of a period that was seen
		share -= math.Expm1(-q/part) * part
		periods += part
	}
	return share / periods * Month.Seconds() / every.Seconds()
}
