package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stint-ml/stint/bench/rig"
)

// memory is that of a server whose garbage is collected.
type memory struct {
	resident int64
	live     int64 // in use on the heap after a collection, as the server tells on its metrics page
}

func (m memory) details() map[string]int64 {
	return map[string]int64{"resident_bytes": m.resident, "live_bytes": m.live}
}

// rounds is how often the collector runs before memory is read.
const rounds = 10

// settled gives the memory once the server's collector has run some times and what it freed has gone back to the system. The
// collector runs because reading the metrics page makes garbage; the least that is in use between two readings is, but for
// the garbage of one reading, what lives.
func settled(ctx context.Context, stint *rig.Server) (memory, error) {
	rig.NewProgress("waiting for the garbage collector")
	var m memory
	began, err := figure(ctx, stint, "go_gc_duration_seconds_count")
	if err != nil {
		return m, err
	}
	err = rig.Eventually(ctx, 6*time.Minute, "the garbage collector", func() (bool, error) {
		used, err := figure(ctx, stint, "go_memstats_heap_alloc_bytes")
		if err != nil {
			return false, err
		}
		if m.live == 0 || int64(used) < m.live {
			m.live = int64(used)
		}
		n, err := figure(ctx, stint, "go_gc_duration_seconds_count")
		return n >= began+rounds, err
	})
	// The scavenger gives memory back in the background: wait until it has stopped.
	for last := int64(-1); err == nil; last = m.resident {
		use, err := rig.MemoryOf(stint.PID)
		if err != nil {
			return m, err
		}
		if m.resident = use.Resident; m.resident == last {
			return m, nil
		}
		if err := rig.Sleep(ctx, 5*time.Second); err != nil {
			return m, err
		}
	}
	return m, err
}

// figure reads one line of the metrics page.
func figure(ctx context.Context, stint *rig.Server, name string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, stint.Endpoint+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the metrics page lacks %s", name)
}
