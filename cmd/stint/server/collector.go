package server

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// smallHeap is how large the heap grows before it is worth a collection.
const smallHeap = 48 << 20

// PaceCollector lets the garbage collector wait until the heap has smallHeap, and from there on until it has doubled, as usual. A
// server's live heap is a few MiB: under load it would be collected dozens of times a second, which took a tenth of
// the processor time of an invocation. It is the whole process's; whoever sets GOGC has chosen otherwise.
func PaceCollector() {
	if _, set := os.LookupEnv("GOGC"); !set {
		afterCollection(100)
	}
}

// afterCollection looks at the pace anew whenever the collector takes what nobody has, which is in each collection.
func afterCollection(percent int) {
	type nobodys [4]uint64 // smaller ones share their memory with others
	runtime.SetFinalizer(new(nobodys), func(*nobodys) {
		now := pace()
		if now != percent {
			debug.SetGCPercent(now)
		}
		afterCollection(now)
	})
}

// pace is the percentage at which the next collection begins at smallHeap or at twice what lives now.
func pace() int {
	sizes := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(sizes)
	live, base := sizes[0].Value.Uint64(), uint64(1)
	for _, s := range sizes {
		base += s.Value.Uint64()
	}
	if live >= smallHeap {
		return 100
	}
	// In steps: each change stops the process for a moment.
	const step = 50
	return max(100, int((smallHeap-live)*100/base)/step*step) //nolint:gosec // below 48 MiB × 100
}
