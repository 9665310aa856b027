package sqlite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/drivers/telemetry/sqlite"
	"github.com/stint-ml/stint/platform"
)

const perBatch = 1000

// batch is lines of 100 bytes as a training script prints them, a millisecond apart.
func batch(seq int64) platform.LogBatch {
	b := platform.LogBatch{Group: "g", Stream: "job/algo-1", Producer: "p", Seq: seq}
	random := rand.New(rand.NewPCG(uint64(seq), 0))
	for i := range int64(perBatch) {
		line := fmt.Sprintf("epoch %d step %d loss=%.6f accuracy=%.4f lr=%.2e throughput=%d samples/s ", seq, i, random.Float64(), random.Float64(), random.Float64(), random.IntN(10000))
		b.Events = append(b.Events, platform.LogEvent{
			Timestamp: time.UnixMilli(1_700_000_000_000 + (seq*perBatch + i)),
			Message:   line + strings.Repeat("#", 100-len(line)),
		})
	}
	return b
}

// processorTime reports what an operation costs the processors: unlike the time on the clock it hardly depends on what
// else the machine does. It returns the function to call at the end.
func processorTime(b *testing.B) func() {
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op") }
}

// BenchmarkAppend is one producer with batches of 1,000 lines of 100 bytes.
func BenchmarkAppend(b *testing.B) {
	s := open(b, b.TempDir())
	defer func() { _ = s.Close() }()
	ready := make([]platform.LogBatch, 20)
	for i := range ready {
		ready[i] = batch(int64(i))
	}
	defer processorTime(b)()
	seq := int64(0)
	for b.Loop() {
		seq++
		next := ready[seq%int64(len(ready))]
		next.Seq = seq
		if err := s.Append(context.Background(), next); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*perBatch)/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkAppendLine is the worst producer: one line at a time.
func BenchmarkAppendLine(b *testing.B) {
	s := open(b, b.TempDir())
	defer func() { _ = s.Close() }()
	one := batch(0)
	one.Events = one.Events[:1]
	defer processorTime(b)()
	for b.Loop() {
		one.Seq++
		if err := s.Append(context.Background(), one); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLarge measures reading in a stream of 10 million events.
func BenchmarkLarge(b *testing.B) {
	const batches = 10_000
	s := open(b, b.TempDir())
	defer func() { _ = s.Close() }()
	ready := make([]platform.LogBatch, 20)
	for i := range ready {
		ready[i] = batch(int64(i))
	}
	for seq := range int64(batches) {
		next := ready[seq%int64(len(ready))]
		next.Seq = seq
		for i := range next.Events {
			next.Events[i].Timestamp = time.UnixMilli(1_700_000_000_000 + seq*perBatch + int64(i))
		}
		if err := s.Append(context.Background(), next); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Forward", func(b *testing.B) {
		benchmarkPages(b, func() int {
			return page(b, s, platform.LogRead{From: rand.Int64N(batches*perBatch - 10_000), Forward: true})
		})
	})
	b.Run("Backward", func(b *testing.B) {
		benchmarkPages(b, func() int { return page(b, s, platform.LogRead{From: 10_000 + rand.Int64N(batches*perBatch-10_000)}) })
	})
	b.Run("ByTime", func(b *testing.B) {
		benchmarkPages(b, func() int {
			start := time.UnixMilli(1_700_000_000_000 + rand.Int64N(batches*perBatch-10_000))
			return page(b, s, platform.LogRead{Forward: true, Start: start})
		})
	})
	b.Run("Filter", func(b *testing.B) {
		benchmarkPages(b, func() int {
			start := time.UnixMilli(1_700_000_000_000 + rand.Int64N(batches*perBatch-10_000))
			events, _, err := s.Filter(context.Background(), platform.LogFilter{Group: "g", Start: start})
			if err != nil {
				b.Fatal(err)
			}
			return len(events)
		})
	})
}

func page(b *testing.B, s *sqlite.Telemetry, q platform.LogRead) int {
	q.Group, q.Stream, q.Limit, q.MaxBytes = "g", "job/algo-1", 10_000, 1_000_000
	events, err := s.Read(context.Background(), q)
	if err != nil {
		b.Fatal(err)
	}
	return len(events)
}

func benchmarkPages(b *testing.B, page func() int) {
	defer processorTime(b)()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if n := page(); n != 10_000 {
			b.Fatalf("a page of %d", n)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
