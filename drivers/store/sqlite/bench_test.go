package sqlite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/drivers/store/sqlite"
	"github.com/stint-ml/stint/platform"
)

const jobs = 100_000

func open(tb testing.TB, path string) *sqlite.Store {
	tb.Helper()
	s, err := sqlite.Open(tb.Context(), path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

var doc = func() []byte {
	d := make([]byte, 3000)
	for i := range d {
		d[i] = "abcdefghijklmnopqrstuvwxyz{}\":, "[i*i%32]
	}
	return d
}()

// job has a name as the SageMaker SDK makes them; one in 1,000 has failed.
func job(i int) platform.Record {
	r := platform.Record{
		Key:     platform.Key{Kind: "training-job", Name: fmt.Sprintf("sagemaker-xgboost-%08x-%09d", uint32(i)*2654435761, i)},
		State:   "Completed",
		Created: time.Unix(1_700_000_000+int64(i), 0), Modified: time.Unix(1_700_000_000+int64(i), 0),
		Doc: doc,
	}
	if i%1000 == 0 {
		r.State = "Failed"
	}
	return r
}

func fill(tb testing.TB, s platform.Store, n int) {
	tb.Helper()
	for i := 0; i < n; {
		var tx platform.Tx
		for ; i < n && len(tx.Puts) < 500; i++ {
			tx.Puts = append(tx.Puts, platform.Put{Record: job(i)})
		}
		if err := s.Commit(context.Background(), tx); err != nil {
			tb.Fatal(err)
		}
	}
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

func BenchmarkCommit(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "store.db"))
	defer processorTime(b)()
	var next atomic.Int64
	b.SetParallelism(16 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tx := platform.Tx{Puts: []platform.Put{{Record: job(int(next.Add(1)))}}}
			if err := s.Commit(context.Background(), tx); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkLarge measures everything that depends on how much there is, on one store of 100,000 records.
func BenchmarkLarge(b *testing.B) {
	path := filepath.Join(b.TempDir(), "store.db")
	s := open(b, path)
	fill(b, s, jobs)
	b.Run("Get/hot", func(b *testing.B) { benchmarkGet(b, s, 1000) })
	b.Run("Get/cold", func(b *testing.B) { benchmarkGet(b, s, jobs) })
	at := func(i int) time.Time { return time.Unix(1_700_000_000+int64(i), 0) }
	for name, q := range map[string]platform.Query{
		"all":       {Descending: true},
		"nothing":   {Descending: true, NameContains: "nothing-like-it"},
		"one":       {NameContains: "boost-00000000-", Descending: true},
		"oldest":    {Descending: true, CreatedBefore: at(50)},
		"failed":    {Descending: true, States: []string{"Failed"}, NameContains: "XGBoost"},
		"unknown":   {States: []string{"Stopping"}, NameContains: "xgboost"},
		"ascending": {NameContains: "boost", CreatedAfter: at(jobs / 2)},
		"adverse":   {Sort: platform.ByState, NameContains: "boost"},
	} {
		b.Run("List/"+name, func(b *testing.B) { benchmarkList(b, s, q) })
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("Open", func(b *testing.B) { benchmarkOpen(b, path) })
}

// benchmarkGet reads of so many records at random: 1,000 fit into the cache, all of them do not.
func benchmarkGet(b *testing.B, s platform.Store, among int) {
	keys := make([]platform.Key, among)
	for i := range keys {
		keys[i] = job(i).Key
	}
	defer processorTime(b)()
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		random := rand.New(rand.NewPCG(uint64(next.Add(1)), 0))
		for pb.Next() {
			if _, err := s.Get(context.Background(), keys[random.IntN(among)]); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
}

func benchmarkList(b *testing.B, s platform.Store, q platform.Query) {
	q.Kind, q.Limit = "training-job", 100
	defer processorTime(b)()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := s.List(context.Background(), q); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func benchmarkOpen(b *testing.B, path string) {
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := open(b, path)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/jobs, "bytes/record")
}
