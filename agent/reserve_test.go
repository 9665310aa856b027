package agent

import (
	"context"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// nobody keeps nothing.
type nobody struct{ Checkpoints }

func (nobody) Run(context.Context) {}

func TestReserveIsLearnedFromTheLastSyncs(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		keeps  bool
		took   []time.Duration
		notice time.Duration
		works  time.Duration // how long the user's code may work on
	}{
		"no checkpoints":                     {false, nil, 2 * time.Minute, 116 * time.Second},
		"nothing known":                      {true, nil, 2 * time.Minute, 90 * time.Second},
		"quick":                              {true, []time.Duration{100 * time.Millisecond}, 2 * time.Minute, 117 * time.Second},
		"slow once":                          {true, []time.Duration{time.Second, 10 * time.Second, time.Second}, 2 * time.Minute, 98 * time.Second},
		"slower than there is time":          {true, []time.Duration{time.Hour}, 2 * time.Minute, time.Minute},
		"a notice too short for any of this": {true, nil, time.Second, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &agent{}
			if c.keeps {
				a.keeper.Checkpoints = nobody{}
			}
			a.keeper.took = c.took
			n := &notice{Interruption: platform.Interruption{At: begin, Until: begin.Add(c.notice)}, heard: begin, ends: begin.Add(c.notice)}
			if got := n.workEnds(a.reserve(n)).Sub(begin); got != c.works {
				t.Errorf("the user's code has %v, want %v", got, c.works)
			}
		})
	}
}
