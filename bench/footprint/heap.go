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
	live     int64 // what the last collection found in use, as the server tells on its metrics page
}

func (m memory) details() map[string]int64 {
	return map[string]int64{"resident_bytes": m.resident, "live_bytes": m.live}
}

// settled waits until the server's collector has run twice, which Go does at least every two minutes, and until what it freed
// has gone back to the system.
func settled(ctx context.Context, stint *rig.Server) (memory, error) {
	rig.NewProgress("waiting for the garbage collector (five minutes)")
	var m memory
	began, err := collections(ctx, stint)
	if err != nil {
		return m, err
	}
	err = rig.EventuallySlowly(ctx, 6*time.Minute, "the garbage collector", func() (bool, error) {
		n, err := collections(ctx, stint)
		return n >= began+2, err
	})
	if err != nil {
		return m, err
	}
	// The scavenger gives memory back in the background: wait until it has stopped.
	for last := int64(0); ; last = m.resident {
		use, err := rig.MemoryOf(stint.PID)
		if err != nil {
			return m, err
		}
		if m.resident = use.Resident; m.resident == last {
			break
		}
		if err := rig.Sleep(ctx, 5*time.Second); err != nil {
			return m, err
		}
	}
	live, err := figure(ctx, stint, "go_memstats_heap_alloc_bytes")
	m.live = int64(live)
	return m, err
}

func collections(ctx context.Context, stint *rig.Server) (float64, error) {
	return figure(ctx, stint, "go_gc_duration_seconds_count")
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
