package models

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/stint-ml/stint/platform"
)

// The metrics of "CloudWatch Metrics for Multi-Model Endpoint Deployments" in the developer guide that are times.
const (
	waitTimes = iota
	fetchTimes
	loadTimes
	unloadTimes
	times
)

var timeNames = [times]string{"ModelLoadingWaitTime", "ModelDownloadingTime", "ModelLoadingTime", "ModelUnloadingTime"}

const (
	invocationsNamespace = "AWS/SageMaker"
	instancesNamespace   = "/aws/sagemaker/Endpoints"
	countEvery           = time.Minute // how often the number of loaded models is told when it does not change
)

// figures are what is counted between two reports.
type figures struct {
	clock        platform.Clock
	hits, misses atomic.Int64

	mu      sync.Mutex
	of      [times]figure
	loaded  int       // as told last
	counted time.Time // when that was
}

// figure is the statistics of durations.
type figure struct {
	count          int64
	sum, low, high time.Duration
}

// hit counts whether a request found its model loaded.
func (f *figures) hit(is bool) {
	if is {
		f.hits.Add(1)
	} else {
		f.misses.Add(1)
	}
}

func (f *figures) add(what int, took time.Duration) {
	took = max(0, took) // the clock may have been set meanwhile
	f.mu.Lock()
	defer f.mu.Unlock()
	is := &f.of[what]
	if is.count == 0 || took < is.low {
		is.low = took
	}
	is.count, is.sum, is.high = is.count+1, is.sum+took, max(is.high, took)
}

// take gives what was counted since the last time, as of the minute that is running, with how many models are loaded.
func (f *figures) take(loaded int) (data []platform.Datum) {
	now := f.clock.Now()
	at := now.UTC().Truncate(time.Minute)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, is := range f.of {
		if is.count == 0 {
			continue
		}
		data = append(data, platform.Datum{
			Series: platform.Series{Namespace: invocationsNamespace, Name: timeNames[i]}, At: at, Unit: "Microseconds", Value: micros(is.sum),
			Count: float64(is.count), Minimum: micros(is.low), Maximum: micros(is.high),
		})
	}
	f.of = [times]figure{}
	// A hit is sent as 1 and a miss as 0, so that the average is the rate of hits.
	if hits, misses := f.hits.Swap(0), f.misses.Swap(0); hits+misses > 0 {
		data = append(data, platform.Datum{
			Series: platform.Series{Namespace: invocationsNamespace, Name: "ModelCacheHit"}, At: at, Unit: "None", Value: float64(hits),
			Count: float64(hits + misses), Minimum: float64(1 - min(1, misses)), Maximum: float64(min(1, hits)),
		})
	}
	if loaded != f.loaded || now.Sub(f.counted) >= countEvery {
		f.loaded, f.counted = loaded, now
		n := float64(loaded)
		data = append(data, platform.Datum{
			Series: platform.Series{Namespace: instancesNamespace, Name: "LoadedModelCount"}, At: at, Unit: "None", Value: n, Count: 1, Minimum: n, Maximum: n,
		})
	}
	return data
}

func micros(d time.Duration) float64 { return float64(d.Microseconds()) }
